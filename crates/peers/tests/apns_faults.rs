//! What the fake Apple does when its script says so, seen by an HTTP/2 client.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::future::join_all;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Ping, PingPong, Reason};
use http::{HeaderMap, Request};
use pushrelay_peers::apns::{ApnsFault, GoAway, LastStream, Recording, Then};
use pushrelay_peers::pki::{ApnsKey, Authority, Eku, Leaf};
use pushrelay_peers::world::device_token;
use pushrelay_peers::{ApnsAnswer, ApnsOptions, FakeApns};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

const SOON: Duration = Duration::from_secs(10);

struct Client {
    send: SendRequest<Bytes>,
    ping: PingPong,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    async fn connect(apple: &FakeApns) -> Client {
        Client::connect_with(apple, None).await.unwrap()
    }

    async fn connect_with(
        apple: &FakeApns,
        identity: Option<&pushrelay_peers::pki::Issued>,
    ) -> std::io::Result<Client> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let builder = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(apple.roots());
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(issued) => {
                let chain = CertificateDer::pem_slice_iter(issued.chain_pem.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap();
                let chain = chain.map(Result::unwrap).collect();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let socket = TcpStream::connect(apple.address()).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let tls = TlsConnector::from(std::sync::Arc::new(config))
            .connect(name, socket)
            .await?;
        let (send, mut connection) = h2::client::Builder::new()
            .max_header_list_size(64 * 1024)
            .handshake(tls)
            .await
            .map_err(std::io::Error::other)?;
        let ping = connection.ping_pong().unwrap();
        Ok(Client {
            send,
            ping,
            connection: tokio::spawn(connection),
        })
    }

    /// Hands a push to the connection without waiting for anything.
    fn begin(&mut self, number: u64) -> ResponseFuture {
        self.begin_with(number, "bearer a.b.c")
    }

    fn begin_with(&mut self, number: u64, authorization: &str) -> ResponseFuture {
        let request = Request::post(format!(
            "https://localhost/3/device/{}",
            device_token(number)
        ))
        .header("authorization", authorization)
        .header("apns-topic", "com.example.chat")
        .header("apns-push-type", "alert")
        .header("apns-priority", "10")
        .header("apns-expiration", "1900000000")
        .header("apns-id", apns_id(number))
        .body(())
        .unwrap();
        let (response, mut stream) = self.send.send_request(request, false).unwrap();
        let body = Bytes::from_static(br#"{"aps":{"alert":"hello"}}"#);
        stream.send_data(body, true).unwrap();
        response
    }

    async fn push(&mut self, number: u64) -> Result<Answer, h2::Error> {
        self.push_with(number, "bearer a.b.c").await
    }

    async fn push_with(&mut self, number: u64, authorization: &str) -> Result<Answer, h2::Error> {
        self.send = self.send.clone().ready().await?;
        read(self.begin_with(number, authorization)).await
    }

    /// A first push, after which the fake allows its full number of streams.
    async fn warm_up(&mut self, limit: usize) {
        assert_eq!(self.push(0).await.unwrap().status, 200);
        self.limit_becomes(limit).await;
    }

    async fn limit_becomes(&mut self, limit: usize) {
        let deadline = Instant::now() + SOON;
        while self.send.current_max_send_streams() != limit {
            assert!(
                Instant::now() < deadline,
                "{}",
                self.send.current_max_send_streams()
            );
            self.ping.ping(Ping::opaque()).await.unwrap();
        }
    }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

async fn read(response: ResponseFuture) -> Result<Answer, h2::Error> {
    let (head, mut stream) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(chunk) = stream.data().await {
        body.extend_from_slice(&chunk?);
    }
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: body.into(),
    })
}

fn apns_id(number: u64) -> String {
    format!("6f0c1f2e-9d0c-4f4b-8f0a-{number:012x}")
}

async fn apple() -> FakeApns {
    FakeApns::start(ApnsOptions::default()).await.unwrap()
}

/// Begins pushes 1 to `count` in one go and gives the status of each, or the code that ended it.
async fn burst(client: &mut Client, count: u64) -> Vec<Result<u16, Option<Reason>>> {
    let responses: Vec<_> = (1..=count).map(|number| client.begin(number)).collect();
    let answers = join_all(responses.into_iter().map(read)).await;
    let status = |answer: Result<Answer, h2::Error>| match answer {
        Ok(answer) => Ok(answer.status),
        Err(error) => Err(error.reason()),
    };
    answers.into_iter().map(status).collect()
}

#[tokio::test]
async fn a_graceful_goaway_answers_what_was_processed_and_nothing_else() {
    let apple = apple().await;
    let mut client = Client::connect(&apple).await;
    client.warm_up(1000).await;
    apple.script(&device_token(6), [ApnsAnswer::go_away(GoAway::graceful())]);

    let outcomes = burst(&mut client, 10).await;
    assert!(outcomes[..6].iter().all(|o| *o == Ok(200)), "{outcomes:?}");
    assert!(outcomes[6..].iter().all(Result::is_err), "{outcomes:?}");
    let counts = apple.counts();
    assert_eq!(counts.accepted, 7); // with the first push
    assert_eq!(counts.accepted_unanswered, 0);
    assert!(counts.unprocessed <= 4); // some may never have left the client
    assert_eq!(counts.goaways, 1);
    for number in 7..=10 {
        assert_eq!(apple.id(&apns_id(number)).accepted, 0);
    }
    // The connection ends by itself.
    let _ = tokio::time::timeout(SOON, client.connection).await.unwrap();
    apple
        .wait_until(SOON, |counts| counts.open_connections == 0)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_goaway_may_leave_out_the_request_that_brings_it_about() {
    let apple = apple().await;
    let mut client = Client::connect(&apple).await;
    client.warm_up(1000).await;
    let go_away = GoAway::graceful().before_this();
    apple.script(&device_token(3), [ApnsAnswer::go_away(go_away)]);

    let outcomes = burst(&mut client, 4).await;
    assert_eq!(outcomes[..2], [Ok(200), Ok(200)]);
    assert!(outcomes[2..].iter().all(Result::is_err), "{outcomes:?}");
    assert!((1..=2).contains(&apple.counts().unprocessed));
    assert_eq!(apple.counts().accepted, 3);
}

#[tokio::test]
async fn an_abrupt_goaway_leaves_accepted_pushes_unanswered() {
    let apple = apple().await;
    let mut client = Client::connect(&apple).await;
    client.warm_up(1000).await;
    apple.script_default([ApnsAnswer::ok().after(Duration::from_secs(60))]);
    let waiting: Vec<_> = (1..=3).map(|number| client.begin(number)).collect();
    apple.wait_for(4, SOON).await.unwrap();

    apple.go_away(&GoAway::abrupt());
    for response in waiting {
        assert!(read(response).await.is_err());
    }
    apple
        .wait_until(SOON, |counts| counts.open_connections == 0)
        .await
        .unwrap();
    assert_eq!(apple.counts().accepted, 4);
    assert_eq!(apple.counts().accepted_unanswered, 3);
}

#[tokio::test]
async fn a_warning_goaway_refuses_nothing() {
    let apple = apple().await;
    let mut client = Client::connect(&apple).await;
    client.warm_up(1000).await;
    let warning = GoAway {
        last_stream: LastStream::Unlimited,
        then: Then::Stay,
        ..GoAway::graceful()
    };
    apple.script(&device_token(1), [ApnsAnswer::go_away(warning)]);
    let outcomes = burst(&mut client, 3).await;
    assert_eq!(outcomes, [Ok(200), Ok(200), Ok(200)]);
    assert_eq!(apple.counts().unprocessed, 0);
}

#[tokio::test]
async fn a_goaway_carries_its_code_and_apples_json() {
    let apple = apple().await;
    let mut client = Client::connect(&apple).await;
    client.warm_up(1000).await;
    let go_away = GoAway {
        code: 2,
        debug: r#"{"reason":"BadDeviceToken"}"#.into(),
        ..GoAway::abrupt().before_this()
    };
    apple.script_default([ApnsAnswer::go_away(go_away)]);
    let error = client.push(1).await.err().unwrap();
    assert!(error.is_go_away() && error.is_remote(), "{error:?}");
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    assert!(error.to_string().contains("BadDeviceToken"), "{error}");
}

#[tokio::test]
async fn a_stream_is_reset_with_the_code_of_the_script() {
    let apple = apple().await;
    let mut client = Client::connect(&apple).await;
    client.warm_up(1000).await;
    let refused = ApnsAnswer::fault(ApnsFault::Reset(7));
    apple.script(&device_token(2), [refused, ApnsAnswer::ok()]);
    let outcomes = burst(&mut client, 3).await;
    assert_eq!(
        outcomes,
        [Ok(200), Err(Some(Reason::REFUSED_STREAM)), Ok(200)]
    );
    assert_eq!(client.push(2).await.unwrap().status, 200);
    let counts = apple.counts();
    assert_eq!((counts.resets, counts.faulted, counts.accepted), (1, 1, 4));
}

#[tokio::test]
async fn a_stalled_stream_leaves_the_connection_alive() {
    let apple = apple().await;
    let mut client = Client::connect(&apple).await;
    client.warm_up(1000).await;
    apple.script(&device_token(1), [ApnsAnswer::fault(ApnsFault::Stall)]);
    let stalled = client.begin(1);
    assert_eq!(client.push(2).await.unwrap().status, 200);
    client.ping.ping(Ping::opaque()).await.unwrap();
    drop(stalled); // the client gives up: RST_STREAM
    apple
        .wait_until(SOON, |counts| counts.cancelled == 1)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_stalled_connection_does_not_even_answer_a_ping() {
    let apple = apple().await;
    let mut client = Client::connect(&apple).await;
    client.warm_up(1000).await;
    apple.stall_connections(true);
    let push = client.begin(1);
    let ping = client.ping.ping(Ping::opaque());
    tokio::pin!(ping);
    let quiet = tokio::time::timeout(Duration::from_millis(200), &mut ping).await;
    assert!(quiet.is_err());
    assert_eq!(apple.counts().requests, 1);
    apple.stall_connections(false);
    tokio::time::timeout(SOON, ping).await.unwrap().unwrap();
    assert_eq!(read(push).await.unwrap().status, 200);
    assert!(apple.counts().pings >= 1);
}

#[tokio::test]
async fn one_stream_is_allowed_until_a_good_token_has_come() {
    let apple = apple().await;
    let mut client = Client::connect(&apple).await;
    client.limit_becomes(1).await;
    client.warm_up(1000).await;
    assert_eq!(apple.violations(), [""; 0]);
}

#[tokio::test]
async fn the_limit_of_streams_changes_on_a_living_connection() {
    let apple = apple().await;
    let mut client = Client::connect(&apple).await;
    client.warm_up(1000).await;
    apple.set_max_concurrent_streams(1);
    client.limit_becomes(1).await;
    assert_eq!(client.push(1).await.unwrap().status, 200);
    apple.set_max_concurrent_streams(1000);
    client.limit_becomes(1000).await;
    assert_eq!(burst(&mut client, 20).await, [Ok(200); 20]);
    assert_eq!(apple.counts().violations, 0);
}

#[tokio::test]
async fn a_handshake_can_be_slow() {
    let apple = apple().await;
    apple.set_handshake_delay(Duration::from_secs(60));
    let slow = tokio::time::timeout(Duration::from_millis(200), Client::connect(&apple)).await;
    assert!(slow.is_err());
    assert_eq!(apple.counts().connections, 1);
    assert_eq!(apple.counts().handshakes, 0);
    apple.set_handshake_delay(Duration::ZERO);
    Client::connect(&apple).await.warm_up(1000).await;
}

#[tokio::test]
async fn connects_are_refused_and_taken_again_on_the_same_port() {
    let apple = apple().await;
    let mut old = Client::connect(&apple).await;
    old.warm_up(1000).await;
    apple.refuse_connects().await;
    let refused = TcpStream::connect(apple.address()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(old.push(1).await.unwrap().status, 200); // open connections stay
    apple.accept_connects().await.unwrap();
    Client::connect(&apple).await.warm_up(1000).await;
}

#[tokio::test]
async fn a_dropped_connection_can_have_swallowed_an_accepted_push() {
    let apple = apple().await;
    let mut client = Client::connect(&apple).await;
    client.warm_up(1000).await;
    let accepted = ApnsAnswer {
        fault: Some(ApnsFault::Drop),
        ..ApnsAnswer::ok()
    };
    apple.script(&device_token(1), [accepted, ApnsAnswer::ok()]);
    assert!(client.push(1).await.is_err());
    let mut client = Client::connect(&apple).await;
    assert_eq!(client.push(1).await.unwrap().status, 200);
    assert_eq!(apple.counts().accepted_unanswered, 1);
    assert_eq!(apple.id(&apns_id(1)).accepted, 2);
    assert_eq!(apple.duplicates(), 1);
}

#[tokio::test]
async fn all_connections_can_be_dropped_at_once() {
    let apple = apple().await;
    let mut clients = [Client::connect(&apple).await, Client::connect(&apple).await];
    for client in &mut clients {
        client.warm_up(1000).await;
    }
    apple.drop_connections();
    for client in clients {
        let _ = tokio::time::timeout(SOON, client.connection).await.unwrap();
    }
    apple
        .wait_until(SOON, |counts| counts.open_connections == 0)
        .await
        .unwrap();
}

#[tokio::test]
async fn bodies_can_be_malformed_stalled_and_endless() {
    let apple = apple().await;
    let mut client = Client::connect(&apple).await;
    client.warm_up(1000).await;

    apple.script(
        &device_token(1),
        [ApnsAnswer::fault(ApnsFault::MalformedBody)],
    );
    let answer = client.push(1).await.unwrap();
    assert_eq!(answer.status, 503);
    assert!(serde_json::from_slice::<serde_json::Value>(&answer.body).is_err());

    apple.script(&device_token(2), [ApnsAnswer::fault(ApnsFault::StallBody)]);
    let stalled = client.begin(2).await.unwrap();
    let mut body = stalled.into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), r#"{"reason":"#);
    let more = tokio::time::timeout(Duration::from_millis(100), body.data()).await;
    assert!(more.is_err());

    apple.script(
        &device_token(3),
        [ApnsAnswer::fault(ApnsFault::EndlessBody)],
    );
    let mut body = client.begin(3).await.unwrap().into_body();
    let mut length = 0;
    while length < 1 << 20 {
        let chunk = body.data().await.unwrap().unwrap();
        length += chunk.len();
        body.flow_control().release_capacity(chunk.len()).unwrap();
    }
    drop(body);
    assert_eq!(client.push(4).await.unwrap().status, 200); // and the connection lives
}

#[tokio::test]
async fn a_flood_of_header_fields_is_sent_whole() {
    let apple = apple().await;
    let mut client = Client::connect(&apple).await;
    client.warm_up(1000).await;
    apple.script(
        &device_token(1),
        [ApnsAnswer::fault(ApnsFault::HeaderFlood(50))],
    );
    let answer = client.push(1).await.unwrap();
    assert_eq!(answer.headers.get_all("x-flood").iter().count(), 50);
    apple.script(
        &device_token(1),
        [ApnsAnswer::fault(ApnsFault::HeaderFlood(10_000))],
    );
    assert!(client.push(1).await.is_err()); // 1 MB of them is more than the client takes
}

#[tokio::test]
async fn answers_come_late_and_with_a_date_of_another_clock() {
    let apple = apple().await;
    let mut client = Client::connect(&apple).await;
    let answer = ApnsAnswer::error(429, "TooManyRequests");
    let answer = answer.after(Duration::from_millis(50)).dated(-7200);
    apple.script_default([answer]);
    let began = Instant::now();
    let answer = client.push(1).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(50));
    assert_eq!(answer.status, 429);
    assert_eq!(answer.headers["apns-id"], apns_id(1).as_str());
    assert_eq!(answer.body, r#"{"reason":"TooManyRequests"}"#);
    let date = httpdate::parse_http_date(answer.headers["date"].to_str().unwrap()).unwrap();
    let behind = SystemTime::now().duration_since(date).unwrap().as_secs();
    assert!((7199..7260).contains(&behind), "{behind}");
}

#[tokio::test]
async fn a_closure_decides_by_count_and_by_connection() {
    let apple = apple().await;
    apple.decide(|seen| {
        (seen.connection == 1 && seen.before_on_connection == 1)
            .then(|| ApnsAnswer::error(500, "InternalServerError"))
    });
    for (number, expected) in [(0, [200, 200, 200]), (1, [200, 500, 200])] {
        let mut client = Client::connect(&apple).await;
        for (at, status) in expected.into_iter().enumerate() {
            let answer = client.push(number * 10 + at as u64).await.unwrap();
            assert_eq!(answer.status, status);
        }
    }
}

#[tokio::test]
async fn answers_of_a_script_come_in_turn_and_the_last_one_stays() {
    let apple = apple().await;
    let mut client = Client::connect(&apple).await;
    let answers = [
        ApnsAnswer::error(503, "ServiceUnavailable"),
        ApnsAnswer::ok(),
    ];
    apple.script(&device_token(1), answers);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(client.push(1).await.unwrap().status);
    }
    assert_eq!(statuses, [503, 200, 200]);
    apple.script_nothing();
    assert_eq!(client.push(1).await.unwrap().status, 200);
}

/// Graceful GOAWAYs and refused streams take nothing that was accepted from the client, so both sides must count the same.
#[tokio::test]
async fn both_sides_count_the_same_through_goaways_and_resets() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seed = now.unwrap().subsec_nanos() | 1;
    eprintln!("seed {seed}");
    let dice = std::sync::atomic::AtomicU32::new(seed);
    let apple = apple().await;
    apple.decide(move |_| {
        let turn = |x: u32| {
            let x = x ^ (x << 13);
            let x = x ^ (x >> 17);
            x ^ (x << 5)
        };
        let next = |x| Some(turn(x));
        let order = std::sync::atomic::Ordering::SeqCst;
        let thrown = dice.fetch_update(order, order, next).unwrap();
        match thrown % 100 {
            0 => Some(ApnsAnswer::go_away(GoAway::graceful())),
            1 => Some(ApnsAnswer::go_away(GoAway::graceful().before_this())),
            2 => Some(ApnsAnswer::fault(ApnsFault::Reset(7))),
            3..10 => Some(ApnsAnswer::ok().after(Duration::from_millis(1))),
            _ => None,
        }
    });

    let (mut sent, mut heard) = (0, 0);
    while sent < 5000 {
        let mut client = Client::connect(&apple).await;
        while !client.connection.is_finished() && client.send.clone().ready().await.is_ok() {
            let room = client.send.current_max_send_streams().min(50) as u64;
            let responses: Vec<_> = (sent..sent + room).map(|n| client.begin(n)).collect();
            let first = sent;
            sent += room;
            let answers = join_all(responses.into_iter().map(read)).await;
            let mut over = false;
            for (number, answer) in (first..).zip(answers) {
                let accepted = apple.id(&apns_id(number)).accepted;
                let status = answer.map(|answer| answer.status);
                assert_eq!(u32::from(matches!(status, Ok(200))), accepted, "{status:?}");
                heard += u64::from(accepted);
                over |= status.is_err();
            }
            if over {
                break;
            }
        }
    }
    let counts = apple.counts();
    assert_eq!(counts.accepted, heard);
    assert_eq!(counts.accepted_unanswered, 0);
    assert_eq!(apple.duplicates(), 0);
    assert_eq!(apple.violations(), [""; 0]);
    assert!(
        counts.goaways > 0 && counts.resets > 0 && counts.unprocessed > 0,
        "{counts:?}"
    );
}

mod provider_tokens {
    use super::*;
    use jsonwebtoken::{Algorithm, EncodingKey, Header};

    fn bearer(key: &ApnsKey, age: Duration) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = None;
        header.kid = Some(key.key_id.clone());
        let issued = SystemTime::now() - age;
        let iat = issued
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let claims = serde_json::json!({ "iss": key.team_id, "iat": iat });
        let secret = EncodingKey::from_ec_pem(key.p8_pem.as_bytes()).unwrap();
        format!(
            "bearer {}",
            jsonwebtoken::encode(&header, &claims, &secret).unwrap()
        )
    }

    async fn reason_for(client: &mut Client, authorization: &str) -> String {
        let answer = client.push_with(1, authorization).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        body["reason"].as_str().unwrap_or("none").to_owned()
    }

    #[tokio::test]
    async fn are_verified_when_a_public_key_is_known() {
        let key = ApnsKey::new("ABCDEFGHIJ", "TEAM123456");
        let apple = FakeApns::start(ApnsOptions {
            keys: vec![key.clone()],
            ..ApnsOptions::default()
        })
        .await
        .unwrap();
        let mut client = Client::connect(&apple).await;
        let forged = ApnsKey {
            p8_pem: ApnsKey::new("x", "y").p8_pem,
            ..key.clone()
        };
        let other_team = ApnsKey {
            team_id: "TEAM999999".to_owned(),
            ..key.clone()
        };
        let now = Duration::ZERO;
        for (authorization, expected) in [
            (
                bearer(&key, Duration::from_secs(3700)),
                "ExpiredProviderToken",
            ),
            (bearer(&forged, now), "InvalidProviderToken"),
            (bearer(&other_team, now), "InvalidProviderToken"),
            (
                bearer(&ApnsKey::new("ZZZZZZZZZZ", "TEAM123456"), now),
                "InvalidProviderToken",
            ),
            ("bearer x".to_owned(), "InvalidProviderToken"),
            ("basic x".to_owned(), "InvalidProviderToken"),
        ] {
            assert_eq!(reason_for(&mut client, &authorization).await, expected);
        }
        assert_eq!(apple.counts().accepted, 0);
        assert_eq!(apple.counts().violations, 6);
        assert_eq!(reason_for(&mut client, &bearer(&key, now)).await, "none");
        assert_eq!(apple.counts().accepted, 1);
    }

    #[tokio::test]
    async fn can_be_made_to_expire() {
        let apple = apple().await;
        let mut client = Client::connect(&apple).await;
        assert_eq!(reason_for(&mut client, "bearer old").await, "none");
        apple.expire_tokens();
        assert_eq!(
            reason_for(&mut client, "bearer old").await,
            "ExpiredProviderToken"
        );
        assert_eq!(reason_for(&mut client, "bearer new").await, "none");
        assert_eq!(apple.counts().provider_tokens, 2);
        assert_eq!(apple.violations(), [""; 0]);
    }

    #[tokio::test]
    async fn are_out_of_place_beside_a_client_certificate() {
        let authority = Authority::new("Clients");
        let apple = FakeApns::start(ApnsOptions {
            client_roots_pem: Some(authority.root_pem().to_owned()),
            ..ApnsOptions::default()
        })
        .await
        .unwrap();
        let identity = authority.issue(&Leaf::named("com.example.chat").eku(Eku::Client));
        let mut client = Client::connect_with(&apple, Some(&identity)).await.unwrap();
        client.limit_becomes(1000).await; // no token is awaited
        assert_eq!(client.push(1).await.unwrap().status, 200);
        assert_eq!(apple.counts().violations, 1);
        assert!(apple.violations()[0].contains("authorization"));
    }
}

#[tokio::test]
async fn no_client_certificate_means_no_connection_where_one_is_demanded() {
    let authority = Authority::new("Clients");
    let apple = FakeApns::start(ApnsOptions {
        client_roots_pem: Some(authority.root_pem().to_owned()),
        ..ApnsOptions::default()
    })
    .await
    .unwrap();
    // TLS 1.3 lets the client finish before the server has looked, so the failure may come with the first push.
    if let Ok(client) = Client::connect_with(&apple, None).await {
        let ended = tokio::time::timeout(SOON, client.connection).await.unwrap();
        assert!(ended.unwrap().is_err());
    }
    assert_eq!(apple.counts().handshakes, 0);
}

#[tokio::test]
async fn counting_only_still_holds_requests_to_the_rules() {
    let apple = FakeApns::start(ApnsOptions {
        recording: Recording::Counts,
        ..ApnsOptions::default()
    })
    .await
    .unwrap();
    let mut client = Client::connect(&apple).await;
    let request = Request::get("https://localhost/3/device/XYZ")
        .body(())
        .unwrap();
    let (response, _) = client.send.send_request(request, true).unwrap();
    assert_eq!(read(response).await.unwrap().status, 403);
    let violations = apple.violations().join("\n");
    for expected in [
        "GET",
        "device token",
        "apns-topic",
        "apns-push-type",
        "authorization",
        "aps",
    ] {
        assert!(
            violations.contains(expected),
            "{expected} is not in:\n{violations}"
        );
    }
    assert!(apple.received().is_empty());
}
