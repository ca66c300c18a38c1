//! What is read from a head, in all the forms in which it may be written.
#![allow(clippy::unwrap_used)]

mod peer;

use std::time::{Duration, UNIX_EPOCH};

use peer::{Peer, message, message_with};
use pushrelay_sip::{NameAddr, NameAddrs, Request, SipUri, SipUriError, Via};

/// The request that these bytes are, without faults.
fn read(bytes: impl AsRef<[u8]>) -> Request {
    let mut peer = Peer::new();
    peer.send(bytes);
    assert_eq!(peer.refused, []);
    let request = peer.requests.remove(0);
    assert_eq!(request.fault(), None);
    request
}

/// What a Front End sends through its Access Edge.
const FEDERATED: &[u8] = b"MESSAGE sip:push@push.example.org SIP/2.0\r\n\
Via: SIP/2.0/TLS 192.0.2.10:49812;branch=z9hG4bK0D6A9383.D119DEC5AC7C0F4E;branched=FALSE;ms-internal-info=\"a;b,c\"\r\n\
Record-Route: <sip:sip.contoso.example:5061;transport=tls;ms-fe=fe1;opaque=state:F:Ci.R2500;lr;ms-route-sig=aaUR>\r\n\
MAX-FORWARDS: 68\r\n\
Via: SIP/2.0/TLS 10.0.0.21:50321;branch=z9hG4bKC45BE092.1A435385;branched=FALSE;ms-received-port=50321;\r\n\
\x20   ms-received-cid=200\r\n\
Via: SIP/2.0/TLS 10.0.0.20:50110;ms-received-port=50110;ms-received-cid=67F00\r\n\
FROM: \"Kim Akers\"<sip:kima@contoso.example;opaque=user:epid:ab-C_d;gruu>;tag=dfac414f0f;epid=ce4ccd49ad\r\n\
TO: <sip:push@push.example.org>\r\n\
CALL-ID: cecb8c21ba01462a90f2f7235673f2b9\r\n\
CSEQ: 1 MESSAGE\r\n\
P-ASSERTED-IDENTITY: \"Kim Akers\"<sip:kima@contoso.example>\r\n\
CONTENT-TYPE: text/plain; charset=UTF-8\r\n\
CONTENT-LENGTH: 5\r\n\r\nhello";

#[test]
fn a_federated_message_is_read_whole() {
    let request = read(FEDERATED);
    assert!(request.is_message() && !request.is_options());
    assert_eq!(request.method(), b"MESSAGE");
    assert_eq!(request.uri(), b"sip:push@push.example.org");
    let uri = request.request_uri().unwrap();
    assert_eq!(
        (uri.user(), uri.host()),
        (Some(&b"push"[..]), &b"push.example.org"[..])
    );
    let via = request.via().unwrap();
    assert_eq!(
        (via.transport(), via.host(), via.port()),
        (&b"TLS"[..], &b"192.0.2.10"[..], Some(49812))
    );
    assert_eq!(via.branch(), Some(&b"z9hG4bK0D6A9383.D119DEC5AC7C0F4E"[..]));
    assert_eq!(
        via.param("ms-internal-info").unwrap().value,
        Some(&b"\"a;b,c\""[..])
    );
    let from = request.from();
    assert_eq!(
        (from.display(), from.tag()),
        (&b"\"Kim Akers\""[..], Some(&b"dfac414f0f"[..]))
    );
    assert_eq!(from.param("EPID").unwrap().value, Some(&b"ce4ccd49ad"[..]));
    let from = from.sip_uri().unwrap();
    assert_eq!(
        (from.user(), from.host()),
        (Some(&b"kima"[..]), &b"contoso.example"[..])
    );
    let params: Vec<_> = from
        .params()
        .map(|param| (param.name, param.value))
        .collect();
    assert_eq!(
        params,
        [
            (&b"opaque"[..], Some(&b"user:epid:ab-C_d"[..])),
            (b"gruu", None)
        ]
    );
    assert_eq!(
        (request.to().uri(), request.to().tag()),
        (&b"sip:push@push.example.org"[..], None)
    );
    assert_eq!(request.call_id(), b"cecb8c21ba01462a90f2f7235673f2b9");
    assert_eq!(request.cseq(), (1, &b"MESSAGE"[..]));
    assert_eq!(
        request.content_type(),
        Some(&b"text/plain; charset=UTF-8"[..])
    );
    assert_eq!(&request.body()[..], b"hello");
}

#[test]
fn header_lines_are_found_by_name_in_order_and_not_contiguous() {
    let request = read(FEDERATED);
    let vias: Vec<_> = request.headers("via").collect();
    assert_eq!(vias.len(), 3);
    assert!(vias[1].starts_with(b"SIP/2.0/TLS 10.0.0.21:50321;"));
    assert!(vias[2].ends_with(b"ms-received-cid=67F00"));
    assert_eq!(request.header("v"), Some(vias[0]));
    assert_eq!(
        request.header("p-asserted-identity"),
        Some(&b"\"Kim Akers\"<sip:kima@contoso.example>"[..])
    );
    assert_eq!(request.header("Subject"), None);
}

#[test]
fn compact_names_read_as_their_long_ones() {
    let mut text = message(1);
    for (long, compact) in [
        ("Via", "v"),
        ("From", "f"),
        ("To", "T"),
        ("Call-ID", "i"),
        ("Content-Type", "C"),
        ("Content-Length", "l"),
    ] {
        text = text.replacen(&format!("\r\n{long}:"), &format!("\r\n{compact}:"), 1);
    }
    let request = read(text);
    assert_eq!(request.from().tag(), Some(&b"dfac414f0f"[..]));
    assert_eq!(request.content_type(), Some(&b"text/plain"[..]));
    assert_eq!(request.header("Content-Length"), Some(&b"5"[..]));
    assert_eq!(request.header("call-id"), Some(request.call_id()));
    let request = read(message_with("s", "s: greetings"));
    assert_eq!(request.header("Subject"), Some(&b"greetings"[..]));
}

#[test]
fn white_space_and_folding_are_allowed_wherever_the_grammar_has_them() {
    let request = read(
        "MESSAGE sip:push@push.example.org SIP/2.0\r\n\
         v  : SIP  /  2.0\r\n \t/ TLS   spindle.example.com   :  5061  ;\r\n  branch  =   z9hG4bK9ikj8  ,\r\n \
         SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9hG4bK30239\r\n\
         fRoM   : \"J Rosenberg \\\\\\\"\"       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8\r\n\
         TO :\r\n sip:push@push.example.org ;   tagged    = no\r\n\
         Call-ID:\r\n  77@x\r\n\
         CsEq: 0009\r\n  MESSAGE\r\n\
         Content-Length\t: 0\r\n\r\n",
    );
    let via = request.via().unwrap();
    assert_eq!(
        (via.transport(), via.host(), via.port()),
        (&b"TLS"[..], &b"spindle.example.com"[..], Some(5061))
    );
    assert_eq!(via.branch(), Some(&b"z9hG4bK9ikj8"[..]));
    let (_, rest) = Via::parse(request.header("Via").unwrap()).unwrap();
    let (second, rest) = Via::parse(rest.unwrap()).unwrap();
    assert_eq!(
        (second.transport(), second.host()),
        (&b"UDP"[..], &b"192.168.255.111"[..])
    );
    assert_eq!(second.branch(), Some(&b"z9hG4bK30239"[..]));
    assert_eq!(rest, None);
    assert_eq!(request.from().display(), b"\"J Rosenberg \\\\\\\"\"");
    assert_eq!(request.from().tag(), Some(&b"98asjd8"[..]));
    assert_eq!(request.to().uri(), b"sip:push@push.example.org");
    assert_eq!(request.call_id(), b"77@x");
    assert_eq!(request.cseq(), (9, &b"MESSAGE"[..]));
}

#[test]
fn a_first_hop_without_branch_and_a_call_id_without_host_are_normal() {
    let request = read(message_with("Via", "Via: SIP/2.0/TLS 192.168.2.79:52599"));
    assert_eq!(request.via().unwrap().branch(), None);
    assert_eq!(request.call_id(), b"cecb8c21ba01462a90f2f72300000001");
}

#[test]
fn addresses_come_in_every_form() {
    for (value, display, uri, tag) in [
        ("sip:a@b;tag=1", "", "sip:a@b", Some("1")),
        ("<sip:a@b>", "", "sip:a@b", None),
        ("<sip:a@b;tag=uri>;tag=2", "", "sip:a@b;tag=uri", Some("2")),
        (
            "<sip:a@b?x=y,z>;TAG=3;tag=4",
            "",
            "sip:a@b?x=y,z",
            Some("3"),
        ),
        ("caller<sip:a@b>;x", "caller", "sip:a@b", None),
        (
            "token1~` token2'+_ \t<sip:a@b>",
            "token1~` token2'+_",
            "sip:a@b",
            None,
        ),
        (
            "\"a \\\" <sip:no@no>;tag=9\" <sip:a@b>",
            "\"a \\\" <sip:no@no>;tag=9\"",
            "sip:a@b",
            None,
        ),
        ("\"\"<sip:a@b>", "\"\"", "sip:a@b", None),
        ("isbn:2983792873", "", "isbn:2983792873", None),
        (
            "<http://www.example.com>;tag=3",
            "",
            "http://www.example.com",
            Some("3"),
        ),
        (";tag=5", "", "", Some("5")),
    ] {
        let address = NameAddr::parse(value.as_bytes()).unwrap();
        assert_eq!(address.display(), display.as_bytes(), "{value}");
        assert_eq!(address.uri(), uri.as_bytes(), "{value}");
        assert_eq!(address.tag(), tag.map(str::as_bytes), "{value}");
    }
}

#[test]
fn addresses_that_can_be_taken_in_two_ways_are_refused() {
    for value in [
        "\"Mr. J. User <sip:a@b>",
        "\"a\" sip:a@b",
        "Bell, Alexander <sip:a@b>",
        "< sip:a@b >",
        "<sip:a@b",
        "<sip:a@<b>>",
        "<sip:a@b> <sip:c@d>",
        "<sip:a@b>,<sip:c@d>",
        "sip:a@b, sip:c@d",
        "sip:a@b?x=y",
        "<sip:a@b>;",
        "<sip:a@b>;;tag=1",
        "<sip:a@b>;tag",
        "<sip:a@b>;tag=",
        "<sip:a@b>;x=\"y",
        "<sip:a@b>tag=1",
        "sip:a@b>",
    ] {
        assert!(NameAddr::parse(value.as_bytes()).is_err(), "{value}");
    }
}

#[test]
fn sip_uris_come_in_every_form() {
    for (uri, user, host, port) in [
        ("sip:example.com", None, "example.com", None),
        (
            "SIPS:a@EXAMPLE.com:5061",
            Some("a"),
            "EXAMPLE.com",
            Some(5061),
        ),
        (
            "sip:a:secret@192.0.2.4;lr;x=y",
            Some("a"),
            "192.0.2.4",
            None,
        ),
        (
            "sip:[2001:db8::9:1]:6050;transport=tls",
            None,
            "[2001:db8::9:1]",
            Some(6050),
        ),
        ("sip:a@[::1]?x=y", Some("a"), "[::1]", None),
        (
            "sip:user;par=u%40example.net@example.com",
            Some("user;par=u%40example.net"),
            "example.com",
            None,
        ),
        (
            "sip:sips%3Auser%40example.com@example.net",
            Some("sips%3Auser%40example.com"),
            "example.net",
            None,
        ),
        (
            "sip:+19725552222@gw1.example.net;unknownparam",
            Some("+19725552222"),
            "gw1.example.net",
            None,
        ),
        (
            "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com",
            Some("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"),
            "example.com",
            None,
        ),
        (
            "sip:null-%00-null@example.com",
            Some("null-%00-null"),
            "example.com",
            None,
        ),
        (
            "sip:j%C3%BCrgen@host_with-marks.example.",
            Some("j%C3%BCrgen"),
            "host_with-marks.example.",
            None,
        ),
    ] {
        let read = SipUri::parse(uri.as_bytes()).unwrap();
        assert_eq!(read.user(), user.map(str::as_bytes), "{uri}");
        assert_eq!(read.host(), host.as_bytes(), "{uri}");
        assert_eq!(read.port(), port, "{uri}");
        assert_eq!(read.is_secure(), uri.starts_with("SIPS"), "{uri}");
    }
    assert_eq!(
        SipUri::parse(b"sip:a@b;c=d?e=f").unwrap().headers(),
        Some(&b"e=f"[..])
    );
}

#[test]
fn what_is_no_sip_uri_says_why() {
    for uri in [
        "tel:+123",
        "http://x",
        "soap.beep://192.0.2.103:3002",
        "nobodyKnowsThisScheme:totallyopaquecontent",
    ] {
        assert_eq!(
            SipUri::parse(uri.as_bytes()).unwrap_err(),
            SipUriError::Scheme,
            "{uri}"
        );
    }
    for uri in [
        "",
        "alan@jasomi.com",
        ":x",
        "sip:",
        "sip:@b",
        "sip:a@",
        "sip:a@b@c",
        "sip:a@b;x=c@d",
        "sip:a@b:",
        "sip:a@b:x",
        "sip:a@b:65536",
        "sip:a@b:99999999999",
        "sip:[::1",
        "sip:[::g]",
        "sip:[]",
        "sip:a@b c",
        "sip:a@b\t",
        "sip:a b@c",
        "sip:a@<b>",
        "sip:a@b\"",
        "sip:a@b\0",
        "sip:a@b,c",
        "sip:a@b/c",
        "sip:\u{e9}.example",
        "sip:a;b@",
        "sip:;x",
    ] {
        let error = SipUri::parse(uri.as_bytes()).unwrap_err();
        assert!(matches!(error, SipUriError::Malformed(_)), "{uri}: {error}");
    }
}

#[test]
fn via_lists_are_split_at_commas_that_are_not_quoted() {
    let line = b"SIP/2.0/TCP [2001:db8::9:1]:5061;x=\"a,b\";received=2001:db8::9:255 , SIP/2.0/UDP h;rport,SIP/2.0/TLS last";
    let (first, rest) = Via::parse(line).unwrap();
    assert_eq!(
        (first.host(), first.port()),
        (&b"[2001:db8::9:1]"[..], Some(5061))
    );
    assert_eq!(
        first.param("received").unwrap().value,
        Some(&b"2001:db8::9:255"[..])
    );
    let (second, rest) = Via::parse(rest.unwrap()).unwrap();
    assert_eq!(
        (second.host(), second.param("rport").unwrap().value),
        (&b"h"[..], None)
    );
    let (third, rest) = Via::parse(rest.unwrap()).unwrap();
    assert_eq!(
        (third.transport(), third.host(), rest),
        (&b"TLS"[..], &b"last"[..], None)
    );
}

#[test]
fn of_two_parameters_of_one_name_the_first_counts() {
    let (via, _) = Via::parse(b"SIP/2.0/TLS h;branch=first;branch=second").unwrap();
    assert_eq!(via.branch(), Some(&b"first"[..]));
    let address = NameAddr::parse(b"<sip:a@b>;tag=first;tag=second").unwrap();
    assert_eq!(address.tag(), Some(&b"first"[..]));
}

#[test]
fn what_is_no_via_is_refused() {
    for value in [
        "",
        "SIP/2.0",
        "SIP/2.0/TLS",
        "SIP/2.0/TLS ",
        "SIP/2.0/TLSh",
        "SIP/7.0/UDP h",
        "HTTP/2.0/TCP h",
        "SIP/2.0 TLS h",
        "SIP/2.0/TLS h:",
        "SIP/2.0/TLS h:x",
        "SIP/2.0/TLS h:65536",
        "SIP/2.0/TLS h;",
        "SIP/2.0/TLS h;;x",
        "SIP/2.0/TLS h x",
        "SIP/2.0/TLS h;branch=",
        "SIP/2.0/TLS h;x=\"y",
        "SIP/2.0/TLS [::1",
        "SIP/2.0/TLS ;x",
        "SIP/2.0/UDP 192.0.2.15;;,;,,",
    ] {
        assert!(Via::parse(value.as_bytes()).is_err(), "{value}");
    }
}

#[test]
fn bytes_that_are_no_utf8_are_carried() {
    let mut text = message_with("Subject", "Subject: ?").into_bytes();
    let at = text.iter().position(|&byte| byte == b'?').unwrap();
    text[at] = 0xff;
    let request = read(&text);
    assert_eq!(request.header("subject"), Some(&b"\xff"[..]));
    let mut text = message(1).into_bytes();
    let at = text.windows(3).position(|bytes| bytes == b"Kim").unwrap();
    text.splice(at..at + 3, *b"\xc3\xfe\xff\\\0");
    let request = read(&text);
    assert_eq!(request.from().display(), b"\"\xc3\xfe\xff\\\0 Akers\"");
}

#[test]
fn expires_is_a_number_of_seconds_and_date_a_moment() {
    let with = |line: &str| read(message_with("Subject", line));
    let seconds = |value: &str| with(&format!("EXPIRES : {value}")).expires();
    assert_eq!(seconds("0"), Some(Duration::ZERO));
    assert_eq!(seconds("3600"), Some(Duration::from_secs(3600)));
    let longest = Duration::from_secs(u64::from(u32::MAX));
    assert_eq!(seconds("4294967295"), Some(longest));

    // RFC 3261 20.17's own example.
    let date = with("Date: Sat, 13 Nov 2010 23:29:00 GMT").date();
    assert_eq!(date, Some(UNIX_EPOCH + Duration::from_secs(1_289_690_940)));
    let neither = with("Subject: x");
    assert_eq!((neither.expires(), neither.date()), (None, None));
}

#[test]
fn an_expires_or_date_that_cannot_be_read_is_ignored() {
    for value in [
        "",
        "-1",
        "+1",
        "1 h",
        "4294967296",
        "Thu, 01 Dec 2033 16:00:00 GMT",
    ] {
        let request = read(message_with("Subject", &format!("Expires: {value}")));
        assert_eq!(request.expires(), None, "{value}");
    }
    for value in [
        "",
        "now",
        "Sat, 13 Nov 2010 23:29:00",
        "Sat, 13 Nov 2010 23:29:00 EST",
        "Sat, 31 Feb 2010 23:29:00 GMT",
        "Sat, 13 Nov 2010 25:29:00 GMT",
        "Sat, 13 Nov 1910 23:29:00 GMT",
    ] {
        let request = read(message_with("Subject", &format!("Date: {value}")));
        assert_eq!(request.date(), None, "{value}");
    }
}

#[test]
fn cloning_a_request_copies_nothing() {
    let request = read(FEDERATED);
    let clone = request.clone();
    assert_eq!(request.body().as_ptr(), clone.body().as_ptr());
    assert_eq!(request.call_id().as_ptr(), clone.call_id().as_ptr());
}

#[test]
fn debug_shows_no_body_and_no_addresses() {
    let shown = format!("{:?}", read(FEDERATED));
    assert!(
        shown.contains("MESSAGE") && shown.contains("body_bytes: 5"),
        "{shown}"
    );
    for secret in ["hello", "kima", "Kim", "contoso"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn a_list_of_addresses_is_parted_at_commas_outside_quotes_and_brackets() {
    let uris = |value: &'static str| -> Vec<Option<&[u8]>> {
        let addresses = NameAddrs::new(value.as_bytes());
        addresses
            .map(|address| address.ok().map(|address| address.uri()))
            .collect()
    };
    let (kim, tel) = (Some(&b"sip:kim@a.example"[..]), Some(&b"tel:+1425"[..]));
    // RFC 3325 9.1: a SIP URI and a telephone number.
    assert_eq!(uris("\"Kim\" <sip:kim@a.example>, tel:+1425"), [kim, tel]);
    assert_eq!(uris("sip:kim@a.example,\r\n <tel:+1425>"), [kim, tel]);
    assert_eq!(uris(r#""Akers, \" Kim <x,y>" <sip:kim@a.example>"#), [kim]);
    assert_eq!(
        uris("<sip:kim,x@a.example>"),
        [Some(&b"sip:kim,x@a.example"[..])]
    );
    // What is empty or cannot be read is there all the same, and hides nothing behind it.
    let empty = Some(&b""[..]);
    assert_eq!(uris(""), [empty]);
    assert_eq!(uris("<sip:kim@a.example>, ,tel:+1425"), [kim, empty, tel]);
    assert_eq!(uris("Kim Akers, <sip:kim@a.example>"), [None, kim]);
    assert_eq!(uris("\"open, <sip:kim@a.example>"), [None]);
    assert_eq!(uris("<sip:open, <sip:kim@a.example>"), [None]);
}
