#![allow(clippy::unwrap_used)]

use super::*;

const GOOD: &str =
    "http://sn1.notify.live.net/throttledthirdparty/01.00/AAGvdLTQzLGqRZ0FRZRVT1GBAgo_-AAA";

fn parse(text: &str) -> Result<ChannelUri, ChannelUriError> {
    ChannelUri::parse(text, &ChannelPolicy::default())
}

#[test]
fn microsofts_own_uri_is_taken_apart() {
    let uri = parse(GOOD).unwrap();
    assert_eq!(uri.as_str(), GOOD);
    assert_eq!(uri.host(), "sn1.notify.live.net");
    assert_eq!(uri.port(), 80);
    assert!(!uri.is_https());
    assert_eq!(
        uri.path_and_query(),
        "/throttledthirdparty/01.00/AAGvdLTQzLGqRZ0FRZRVT1GBAgo_-AAA"
    );
    assert_eq!(format!("{uri:?}"), "ChannelUri(sn1.notify.live.net…)");
}

#[test]
fn case_and_the_schemes_own_port_make_no_other_channel() {
    let plain = parse("https://db3.notify.live.net/unthrottledthirdparty/01.00/AbC?x=%2F").unwrap();
    let other =
        parse("HTTPS://DB3.Notify.Live.NET:443/unthrottledthirdparty/01.00/AbC?x=%2F").unwrap();
    assert_eq!(plain, other);
    assert_eq!(other.port(), 443);
    assert!(other.is_https());
    assert_eq!(
        parse("http://db3.notify.live.net:443/throttledthirdparty/x")
            .unwrap()
            .as_str(),
        "http://db3.notify.live.net:443/throttledthirdparty/x"
    );
}

#[test]
fn every_trick_has_its_own_refusal() {
    use ChannelUriError as E;
    let long = format!("{GOOD}{}", "A".repeat(2048));
    let cases: &[(&str, E)] = &[
        ("", E::Length(0)),
        (&long, E::Length(long.len())),
        (
            "http://sn1.notify.live.net/throttledthirdparty/ x",
            E::Character(47),
        ),
        (
            "http://sn1.notify.live.net\\@evil.example/",
            E::Character(26),
        ),
        ("http://sn1.notify.live.net/\u{0}", E::Character(27)),
        (
            "http://sn1.notify.live.net/throttledthirdparty/a\r\nHost: x",
            E::Character(48),
        ),
        (
            "http://sn1.notify.live.net\t/throttledthirdparty/",
            E::Character(26),
        ),
        (
            "http://sn1.notify.live.net/throttledthirdparty/[x]",
            E::Character(47),
        ),
        (
            "http://sn1.notif\u{443}.live.net/throttledthirdparty/",
            E::NotAscii(16),
        ),
        ("http://sn1\u{3002}notify.live.net/", E::NotAscii(10)),
        (
            "_http://sn1.notify.live.net/throttledthirdparty/x",
            E::Mangled,
        ),
        (
            "_https://sn1.notify.live.net/throttledthirdparty/x",
            E::Mangled,
        ),
        ("ftp://sn1.notify.live.net/throttledthirdparty/", E::Scheme),
        ("http:/sn1.notify.live.net/", E::Scheme),
        ("//sn1.notify.live.net/throttledthirdparty/", E::Scheme),
        ("javascript:http://sn1.notify.live.net/", E::Scheme),
        (
            "http://user@sn1.notify.live.net/throttledthirdparty/x",
            E::UserInfo,
        ),
        (
            "http://sn1.notify.live.net:80@evil.example/throttledthirdparty/",
            E::UserInfo,
        ),
        (
            "http://sn1.notify.live.net/throttledthirdparty/x#y",
            E::Fragment,
        ),
        (
            "http://evil.example#.notify.live.net/throttledthirdparty/x",
            E::Fragment,
        ),
        ("http:///throttledthirdparty/x", E::Host),
        ("http://sn1.notify.live.net./throttledthirdparty/x", E::Host),
        ("http://sn1..notify.live.net/throttledthirdparty/x", E::Host),
        ("http://.notify.live.net/throttledthirdparty/x", E::Host),
        ("http://-a.notify.live.net/throttledthirdparty/x", E::Host),
        (
            "http://sn1%2enotify.live.net/throttledthirdparty/x",
            E::Host,
        ),
        (
            "http://evil.example%00.notify.live.net/throttledthirdparty/x",
            E::Host,
        ),
        ("http://2130706433/throttledthirdparty/x", E::Host),
        ("http://0x7f000001/throttledthirdparty/x", E::Host),
        ("http://127.1/throttledthirdparty/x", E::Host),
        ("http://0177.0.0.1/throttledthirdparty/x", E::Host),
        ("http://[::1/throttledthirdparty/x", E::Ipv6),
        ("http://[fe80::1%25eth0]/throttledthirdparty/x", E::Ipv6),
        ("http://[::1]x/throttledthirdparty/x", E::Ipv6),
        (
            "http://evil.example/throttledthirdparty/x",
            E::HostNotAllowed,
        ),
        (
            "http://notify.live.net/throttledthirdparty/x",
            E::HostNotAllowed,
        ),
        (
            "http://evilnotify.live.net/throttledthirdparty/x",
            E::HostNotAllowed,
        ),
        (
            "http://sn1.notify.live.net.evil.example/throttledthirdparty/x",
            E::HostNotAllowed,
        ),
        (
            "http://93.184.216.34/throttledthirdparty/x",
            E::HostNotAllowed,
        ),
        (
            "http://[2606:2800:220:1::1]/throttledthirdparty/x",
            E::HostNotAllowed,
        ),
        ("http://127.0.0.1/throttledthirdparty/x", E::PrivateAddress),
        (
            "http://169.254.169.254/throttledthirdparty/x",
            E::PrivateAddress,
        ),
        ("http://[::1]/throttledthirdparty/x", E::PrivateAddress),
        (
            "http://[::ffff:10.0.0.1]/throttledthirdparty/x",
            E::PrivateAddress,
        ),
        ("http://sn1.notify.live.net:/throttledthirdparty/x", E::Port),
        (
            "http://sn1.notify.live.net:+80/throttledthirdparty/x",
            E::Port,
        ),
        (
            "http://sn1.notify.live.net:0/throttledthirdparty/x",
            E::Port,
        ),
        (
            "http://sn1.notify.live.net:65616/throttledthirdparty/x",
            E::Port,
        ),
        (
            "http://sn1.notify.live.net:8080/throttledthirdparty/x",
            E::PortNotAllowed(8080),
        ),
        (
            "http://sn1.notify.live.net/throttledthirdparty/%",
            E::PercentEncoding,
        ),
        (
            "http://sn1.notify.live.net/throttledthirdparty/%g0",
            E::PercentEncoding,
        ),
        (
            "http://sn1.notify.live.net/throttledthirdparty/x?y=%2",
            E::PercentEncoding,
        ),
        (
            "http://sn1.notify.live.net/throttledthirdparty/../admin",
            E::DotSegment,
        ),
        (
            "http://sn1.notify.live.net/throttledthirdparty/%2e%2E/admin",
            E::DotSegment,
        ),
        (
            "http://sn1.notify.live.net/throttledthirdparty/..%2fadmin",
            E::DotSegment,
        ),
        (
            "http://sn1.notify.live.net/throttledthirdparty/x%5c..%5cadmin",
            E::DotSegment,
        ),
        ("http://sn1.notify.live.net", E::PathNotAllowed),
        ("http://sn1.notify.live.net/", E::PathNotAllowed),
        ("http://sn1.notify.live.net/admin", E::PathNotAllowed),
        (
            "http://sn1.notify.live.net/throttledthirdparty",
            E::PathNotAllowed,
        ),
        (
            "http://sn1.notify.live.net/Throttledthirdparty/x",
            E::PathNotAllowed,
        ),
        (
            "http://sn1.notify.live.net?/throttledthirdparty/x",
            E::PathNotAllowed,
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text).unwrap_err(), *expected, "{text}");
    }
}

#[test]
fn no_refusal_repeats_the_uri() {
    for text in [
        "http://sn1.notify.live.net/throttledthirdparty/SECRET#",
        "http://sn1.notify.live.net:99/throttledthirdparty/SECRET",
        "http://SECRET.example/throttledthirdparty/",
    ] {
        assert!(!parse(text).unwrap_err().to_string().contains("SECRET"));
    }
}

#[test]
fn an_address_is_allowed_only_where_it_is_listed_as_a_whole() {
    let policy = ChannelPolicy {
        hosts: vec![
            "127.0.0.1".into(),
            "::1".into(),
            ".0.0.2".into(),
            "localhost".into(),
        ],
        ports: vec![8080],
        path_prefixes: vec!["/".into()],
    };
    let parse = |text: &str| ChannelUri::parse(text, &policy);
    assert_eq!(
        parse("http://127.0.0.1:8080/x").unwrap().host(),
        "127.0.0.1"
    );
    assert_eq!(
        parse("http://localhost:8080/x").unwrap().host(),
        "localhost"
    );
    let v6 = parse("http://[0:0::1]:8080/x").unwrap();
    assert_eq!((v6.host(), v6.as_str()), ("::1", "http://[::1]:8080/x"));
    for text in [
        "http://127.0.0.2:8080/x",
        "http://[::ffff:127.0.0.1]:8080/x",
    ] {
        assert_eq!(parse(text).unwrap_err(), ChannelUriError::PrivateAddress);
    }
    assert_eq!(
        parse("http://a.localhost:8080/x").unwrap_err(),
        ChannelUriError::HostNotAllowed
    );
}

#[test]
fn only_global_addresses_are_public() {
    let public = [
        "8.8.8.8",
        "1.0.0.1",
        "100.63.0.1",
        "100.128.0.1",
        "172.15.0.1",
        "172.32.0.1",
        "192.0.1.1",
        "198.17.0.1",
        "198.20.0.1",
        "223.255.255.255",
        "2606:4700::1111",
        "2a00:1450::1",
        "2001:4860:4860::8888",
        "2001:200::1",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "3fff:1000::1",
    ];
    let other = [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:2::1",
        "2001:10::1",
        "2001:20::1",
        "2001:db8::1",
        "2002:0a00:0001::1",
        "2002:808:808::1",
        "3fff::1",
        "4000::1",
        "5f00::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ];
    for text in public {
        assert!(is_public(text.parse().unwrap()), "{text}");
    }
    for text in other {
        assert!(!is_public(text.parse().unwrap()), "{text}");
    }
}
