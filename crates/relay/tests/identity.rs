//! Who a peer is: by its Edge's name, by the domain that its certificate asserts, by what DNS publishes; and for whom it may speak.

#![allow(clippy::unwrap_used)]

mod common;

use common::{APPLE, PATIENCE, Relay, body, json};
use pushrelay_peers::pki::{Eku, Leaf};
use pushrelay_peers::world::{EDGE_NAME, RELAY_NAME, World};
use pushrelay_peers::{DnsAnswer, FakeDns, FakeEdge, Samples, SipAnswer};
use toml::{Table, Value};

/// A relay whose partners are these instead of the world's own.
async fn relay_of(partners: &str, change: impl FnOnce(&mut Table)) -> Relay {
    let mut world = World::start().await.unwrap();
    let partners: Table = partners.parse().unwrap();
    world.config["partners"] = partners["partners"].clone();
    change(&mut world.config);
    Relay::in_world(world).await
}

/// Connects with a certificate of the world's authority; users are of `domain`.
async fn connect(relay: &Relay, leaf: &Leaf, domain: &str) -> FakeEdge {
    let identity = relay.world.authority.issue(leaf);
    let root = &relay.world.certificates.root_pem;
    FakeEdge::connect(relay.daemon.sip_addr(), RELAY_NAME, &identity, root, domain)
        .await
        .unwrap()
}

async fn push(edge: &FakeEdge) -> SipAnswer {
    edge.message(json(), body(&[APPLE])).await.unwrap()
}

/// What a peer with this certificate is told when it speaks for `domain`: the status and the reason.
async fn told(relay: &Relay, leaf: &Leaf, domain: &str) -> (u16, String) {
    let answer = push(&connect(relay, leaf, domain).await).await;
    (
        answer.status,
        answer.reason().unwrap_or_default().to_owned(),
    )
}

fn leaf(names: &[&str], uris: &[&str]) -> Leaf {
    Leaf {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        uris: uris.iter().map(|uri| (*uri).to_owned()).collect(),
        ..Leaf::default()
    }
    .eku(Eku::Server)
}

fn common_name(name: &str) -> Leaf {
    Leaf {
        common_name: Some(name.to_owned()),
        ..leaf(&[], &[])
    }
}

const STRANGER: &str = "names no partner";

const DOMAIN: &str = r#"
[[partners]]
name = "contoso"
known_by = "domain"
domains = ["contoso.example", "contoso.test", "bücher.example"]

[[partners]]
name = "fabrikam"
known_by = "domain"
common_name = true
domains = ["fabrikam.example"]
"#;

#[tokio::test]
async fn a_certificate_asserts_its_domains_by_sip_uri_before_dns_name() {
    let relay = relay_of(DOMAIN, |_| {}).await;
    let foreign = "partner contoso may not send for the domain of the From header: its certificate does not assert it";
    /// dNSNames, URIs, the domain of From; what is told.
    type Case<'a> = (&'a [&'a str], &'a [&'a str], &'a str, u16, &'a str);
    let cases: &[Case<'_>] = &[
        // The two kinds of name, in any case; an internationalized domain as it is on the wire.
        (&[], &["sip:Contoso.example"], "contoso.EXAMPLE", 200, ""),
        (&["CONTOSO.example"], &[], "contoso.example", 200, ""),
        (
            &["xn--bcher-kva.example"],
            &[],
            "XN--bcher-kva.example",
            200,
            "",
        ),
        // A partner's other domain is not this certificate's.
        (&["contoso.example"], &[], "contoso.test", 403, foreign),
        (
            &["contoso.example", "contoso.test"],
            &[],
            "contoso.test",
            200,
            "",
        ),
        // Where there is a sip: URI, dNSNames assert nothing.
        (
            &["contoso.test"],
            &["sip:contoso.example"],
            "contoso.test",
            403,
            foreign,
        ),
        (
            &["contoso.example"],
            &["sip:other.example"],
            "contoso.example",
            403,
            STRANGER,
        ),
        // A URI with a user or of another scheme is none.
        (
            &["contoso.example"],
            &["sip:kim@contoso.example"],
            "contoso.example",
            200,
            "",
        ),
        (
            &["contoso.example"],
            &["https://other.example"],
            "contoso.example",
            200,
            "",
        ),
        (
            &[],
            &["sip:kim@contoso.example"],
            "contoso.example",
            403,
            STRANGER,
        ),
        // No wildcard, no name above or below, no edge's name.
        (
            &["*.contoso.example"],
            &[],
            "contoso.example",
            403,
            STRANGER,
        ),
        (&["*.example"], &[], "contoso.example", 403, STRANGER),
        (
            &["sip.contoso.example"],
            &[],
            "contoso.example",
            403,
            STRANGER,
        ),
        (&["example"], &[], "contoso.example", 403, STRANGER),
    ];
    for (names, uris, domain, status, reason) in cases {
        let (got, said) = told(&relay, &leaf(names, uris), domain).await;
        assert!(
            got == *status && said.contains(reason),
            "{names:?} {uris:?} for {domain}: {got} {said}"
        );
    }
    relay.end().await;
}

#[tokio::test]
async fn a_common_name_counts_by_switch_and_only_without_a_subject_alternative_name() {
    let relay = relay_of(DOMAIN, |_| {}).await;
    for (leaf, domain, status) in [
        (common_name("fabrikam.example"), "fabrikam.example", 200),
        (common_name("contoso.example"), "contoso.example", 403),
        (
            Leaf {
                names: vec!["other.example".to_owned()],
                ..common_name("fabrikam.example")
            },
            "fabrikam.example",
            403,
        ),
        (
            Leaf {
                addresses: vec![[192, 0, 2, 1].into()],
                ..common_name("fabrikam.example")
            },
            "fabrikam.example",
            403,
        ),
    ] {
        let (got, said) = told(&relay, &leaf, domain).await;
        assert_eq!(got, status, "{leaf:?}: {said}");
    }
    relay.end().await;
}

#[tokio::test]
async fn an_old_edge_is_known_by_its_common_name_where_that_is_switched_on() {
    for (switch, status) in [(false, 403), (true, 200)] {
        let relay = Relay::configured(|config| {
            let partner = config["partners"][0].as_table_mut().unwrap();
            partner.insert("common_name".to_owned(), switch.into());
        })
        .await;
        let (got, said) = told(&relay, &common_name(EDGE_NAME), "contoso.example").await;
        assert_eq!(got, status, "{said}");
        relay.end().await;
    }
}

#[tokio::test]
async fn who_is_asserted_must_belong_to_the_peer_and_no_other_header_is_asked() {
    let relay = Relay::start().await;
    let edge = relay.edge().await;
    let identity = "partner contoso may not send for the domain of the P-Asserted-Identity header";
    let good = r#""Kim Akers"<sip:kima@contoso.example>"#;
    for (name, value, status) in [
        ("P-Asserted-Identity", good, 200),
        (
            "p-asserted-identity",
            "\"Akers, Kim <x@y>\" <sip:kima@CONTOSO.example>, <tel:+14255550100>",
            200,
        ),
        ("P-Asserted-Identity", "sip:kima@contoso.example", 200),
        ("P-Asserted-Identity", "<sip:kima@fabrikam.example>", 403),
        (
            "P-Asserted-Identity",
            "<sip:kima@contoso.example>, <sip:kima@fabrikam.example>",
            403,
        ),
        (
            "P-Asserted-Identity",
            "\"<sip:kima@contoso.example>,\" <sip:kima@fabrikam.example>",
            403,
        ),
        ("P-Asserted-Identity", "<sip:kima@sub.contoso.example>", 403),
        ("P-Asserted-Identity", "<sip:kima@contoso.example.>", 403),
        ("P-Asserted-Identity", "<mailto:kima@contoso.example>", 403),
        ("P-Asserted-Identity", "Kim Akers", 403),
        ("P-Asserted-Identity", "", 403),
    ] {
        let mut request = edge.request(json(), body(&[APPLE])).field(name, value);
        request.adorned = false;
        let answer = edge.exchange(&request).await.unwrap();
        assert_eq!(answer.status, status, "{name}: {value}: {answer:?}");
        if status == 403 {
            assert_eq!(answer.reason().as_deref(), Some(identity), "{value}");
        }
    }

    // What a peer says of itself in Microsoft's headers makes it nobody else.
    let trust = [
        (
            "ms-edge-proxy-message-trust",
            "ms-source-type=DirectPartner;ms-ep-fqdn=sip.fabrikam.example;ms-source-verified-user=verified",
        ),
        ("ms-asserted-identity", "<sip:kima@fabrikam.example>"),
        ("ms-user-logon-data", "RemoteUser"),
    ];
    for (from, status) in [
        ("sip:kima@fabrikam.example", 403),
        ("sip:kima@contoso.example", 200),
    ] {
        let mut request = edge.request(json(), body(&[APPLE]));
        request.from = from.to_owned();
        request.adorned = false;
        let request =
            (trust.iter()).fold(request, |request, (name, value)| request.field(name, value));
        let answer = edge.exchange(&request).await.unwrap();
        assert_eq!(answer.status, status, "{from}: {answer:?}");
    }
    let samples = relay.daemon.metrics().await.unwrap();
    let refused = |reason| samples.sum("pushrelay_refusals_total", &[("reason", reason)]);
    assert_eq!(
        (refused("foreign_identity"), refused("foreign_from")),
        (8.0, 1.0)
    );
    relay.end().await;
}

const SRV: &str = r#"
[[partners]]
name = "contoso"
known_by = "srv"
domains = ["contoso.example", "contoso.test"]
"#;

const RECORD: &str = "_sipfederationtls._tcp.contoso.example";

async fn srv_relay(dns: &FakeDns) -> Relay {
    let address = dns.address().to_string();
    relay_of(SRV, |config| {
        let sip = config["sip"].as_table_mut().unwrap();
        sip.insert("dns".to_owned(), Value::from(address));
    })
    .await
}

fn hosts(names: &[&str], ttl: u32) -> DnsAnswer {
    DnsAnswer::Srv(names.iter().map(|name| (*name).to_owned()).collect(), ttl)
}

async fn wait_answers(relay: &Relay, answer: &str, times: f64) -> Samples {
    let label = [("answer", answer)];
    relay
        .daemon
        .wait_metrics(PATIENCE, |samples| {
            samples.sum("pushrelay_srv_lookups_total", &label) >= times
        })
        .await
        .unwrap()
}

#[tokio::test]
async fn a_peer_is_the_host_that_the_domain_publishes() {
    let dns = FakeDns::start().await.unwrap();
    let published = hosts(
        &[
            "SIP.contoso.example",
            "edge2.contoso.example",
            "sip.hoster.example",
            ".",
        ],
        300,
    );
    dns.publishes("contoso.example", published);
    let relay = srv_relay(&dns).await;
    let samples = wait_answers(&relay, "hosts", 1.0).await;
    wait_answers(&relay, "nothing", 1.0).await;
    // The hoster's name is outside the domain; "." is none.
    assert_eq!(samples.sum("pushrelay_srv_hosts_left_out_total", &[]), 1.0);

    let other = "its _sipfederationtls._tcp record names other hosts";
    for (names, domain, status, reason) in [
        (vec!["sip.contoso.example"], "contoso.example", 200, ""),
        (
            vec!["x.example", "EDGE2.contoso.example"],
            "Contoso.example",
            200,
            "",
        ),
        // It publishes nothing, or another one's host.
        (vec!["sip.contoso.example"], "contoso.test", 403, other),
        (vec!["sip.contoso.test"], "contoso.test", 403, STRANGER),
        (vec!["sip.hoster.example"], "contoso.example", 403, STRANGER),
        (
            vec!["edge3.contoso.example"],
            "contoso.example",
            403,
            STRANGER,
        ),
        (vec!["*.contoso.example"], "contoso.example", 403, STRANGER),
        (vec!["contoso.example"], "contoso.example", 403, STRANGER),
    ] {
        let (got, said) = told(&relay, &leaf(&names, &[]), domain).await;
        assert!(
            got == status && said.contains(reason),
            "{names:?} for {domain}: {got} {said}"
        );
    }
    // However much is sent, nobody asks again before the answer has run out.
    assert_eq!(dns.asked(RECORD), 1);
    relay.end().await;
}

#[tokio::test]
async fn while_dns_is_silent_a_peer_is_told_to_come_again_and_then_served() {
    let dns = FakeDns::start().await.unwrap();
    for domain in ["contoso.example", "contoso.test"] {
        dns.publishes(domain, DnsAnswer::ServerFailure);
    }
    let relay = srv_relay(&dns).await;
    wait_answers(&relay, "failed", 2.0).await;
    let edge = connect(
        &relay,
        &leaf(&["sip.contoso.example"], &[]),
        "contoso.example",
    )
    .await;
    let answer = push(&edge).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("Retry-After"), Some("5"));
    assert!(
        answer
            .reason()
            .unwrap()
            .contains("no DNS server has yet said"),
        "{answer:?}"
    );

    dns.publishes("contoso.example", hosts(&["sip.contoso.example"], 300));
    wait_answers(&relay, "hosts", 1.0).await;
    assert_eq!(push(&edge).await.status, 200);
    relay.end().await;
}

#[tokio::test]
async fn an_answer_holds_as_long_as_it_says_and_through_an_outage_of_dns() {
    let dns = FakeDns::start().await.unwrap();
    dns.publishes("contoso.example", hosts(&["sip.contoso.example"], 1));
    let relay = srv_relay(&dns).await;
    wait_answers(&relay, "hosts", 1.0).await;
    let edge = connect(
        &relay,
        &leaf(&["sip.contoso.example"], &[]),
        "contoso.example",
    )
    .await;
    assert_eq!(push(&edge).await.status, 200);

    // Nobody answers any more: what was said last is believed.
    for fault in [DnsAnswer::ServerFailure, DnsAnswer::Garbage] {
        dns.publishes("contoso.example", fault);
        let failed = relay.daemon.metrics().await.unwrap();
        let failed = failed.sum("pushrelay_srv_lookups_total", &[("answer", "failed")]);
        wait_answers(&relay, "failed", failed + 1.0).await;
        assert_eq!(push(&edge).await.status, 200);
    }

    // The domain has moved: the old host has lost its voice on the connection that it has.
    let before = relay.daemon.metrics().await.unwrap();
    let before = before.sum("pushrelay_srv_lookups_total", &[("answer", "hosts")]);
    dns.publishes("contoso.example", hosts(&["new.contoso.example"], 300));
    wait_answers(&relay, "hosts", before + 1.0).await;
    let answer = push(&edge).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    let (status, said) = told(
        &relay,
        &leaf(&["new.contoso.example"], &[]),
        "contoso.example",
    )
    .await;
    assert_eq!(status, 200, "{said}");
    relay.end().await;
}

#[tokio::test]
async fn an_answer_that_was_cut_off_is_asked_for_over_tcp() {
    let dns = FakeDns::start().await.unwrap();
    let many: Vec<String> = (0..40)
        .map(|n| format!("edge{n}.contoso.example"))
        .collect();
    dns.publishes("contoso.example", DnsAnswer::CutOff(many, 300));
    let relay = srv_relay(&dns).await;
    let samples = wait_answers(&relay, "hosts", 1.0).await;
    // 32 are taken.
    assert_eq!(samples.sum("pushrelay_srv_hosts_left_out_total", &[]), 8.0);
    let (status, said) = told(
        &relay,
        &leaf(&["edge31.contoso.example"], &[]),
        "contoso.example",
    )
    .await;
    assert_eq!(status, 200, "{said}");
    relay.end().await;
}
