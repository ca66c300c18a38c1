//! One push, one answer: every row of the response table, and answers that are none.

use std::time::{Duration, Instant};

use pushrelay_peers::mpns::MpnsFault;
use pushrelay_peers::pki::{Authority, Eku, Leaf};
use pushrelay_peers::{FakeMpns, MpnsAnswer};
use pushrelay_providers::Identity;
use pushrelay_providers::mpns::{MpnsClient, MpnsOptions, MpnsRequest};
use pushrelay_push::mpns::MpnsReason;
use pushrelay_push::{Cause, Local, Outcome, RefusedReason, Scope, Transport, Verdict};
use serde_json::json;

use crate::support::*;

fn local() -> MpnsOptions {
    MpnsOptions {
        allow_private_addresses: true,
        ..MpnsOptions::default()
    }
}

async fn service() -> FakeMpns {
    FakeMpns::start(pushrelay_peers::MpnsOptions::default())
        .await
        .unwrap()
}

fn request_to(uri: &str) -> MpnsRequest {
    let target = json!({ "service": "mpns", "uri": uri });
    compose_for_phone(&push(
        target,
        json!({ "alert": { "title": "Kim", "body": "Hi" } }),
    ))
    .unwrap()
}

async fn outcome_of(fake: &FakeMpns, options: MpnsOptions) -> Outcome {
    let client = MpnsClient::new(options).unwrap();
    within(client.send(request_to(&fake.url_for("AAG")))).await
}

#[tokio::test]
async fn a_toast_that_the_service_takes_is_accepted_and_breaks_none_of_its_rules() {
    let fake = service().await;
    let outcome = outcome_of(&fake, local()).await;
    assert_eq!(outcome.verdict, Verdict::Accepted);
    assert_eq!(outcome.cause, Cause::Mpns(MpnsReason::Received));
    let received = fake.received();
    assert_eq!(received[0].text("wp:Text2"), Some("Hi"));
    assert_eq!(received[0].headers["host"], fake.address().to_string());
    assert_eq!(fake.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn every_row_of_the_table_becomes_its_verdict() {
    let fake = service().await;
    let client = MpnsClient::new(local()).unwrap();
    let deferred = |scope, seconds: Option<u64>| Verdict::Deferred {
        scope,
        retry_after: seconds.map(Duration::from_secs),
    };
    let odd = Verdict::Refused(RefusedReason::Other);
    let rows = [
        (MpnsAnswer::received(), "Received", Verdict::Accepted),
        (
            MpnsAnswer::temporarily_disconnected(),
            "ReceivedDisconnected",
            Verdict::Accepted,
        ),
        (
            MpnsAnswer::queue_full(),
            "QueueFull",
            deferred(Scope::Device, Some(60)),
        ),
        (MpnsAnswer::suppressed(), "Suppressed", Verdict::Accepted),
        (
            MpnsAnswer::status(400),
            "BadRequest",
            Verdict::Refused(RefusedReason::Notification),
        ),
        (
            MpnsAnswer::status(401),
            "Unauthorized",
            deferred(Scope::App, None),
        ),
        (
            MpnsAnswer::expired(),
            "SubscriptionExpired",
            Verdict::Gone { since: None },
        ),
        (MpnsAnswer::status(405), "MethodNotAllowed", odd),
        (
            MpnsAnswer::quota(),
            "DayQuota",
            deferred(Scope::Device, Some(3600)),
        ),
        (
            MpnsAnswer::inactive(),
            "DeviceInactive",
            deferred(Scope::Device, Some(3600)),
        ),
        (
            MpnsAnswer::status(503),
            "ServiceUnavailable",
            deferred(Scope::Provider, Some(60)),
        ),
        (MpnsAnswer::status(404), "other", odd),
        (MpnsAnswer::status(200), "other", odd),
        (MpnsAnswer::status(500), "other", odd),
    ];
    for (answer, reason, verdict) in rows {
        fake.script("AAG", [answer]);
        let outcome = within(client.send(request_to(&fake.url_for("AAG")))).await;
        assert_eq!((outcome.cause.label(), outcome.verdict), (reason, verdict));
    }
    assert_eq!(fake.counts().connections, 1, "one connection for all");
    assert_eq!(client.stats().reused, 13);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (fake, other) = (service().await, service().await);
    fake.script_default([MpnsAnswer::redirect(&other.url_for("AAG"))]);
    let outcome = outcome_of(&fake, local()).await;
    assert_eq!(outcome.cause, Cause::Mpns(MpnsReason::Other));
    assert!(matches!(outcome.verdict, Verdict::Refused(_)));
    assert_eq!(other.counts().connections, 0);
}

#[tokio::test]
async fn an_address_that_is_not_public_is_never_connected_to() {
    let fake = service().await;
    let client = MpnsClient::new(MpnsOptions::default()).unwrap();
    let port = fake.address().port();
    for host in ["127.0.0.1", "localhost", "[::1]"] {
        let uri = format!("http://{host}:{port}/throttledthirdparty/01.00/AAG");
        let outcome = within(client.send(request_to(&uri))).await;
        assert_eq!(outcome, Local::PrivateAddress.outcome(), "{host}");
    }
    assert_eq!(fake.counts().connections, 0);
    assert_eq!(client.stats().private_addresses, 3);
}

#[tokio::test]
async fn a_body_that_stalls_or_never_ends_does_not_delay_the_verdict() {
    let fake = service().await;
    let client = MpnsClient::new(local()).unwrap();
    for fault in [MpnsFault::StallBody, MpnsFault::EndlessBody] {
        fake.script(
            "AAG",
            [MpnsAnswer {
                status: 503,
                ..MpnsAnswer::fault(fault)
            }],
        );
        let begin = Instant::now();
        let outcome = within(client.send(request_to(&fake.url_for("AAG")))).await;
        assert_eq!(outcome.cause, Cause::Mpns(MpnsReason::ServiceUnavailable));
        assert!(begin.elapsed() < Duration::from_secs(3));
    }
    assert_eq!(client.stats().idle, 0, "such a connection is not kept");
}

#[tokio::test]
async fn a_flood_of_header_fields_is_no_answer() {
    let fake = service().await;
    fake.script_default([MpnsAnswer::fault(MpnsFault::HeaderFlood(2000))]);
    let outcome = outcome_of(&fake, local()).await;
    assert_eq!(outcome.cause, Cause::Transport(Transport::Protocol));
    assert!(outcome.ambiguous);
}

#[tokio::test]
async fn a_push_that_is_never_answered_times_out_and_is_ambiguous() {
    let fake = service().await;
    fake.script_default([MpnsAnswer::fault(MpnsFault::Stall)]);
    let options = MpnsOptions {
        exchange_timeout: Duration::from_millis(300),
        ..local()
    };
    let outcome = outcome_of(&fake, options).await;
    assert_eq!(outcome.cause, Cause::Transport(Transport::Timeout));
    assert!(outcome.ambiguous);
}

#[tokio::test]
async fn a_connection_that_ends_without_an_answer_is_ambiguous() {
    let fake = service().await;
    fake.script_default([MpnsAnswer::fault(MpnsFault::Drop)]);
    let outcome = outcome_of(&fake, local()).await;
    assert_eq!(outcome.cause, Cause::Transport(Transport::Closed));
    assert!(outcome.ambiguous);
}

#[tokio::test]
async fn a_service_that_does_not_take_connections_is_told_so() {
    let fake = service().await;
    fake.refuse_connects().await;
    let outcome = outcome_of(&fake, local()).await;
    assert_eq!(outcome.cause, Cause::Transport(Transport::Connect));
    assert!(!outcome.ambiguous);
}

#[tokio::test]
async fn a_host_that_is_gone_is_not_asked_for_each_push() {
    let fake = service().await;
    fake.refuse_connects().await;
    let client = MpnsClient::new(MpnsOptions {
        backoff_first: Duration::from_secs(60),
        backoff_longest: Duration::from_secs(60),
        ..local()
    })
    .unwrap();
    let other = service().await;
    for _ in 0..20 {
        let outcome = within(client.send(request_to(&fake.url_for("AAG")))).await;
        assert_eq!(outcome.cause, Cause::Transport(Transport::Connect));
        let outcome = within(client.send(request_to(&other.url_for("AAG")))).await;
        assert_eq!(outcome.verdict, Verdict::Accepted);
    }
    let stats = client.stats();
    assert_eq!((stats.connect_failures, stats.failed_fast), (1, 19));
}

#[tokio::test]
async fn a_host_that_comes_back_is_found_again() {
    let fake = service().await;
    fake.refuse_connects().await;
    let client = MpnsClient::new(MpnsOptions {
        backoff_first: Duration::from_millis(20),
        ..local()
    })
    .unwrap();
    within(client.send(request_to(&fake.url_for("AAG")))).await;
    fake.accept_connects().await.unwrap();
    let again = async {
        while client.send(request_to(&fake.url_for("AAG"))).await.verdict != Verdict::Accepted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(again).await;
    assert_eq!(client.stats().connects, 1);
}

#[tokio::test]
async fn a_service_may_ask_for_a_longer_pause() {
    let fake = service().await;
    fake.script_default([MpnsAnswer {
        retry_after: Some(600),
        ..MpnsAnswer::status(503)
    }]);
    let outcome = outcome_of(&fake, local()).await;
    let expected = Verdict::Deferred {
        scope: Scope::Provider,
        retry_after: Some(Duration::from_secs(600)),
    };
    assert_eq!(outcome.verdict, expected);
}

#[tokio::test]
async fn a_kept_connection_that_the_service_has_closed_is_replaced() {
    let fake = service().await;
    let client = MpnsClient::new(local()).unwrap();
    for _ in 0..5 {
        let outcome = within(client.send(request_to(&fake.url_for("AAG")))).await;
        assert_eq!(outcome.verdict, Verdict::Accepted);
        fake.drop_connections();
        let deadline = Instant::now() + PATIENCE;
        while client.stats().idle > 0 {
            assert!(Instant::now() < deadline);
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(client.stats().ambiguous, 0);
    assert_eq!(fake.counts().connections, 5);
}

#[tokio::test]
async fn exchanges_beyond_the_bound_wait_their_turn() {
    let fake = service().await;
    fake.script_default([MpnsAnswer::received().after(Duration::from_millis(20))]);
    let client = MpnsClient::new(MpnsOptions {
        max_exchanges_per_host: 4,
        ..local()
    })
    .unwrap();
    let uri = fake.url_for("AAG");
    let sends = (0..40).map(|_| client.send(request_to(&uri)));
    for outcome in within(futures_util::future::join_all(sends)).await {
        assert_eq!(outcome.verdict, Verdict::Accepted);
    }
    assert_eq!(fake.counts().connections, 4);
    assert_eq!(client.stats().in_flight, 0);
}

#[tokio::test]
async fn a_connection_is_not_kept_longer_than_its_time() {
    let fake = service().await;
    let client = MpnsClient::new(MpnsOptions {
        idle_timeout: Duration::ZERO,
        ..local()
    })
    .unwrap();
    for _ in 0..2 {
        within(client.send(request_to(&fake.url_for("AAG")))).await;
    }
    assert_eq!(fake.counts().connections, 2);
    assert_eq!(client.stats().reused, 0);
}

#[tokio::test]
async fn an_authenticated_service_gets_our_certificate() {
    let authority = Authority::new("root");
    let server = authority.issue(&Leaf::server("localhost").eku(Eku::Server));
    let fake = FakeMpns::start(pushrelay_peers::MpnsOptions {
        identity: Some(server),
        client_roots_pem: Some(authority.root_pem().to_owned()),
        ..Default::default()
    })
    .await
    .unwrap();
    let ours = authority.issue(&Leaf::named("push.example.org").eku(Eku::Client));
    let identity = Identity::from_pem(ours.chain_pem.as_bytes(), ours.key_pem.as_bytes()).unwrap();
    let options = MpnsOptions {
        roots: authority.roots(),
        identity: Some(identity),
        ..local()
    };
    assert_eq!(outcome_of(&fake, options).await.verdict, Verdict::Accepted);
    let without = MpnsOptions {
        roots: authority.roots(),
        ..local()
    };
    let outcome = outcome_of(&fake, without).await;
    assert!(
        matches!(outcome.verdict, Verdict::Deferred { .. }),
        "{outcome:?}"
    );
    let stranger = outcome_of(&fake, local()).await;
    assert_eq!(stranger.cause, Cause::Transport(Transport::Tls));
    assert_eq!(fake.counts().requests, 1);
}
