//! `pushrelay probe`: what a Lync administrator does with `Test-CsFederatedPartner` and `Test-CsMcxPushNotification`, from here.
//!
//! It is the Edge: it connects, judges the certificate as an Edge would, shows its own, asks. Each step says what was tried, what
//! came back, and, where something is wrong, what it means and what to do.

mod dialogue;
mod fault;
mod report;
mod tls;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use pushrelay_push::DeviceToken;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::timeout;

use dialogue::{Answered, Dialogue};
use fault::Fault;
use report::Report;

use crate::certificate::{self, Unusable};
use crate::config;

/// Which probe.
#[derive(Subcommand)]
pub(crate) enum Probe {
    /// Connect as a partner's Access Edge would and send OPTIONS: the twin of Test-CsFederatedPartner.
    Federation(Peer),
    /// Send a push as a partner's Mobility Service would: the twin of Test-CsMcxPushNotification.
    Push(PushArguments),
}

/// Whom to ask, and as whom.
#[derive(Args)]
pub(crate) struct Peer {
    /// Where the relay listens.
    #[arg(long, value_name = "HOST:PORT")]
    target: String,
    /// The SIP domain that pushes are sent to.
    #[arg(long, value_name = "DOMAIN")]
    domain: String,
    /// The partner's certificate, PEM: its own first, then its issuers.
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Who must have issued the relay's certificate: "system", a PEM file or a folder of them.
    #[arg(long, value_name = "ROOTS", default_value = "system")]
    roots: String,
    /// The name that the relay's certificate must have; the host of --target without it.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The user that the request is from; probe@ and the domain of the certificate's first name without it.
    #[arg(long, value_name = "SIP-URI")]
    from: Option<String>,
    /// Offer only what Windows Server 2012 R2 and older can.
    #[arg(long)]
    legacy: bool,
    /// How long each step may take.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What to push.
#[derive(Args)]
pub(crate) struct PushArguments {
    #[command(flatten)]
    peer: Peer,
    /// The address that pushes are sent to; push@ and --domain without it.
    #[arg(long, value_name = "SIP-URI")]
    to: Option<String>,
    /// A device token, for a push that really arrives.
    #[arg(long, value_name = "TOKEN")]
    apple: Option<String>,
    /// A channel URI, for a push that really arrives.
    #[arg(long, value_name = "URI")]
    windows_phone: Option<String>,
    /// The app on the device; the relay's default app without it.
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    /// What the device shows.
    #[arg(long, value_name = "TEXT", default_value = "A test of the push relay")]
    text: String,
}

/// Runs the probe; the exit code is the fault's, 0 without one.
pub(crate) fn probe(probe: &Probe) -> ExitCode {
    let (peer, push) = match probe {
        Probe::Federation(peer) => (peer, None),
        Probe::Push(push) => (&push.peer, Some(push)),
    };
    let mut report = Report::new(peer.json);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(peer, push, &mut report)),
        Err(error) => Err(Fault::OwnFiles(error.to_string())),
    };
    report.end(result)
}

async fn run(peer: &Peer, push: Option<&PushArguments>, report: &mut Report) -> Result<(), Fault> {
    let own = own_files(peer)?;
    let body = push.map(body).transpose()?;
    let from = match &peer.from {
        Some(from) => from.clone(),
        None => default_from(&own.chain)?,
    };
    report.good(
        "files",
        format!("certificate {}, key, roots", peer.cert.display()),
        format!("usable; the request is from {from}"),
    );
    let host = host_of(&peer.target);
    let address = resolve(peer, report).await?;
    let stream = connect(peer, address, report).await?;
    let name = peer.name.as_deref().unwrap_or(host);
    let (stream, seen) =
        tls::handshake(stream, name, &own, peer.legacy, peer.timeout, report).await?;
    tls::judge(&seen, name, &own.roots, report)?;
    let mut dialogue = Dialogue::new(stream, address, peer.timeout);
    match (push, body) {
        (Some(push), Some(body)) => {
            let to = push
                .to
                .clone()
                .unwrap_or_else(|| format!("sip:push@{}", peer.domain));
            let answer = dialogue.message(&to, &from, &body).await?;
            report_answer(
                report,
                "push",
                format!("MESSAGE {to}"),
                &answer,
                push_meaning(push),
            );
            fault::of_push(&answer)
        }
        _ => {
            let to = format!("sip:{}", peer.domain);
            let answer = dialogue.options(&to, &from).await?;
            let meaning = "the relay knows this Edge, its domain and itself";
            report_answer(report, "options", format!("OPTIONS {to}"), &answer, meaning);
            fault::of_options(&answer)
        }
    }
}

fn report_answer(
    report: &mut Report,
    step: &'static str,
    tried: String,
    answer: &Answered,
    meaning: &str,
) {
    if (200..300).contains(&answer.status) {
        report.good(step, tried, format!("{answer}: {meaning}"));
    } else {
        report.bad(step, tried, answer.to_string());
    }
}

fn push_meaning(push: &PushArguments) -> &'static str {
    if push.apple.is_some() || push.windows_phone.is_some() {
        "every provider has taken it"
    } else {
        "the relay reads and answers pushes; no device was named, so no provider was asked"
    }
}

/// The partner's files, and whom it trusts.
pub(super) struct Own {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: Arc<rustls::sign::CertifiedKey>,
    pub(super) roots: Arc<RootCertStore>,
}

fn own_files(peer: &Peer) -> Result<Own, Fault> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| Fault::OwnFiles(format!("{}: {error}", path.display())))
    };
    let key = certificate::certified(&read(&peer.cert)?, &read(&peer.key)?);
    let key = key.map_err(|unusable| {
        Fault::OwnFiles(match unusable {
            Unusable::Chain(text) => format!("--cert: {text}"),
            Unusable::Key(text) => format!("--key: {text}"),
        })
    })?;
    let roots = config::roots(&peer.roots).map_err(Fault::OwnFiles)?;
    Ok(Own {
        chain: key.cert.clone(),
        key: Arc::new(key),
        roots,
    })
}

/// An Edge is called sip.contoso.com and speaks for contoso.com.
fn default_from(chain: &[CertificateDer<'_>]) -> Result<String, Fault> {
    let names = tls::names(chain);
    let domain = names.first().and_then(|name| name.split_once('.'));
    match domain {
        Some((_, domain)) if domain.contains('.') => Ok(format!("sip:probe@{domain}")),
        _ => Err(Fault::OwnFiles(
            "the certificate has no name to guess a SIP domain from: give --from".to_owned(),
        )),
    }
}

fn host_of(target: &str) -> &str {
    target
        .rsplit_once(':')
        .map_or(target, |(host, _)| host)
        .trim_matches(['[', ']'])
}

async fn resolve(peer: &Peer, report: &mut Report) -> Result<SocketAddr, Fault> {
    let tried = format!("the address of {}", peer.target);
    let found = timeout(peer.timeout, tokio::net::lookup_host(&peer.target)).await;
    let first = match found {
        Ok(Ok(mut addresses)) => addresses.next(),
        Ok(Err(error)) => {
            report.bad("resolve", tried, error.to_string());
            return Err(Fault::NoAddress);
        }
        Err(_) => None,
    };
    match first {
        Some(address) => {
            report.good("resolve", tried, address.to_string());
            Ok(address)
        }
        None => {
            report.bad("resolve", tried, "no address".to_owned());
            Err(Fault::NoAddress)
        }
    }
}

async fn connect(
    peer: &Peer,
    address: SocketAddr,
    report: &mut Report,
) -> Result<TcpStream, Fault> {
    let tried = format!("TCP to {address}");
    let start = Instant::now();
    match timeout(peer.timeout, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => {
            // One small request: nobody is served by waiting for more.
            let _ = stream.set_nodelay(true);
            report.good(
                "connect",
                tried,
                format!("open after {} ms", start.elapsed().as_millis()),
            );
            Ok(stream)
        }
        Ok(Err(error)) => {
            report.bad("connect", tried, error.to_string());
            Err(Fault::PortClosed)
        }
        Err(_) => {
            report.bad(
                "connect",
                tried,
                format!("nothing for {} s", peer.timeout.as_secs()),
            );
            Err(Fault::PortSilent)
        }
    }
}

/// A notification that is tried once and never kept, so that the answer is the provider's own word.
fn body(push: &PushArguments) -> Result<String, Fault> {
    let mut targets = Vec::new();
    if let Some(token) = &push.apple {
        DeviceToken::parse(token).map_err(|error| Fault::OwnFiles(format!("--apple: {error}")))?;
        targets.push(json!({"service": "apns", "token": token, "app": push.app}));
    }
    if let Some(uri) = &push.windows_phone {
        targets.push(json!({"service": "mpns", "uri": uri, "app": push.app}));
    }
    let event = if targets.is_empty() {
        // Nobody is asked for a test, so any token does.
        targets.push(json!({"service": "apns", "token": "00000000000000000000000000000000"}));
        "test"
    } else {
        "im.message"
    };
    let body = json!({
        "v": 1,
        "event": event,
        "ttl": 0,
        "targets": targets,
        "alert": {"title": "pushrelay probe", "body": push.text},
    });
    Ok(body.to_string())
}
