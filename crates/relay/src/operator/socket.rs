//! The admin socket: a Unix socket that its owner and root alone may open, HTTP/1 with JSON, one question a connection.
//!
//! `POST /` with an [`Ask`] is answered 200 with its answer, or with an `error`: 400 for a question that cannot be
//! answered, 404 for what is not there, 503 for a spool in trouble.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tracing::{debug, info};

use super::ask::{Ask, Fault, Refused};
use super::desk::Desk;
use crate::metrics::OperatorResult;
use crate::service::Service;

/// A few operators at once; more wait in the backlog.
const CONNECTIONS: usize = 8;

/// How many may wait there.
const BACKLOG: i32 = 16;

/// How long a caller may take for its question.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest question: ten times the longest that the commands ask.
const QUESTION_BYTES: usize = 16 << 10;

/// How long a caller waits for its answer. What it has asked for goes on, and is counted, all the same.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// The longest path of a Unix socket: `sun_path` has 108 bytes and ends with a zero (unix(7)).
pub(crate) const PATH_BYTES: usize = 107;

/// A socket that is bound. Its file goes when this value is dropped.
pub(crate) struct Door {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode, so that nobody else's file is removed.
    file: (u64, u64),
}

impl Door {
    /// Binds the socket for its owner alone. A file that a dead daemon has left there is replaced, anything else is not.
    pub(crate) async fn bind(path: &Path) -> anyhow::Result<Door> {
        make_way(path).await?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        // Nobody can connect before it listens.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        socket.listen(BACKLOG)?;
        let metadata = fs::metadata(path)?;
        Ok(Door {
            listener: UnixListener::from_std(socket.into())?,
            path: path.to_owned(),
            file: (metadata.dev(), metadata.ino()),
        })
    }

    /// Serves until the process ends.
    pub(crate) async fn serve(self, service: Arc<Service>) {
        info!(listener = "admin_socket", path = %self.path.display(), "listening");
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else {
                return;
            };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    debug!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let service = service.clone();
            tokio::spawn(async move {
                converse(stream, service).await;
                drop(slot);
            });
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.file);
        if ours {
            // Whoever starts next removes what is left.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the file of a daemon that is dead.
async fn make_way(path: &Path) -> anyhow::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if !metadata.file_type().is_socket() {
        bail!("there is a file of another kind, expected nothing or a socket");
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).context("the socket that a dead daemon has left")
        }
        Ok(_) => bail!("another daemon listens there"),
        Err(error) => Err(error.into()),
    }
}

async fn converse(stream: UnixStream, service: Arc<Service>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(respond(&service, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(QUESTION_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer);
    if let Err(error) = connection.await {
        debug!(%error, "admin connection failed");
    }
}

async fn respond(service: &Arc<Service>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let answer = match read(request).await {
        Ok(ask) => answer(service, ask).await,
        Err(refused) => Err(refused),
    };
    let (result, status, body) = match answer {
        Ok(answer) => (OperatorResult::Answered, StatusCode::OK, answer.to_string()),
        Err(refused) => {
            let (result, status) = match refused.kind {
                Fault::Question => (OperatorResult::Refused, StatusCode::BAD_REQUEST),
                Fault::NotThere => (OperatorResult::Answered, StatusCode::NOT_FOUND),
                Fault::Spool => (OperatorResult::Failed, StatusCode::SERVICE_UNAVAILABLE),
            };
            let body = serde_json::to_string(&refused).expect("a refusal has only string keys");
            (result, status, body)
        }
    };
    service.metrics.operator(result);
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn read(request: Request<Incoming>) -> Result<Ask, Refused> {
    if request.method() != Method::POST || request.uri().path() != "/" {
        let got = format!("{} {}", request.method(), request.uri().path());
        return Err(question(format!("got {got}, expected POST /")));
    }
    let body = Limited::new(request.into_body(), QUESTION_BYTES).collect();
    let body = match tokio::time::timeout(QUESTION_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => {
            return Err(question(format!(
                "the question cannot be read, expected at most {QUESTION_BYTES} bytes: {error}"
            )));
        }
        Err(_) => return Err(question("the question did not come in time".into())),
    };
    serde_json::from_slice(&body).map_err(|error| question(format!("not a question: {error}")))
}

/// A change goes on to its end, whatever the caller does, so that the books hear of it.
async fn answer(service: &Arc<Service>, ask: Ask) -> Result<Value, Refused> {
    let desk = Desk::of(service);
    let answering = tokio::spawn(async move { desk.answer(ask).await });
    match tokio::time::timeout(ANSWER_TIMEOUT, answering).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(spool("the daemon failed while it answered; see its log")),
        Err(_) => Err(spool(
            "the spool did not answer in time; what was asked may still happen",
        )),
    }
}

fn question(error: String) -> Refused {
    Refused {
        kind: Fault::Question,
        error,
    }
}

fn spool(error: &str) -> Refused {
    Refused {
        kind: Fault::Spool,
        error: error.to_owned(),
    }
}
