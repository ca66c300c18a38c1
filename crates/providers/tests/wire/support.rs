//! What all these tests need: pushes, clients, deadlines.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pushrelay_peers::FakeApns;
use pushrelay_peers::pki::ApnsKey;
use pushrelay_providers::Push;
use pushrelay_providers::apns::{
    self, ApnsApp, ApnsClient, ApnsOptions, ApnsRequest, ApnsStats, Credential, Endpoint,
    ProviderKey, ProviderTokens,
};
use pushrelay_providers::mpns::{self, MpnsRequest};
use pushrelay_push::body::{Body, Decoders};
use pushrelay_push::present::{AppleLook, PhoneLook};
use pushrelay_push::{ChannelPolicy, Expiry, Local, Outcome};
use serde_json::{Value, json};
use uuid::Uuid;

/// Longer than anything here takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const TOPIC: &str = "com.example.chat";

/// A push to `target` of a body, with the given members beside `v` and `event`.
pub(crate) fn push(target: Value, members: Value) -> Push {
    let mut body = json!({ "v": 1, "event": "im.message", "targets": [target] });
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    let policy = ChannelPolicy {
        hosts: vec!["127.0.0.1".into(), "localhost".into(), "::1".into()],
        ports: (1..=u16::MAX).collect(),
        path_prefixes: vec!["/".into()],
    };
    let notification = Decoders::new(policy).decode(Body {
        content_type: "application/vnd.pushrelay+json; v=1".into(),
        bytes: body.to_string().as_bytes(),
    });
    Push {
        notification: Arc::new(notification.unwrap()),
        target: 0,
        id: Uuid::from_u128(0x6f0c_1f2e_9d0c_4f4b_8f0a_1d7c_0b7f_3a55),
        expiry: Some(Expiry::from_unix_seconds(1_900_000_000)),
    }
}

/// The request to Apple of a push as its sender wants it shown.
pub(crate) fn compose_for_apple(push: &Push, app: &ApnsApp) -> Result<ApnsRequest, Local> {
    let fields = push.fields(false).unwrap();
    let look = AppleLook::of(&fields, None, app.is_voip(fields.target));
    apns::compose(push, app, &look)
}

/// The request to a channel of a push as its sender wants it shown.
pub(crate) fn compose_for_phone(push: &Push) -> Result<MpnsRequest, Local> {
    let look = PhoneLook::of(&push.fields(false).unwrap(), None);
    mpns::compose(push, &look.shown, look.delay)
}

/// A push of a text to an Apple device.
pub(crate) fn apple_push(token: &str) -> Push {
    push(
        json!({ "service": "apns", "token": token }),
        json!({ "alert": { "title": "Kim Akers", "body": "Are you there?" } }),
    )
}

/// The same, composed, with an id of its own.
pub(crate) fn apple_request(number: u64) -> ApnsRequest {
    let mut push = apple_push(&format!("{number:016x}"));
    push.id = Uuid::from_u64_pair(7, number);
    compose_for_apple(&push, &app()).unwrap()
}

pub(crate) fn app() -> ApnsApp {
    ApnsApp::new(TOPIC).unwrap()
}

pub(crate) fn key() -> ApnsKey {
    ApnsKey::new("ABCDEFGHIJ", "TEAM123456")
}

pub(crate) fn tokens(key: &ApnsKey) -> ProviderTokens {
    ProviderTokens::new(provider_key(key))
}

pub(crate) fn provider_key(key: &ApnsKey) -> ProviderKey {
    ProviderKey::from_pem(key.p8_pem.as_bytes(), &key.key_id, &key.team_id).unwrap()
}

pub(crate) fn endpoint(fake: &FakeApns) -> Endpoint {
    Endpoint::parse(&fake.url(), fake.roots()).unwrap()
}

/// A client with token authentication.
pub(crate) fn client(fake: &FakeApns, options: ApnsOptions) -> ApnsClient {
    let credential = Credential::Token(Arc::new(tokens(&key())));
    ApnsClient::new(endpoint(fake), credential, options).unwrap()
}

/// A fake Apple that takes any token.
pub(crate) async fn apple() -> FakeApns {
    FakeApns::start(pushrelay_peers::ApnsOptions::default())
        .await
        .unwrap()
}

/// Short times, so that what takes seconds in life takes a moment here.
pub(crate) fn quick() -> ApnsOptions {
    ApnsOptions {
        stall_interval: Duration::from_millis(50),
        ping_timeout: Duration::from_millis(200),
        backoff_first: Duration::from_millis(50),
        backoff_longest: Duration::from_millis(200),
        ..ApnsOptions::default()
    }
}

/// Sends `count` pushes at once and gives their outcomes in order.
pub(crate) async fn send_all(
    client: &ApnsClient,
    numbers: impl Iterator<Item = u64>,
) -> Vec<Outcome> {
    let tasks: Vec<_> = numbers
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { client.send(apple_request(number)).await })
        })
        .collect();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(within(task).await.unwrap());
    }
    outcomes
}

/// The future's value, which must come before [`PATIENCE`] ends.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

/// Waits until a client's numbers satisfy `condition`.
pub(crate) async fn until(client: &ApnsClient, condition: impl Fn(&ApnsStats) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition(&client.stats()) {
        assert!(Instant::now() < deadline, "{:?}", client.stats());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What the `openssl` command writes to its standard output.
pub(crate) fn openssl(arguments: &[&str]) -> String {
    let output = std::process::Command::new("openssl")
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A PKCS#8 RSA key.
pub(crate) fn rsa_key() -> String {
    openssl(&[
        "genpkey",
        "-algorithm",
        "RSA",
        "-pkeyopt",
        "rsa_keygen_bits:2048",
    ])
}
