//! The fakes held against programs that others wrote: curl, nghttp, h2load, openssl, kamailio.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use pushrelay_peers::apns::{GoAway, Recording};
use pushrelay_peers::pki::{Authority, Eku, Issued, Key, Leaf, self_signed};
use pushrelay_peers::world::{Certificates, EDGE_DOMAIN, RELAY_NAME};
use pushrelay_peers::{
    ApnsAnswer, ApnsOptions, FakeApns, FakeEdge, FakeMpns, MpnsAnswer, MpnsOptions, Push,
    SipRequest,
};
use tokio::process::{Child, Command};

const TOKEN: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";
const SOON: Duration = Duration::from_secs(10);

async fn run(program: &str, package: &str, arguments: &[&str]) -> Output {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(60), child).await;
    let output = output.unwrap_or_else(|_| panic!("{program} does not end"));
    output.unwrap_or_else(|e| panic!("{program}: {e}; install the package {package}"))
}

fn file(dir: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::File::create(&path)
        .unwrap()
        .write_all(content)
        .unwrap();
    path
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

mod apple {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn takes_a_push_from_curl() {
        let apple = FakeApns::start(ApnsOptions::default()).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let root = file(dir.path(), "ca.pem", apple.root_pem().as_bytes());
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
        let violations = apple.violations();
        assert!(violations.iter().all(of_curl), "{violations:?}");

        apple.script(TOKEN, [ApnsAnswer::gone(1_700_000_000_123)]);
        let output = run("curl", "curl", &arguments).await;
        assert!(stdout(&output).starts_with("HTTP/2 410"), "{output:?}");
        let body = r#"{"reason":"Unregistered","timestamp":1700000000123}"#;
        assert!(stdout(&output).ends_with(body), "{output:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn serves_h2load_on_many_connections() {
        let apple = FakeApns::start(ApnsOptions {
            recording: Recording::Counts,
            ..ApnsOptions::default()
        })
        .await
        .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let payload = file(dir.path(), "payload.json", br#"{"aps":{"alert":"hello"}}"#);
        let url = format!("{}/3/device/{TOKEN}", apple.url());
        let headers = push_headers();
        let payload = payload.to_str().unwrap();
        let mut arguments = vec!["-n", "2000", "-c", "4", "-m", "50", "-d", payload];
        arguments.extend(headers.iter().map(String::as_str));
        arguments.push(&url);

        let output = run("h2load", "nghttp2-client", &arguments).await;
        assert!(
            stdout(&output).contains("2000 succeeded, 0 failed"),
            "{output:?}"
        );
        let counts = apple.counts();
        assert_eq!(counts.accepted, 2000);
        assert_eq!((counts.connections, counts.handshakes), (4, 4));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn tells_nghttp_exactly_the_last_stream() {
        let apple = FakeApns::start(ApnsOptions::default()).await.unwrap();
        apple.script(TOKEN, [ApnsAnswer::go_away(GoAway::graceful())]);
        let dir = tempfile::tempdir().unwrap();
        let payload = file(dir.path(), "payload.json", br#"{"aps":{"alert":"hello"}}"#);
        let url = format!("{}/3/device/{TOKEN}", apple.url());
        let headers = push_headers();
        let mut arguments = vec![
            "-v",
            "-n",
            "--no-dep",
            "-y",
            "-d",
            payload.to_str().unwrap(),
        ];
        arguments.extend(headers.iter().map(String::as_str));
        arguments.push(&url);

        let output = run("nghttp", "nghttp2-client", &arguments).await;
        let said = stdout(&output);
        let stream = apple.received()[0].stream;
        let last = format!("last_stream_id={stream}, error_code=NO_ERROR(0x00)");
        assert!(said.contains(&last), "{said}");
        assert!(
            said.contains(r#"opaque_data(21)=[{"reason":"Shutdown"}]"#),
            "{said}"
        );
        assert!(said.contains(":status: 200"), "{said}");
        assert!(
            said.contains("[SETTINGS_MAX_CONCURRENT_STREAMS(0x03):1]"),
            "{said}"
        );
    }
}

mod windows_phone {
    use super::*;

    const TOAST: &str = r#"<?xml version="1.0" encoding="utf-8"?><wp:Notification xmlns:wp="WPNotification"><wp:Toast><wp:Text1>Kim</wp:Text1><wp:Text2>a &lt; b &amp; c</wp:Text2><wp:Param>/Chat.xaml</wp:Param></wp:Toast></wp:Notification>"#;

    async fn curl(url: &str, more: &[&str]) -> Output {
        let mut arguments = vec![
            "-sS",
            "-i",
            "--max-time",
            "5",
            "-H",
            "Content-Type: text/xml",
            "-H",
            "X-WindowsPhone-Target: toast",
            "-H",
            "X-NotificationClass: 2",
            "-H",
            "X-MessageID: 6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55",
            "-d",
            TOAST,
        ];
        arguments.extend(more);
        arguments.push(url);
        run("curl", "curl", &arguments).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn takes_a_toast_from_curl() {
        let service = FakeMpns::start(MpnsOptions::default()).await.unwrap();
        let output = curl(&service.url_for("phone1"), &[]).await;
        let said = stdout(&output).to_ascii_lowercase();
        assert!(said.starts_with("http/1.1 200 ok"), "{said}");
        for expected in [
            "x-notificationstatus: received",
            "x-deviceconnectionstatus: connected",
            "x-subscriptionstatus: active",
            "x-messageid: 6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55",
        ] {
            assert!(said.contains(expected), "{expected} is not in:\n{said}");
        }
        let received = &service.received()[0];
        assert_eq!(received.token, "phone1");
        assert_eq!(received.target.as_deref(), Some("toast"));
        assert_eq!(received.class.as_deref(), Some("2"));
        assert_eq!(received.text("wp:Text2"), Some("a < b & c"));
        assert_eq!(received.status, Some(200));
        assert_eq!(service.violations(), [""; 0]);
        assert_eq!(service.counts().accepted, 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn answers_each_row_of_the_table() {
        let service = FakeMpns::start(MpnsOptions::default()).await.unwrap();
        for (token, answer, start, header) in [
            ("a", MpnsAnswer::queue_full(), "HTTP/1.1 200", "queuefull"),
            ("b", MpnsAnswer::suppressed(), "HTTP/1.1 200", "suppressed"),
            ("c", MpnsAnswer::expired(), "HTTP/1.1 404", "expired"),
            ("d", MpnsAnswer::quota(), "HTTP/1.1 406", "dropped"),
            ("e", MpnsAnswer::inactive(), "HTTP/1.1 412", "inactive"),
            ("f", MpnsAnswer::status(503), "HTTP/1.1 503", ""),
            (
                "g",
                MpnsAnswer::redirect("http://127.0.0.1:9/x"),
                "HTTP/1.1 302",
                "location: ",
            ),
        ] {
            service.script(token, [answer]);
            let said = stdout(&curl(&service.url_for(token), &[]).await);
            assert!(said.starts_with(start), "{said}");
            assert!(said.to_ascii_lowercase().contains(header), "{said}");
        }
        assert_eq!(service.counts().refused, 7);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn drops_floods_and_never_ends_as_the_script_says() {
        use pushrelay_peers::mpns::MpnsFault;
        let service = FakeMpns::start(MpnsOptions::default()).await.unwrap();
        for (token, fault, more, code) in [
            ("a", MpnsFault::Drop, [].as_slice(), 52), // "empty reply from server"
            ("b", MpnsFault::Stall, &["--max-time", "0.3"], 28), // "operation timed out"
            ("c", MpnsFault::StallBody, &["--max-time", "0.3"], 28),
            ("d", MpnsFault::EndlessBody, &["--max-time", "0.3"], 28),
            ("e", MpnsFault::HeaderFlood(10_000), &[], 56), // "too large response headers"
        ] {
            service.script(token, [MpnsAnswer::fault(fault)]);
            let output = curl(&service.url_for(token), more).await;
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(code), "{token}: {error}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn demands_a_client_certificate_over_https() {
        let authority = Authority::new("Test CA");
        let service = FakeMpns::start(MpnsOptions {
            identity: Some(authority.issue(&Leaf::server("localhost"))),
            client_roots_pem: Some(authority.root_pem().to_owned()),
            ..MpnsOptions::default()
        })
        .await
        .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let root = file(dir.path(), "ca.pem", authority.root_pem().as_bytes());
        let client = authority.issue(&Leaf::named("push.contoso.example").eku(Eku::Client));
        let client = client.write(dir.path(), "client").unwrap();
        let trust = ["--cacert", root.to_str().unwrap()];

        let output = curl(&service.url_for("phone1"), &trust).await;
        assert!(!output.status.success(), "{output:?}");
        let chain = client.chain.to_str().unwrap();
        let key = client.key.to_str().unwrap();
        let more = [trust[0], trust[1], "--cert", chain, "--key", key];
        let output = curl(&service.url_for("phone1"), &more).await;
        assert!(stdout(&output).starts_with("HTTP/1.1 200"), "{output:?}");
        assert_eq!(service.counts().handshakes, 1);
    }
}

mod certificates {
    use super::*;

    async fn openssl(arguments: &[&str]) -> Output {
        run("openssl", "openssl", arguments).await
    }

    async fn verifies(dir: &Path, root: &Path, issued: &Issued, more: &[&str]) -> (bool, String) {
        let chain = file(dir, "chain.pem", issued.chain_pem.as_bytes());
        let chain = chain.to_str().unwrap();
        let mut arguments = vec![
            "verify",
            "-CAfile",
            root.to_str().unwrap(),
            "-untrusted",
            chain,
        ];
        arguments.extend(more);
        arguments.push(chain);
        let output = openssl(&arguments).await;
        let said = stdout(&output) + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    }

    #[tokio::test]
    async fn are_good_and_bad_in_the_eyes_of_openssl() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new("Test CA");
        let below = authority
            .intermediate("Test CA 2")
            .intermediate("Test CA 3");
        let other = Authority::new("Other CA");
        let root = file(dir.path(), "ca.pem", authority.root_pem().as_bytes());
        let leaf = || Leaf::server("relay.example");

        for (what, issued, more, good, expected) in [
            (
                "plain",
                authority.issue(&leaf()),
                ["-purpose", "sslserver"],
                true,
                "OK",
            ),
            (
                "chain",
                below.issue(&leaf()),
                ["-purpose", "sslserver"],
                true,
                "OK",
            ),
            (
                "rsa",
                authority.issue(&leaf().key(Key::Rsa)),
                ["-purpose", "sslserver"],
                true,
                "OK",
            ),
            (
                "name",
                authority.issue(&leaf()),
                ["-verify_hostname", "relay.example"],
                true,
                "OK",
            ),
            (
                "address",
                authority.issue(&leaf()),
                ["-verify_ip", "127.0.0.1"],
                true,
                "OK",
            ),
            (
                "usage",
                authority.issue(&leaf()),
                ["-purpose", "sslclient"],
                false,
                "purpose",
            ),
            (
                "no usage",
                authority.issue(&leaf().eku(Eku::None)),
                ["-purpose", "sslclient"],
                true,
                "OK",
            ),
            (
                "both",
                authority.issue(&leaf().eku(Eku::Both)),
                ["-purpose", "sslclient"],
                true,
                "OK",
            ),
            (
                "client",
                authority.issue(&leaf().eku(Eku::Client)),
                ["-purpose", "sslserver"],
                false,
                "purpose",
            ),
            (
                "expired",
                authority.issue(&leaf().expired()),
                ["-purpose", "any"],
                false,
                "expired",
            ),
            (
                "early",
                authority.issue(&leaf().not_yet_valid()),
                ["-purpose", "any"],
                false,
                "not yet valid",
            ),
            (
                "stranger",
                other.issue(&leaf()),
                ["-purpose", "any"],
                false,
                "unable to get",
            ),
            (
                "own",
                self_signed(&leaf()),
                ["-purpose", "any"],
                false,
                "self-signed",
            ),
        ] {
            let (verified, said) = verifies(dir.path(), &root, &issued, &more).await;
            assert_eq!(verified, good, "{what}: {said}");
            assert!(said.contains(expected), "{what}: {said}");
        }
    }

    #[tokio::test]
    async fn carry_names_uris_and_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let leaf = Leaf::server("sip.contoso.example").uri("sip:contoso.example");
        let issued = Authority::new("Test CA").issue(&leaf);
        let chain = file(dir.path(), "chain.pem", issued.chain_pem.as_bytes());
        let arguments = ["x509", "-noout", "-text", "-in", chain.to_str().unwrap()];
        let said = stdout(&openssl(&arguments).await);
        for expected in [
            "DNS:sip.contoso.example",
            "URI:sip:contoso.example",
            "IP Address:127.0.0.1",
            "TLS Web Server Authentication",
            "CN = sip.contoso.example",
        ] {
            let squeezed = expected.replace(" = ", "=");
            assert!(
                said.contains(expected) || said.contains(&squeezed),
                "{expected}:\n{said}"
            );
        }
    }

    #[tokio::test]
    async fn come_as_pkcs12_and_in_files_that_only_the_owner_reads() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let issued = Authority::new("Test CA").issue(&Leaf::named("com.example.chat"));
        let bundle = issued.write_pkcs12(dir.path(), "apple", "secret").unwrap();
        let bundle = bundle.to_str().unwrap();
        let arguments = ["pkcs12", "-in", bundle, "-passin", "pass:secret", "-nodes"];
        let said = stdout(&openssl(&arguments).await);
        assert!(
            said.contains("BEGIN PRIVATE KEY") && said.contains("BEGIN CERTIFICATE"),
            "{said}"
        );
        for name in ["apple.p12", "apple.key"] {
            let mode = std::fs::metadata(dir.path().join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }
}

mod edge {
    use super::*;

    /// A Kamailio that demands a client certificate and answers every MESSAGE as the script says.
    struct Kamailio {
        _child: Child,
        address: SocketAddr,
    }

    impl Kamailio {
        async fn start(dir: &Path, certificates: &Certificates) -> Kamailio {
            certificates.write(dir).unwrap();
            // Kamailio cannot take a port of the kernel's choice and tell it.
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = free.local_addr().unwrap();
            drop(free);
            let path = dir.display();
            let config = format!(
                r#"#!KAMAILIO
debug=1
log_stderror=yes
fork=no
children=1
disable_core_dump=yes
enable_tls=yes
listen=tls:{address}
loadmodule "tls.so"
loadmodule "sl.so"
loadmodule "textops.so"
loadmodule "pv.so"
loadmodule "siputils.so"
loadmodule "sanity.so"
modparam("tls", "tls_method", "TLSv1.2+")
modparam("tls", "private_key", "{path}/relay.key")
modparam("tls", "certificate", "{path}/relay.pem")
modparam("tls", "ca_list", "{path}/ca.pem")
modparam("tls", "verify_certificate", 1)
modparam("tls", "require_certificate", 1)
request_route {{
    if (!sanity_check("19911", "7")) exit;
    if (!has_body("application/vnd.pushrelay+json")) {{
        append_to_reply("ms-diagnostics-public: 2;reason=\"no \\\"json\\\"\"\r\n");
        sl_send_reply("415", "Unsupported Media Type");
        exit;
    }}
    append_to_reply("X-From: $fu\r\nX-Call-ID: $ci\r\nX-Length: $cl\r\n");
    sl_send_reply("200", "OK");
}}
"#
            );
            let config = file(dir, "kamailio.cfg", config.as_bytes());
            let child = Command::new("kamailio")
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
                .args(["-DD", "-E", "-m", "64", "-M", "16", "-Y"])
                .arg(dir)
                .arg("-f")
                .arg(config)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn();
            let child = child.unwrap_or_else(|e| {
                panic!("kamailio: {e}; install the packages kamailio and kamailio-tls-modules")
            });
            Kamailio {
                _child: child,
                address,
            }
        }

        async fn connect(&self, identity: &Issued, root_pem: &str) -> FakeEdge {
            let deadline = Instant::now() + SOON;
            loop {
                let edge =
                    FakeEdge::connect(self.address, RELAY_NAME, identity, root_pem, EDGE_DOMAIN);
                match edge.await {
                    Ok(edge) => return edge,
                    Err(e) if Instant::now() >= deadline => panic!("kamailio: {e}"),
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn speaks_sip_that_kamailio_understands() {
        let dir = tempfile::tempdir().unwrap();
        let (certificates, authority) = Certificates::new();
        let kamailio = Kamailio::start(dir.path(), &certificates).await;
        // OpenSSL takes no serverAuth-only certificate from a client.
        let identity = authority.issue(&Leaf::named("sip.contoso.example"));
        let edge = kamailio.connect(&identity, &certificates.root_pem).await;

        let push = Push::new("im.message").alert("Kim", "Grüße").apple(TOKEN);
        let answer = edge.push(push.clone()).await.unwrap();
        assert_eq!((answer.status, answer.phrase.as_str()), (200, "OK"));
        assert_eq!(answer.header("x-from"), Some("sip:kima@contoso.example"));
        assert_eq!(
            answer.header("X-Length"),
            Some(&*push.encode().len().to_string())
        );
        assert_eq!(answer.headers("Via").count(), 3);

        // Many at once, in one write, and the answers find their requests.
        let requests: Vec<SipRequest> = (0..50)
            .map(|number| {
                edge.request(
                    pushrelay_peers::edge::PUSH_JSON,
                    push.clone().with("badge", number),
                )
            })
            .collect();
        edge.send_all(&requests).await.unwrap();
        for request in requests.iter().rev() {
            let answer = edge.answer_to(request, SOON).await.unwrap();
            assert_eq!(answer.header("X-Call-ID"), Some(&*request.call_id));
        }
        assert_eq!(edge.answers_waiting(), 0);

        let request = edge.request("text/plain", "hello").branchless();
        let answer = edge.exchange(&request).await.unwrap();
        assert_eq!(answer.status, 415);
        assert_eq!(answer.reason().as_deref(), Some("no \"json\""));

        // RFC 5626 4.4.1: a double CRLF is answered with a single one.
        edge.send_raw(b"\r\n\r\n").await.unwrap();
        edge.pongs(1, SOON).await.unwrap();

        edge.send_raw(b"NONSENSE\r\n\r\n").await.unwrap();
        // Kamailio ends the connection without TLS' close_notify.
        let end = edge.closed(SOON).await.unwrap_err();
        assert_eq!(end.kind(), std::io::ErrorKind::UnexpectedEof);
    }
}
