//! What one push costs the client, beside a bare h2 request of the same bytes.
//!
//! ```sh
//! cargo build --profile dist -p pushrelay-providers --example push_cost
//! target/dist/examples/push_cost client 20000 16      # or floor; pushes, window
//! valgrind --tool=callgrind target/dist/examples/push_cost client 20000 16
//! ```
//!
//! The fake Apple runs in a process of its own. Prints CPU time a push, user and system. For instructions take the difference of two
//! counts of pushes, so that starting and connecting are left out.
#![allow(clippy::print_stdout)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use pushrelay_peers::apns::Recording;
use pushrelay_peers::pki::ApnsKey;
use pushrelay_peers::{ApnsOptions, FakeApns};
use pushrelay_providers::Push;
use pushrelay_providers::apns::{
    self, ApnsApp, ApnsClient, Credential, Endpoint, ProviderKey, ProviderTokens,
};
use pushrelay_push::body::{Body, Decoders};
use pushrelay_push::present::AppleLook;
use pushrelay_push::{ChannelPolicy, Expiry, Local, Notification, Verdict};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use uuid::Uuid;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["apple"] => apple().await,
        ["client", count, window] => client(count.parse()?, window.parse()?).await,
        ["floor", count, window] => floor(count.parse()?, window.parse()?).await,
        _ => Err("expected: client|floor PUSHES WINDOW".into()),
    }
}

/// Says URL and root, serves until its input ends.
async fn apple() -> Result<(), Failure> {
    let fake = FakeApns::start(ApnsOptions {
        recording: Recording::Nothing,
        ..ApnsOptions::default()
    })
    .await?;
    println!(
        "{}\n{}",
        fake.address().port(),
        fake.root_pem().replace('\n', "|")
    );
    let wait = || std::io::stdin().read_to_end(&mut Vec::new());
    tokio::task::spawn_blocking(wait).await??;
    Ok(())
}

struct Apple {
    process: Child,
    port: u16,
    roots: Arc<RootCertStore>,
}

impl Apple {
    fn start() -> Result<Apple, Failure> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("apple")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(process.stdout.take().ok_or("stdout")?).lines();
        let port = lines.next().ok_or("a port")??.parse()?;
        let pem = lines.next().ok_or("a root")??.replace('|', "\n");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes())?)?;
        Ok(Apple {
            process,
            port,
            roots: Arc::new(roots),
        })
    }
}

impl Drop for Apple {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // It has gone already, or goes now.
        let _ = self.process.wait();
    }
}

fn notification() -> Result<Arc<Notification>, Failure> {
    let text = "Are you there? ".repeat(40);
    let body = format!(
        r#"{{"v":1,"event":"im.message","targets":[{{"service":"apns","token":"{}"}}],"alert":{{"title":"Kim","body":"{text}"}}}}"#,
        "5ca1ab1e".repeat(8),
    );
    let body = Body {
        content_type: Some("application/vnd.pushrelay+json; v=1"),
        bytes: body.as_bytes(),
    };
    Ok(Arc::new(
        Decoders::new(ChannelPolicy::default()).decode(body)?,
    ))
}

async fn client(count: u64, window: usize) -> Result<(), Failure> {
    let apple = Apple::start()?;
    let key = ApnsKey::new("ABCDEFGHIJ", "TEAM123456");
    let key = ProviderKey::from_pem(key.p8_pem.as_bytes(), &key.key_id, &key.team_id)?;
    let credential = Credential::Token(Arc::new(ProviderTokens::new(key)));
    let url = format!("https://127.0.0.1:{}", apple.port);
    let endpoint = Endpoint::parse(&url, apple.roots.clone())?;
    let client = ApnsClient::new(endpoint, credential, apns::ApnsOptions::default())?;
    let (app, notification) = (ApnsApp::new("com.example.chat")?, notification()?);
    let send = |number: u64| {
        let push = Push {
            notification: notification.clone(),
            target: 0,
            id: Uuid::from_u64_pair(7, number),
            expiry: Some(Expiry::from_unix_seconds(4_102_444_800)),
        };
        let request = push
            .fields(false)
            .ok_or(Local::UnknownApp)
            .map(|fields| AppleLook::of(&fields, None, false))
            .and_then(|look| apns::compose(&push, &app, &look));
        let client = &client;
        async move {
            let outcome = client.send(request.map_err(|_| "compose")?).await;
            match outcome.verdict {
                Verdict::Accepted => Ok(()),
                _ => Err(format!("{outcome:?}").into()),
            }
        }
    };
    run("client", count, window, send).await
}

async fn floor(count: u64, window: usize) -> Result<(), Failure> {
    let apple = Apple::start()?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(apple.roots.clone())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", apple.port)).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("127.0.0.1")?;
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let (sender, connection) = h2::client::handshake(stream).await?;
    tokio::spawn(connection);
    let uri: Uri = format!(
        "https://127.0.0.1:{}/3/device/{}",
        apple.port,
        "5ca1ab1e".repeat(8)
    )
    .parse()?;
    let mut headers = HeaderMap::new();
    let bearer = format!("bearer {}", "A".repeat(190));
    for (name, value) in [
        ("authorization", bearer.as_str()),
        ("apns-topic", "com.example.chat"),
        ("apns-push-type", "alert"),
        ("apns-priority", "10"),
        ("apns-expiration", "4102444800"),
        ("apns-id", "6f0c1f2e-9d0c-5f4b-8f0a-1d7c0b7f3a55"),
    ] {
        headers.insert(name, HeaderValue::from_str(value)?);
    }
    let text = "Are you there? ".repeat(40);
    let payload = Bytes::from(format!("{{\"aps\":{{\"alert\":\"{text}\"}}}}"));
    let send = |_| {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = headers.clone();
        let (sender, payload) = (sender.clone(), payload.clone());
        async move {
            let mut sender = sender.ready().await?;
            let (answer, mut body) = sender.send_request(request, false)?;
            body.send_data(payload, true)?;
            match answer.await?.status().as_u16() {
                200 => Ok(()),
                other => Err(other.to_string().into()),
            }
        }
    };
    run("floor", count, window, send).await
}

async fn run<F>(
    name: &str,
    count: u64,
    window: usize,
    send: impl Fn(u64) -> F,
) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    // Connected, trusted, and the peer's SETTINGS seen.
    for number in 0..100 {
        send(number).await?;
    }
    let before = cpu()?;
    let mut sends = FuturesUnordered::new();
    for number in 100..100 + count {
        if sends.len() >= window {
            sends.next().await.ok_or("a push")??;
        }
        sends.push(send(number));
    }
    while let Some(sent) = sends.next().await {
        sent?;
    }
    let spent = (cpu()? - before).as_secs_f64() * 1e6 / count as f64;
    println!("{name}: {spent:.1} us of CPU a push ({count} pushes, window {window})");
    Ok(())
}

/// User and system time of this process, in ticks of 10 ms.
fn cpu() -> Result<Duration, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, rest) = stat.rsplit_once(')').ok_or("stat")?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut tick = || -> Result<u64, Failure> { Ok(fields.next().ok_or("stat")?.parse()?) };
    Ok(Duration::from_millis(10 * (tick()? + tick()?)))
}
