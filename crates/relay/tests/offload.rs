//! The listener for a TLS terminator on the same machine, spoken to by hand: whom it believes, and whom it closes on.
//!
//! What a real terminator sends is in `haproxy.rs`.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{APPLE, PATIENCE, Relay, body, json};
use pushrelay_peers::FakeEdge;
use pushrelay_peers::edge::ProxyHeader;
use pushrelay_peers::pki::{Eku, Leaf};
use pushrelay_peers::world::{EDGE_DOMAIN, EDGE_NAME};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use toml::Table;

#[tokio::test]
async fn a_verified_client_whose_common_name_is_a_partners_may_push() {
    let relay = offloading("").await;
    let v6 = ProxyHeader {
        client: "[2001:db8::7]:50112".parse().unwrap(),
        ..ProxyHeader::of(&EDGE_NAME.to_uppercase())
    };
    for header in [ProxyHeader::of(EDGE_NAME), v6] {
        let edge = connect(&relay, &header).await;
        assert_eq!(edge.options().await.unwrap().status, 200);
        let answer = edge.message(json(), body(&[APPLE])).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        // `received` is where the request came from for us to answer: RFC 3261 18.2.1 means the client.
        let received = format!("received={}", header.client.ip());
        assert!(
            answer.header("Via").unwrap().contains(&received),
            "{answer:?}"
        );
        let foreign = edge.request(json(), body(&[APPLE]));
        let foreign = pushrelay_peers::SipRequest {
            from: "sip:kim@fabrikam.example".into(),
            ..foreign
        };
        assert_eq!(edge.exchange(&foreign).await.unwrap().status, 403);
    }
    assert_eq!(relay.world.apple.received().len(), 2);
    connected(&relay, "partner", 2.0).await;
    relay.end().await;
}

#[tokio::test]
async fn an_unsuitable_purpose_is_good_by_the_switch_only() {
    let purpose = ProxyHeader {
        verify: 26,
        ..ProxyHeader::of(EDGE_NAME)
    };
    let relay = offloading("accept_any_purpose = true").await;
    let edge = connect(&relay, &purpose).await;
    assert_eq!(
        edge.message(json(), body(&[APPLE])).await.unwrap().status,
        200
    );
    drop(edge);
    for verify in [10, 18, 20, 23] {
        let header = ProxyHeader {
            verify,
            ..purpose.clone()
        };
        refused(&relay, &header.encode()).await;
    }
    connected(&relay, "proxy_unverified", 4.0).await;
    relay.end().await;

    let strict = offloading("").await;
    refused(&strict, &purpose.encode()).await;
    connected(&strict, "proxy_unverified", 1.0).await;
    let told = |line: &str| line.contains("accept_any_purpose") && line.contains("198.51.100.7");
    strict.daemon.wait_log(PATIENCE, told).await.unwrap();
    strict.end().await;
}

#[tokio::test]
async fn who_shows_no_certificate_is_closed_on() {
    let relay = offloading("accept_any_purpose = true").await;
    // TLS without a certificate, no TLS, and a session that was resumed: HAProxy writes result 0 for each.
    for flags in [1, 0, 5] {
        let header = ProxyHeader {
            flags,
            ..ProxyHeader::of(EDGE_NAME)
        };
        refused(&relay, &header.encode()).await;
    }
    connected(&relay, "proxy_no_certificate", 3.0).await;
    relay.end().await;
}

#[tokio::test]
async fn a_health_check_is_closed_on_and_counted_apart() {
    let relay = offloading("").await;
    let header = ProxyHeader {
        command: 0,
        ..ProxyHeader::of(EDGE_NAME)
    };
    refused(&relay, &header.encode()).await;
    connected(&relay, "proxy_health_check", 1.0).await;
    relay.end().await;
}

#[tokio::test]
async fn who_sends_no_header_is_closed_on() {
    let relay = offloading("").await;
    let message = {
        let edge = relay.edge().await;
        edge.request(json(), body(&[APPLE])).encode()
    };
    let twice = ProxyHeader {
        inner: vec![(0x22, b"sip.fabrikam.example".to_vec())],
        ..ProxyHeader::of(EDGE_NAME)
    };
    let mut long = ProxyHeader::of(EDGE_NAME);
    long.outer = vec![(0xe0, vec![0; 17_000])];
    let version_1 = b"PROXY TCP4 198.51.100.7 192.0.2.61 50112 5061\r\n";
    for bytes in [&message[..], version_1, &twice.encode(), &long.encode()] {
        refused(&relay, bytes).await;
    }
    connected(&relay, "proxy_bad_header", 4.0).await;
    assert_eq!(relay.world.apple.received().len(), 0);
    relay.end().await;
}

#[tokio::test]
async fn a_header_that_does_not_come_is_not_waited_for() {
    let relay = offloading("").await;
    let header = ProxyHeader::of(EDGE_NAME).encode();
    for part in [
        &header[..0],
        &header[..15],
        &header[..16],
        &header[..header.len() - 1],
    ] {
        refused(&relay, part).await;
    }
    connected(&relay, "handshake_timeout", 4.0).await;
    relay.end().await;
}

#[tokio::test]
async fn a_name_that_is_no_partners_gets_403_with_the_reason() {
    let relay = offloading("").await;
    // UTF-16 is what an old BMPString holds; the last is no name at all.
    let utf_16: Vec<u8> = EDGE_NAME.bytes().flat_map(|byte| [0, byte]).collect();
    for common_name in [
        Some(b"sip.fabrikam.example".to_vec()),
        Some(b"*.contoso.example".to_vec()),
        Some(format!("{EDGE_NAME}\0").into_bytes()),
        Some(b"\xff\xfe".to_vec()),
        Some(utf_16),
        Some(Vec::new()),
        None,
    ] {
        let header = ProxyHeader {
            common_name,
            ..ProxyHeader::of("")
        };
        let edge = connect(&relay, &header).await;
        let answer = edge.message(json(), body(&[APPLE])).await.unwrap();
        assert_eq!(answer.status, 403, "{header:?}");
        assert!(
            answer.reason().unwrap().contains("no partner"),
            "{answer:?}"
        );
    }
    connected(&relay, "stranger", 7.0).await;
    assert_eq!(relay.world.apple.received().len(), 0);
    relay.end().await;
}

#[tokio::test]
async fn where_the_whole_certificate_comes_its_alternative_names_count_and_the_common_name_does_not()
 {
    let relay = offloading("accept_any_purpose = true\ncertificate_type = 0xE0").await;
    let der = |leaf: Leaf| {
        let issued = relay.world.authority.issue(&leaf);
        let der = CertificateDer::from_pem_slice(issued.chain_pem.as_bytes()).unwrap();
        der.to_vec()
    };
    let named = der(Leaf::named(EDGE_NAME).eku(Eku::Server));
    let renamed = der(Leaf {
        common_name: Some("old name of the edge".into()),
        ..Leaf::named(EDGE_NAME)
    });
    let by_common_name_only = der(Leaf {
        common_name: Some(EDGE_NAME.into()),
        ..Leaf::named("sip.fabrikam.example")
    });
    for (kind, certificate, status) in [
        (0x28, named.clone(), 200),
        (0xe0, named, 200),
        (0x28, renamed.clone(), 200),
        (0xe0, renamed, 200),
        (0x28, by_common_name_only.clone(), 403),
        (0xe0, by_common_name_only, 403),
        (0x28, b"no certificate".to_vec(), 403),
    ] {
        let mut header = ProxyHeader::of(EDGE_NAME);
        match kind {
            0x28 => header.inner.push((kind, certificate)),
            _ => header
                .outer
                .push((kind, STANDARD.encode(certificate).into_bytes())),
        }
        let edge = connect(&relay, &header).await;
        let answer = edge.message(json(), body(&[APPLE])).await.unwrap();
        assert_eq!(answer.status, status, "{kind:#x}: {answer:?}");
    }
    relay.end().await;
}

#[tokio::test]
async fn what_follows_the_header_in_the_same_segment_is_read_as_sip() {
    let relay = offloading("").await;
    let message = {
        let edge = relay.edge().await;
        edge.request(json(), body(&[APPLE])).encode()
    };
    let mut bytes = ProxyHeader::of(EDGE_NAME).encode();
    bytes.extend_from_slice(&message);
    let mut socket = TcpStream::connect(address(&relay)).await.unwrap();
    socket.write_all(&bytes).await.unwrap();
    socket.shutdown().await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, socket.read_to_string(&mut answer))
        .await
        .expect("the relay closes when the client has")
        .unwrap();
    assert!(answer.starts_with("SIP/2.0 200 OK\r\n"), "{answer}");
    relay.end().await;
}

/// A relay that listens for a terminator too; `keys` are more keys of `[[sip.offload]]`.
async fn offloading(keys: &str) -> Relay {
    Relay::configured(|config| {
        let offload: Table = format!("listen = \"127.0.0.1:0\"\n{keys}").parse().unwrap();
        let sip = config["sip"].as_table_mut().unwrap();
        sip.insert("offload".into(), vec![offload].into());
        let limits: Table = "handshake_timeout = \"2s\"".parse().unwrap();
        config.insert("limits".into(), limits.into());
    })
    .await
}

fn address(relay: &Relay) -> SocketAddr {
    relay.daemon.listener("offload").unwrap()
}

async fn connect(relay: &Relay, header: &ProxyHeader) -> FakeEdge {
    FakeEdge::connect_behind(address(relay), header, EDGE_DOMAIN)
        .await
        .unwrap()
}

/// Sends these bytes and waits until the relay closes, without a word.
async fn refused(relay: &Relay, bytes: &[u8]) {
    let mut socket = TcpStream::connect(address(relay)).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut said = Vec::new();
    let closed = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut said)).await;
    // A reset is an end too: the relay has not read all.
    let _ = closed.expect("the relay closes");
    assert_eq!(said, b"");
}

/// Waits until so many connections have had this result.
async fn connected(relay: &Relay, result: &str, count: f64) {
    let labels = [("result", result)];
    relay
        .daemon
        .wait_metrics(Duration::from_secs(10), |samples| {
            samples.sum("pushrelay_connections_total", &labels) == count
        })
        .await
        .unwrap();
}
