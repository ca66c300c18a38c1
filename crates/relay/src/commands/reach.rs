//! Who answers a command: the daemon over its admin socket, or, while none runs, this process with the spool in its own hands.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use pushrelay_push::ChannelPolicy;
use pushrelay_spool::OpenError;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;

use super::complain;
use crate::config::{self, SpoolConfig};
use crate::gone::GoneDevices;
use crate::metrics::Metrics;
use crate::operator::ask::{Ask, Fault, Refused};
use crate::operator::desk::Desk;
use crate::trail::Trail;
use crate::waiting::Waiting;

/// How long an answer may take: longer than the daemon lets anybody wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest answer: a thousand entries are below 1 MiB.
const ANSWER_BYTES: usize = 16 << 20;

/// The exit code where there is nothing of that name.
const NOT_THERE: u8 = 3;

/// Where to ask, and how to tell.
#[derive(Args)]
pub(crate) struct Where {
    /// The configuration file, TOML: it says where the admin socket and the spool are
    #[arg(
        long,
        value_name = "FILE",
        global = true,
        default_value = "/etc/pushrelay/pushrelay.toml"
    )]
    config: PathBuf,
    /// The admin socket of a running daemon, instead of what the configuration says
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
}

/// Who answers.
pub(super) struct Reach {
    who: Who,
    /// What channel URIs are held to.
    pub(super) channels: ChannelPolicy,
}

enum Who {
    Daemon(PathBuf),
    Ourselves(Desk),
}

/// Runs a command to its exit code: 0 when it was answered, 1 when it could not be, 3 when there is nothing of that name.
pub(super) fn run(
    place: &Where,
    command: impl AsyncFnOnce(&Reach) -> anyhow::Result<()>,
) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = runtime.context("no runtime").and_then(|runtime| {
        runtime.block_on(async {
            let reach = Reach::find(place).await?;
            let done = command(&reach).await;
            reach.leave().await;
            done
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("pushrelay: {error:#}"));
            match error.downcast_ref::<Refused>() {
                Some(refused) if refused.kind == Fault::NotThere => ExitCode::from(NOT_THERE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// There is nothing of that name.
pub(super) fn not_there(what: String) -> anyhow::Error {
    anyhow::Error::new(Refused {
        kind: Fault::NotThere,
        error: what,
    })
}

impl Reach {
    async fn find(place: &Where) -> anyhow::Result<Reach> {
        if let Some(socket) = &place.socket {
            let connected = UnixStream::connect(socket).await;
            connected.with_context(|| format!("no daemon answers at {}", socket.display()))?;
            // Without a configuration that can be read, as it comes.
            let channels = config::places(&place.config).map(|places| places.channels);
            return Ok(Reach {
                who: Who::Daemon(socket.clone()),
                channels: channels.unwrap_or_default(),
            });
        }
        let places = config::places(&place.config).map_err(|problems| {
            let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("{}: {}", place.config.display(), list.join("; "))
        })?;
        let who = match &places.socket {
            Some(socket) if is_answered(socket).await? => Who::Daemon(socket.clone()),
            socket => {
                let socket = socket.as_deref().unwrap_or(Path::new("any socket"));
                Who::Ourselves(take_over(places.spool, socket).await?)
            }
        };
        Ok(Reach {
            who,
            channels: places.channels,
        })
    }

    /// Asks, and reads the answer.
    pub(super) async fn ask<T: DeserializeOwned>(&self, ask: Ask) -> anyhow::Result<T> {
        let answer = match &self.who {
            Who::Daemon(socket) => {
                let exchange = exchange(socket, &ask);
                let answer = tokio::time::timeout(ANSWER_TIMEOUT, exchange).await;
                answer.context("the daemon does not answer in time")??
            }
            Who::Ourselves(desk) => desk.answer(ask).await?,
        };
        serde_json::from_value(answer).context("the daemon answers as another version would")
    }

    async fn leave(self) {
        if let Who::Ourselves(Desk {
            waiting: Some(waiting),
            ..
        }) = self.who
        {
            waiting.spool().close().await;
        }
    }
}

/// Whether a daemon listens there.
async fn is_answered(socket: &Path) -> anyhow::Result<bool> {
    match UnixStream::connect(socket).await {
        Ok(_) => Ok(true),
        Err(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Ok(false),
            ErrorKind::PermissionDenied => Err(error).with_context(|| {
                format!(
                    "{}: expected to be root or the relay's own user",
                    socket.display()
                )
            }),
            _ => Err(error).with_context(|| socket.display().to_string()),
        },
    }
}

/// Opens the spool in the daemon's place. The books of this process are nobody's: a daemon counts afresh when it starts.
async fn take_over(spool: Option<SpoolConfig>, socket: &Path) -> anyhow::Result<Desk> {
    let socket = socket.display();
    let Some(spool) = spool else {
        anyhow::bail!("no daemon answers at {socket}, and the configuration names no spool");
    };
    let path = spool.path.clone();
    let file = path.display();
    // Opening makes a file where there is none.
    if !path.try_exists().with_context(|| file.to_string())? {
        anyhow::bail!("no daemon answers at {socket}, and there is no spool at {file}");
    }
    let metrics = Arc::new(Metrics::new());
    let trail = Arc::new(Trail::new(0, (Instant::now(), SystemTime::now())));
    let gone = GoneDevices::new(0, Duration::ZERO);
    let waiting = match Waiting::open(spool, metrics, trail, &gone).await {
        Ok((waiting, _)) => waiting,
        Err(error) if matches!(error.downcast_ref(), Some(OpenError::Locked { .. })) => {
            anyhow::bail!(
                "a process holds {file}, but answers at {socket} nobody: is `[admin] socket` the one that the daemon was started with?"
            );
        }
        Err(error) => return Err(error),
    };
    complain(format_args!(
        "pushrelay: no daemon answers at {socket}: working on {file} itself"
    ));
    Ok(Desk {
        waiting: Some(Arc::new(waiting)),
        daemon: None,
    })
}

/// One question over the socket.
async fn exchange(socket: &Path, ask: &Ask) -> anyhow::Result<Value> {
    let at = || socket.display().to_string();
    let stream = UnixStream::connect(socket).await.with_context(at)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .with_context(at)?;
    let connection = tokio::spawn(connection);
    let request = Request::post("/")
        .header("host", "pushrelay")
        .body(Full::new(Bytes::from(serde_json::to_vec(ask)?)))?;
    let response = sender.send_request(request).await.with_context(at)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES)
        .collect()
        .await;
    connection.abort();
    let body = body
        .map_err(|error| anyhow::anyhow!("{}: {error}", socket.display()))?
        .to_bytes();
    if status.is_success() {
        return serde_json::from_slice(&body).with_context(at);
    }
    match serde_json::from_slice::<Refused>(&body) {
        Ok(refused) => Err(refused.into()),
        Err(_) => anyhow::bail!("{}: answered {status}", socket.display()),
    }
}
