//! How Apple knows us: tokens, their renewal, certificates, and what is said of files that are neither.

use std::sync::Arc;
use std::time::Duration;

use pushrelay_peers::apns::ApnsSeen;
use pushrelay_peers::pki::{ApnsKey, Authority, Eku, Leaf};
use pushrelay_peers::{ApnsAnswer, FakeApns};
use pushrelay_providers::Identity;
use pushrelay_providers::apns::{
    ApnsClient, ApnsOptions, Credential, CredentialError, ProviderKey, ProviderTokens,
};
use pushrelay_push::apns::ApnsReason;
use pushrelay_push::{Cause, Transport, Verdict};

use crate::support::*;

/// A fake Apple that knows this key, and a client that signs with it.
async fn apple_with_key(key: &ApnsKey, tokens: Arc<ProviderTokens>) -> (FakeApns, ApnsClient) {
    let options = pushrelay_peers::ApnsOptions {
        keys: vec![key.clone()],
        ..Default::default()
    };
    let fake = FakeApns::start(options).await.unwrap();
    let credential = Credential::Token(tokens);
    let client = ApnsClient::new(endpoint(&fake), credential, ApnsOptions::default()).unwrap();
    (fake, client)
}

#[tokio::test]
async fn apple_verifies_the_token_and_it_is_signed_once() {
    let key = key();
    let (fake, client) = apple_with_key(&key, Arc::new(tokens(&key))).await;
    for outcome in send_all(&client, 0..100).await {
        assert_eq!(outcome.verdict, Verdict::Accepted);
    }
    assert_eq!(client.stats().tokens_minted, 1);
    assert_eq!(fake.counts().provider_tokens, 1);
    assert_eq!(fake.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn several_apps_of_a_team_share_one_token() {
    let key = key();
    let shared = Arc::new(tokens(&key));
    let (production, first) = apple_with_key(&key, shared.clone()).await;
    let (sandbox, second) = apple_with_key(&key, shared.clone()).await;
    assert_eq!(
        within(first.send(apple_request(1))).await.verdict,
        Verdict::Accepted
    );
    assert_eq!(
        within(second.send(apple_request(1))).await.verdict,
        Verdict::Accepted
    );
    assert_eq!(shared.minted(), 1);
    let bearer = |fake: &FakeApns| fake.received()[0].headers["authorization"].clone();
    assert_eq!(bearer(&production), bearer(&sandbox));
}

#[tokio::test]
async fn the_key_of_another_team_is_refused_and_defers_the_app() {
    let (_fake, client) = apple_with_key(&key(), Arc::new(tokens(&key()))).await;
    let outcome = within(client.send(apple_request(1))).await;
    assert_eq!(outcome.cause, Cause::Apns(ApnsReason::InvalidProviderToken));
    assert_eq!(
        outcome,
        pushrelay_push::apns::outcome(403, Some("InvalidProviderToken"), None)
    );
    assert_eq!(client.stats().tokens_minted, 1);
}

#[tokio::test]
async fn an_expired_token_is_renewed_once_and_the_push_repeated() {
    let key = key();
    // The service may be asked for a new token at any age: not Apple's rule, but time does not run faster here.
    let tokens = ProviderTokens::with_times(
        provider_key(&key),
        Duration::from_secs(3000),
        Duration::ZERO,
    );
    let (fake, client) = apple_with_key(&key, Arc::new(tokens)).await;
    let first = std::sync::OnceLock::new();
    fake.decide(move |seen: ApnsSeen<'_>| {
        let bearer = seen.headers["authorization"].clone();
        (*first.get_or_init(|| bearer.clone()) == bearer)
            .then(|| ApnsAnswer::error(403, "ExpiredProviderToken"))
    });
    let outcomes = send_all(&client, 0..20).await;
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.verdict == Verdict::Accepted),
        "{outcomes:?}"
    );
    assert_eq!(client.stats().tokens_minted, 2);
    assert_eq!(fake.duplicates(), 0);
}

#[tokio::test]
async fn a_token_that_is_called_expired_for_ever_is_renewed_at_apples_pace_only() {
    let key = key();
    let (fake, client) = apple_with_key(&key, Arc::new(tokens(&key))).await;
    fake.script_default([ApnsAnswer::error(403, "ExpiredProviderToken")]);
    for number in 0..10 {
        let outcome = within(client.send(apple_request(number))).await;
        assert_eq!(outcome.cause, Cause::Apns(ApnsReason::ExpiredProviderToken));
    }
    assert_eq!(
        client.stats().tokens_minted,
        1,
        "not before it is 20 minutes old"
    );
    assert_eq!(
        fake.counts().requests,
        10,
        "and without another there is nothing to repeat"
    );
}

#[tokio::test]
async fn a_clock_that_goes_wrong_is_told_when_apple_refuses_the_token() {
    let key = key();
    let (fake, client) = apple_with_key(&key, Arc::new(tokens(&key))).await;
    fake.script_default([ApnsAnswer::error(403, "ExpiredProviderToken").dated(7200)]);
    within(client.send(apple_request(1))).await;
    let skew = client.stats().clock_skew_seconds;
    assert!((7190..=7200).contains(&skew), "{skew}");
}

#[tokio::test]
async fn too_many_token_updates_stop_the_minting() {
    let key = key();
    let tokens = ProviderTokens::with_times(
        provider_key(&key),
        Duration::ZERO,
        Duration::from_secs(1200),
    );
    let (fake, client) = apple_with_key(&key, Arc::new(tokens)).await;
    fake.script_default([
        ApnsAnswer::error(429, "TooManyProviderTokenUpdates"),
        ApnsAnswer::error(403, "ExpiredProviderToken"),
        ApnsAnswer::ok(),
    ]);
    for number in 0..3 {
        within(client.send(apple_request(number))).await;
    }
    assert_eq!(client.stats().tokens_minted, 1);
}

#[tokio::test]
async fn a_client_certificate_stands_for_the_token() {
    let authority = Authority::new("Apple's root");
    let issued = authority.issue(&Leaf::named("com.example.chat").eku(Eku::Client));
    let options = pushrelay_peers::ApnsOptions {
        client_roots_pem: Some(authority.root_pem().to_owned()),
        first_max_concurrent_streams: 1000,
        ..Default::default()
    };
    let fake = FakeApns::start(options).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let bundle = issued
        .write_pkcs12(directory.path(), "apple", "secret")
        .unwrap();
    let bundle = std::fs::read(bundle).unwrap();
    for identity in [
        Identity::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes()).unwrap(),
        Identity::from_pkcs12(&bundle, "secret").unwrap(),
    ] {
        let credential = Credential::Certificate(identity);
        let client = ApnsClient::new(endpoint(&fake), credential, ApnsOptions::default()).unwrap();
        for outcome in send_all(&client, 0..50).await {
            assert_eq!(outcome.verdict, Verdict::Accepted);
        }
    }
    let received = fake.received();
    assert!(
        received
            .iter()
            .all(|one| !one.headers.contains_key("authorization"))
    );
    assert_eq!(fake.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_certificate_that_apple_does_not_take_is_told_as_tls() {
    let authority = Authority::new("Apple's root");
    let options = pushrelay_peers::ApnsOptions {
        client_roots_pem: Some(authority.root_pem().to_owned()),
        ..Default::default()
    };
    let fake = FakeApns::start(options).await.unwrap();
    let stranger = Authority::new("somebody else").issue(&Leaf::named("com.example.chat"));
    let identity = Identity::from_pem(stranger.chain_pem.as_bytes(), stranger.key_pem.as_bytes());
    let credential = Credential::Certificate(identity.unwrap());
    let client = ApnsClient::new(endpoint(&fake), credential, quick()).unwrap();
    let outcome = within(client.send(apple_request(1))).await;
    assert_eq!(outcome.cause, Cause::Transport(Transport::Tls));
    assert_eq!(fake.counts().requests, 0);
    let outcome = within(client.send(apple_request(1))).await;
    assert_eq!(outcome.cause, Cause::Transport(Transport::Tls));
}

#[test]
fn a_key_file_that_is_none_is_told_by_what_it_is() {
    let good = key();
    let rsa = rsa_key();
    let sec1 = openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout"]);
    let p384 = openssl(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-384",
    ]);
    let ed25519 = openssl(&["genpkey", "-algorithm", "ED25519"]);
    let encrypted = openssl(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-aes-256-cbc",
        "-pass",
        "pass:secret",
    ]);
    let empty = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned();
    for (pem, said) in [
        (rsa, "RSA key"),
        (sec1, "EC PRIVATE KEY"),
        (p384, "P-384"),
        (ed25519, "Ed25519"),
        (encrypted, "passphrase"),
        (good.public_pem.clone(), "got PUBLIC KEY"),
        (empty, "none"),
        ("Kim's password is hunter2".to_owned(), "no PEM section"),
        (String::new(), "no PEM section"),
    ] {
        let error = ProviderKey::from_pem(pem.as_bytes(), &good.key_id, &good.team_id).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("expected") && text.contains(said), "{text}");
        assert!(!text.contains("hunter2"));
    }
}

#[test]
fn key_id_and_team_id_are_held_to_their_shape() {
    let pem = key().p8_pem;
    for (key_id, team_id) in [
        ("ABC", "TEAM123456"),
        ("ABCDEFGHIJ", "TEAM-12345"),
        ("", "TEAM123456"),
        ("ABCDEFGHIJ", ""),
    ] {
        let error = ProviderKey::from_pem(pem.as_bytes(), key_id, team_id).unwrap_err();
        assert!(matches!(
            error,
            CredentialError::KeyId(_) | CredentialError::TeamId(_)
        ));
        assert!(error.to_string().contains("10 letters and digits"));
    }
}

#[test]
fn nothing_of_a_key_or_token_is_shown() {
    let key = key();
    let shown = format!("{:?} {:?}", provider_key(&key), tokens(&key));
    assert!(shown.contains("ABCDEFGHIJ"));
    let secret = key.p8_pem.lines().nth(1).unwrap();
    assert!(!shown.contains(secret) && !shown.contains("eyJ"), "{shown}");
    let request = compose_for_apple(&apple_push("feedbeeffeedbeef"), &app()).unwrap();
    let request = format!("{request:?}");
    assert!(
        !request.contains("feedbeef") && !request.contains("there"),
        "{request}"
    );
}
