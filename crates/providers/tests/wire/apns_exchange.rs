//! One push, one answer: every row of Apple's table, and answers that are none.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pushrelay_peers::apns::ApnsFault;
use pushrelay_peers::{ApnsAnswer, FakeApns};
use pushrelay_providers::apns::{ApnsClient, ApnsOptions, Credential};
use pushrelay_push::apns::ApnsReason;
use pushrelay_push::{Cause, Outcome, RefusedReason, Scope, Transport, Verdict};

use crate::support::*;

async fn outcome_of(fake: &FakeApns, options: ApnsOptions) -> Outcome {
    within(client(fake, options).send(apple_request(1))).await
}

#[tokio::test]
async fn a_push_that_apple_takes_is_accepted_and_breaks_none_of_its_rules() {
    let fake = apple().await;
    let client = client(&fake, ApnsOptions::default());
    let outcome = within(client.send(apple_request(1))).await;
    assert_eq!(outcome.verdict, Verdict::Accepted);
    assert_eq!(outcome.cause, Cause::Apns(ApnsReason::Success));
    assert!(!outcome.ambiguous);
    assert_eq!(fake.violations(), Vec::<String>::new());
    let received = fake.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].topic.as_deref(), Some(TOPIC));
    assert_eq!(
        received[0].payload["aps"]["alert"]["body"],
        "Are you there?"
    );
    let stats = client.stats();
    assert_eq!((stats.connects, stats.streams_in_flight), (1, 0));
}

#[tokio::test]
async fn every_reason_of_apples_table_becomes_its_verdict() {
    let fake = apple().await;
    let client = client(&fake, ApnsOptions::default());
    for (number, reason) in ApnsReason::ALL.into_iter().enumerate() {
        let status = match reason {
            ApnsReason::Success | ApnsReason::Other => continue,
            ApnsReason::BadCertificate
            | ApnsReason::BadCertificateEnvironment
            | ApnsReason::BadEnvironmentKeyIdInToken
            | ApnsReason::ExpiredProviderToken
            | ApnsReason::Forbidden
            | ApnsReason::InvalidProviderToken
            | ApnsReason::MissingProviderToken
            | ApnsReason::UnrelatedKeyIdInToken => 403,
            ApnsReason::BadPath => 404,
            ApnsReason::MethodNotAllowed => 405,
            ApnsReason::ExpiredToken | ApnsReason::Unregistered => 410,
            ApnsReason::PayloadTooLarge => 413,
            ApnsReason::TooManyProviderTokenUpdates | ApnsReason::TooManyRequests => 429,
            ApnsReason::InternalServerError => 500,
            ApnsReason::ServiceUnavailable | ApnsReason::Shutdown => 503,
            _ => 400,
        };
        let token = format!("{number:016x}");
        fake.script(&token, [ApnsAnswer::error(status, reason.label())]);
        let outcome = within(client.send(apple_request(number as u64))).await;
        let expected = pushrelay_push::apns::outcome(status, Some(reason.label()), None);
        assert_eq!(outcome, expected, "{status} {}", reason.label());
    }
}

#[tokio::test]
async fn a_device_that_is_gone_comes_with_apples_timestamp() {
    let fake = apple().await;
    fake.script_default([ApnsAnswer::gone(1_700_000_000_123)]);
    let outcome = outcome_of(&fake, ApnsOptions::default()).await;
    let since: SystemTime = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    assert_eq!(outcome.verdict, Verdict::Gone { since: Some(since) });
}

#[tokio::test]
async fn a_reason_that_nobody_knows_is_judged_by_its_status() {
    let fake = apple().await;
    fake.script_default([ApnsAnswer::error(400, "NewIn2031")]);
    let outcome = outcome_of(&fake, ApnsOptions::default()).await;
    assert_eq!(outcome.cause, Cause::Apns(ApnsReason::Other));
    assert!(
        matches!(outcome.verdict, Verdict::Refused(_)),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn apple_may_ask_for_a_longer_pause() {
    let fake = apple().await;
    fake.script_default([ApnsAnswer {
        retry_after: Some(120),
        ..ApnsAnswer::error(503, "ServiceUnavailable")
    }]);
    let outcome = outcome_of(&fake, ApnsOptions::default()).await;
    let expected = Verdict::Deferred {
        scope: Scope::Provider,
        retry_after: Some(Duration::from_secs(120)),
    };
    assert_eq!(outcome.verdict, expected);
}

#[tokio::test]
async fn a_body_that_is_no_json_leaves_the_status_to_decide() {
    let fake = apple().await;
    fake.script_default([ApnsAnswer::fault(ApnsFault::MalformedBody)]);
    let outcome = outcome_of(&fake, ApnsOptions::default()).await;
    assert_eq!(outcome, pushrelay_push::apns::outcome(503, None, None));
}

#[tokio::test]
async fn a_body_without_an_end_is_read_to_its_bound_only() {
    let fake = apple().await;
    fake.script_default([ApnsAnswer::fault(ApnsFault::EndlessBody)]);
    let begin = Instant::now();
    let outcome = outcome_of(&fake, ApnsOptions::default()).await;
    assert_eq!(outcome, pushrelay_push::apns::outcome(503, None, None));
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_body_that_stalls_ends_with_the_exchange_and_the_status_decides() {
    let fake = apple().await;
    fake.script_default([ApnsAnswer {
        status: 400,
        ..ApnsAnswer::fault(ApnsFault::StallBody)
    }]);
    let options = ApnsOptions {
        exchange_timeout: Duration::from_millis(400),
        ..ApnsOptions::default()
    };
    let outcome = outcome_of(&fake, options).await;
    assert_eq!(outcome, pushrelay_push::apns::outcome(400, None, None));
}

#[tokio::test]
async fn a_flood_of_header_fields_costs_one_push() {
    let fake = apple().await;
    fake.script(
        "0000000000000002",
        [ApnsAnswer::fault(ApnsFault::HeaderFlood(1000))],
    );
    let client = client(&fake, ApnsOptions::default());
    let outcome = within(client.send(apple_request(1))).await;
    assert_eq!(outcome.verdict, Verdict::Accepted);
    let outcome = within(client.send(apple_request(2))).await;
    assert_eq!(outcome.cause, Cause::Transport(Transport::Protocol));
    assert!(outcome.ambiguous);
    let outcome = within(client.send(apple_request(3))).await;
    assert_eq!(outcome.verdict, Verdict::Accepted);
}

#[tokio::test]
async fn a_push_that_is_never_answered_times_out_and_is_ambiguous() {
    let fake = apple().await;
    fake.script("0000000000000001", [ApnsAnswer::fault(ApnsFault::Stall)]);
    let options = ApnsOptions {
        exchange_timeout: Duration::from_millis(300),
        ..ApnsOptions::default()
    };
    let client = client(&fake, options);
    let outcome = within(client.send(apple_request(1))).await;
    assert_eq!(outcome.cause, Cause::Transport(Transport::Timeout));
    assert!(outcome.ambiguous);
    assert_eq!(client.stats().ambiguous, 1);
    assert_eq!(client.stats().streams_in_flight, 0);
}

#[tokio::test]
async fn a_push_that_is_dropped_gives_its_stream_back() {
    let fake = apple().await;
    fake.script("0000000000000001", [ApnsAnswer::fault(ApnsFault::Stall)]);
    let client = client(&fake, ApnsOptions::default());
    let sending = tokio::spawn({
        let client = client.clone();
        async move { client.send(apple_request(1)).await }
    });
    fake.wait_for(1, PATIENCE).await.unwrap();
    sending.abort();
    // The only stream that an unproven token may use.
    let outcome = within(client.send(apple_request(2))).await;
    assert_eq!(outcome.verdict, Verdict::Accepted);
    fake.wait_until(PATIENCE, |counts| counts.cancelled == 1)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_connection_that_is_cut_leaves_the_push_ambiguous() {
    let fake = apple().await;
    fake.script_default([ApnsAnswer::fault(ApnsFault::Drop)]);
    let outcome = outcome_of(&fake, ApnsOptions::default()).await;
    assert_eq!(outcome.cause, Cause::Transport(Transport::Closed));
    assert!(outcome.ambiguous);
}

#[tokio::test]
async fn a_stream_that_is_reset_for_another_reason_than_refusal_is_ambiguous() {
    let fake = apple().await;
    fake.script_default([ApnsAnswer::fault(ApnsFault::Reset(2))]);
    let outcome = outcome_of(&fake, ApnsOptions::default()).await;
    assert_eq!(outcome.cause, Cause::Transport(Transport::Closed));
    assert!(outcome.ambiguous);
    assert_eq!(fake.counts().requests, 1);
}

#[tokio::test]
async fn a_refused_stream_is_sent_again_under_the_same_id() {
    let fake = apple().await;
    let refused = ApnsAnswer::fault(ApnsFault::Reset(7));
    fake.script_default([refused.clone(), refused, ApnsAnswer::ok()]);
    let client = client(&fake, ApnsOptions::default());
    let outcome = within(client.send(apple_request(1))).await;
    assert_eq!(outcome.verdict, Verdict::Accepted);
    assert_eq!(client.stats().resent, 2);
    let ids = fake.ids();
    assert_eq!(ids.len(), 1);
    assert_eq!(fake.counts().accepted, 1);
}

#[tokio::test]
async fn a_stream_that_is_refused_for_ever_is_deferred_after_a_few_times() {
    let fake = apple().await;
    fake.script_default([ApnsAnswer::fault(ApnsFault::Reset(7))]);
    let outcome = outcome_of(&fake, ApnsOptions::default()).await;
    assert_eq!(outcome.cause, Cause::Transport(Transport::Closed));
    assert!(!outcome.ambiguous, "the peer has said that it did nothing");
    assert_eq!(fake.counts().requests, 6);
}

#[tokio::test]
async fn an_idle_timeout_is_answered_by_another_connection() {
    let fake = apple().await;
    fake.decide(|seen| {
        (seen.before == 0).then(|| ApnsAnswer::error(400, ApnsReason::IdleTimeout.label()))
    });
    let client = client(&fake, ApnsOptions::default());
    let outcome = within(client.send(apple_request(1))).await;
    assert_eq!(outcome.verdict, Verdict::Accepted);
    assert_eq!(fake.counts().connections, 2);
}

#[tokio::test]
async fn a_peer_that_does_not_take_connections_is_not_asked_for_each_push() {
    let fake = apple().await;
    fake.refuse_connects().await;
    let client = client(&fake, ApnsOptions::default());
    for _ in 0..20 {
        let outcome = within(client.send(apple_request(1))).await;
        assert_eq!(outcome.cause, Cause::Transport(Transport::Connect));
        assert!(!outcome.ambiguous);
        let deferred = Verdict::Deferred {
            scope: Scope::Provider,
            retry_after: None,
        };
        assert_eq!(outcome.verdict, deferred);
    }
    let stats = client.stats();
    assert_eq!(
        (stats.connect_failures, stats.failed_fast, stats.unreachable),
        (3, 19, 1)
    );
}

#[tokio::test]
async fn a_connect_that_fails_once_is_not_felt() {
    let fake = apple().await;
    fake.refuse_connects().await;
    let client = client(&fake, ApnsOptions::default());
    let sending = tokio::spawn({
        let client = client.clone();
        async move { client.send(apple_request(1)).await }
    });
    until(&client, |stats| stats.connect_failures == 1).await;
    fake.accept_connects().await.unwrap();
    assert_eq!(within(sending).await.unwrap().verdict, Verdict::Accepted);
}

#[tokio::test]
async fn a_peer_that_comes_back_is_found_again() {
    let fake = apple().await;
    fake.refuse_connects().await;
    let client = client(&fake, quick());
    let outcome = within(client.send(apple_request(1))).await;
    assert_eq!(outcome.cause, Cause::Transport(Transport::Connect));
    fake.accept_connects().await.unwrap();
    let again = async {
        while within(client.send(apple_request(2))).await.verdict != Verdict::Accepted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(again).await;
    assert_eq!(client.stats().unreachable, 0);
}

#[tokio::test]
async fn a_name_with_several_addresses_is_reached_by_the_one_that_answers() {
    let fake = apple().await;
    let url = format!("https://localhost:{}", fake.address().port());
    // Where localhost is ::1 too, nobody listens there.
    let endpoint = pushrelay_providers::apns::Endpoint::parse(&url, fake.roots());
    let credential = Credential::Token(Arc::new(tokens(&key())));
    let client = ApnsClient::new(endpoint.unwrap(), credential, ApnsOptions::default()).unwrap();
    let outcome = within(client.send(apple_request(1))).await;
    assert_eq!(outcome.verdict, Verdict::Accepted);
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_told_apart() {
    let fake = apple().await;
    let endpoint =
        pushrelay_providers::apns::Endpoint::parse("https://nothing.invalid", fake.roots());
    let credential = Credential::Token(Arc::new(tokens(&key())));
    let client = ApnsClient::new(endpoint.unwrap(), credential, ApnsOptions::default()).unwrap();
    let outcome = within(client.send(apple_request(1))).await;
    assert_eq!(outcome.cause, Cause::Transport(Transport::Resolve));
}

#[tokio::test]
async fn a_peer_whose_certificate_nobody_vouches_for_gets_no_push() {
    let fake = apple().await;
    let other = apple().await;
    let endpoint = pushrelay_providers::apns::Endpoint::parse(&fake.url(), other.roots());
    let credential = Credential::Token(Arc::new(tokens(&key())));
    let client = ApnsClient::new(endpoint.unwrap(), credential, ApnsOptions::default()).unwrap();
    let outcome = within(client.send(apple_request(1))).await;
    assert_eq!(outcome.cause, Cause::Transport(Transport::Tls));
    assert!(!outcome.ambiguous);
    assert_eq!(fake.counts().requests, 0);
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_given_up() {
    let fake = apple().await;
    fake.set_handshake_delay(Duration::from_secs(30));
    let options = ApnsOptions {
        connect_timeout: Duration::from_millis(200),
        ..ApnsOptions::default()
    };
    let outcome = outcome_of(&fake, options).await;
    assert_eq!(outcome.cause, Cause::Transport(Transport::Tls));
}

#[tokio::test]
async fn a_closed_client_takes_no_push_but_lets_those_on_their_way_end() {
    let fake = apple().await;
    fake.script_default([ApnsAnswer::ok().after(Duration::from_millis(200))]);
    let client = client(&fake, ApnsOptions::default());
    let sending = tokio::spawn({
        let client = client.clone();
        async move { client.send(apple_request(1)).await }
    });
    fake.wait_for(1, PATIENCE).await.unwrap();
    within(client.close()).await;
    assert_eq!(within(sending).await.unwrap().verdict, Verdict::Accepted);
    let outcome = within(client.send(apple_request(2))).await;
    assert_eq!(outcome.cause, Cause::Transport(Transport::Closed));
    fake.wait_until(PATIENCE, |counts| counts.open_connections == 0)
        .await
        .unwrap();
}

#[test]
fn our_reasons_are_all_that_a2_knows() {
    for reason in ApnsReason::ALL {
        if matches!(reason, ApnsReason::Success | ApnsReason::Other) {
            continue;
        }
        let body = format!("{{\"reason\":\"{}\"}}", reason.label());
        let parsed: Result<a2::response::ErrorBody, _> = serde_json::from_str(&body);
        assert!(parsed.is_ok(), "a2 does not know {}", reason.label());
    }
    // The message of serde names every reason that a2 has.
    let error = serde_json::from_str::<a2::response::ErrorBody>(r#"{"reason":"?"}"#).unwrap_err();
    let text = error.to_string();
    let reasons: Vec<&str> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| *word != "?")
        .collect();
    assert!(reasons.len() > 20, "{text}");
    for reason in reasons {
        assert_ne!(ApnsReason::parse(reason), ApnsReason::Other, "{reason}");
    }
}

#[test]
fn a_refusal_says_whose_fault_it_is() {
    let outcome = pushrelay_push::apns::outcome(400, Some("BadDeviceToken"), None);
    assert_eq!(outcome.verdict, Verdict::Refused(RefusedReason::Device));
}
