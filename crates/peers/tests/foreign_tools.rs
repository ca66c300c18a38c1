//! The fakes held against clients that others wrote: nghttp, h2load, curl, openssl.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use pushrelay_peers::apns::Recording;

use pushrelay_peers::{ApnsAnswer, ApnsOptions, FakeApns};
use tokio::process::Command;

const TOKEN: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";

async fn run(program: &str, package: &str, arguments: &[&str]) -> Output {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await;
    child.unwrap_or_else(|e| panic!("{program}: {e}; install the package {package}"))
}

fn file(name: &str, content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::File::create(&path)
        .unwrap()
        .write_all(content)
        .unwrap();
    (dir, path)
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn push_headers() -> Vec<String> {
    [
        "authorization: bearer abc.def.ghi",
        "apns-topic: com.example.chat",
        "apns-push-type: alert",
        "apns-priority: 10",
        "apns-expiration: 1900000000",
        "apns-id: 6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55",
    ]
    .into_iter()
    .flat_map(|header| ["-H".to_owned(), header.to_owned()])
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_pushes_to_the_fake_apple() {
    let apple = FakeApns::start(ApnsOptions::default()).await.unwrap();
    let (_dir, root) = file("ca.pem", apple.root_pem().as_bytes());
    let url = format!("{}/3/device/{TOKEN}", apple.url());
    let headers = push_headers();
    let mut arguments = vec!["-sS", "--http2", "-i", "--cacert", root.to_str().unwrap()];
    arguments.extend(headers.iter().map(String::as_str));
    arguments.extend([
        "-H",
        "content-type:",
        "-d",
        r#"{"aps":{"alert":"hello"}}"#,
        &url,
    ]);

    let output = run("curl", "curl", &arguments).await;
    assert!(stdout(&output).starts_with("HTTP/2 200"), "{output:?}");
    assert!(stdout(&output).contains("apns-id: 6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55"));
    assert_eq!(apple.counts().accepted, 1);
    let received = apple.received();
    assert_eq!(received[0].token, TOKEN);
    assert_eq!(received[0].payload["aps"]["alert"], "hello");
    let of_curl = |sentence: &String| sentence.contains("priority"); // some versions still send one
    assert!(
        apple.violations().iter().all(of_curl),
        "{:?}",
        apple.violations()
    );

    apple.script(TOKEN, [ApnsAnswer::gone(1_700_000_000_123)]);
    let output = run("curl", "curl", &arguments).await;
    assert!(stdout(&output).starts_with("HTTP/2 410"), "{output:?}");
    assert!(stdout(&output).ends_with(r#"{"reason":"Unregistered","timestamp":1700000000123}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn h2load_drives_the_fake_apple_through_many_connections() {
    let apple = FakeApns::start(ApnsOptions {
        recording: Recording::Counts,
        ..ApnsOptions::default()
    })
    .await
    .unwrap();
    let (_dir, payload) = file("payload.json", br#"{"aps":{"alert":"hello"}}"#);
    let url = format!("{}/3/device/{TOKEN}", apple.url());
    let headers = push_headers();
    let mut arguments = vec![
        "-n",
        "2000",
        "-c",
        "4",
        "-m",
        "50",
        "-d",
        payload.to_str().unwrap(),
    ];
    arguments.extend(headers.iter().map(String::as_str));
    arguments.push(&url);

    let output = run("h2load", "nghttp2-client", &arguments).await;
    assert!(
        stdout(&output).contains("2000 succeeded, 0 failed"),
        "{output:?}"
    );
    let counts = apple.counts();
    assert_eq!(counts.accepted, 2000);
    assert_eq!(counts.connections, 4);
    assert_eq!(counts.handshakes, 4);
}
