//! `pushrelay-peers edge`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use pushrelay_peers::edge::PUSH_JSON;
use pushrelay_peers::world::{Certificates, EDGE_DOMAIN, RELAY_NAME};
use pushrelay_peers::{FakeEdge, Push, SipRequest};

use super::print;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the relay listens for SIP over TLS
    #[arg(long, default_value = "127.0.0.1:5061")]
    relay: SocketAddr,
    /// Certificates made by `pushrelay-peers certificates`
    #[arg(long, value_name = "DIR")]
    certificates: PathBuf,
    /// The name that the relay's certificate must have
    #[arg(long, default_value = RELAY_NAME)]
    server_name: String,
    /// The Request-URI
    #[arg(long, default_value = "sip:push@push.example.org")]
    uri: String,
    /// The From URI
    #[arg(long, default_value_t = format!("sip:kima@{EDGE_DOMAIN}"))]
    from: String,
    /// Send an OPTIONS instead of a MESSAGE
    #[arg(long)]
    options: bool,
    /// A device token to push to; may be given again
    #[arg(long, value_name = "TOKEN")]
    apple: Vec<String>,
    /// A channel URI to push to; may be given again
    #[arg(long, value_name = "URI")]
    windows_phone: Vec<String>,
    /// What has happened
    #[arg(long, default_value = "im.message")]
    event: String,
    /// First line to show
    #[arg(long, default_value = "Kim Akers")]
    title: String,
    /// Text to show
    #[arg(long, default_value = "Are you there?")]
    text: String,
    /// Send this file as the body instead
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// The Content-Type of the body
    #[arg(long, default_value = PUSH_JSON)]
    content_type: String,
    /// A topmost Via without a branch (RFC 2543)
    #[arg(long)]
    branchless: bool,
    /// How many to send, one after the other
    #[arg(long, default_value_t = 1)]
    count: u32,
}

/// Succeeds when every answer is a 2xx.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let certificates = Certificates::read(&arguments.certificates)?;
    let edge = FakeEdge::connect(
        arguments.relay,
        &arguments.server_name,
        &certificates.edge,
        &certificates.root_pem,
        EDGE_DOMAIN,
    )
    .await
    .with_context(|| format!("connect to {}", arguments.relay))?;
    let mut good = true;
    for _ in 0..arguments.count {
        let answer = edge.exchange(&request(&arguments)?).await?;
        say!("{}", print::answer(&answer));
        good &= (200..300).contains(&answer.status);
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn request(arguments: &Arguments) -> anyhow::Result<SipRequest> {
    let Arguments { uri, from, .. } = arguments;
    if arguments.options {
        return Ok(SipRequest::bare("OPTIONS", uri, from));
    }
    let body = match &arguments.body {
        Some(path) => std::fs::read(path)
            .with_context(|| path.display().to_string())?
            .into(),
        None => {
            let push = Push::new(&arguments.event).alert(&arguments.title, &arguments.text);
            let push = (arguments.apple.iter()).fold(push, |push, token| push.apple(token));
            let phones = arguments.windows_phone.iter();
            phones
                .fold(push, |push, uri| push.windows_phone(uri))
                .encode()
        }
    };
    let request = SipRequest::message(uri, from, &arguments.content_type, body);
    Ok(if arguments.branchless {
        request.branchless()
    } else {
        request
    })
}
