#![allow(clippy::unwrap_used)]

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::super::{Body, Decoders};
use super::*;
use crate::channel::ChannelUri;
use crate::device::{Device, DeviceToken, Environment};
use crate::fixture;
use crate::notification::{Alert, Delay, MpnsKind, Target, Tile, WindowsPhone};

const CONTENT_TYPE: &str = "application/vnd.pushrelay+json; v=1";
const TOKEN: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";
const CHANNEL: &str = "https://sn1.notify.live.net/unthrottledthirdparty/01.00/AAGvdLTQ";

fn decode_as(content_type: &str, bytes: &[u8]) -> Result<Notification, BodyError> {
    let result = Decoders::new(ChannelPolicy::default()).decode(Body {
        content_type: Some(content_type),
        bytes,
    });
    if let Err(error) = &result {
        let text = error.to_string();
        assert!(text.len() <= 200 && text.is_ascii(), "{text}");
        assert!(!text.contains("SECRET"), "{text}");
        assert!(
            text.starts_with("pushrelay+json: ") || text.starts_with("expected "),
            "{text}"
        );
    }
    result
}

fn decode(bytes: impl AsRef<[u8]>) -> Result<Notification, BodyError> {
    decode_as(CONTENT_TYPE, bytes.as_ref())
}

fn base() -> Value {
    json!({"v": 1, "event": "im.message", "targets": [{"service": "apns", "token": TOKEN}]})
}

/// The base body with `value` under the JSON pointer's last name.
fn with(pointer: &str, value: Value) -> String {
    let mut body = base();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let mut at = &mut body;
    for part in parent.split('/').skip(1) {
        at = match part.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) => {
                if at[part].is_null() {
                    at[part] = json!({});
                }
                &mut at[part]
            }
        };
    }
    match name.parse::<usize>() {
        Ok(index) => at[index] = value,
        Err(_) => at[name] = value,
    }
    body.to_string()
}

fn error_of(body: impl AsRef<[u8]>) -> String {
    decode(body).unwrap_err().to_string()
}

/// The example of the protocol notes, member by member.
#[test]
fn the_documented_example_is_read_whole() {
    let body = json!({
        "v": 1,
        "id": "6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55",
        "created": "2026-11-23T20:00:00Z",
        "ttl": 3600,
        "event": "im.message",
        "targets": [
            {"service": "apns", "token": TOKEN, "app": "com.example.chat", "env": "production"},
            {"service": "mpns", "uri": CHANNEL, "app": "com.example.chat.wp"}
        ],
        "from": {"uri": "sip:kima@contoso.com", "name": "Kim Akers"},
        "alert": {"title": "Kim Akers", "body": "Are you there?", "loc_key": null, "loc_args": []},
        "badge": 3,
        "sound": "default",
        "thread": "conv-42",
        "collapse": "conv-42",
        "mpns": {"kind": "toast", "param": "/Chat.xaml?c=42", "delay": "immediate", "tile": null},
        "data": {}
    });
    let shared = fixture::notification();
    let expected = Notification {
        id: Some(uuid::uuid!("6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55")),
        created: Some(UNIX_EPOCH + Duration::from_secs(1_795_464_000)),
        ttl: Some(Duration::from_secs(3600)),
        targets: vec![
            Target {
                device: Device::Apple(DeviceToken::parse(TOKEN).unwrap()),
                app: Some("com.example.chat".into()),
                environment: Some(Environment::Production),
                registered: None,
            },
            Target {
                device: Device::WindowsPhone(
                    ChannelUri::parse(CHANNEL, &ChannelPolicy::default()).unwrap(),
                ),
                app: Some("com.example.chat.wp".into()),
                environment: None,
                registered: None,
            },
        ],
        alert: shared.alert.map(|alert| Alert {
            title: Some("Kim Akers".into()),
            ..alert
        }),
        collapse: Some("conv-42".into()),
        windows_phone: WindowsPhone {
            param: Some("/Chat.xaml?c=42".into()),
            ..WindowsPhone::default()
        },
        data: Map::new(),
        ..shared
    };
    assert_eq!(decode(body.to_string()).unwrap(), expected);
}

#[test]
fn the_smallest_body_is_enough_and_null_is_absent() {
    let small = decode(base().to_string()).unwrap();
    let mut nulls = base();
    for name in [
        "id", "created", "ttl", "from", "alert", "badge", "sound", "thread", "collapse", "mpns",
        "data",
    ] {
        nulls[name] = Value::Null;
    }
    assert_eq!(decode(nulls.to_string()).unwrap(), small);
    assert_eq!(small.alert, None);
    assert_eq!(small.windows_phone, WindowsPhone::default());
}

#[test]
fn unknown_members_are_ignored_at_any_depth() {
    let mut body = base();
    body["future"] = json!({"v": 2, "deep": [[{"x": [null, 1.5e300, "\u{0}"]}]]});
    body["targets"][0]["future"] = json!([1]);
    body["targets"][0]["uri"] = json!("http://127.0.0.1/");
    body["alert"] = json!({"future": {}});
    body["mpns"] = json!({"tile": {"future": 1}});
    let got = decode(body.to_string()).unwrap();
    assert_eq!(got.windows_phone.tile, Some(Tile::default()));
    assert_eq!(got.alert, Some(Alert::default()));
}

#[test]
fn the_windows_phone_members_are_read() {
    let mut body = base();
    body["mpns"] = json!({"kind": "tile", "delay": "450", "tile": {
        "id": "/Second.xaml?a=1", "background": "red.jpg", "count": 99, "title": "t",
        "back_background": "b.jpg", "back_title": "bt", "back_content": "bc"}});
    let phone = decode(body.to_string()).unwrap().windows_phone;
    assert_eq!(
        (phone.kind, phone.delay),
        (MpnsKind::Tile, Delay::Within450Seconds)
    );
    let tile = phone.tile.unwrap();
    assert_eq!(
        (tile.count, tile.back_content.as_deref()),
        (Some(99), Some("bc"))
    );
    assert_eq!(
        (tile.id.as_deref(), tile.background.as_deref()),
        (Some("/Second.xaml?a=1"), Some("red.jpg"))
    );

    body["mpns"] = json!({"kind": "raw", "delay": "900", "raw": "<x/>\u{0}"});
    let phone = decode(body.to_string()).unwrap().windows_phone;
    assert_eq!(
        (phone.kind, phone.delay),
        (MpnsKind::Raw, Delay::Within900Seconds)
    );
    assert_eq!(phone.raw.as_deref(), Some("<x/>\u{0}"));
}

#[test]
fn the_content_type_chooses_the_decoder_and_the_version() {
    let body = base().to_string();
    for good in [
        CONTENT_TYPE,
        "application/vnd.pushrelay+json",
        "Application/VND.PushRelay+JSON;V=\"1\";charset=UTF-8; x=y",
    ] {
        assert!(decode_as(good, body.as_bytes()).is_ok(), "{good}");
    }
    for bad in [
        "application/vnd.pushrelay+json; v=2",
        "application/vnd.pushrelay+json; v=1.1",
        "application/vnd.pushrelay+json; v=",
        "application/vnd.pushrelay+json; charset=koi8-r",
        "text/plain",
        "SECRET",
        "",
    ] {
        let error = decode_as(bad, body.as_bytes()).unwrap_err();
        assert!(
            matches!(error, BodyError::NotUnderstood(_)),
            "{bad}: {error}"
        );
        assert_eq!(error.status(), 415);
    }
    let error = Decoders::new(ChannelPolicy::default())
        .decode(Body {
            content_type: None,
            bytes: body.as_bytes(),
        })
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "expected application/vnd.pushrelay+json, application/vnd.pushrelay+xml, got no Content-Type"
    );
}

#[test]
fn an_unknown_major_version_is_not_understood() {
    for version in [0, 2, -1] {
        let error = decode(with("/v", json!(version))).unwrap_err();
        assert_eq!(
            error,
            BodyError::NotUnderstood("pushrelay+json: expected v: 1, got another version".into())
        );
    }
    // What a later version looks like is not ours to judge.
    let later = json!({"v": 2, "targets": "SECRET", "event": 7}).to_string();
    assert_eq!(decode(later).unwrap_err().status(), 415);
}

#[test]
fn every_wrong_member_is_named_with_its_place() {
    let long = "x".repeat(1025);
    let many: Vec<String> = vec!["a".into(); 33];
    let cases = [
        ("/v", json!("1"), "v: expected an integer, got a string"),
        (
            "/v",
            json!(1.5),
            "v: expected an integer, got a fraction or a number beyond 64 bits",
        ),
        ("/v", json!(null), "v: expected an integer, got null"),
        (
            "/id",
            json!("SECRET"),
            "id: expected a UUID of 36 characters, got something else",
        ),
        (
            "/id",
            json!("{6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55}"),
            "id: expected a UUID of 36 characters, got something else",
        ),
        (
            "/id",
            json!("6f0c1f2e9d0c4f4b8f0a1d7c0b7f3a55"),
            "id: expected a UUID of 36 characters, got something else",
        ),
        (
            "/created",
            json!("yesterday"),
            "created: expected a time from 1970 on as in RFC 3339, got something else",
        ),
        (
            "/created",
            json!("1969-12-31T23:59:59Z"),
            "created: expected a time from 1970 on as in RFC 3339, got something else",
        ),
        (
            "/created",
            json!(1_700_000_000),
            "created: expected a string, got a number",
        ),
        (
            "/ttl",
            json!(-1),
            "ttl: expected an integer from 0 to 4294967295, got one outside",
        ),
        (
            "/ttl",
            json!(4_294_967_296_u64),
            "ttl: expected an integer from 0 to 4294967295, got one outside",
        ),
        (
            "/ttl",
            json!("3600"),
            "ttl: expected an integer, got a string",
        ),
        (
            "/event",
            json!("SECRET"),
            "event: expected a known event or x-..., got another",
        ),
        (
            "/event",
            json!({"SECRET": 1}),
            "event: expected a string, got an object",
        ),
        (
            "/targets",
            json!("SECRET"),
            "targets: expected an array, got a string",
        ),
        (
            "/targets",
            json!([]),
            "targets: expected 1 to 16 elements, got 0",
        ),
        (
            "/targets",
            json!([1]),
            "targets[0]: expected an object, got a number",
        ),
        (
            "/targets",
            json!([null]),
            "targets[0]: expected an object, got null",
        ),
        (
            "/targets/0/service",
            json!("SECRET"),
            "targets[0].service: expected apns or mpns, got another",
        ),
        (
            "/targets/0/service",
            json!(null),
            "targets[0].service: expected a string, got null",
        ),
        (
            "/targets/0/token",
            json!("SECRET"),
            "targets[0].token: expected hexadecimal digits, got another character at position 0",
        ),
        (
            "/targets/0/token",
            json!("abcdef012"),
            "targets[0].token: expected an even number of hexadecimal digits, got 9",
        ),
        (
            "/targets/0/token",
            json!("ab"),
            "targets[0].token: expected 8 to 200 hexadecimal digits, got 2",
        ),
        (
            "/targets/0/token",
            json!(12345678),
            "targets[0].token: expected a string, got a number",
        ),
        (
            "/targets/0/env",
            json!("SECRET"),
            "targets[0].env: expected production or sandbox, got another",
        ),
        (
            "/targets/0/app",
            json!(""),
            "targets[0].app: expected 1 to 256 bytes, got 0",
        ),
        (
            "/targets/0/app",
            json!(long),
            "targets[0].app: expected 1 to 256 bytes, got 1025",
        ),
        (
            "/targets/0/app",
            json!("a\nb"),
            "targets[0].app: expected no control characters, got one",
        ),
        (
            "/targets/0",
            json!({"service": "apns"}),
            "targets[0].token: expected a string, got nothing",
        ),
        (
            "/targets/0",
            json!({"service": "mpns"}),
            "targets[0].uri: expected a string, got nothing",
        ),
        (
            "/targets/0",
            json!({"service": "mpns", "uri": "http://127.0.0.1/SECRET"}),
            "targets[0].uri: expected a public host, got a private, local or reserved address",
        ),
        (
            "/targets/0",
            json!({"service": "mpns", "uri": "__https://sn1.notify.live.net/SECRET"}),
            "targets[0].uri: expected http:// or https://, got another beginning",
        ),
        (
            "/from",
            json!("sip:SECRET"),
            "from: expected an object, got a string",
        ),
        (
            "/from/uri",
            json!("sip:x\r\n"),
            "from.uri: expected no control characters, got one",
        ),
        (
            "/from/name",
            json!(["SECRET"]),
            "from.name: expected a string, got an array",
        ),
        (
            "/alert",
            json!("SECRET"),
            "alert: expected an object, got a string",
        ),
        (
            "/alert/body",
            json!(true),
            "alert.body: expected a string, got a boolean",
        ),
        (
            "/alert/loc_args",
            json!([1]),
            "alert.loc_args[0]: expected a string, got a number",
        ),
        (
            "/alert/loc_args",
            json!(["a", null]),
            "alert.loc_args[1]: expected a string, got null",
        ),
        (
            "/alert/loc_args",
            json!(many),
            "alert.loc_args: expected at most 32 elements, got 33",
        ),
        (
            "/badge",
            json!(-1),
            "badge: expected an integer from 0 to 2147483647, got one outside",
        ),
        (
            "/badge",
            json!(2_147_483_648_u64),
            "badge: expected an integer from 0 to 2147483647, got one outside",
        ),
        (
            "/badge",
            json!(1e30),
            "badge: expected an integer, got a fraction or a number beyond 64 bits",
        ),
        (
            "/sound",
            json!("a\u{7f}"),
            "sound: expected no control characters, got one",
        ),
        (
            "/thread",
            json!("a\u{0}"),
            "thread: expected no control characters, got one",
        ),
        (
            "/collapse",
            json!(""),
            "collapse: expected 1 to 64 bytes, got 0",
        ),
        (
            "/collapse",
            json!("\u{e9}".repeat(33)),
            "collapse: expected 1 to 64 bytes, got 66",
        ),
        ("/mpns", json!([]), "mpns: expected an object, got an array"),
        (
            "/mpns/kind",
            json!("SECRET"),
            "mpns.kind: expected toast, tile or raw, got another",
        ),
        (
            "/mpns/kind",
            json!("raw"),
            "mpns.raw: expected a string because kind is raw, got nothing",
        ),
        (
            "/mpns/raw",
            json!(long),
            "mpns.raw: expected 1 to 1024 bytes, got 1025",
        ),
        (
            "/mpns/param",
            json!("SECRET"),
            "mpns.param: expected a page beginning with /, got another beginning",
        ),
        (
            "/mpns/param",
            json!(format!("/{}", "\u{e9}".repeat(256))),
            "mpns.param: expected 1 to 256 characters, got 257",
        ),
        (
            "/mpns/delay",
            json!("450s"),
            "mpns.delay: expected immediate, 450 or 900, got another",
        ),
        (
            "/mpns/delay",
            json!(450),
            "mpns.delay: expected a string, got a number",
        ),
        (
            "/mpns/tile",
            json!(1),
            "mpns.tile: expected an object, got a number",
        ),
        (
            "/mpns/tile/count",
            json!(100),
            "mpns.tile.count: expected an integer from 0 to 99, got one outside",
        ),
        ("/data", json!([]), "data: expected an object, got an array"),
    ];
    for (pointer, value, expected) in cases {
        let error = decode(with(pointer, value)).unwrap_err();
        assert_eq!(error.to_string(), format!("pushrelay+json: {expected}"));
        assert_eq!(error.status(), 400);
    }
}

#[test]
fn sixteen_targets_are_read_and_seventeen_are_not() {
    let target = json!({"service": "apns", "token": TOKEN});
    let sixteen = with("/targets", json!(vec![target.clone(); 16]));
    assert_eq!(decode(sixteen).unwrap().targets.len(), 16);
    for count in [17, 100] {
        let error = error_of(with("/targets", json!(vec![target.clone(); count])));
        assert_eq!(
            error,
            format!("pushrelay+json: targets: expected 1 to 16 elements, got {count}")
        );
    }
    let mut fourth = vec![target; 5];
    fourth[3]["token"] = json!("abcdef012");
    assert_eq!(
        error_of(with("/targets", json!(fourth))),
        "pushrelay+json: targets[3].token: expected an even number of hexadecimal digits, got 9"
    );
}

#[test]
fn a_member_given_twice_is_refused() {
    for body in [
        r#"{"v":1,"v":1,"event":"test","targets":[]}"#,
        r#"{"v":1,"event":"test","targets":[{"service":"apns","token":"SECRET","token":"SECRET"}]}"#,
    ] {
        assert!(
            error_of(body).ends_with("expected each member once, got one twice"),
            "{body}"
        );
    }
    let body = base()
        .to_string()
        .replace("{\"event\"", "{\"data\":{\"a\":1,\"a\":2},\"event\"");
    assert_eq!(decode(body).unwrap().data["a"], 2);
}

/// What is read must survive the spool, whose reader has a depth limit of its own.
#[test]
fn custom_data_is_nested_32_levels_deep_at_most() {
    let data = |levels: usize| {
        format!(
            "{{\"a\":{}{}}}",
            "[".repeat(levels - 1),
            "]".repeat(levels - 1)
        )
    };
    let body = |levels| with("/data", json!({})).replace("{}", &data(levels));
    let got = decode(body(32)).unwrap();
    let origin = crate::record::Origin {
        push_id: uuid::Uuid::nil(),
        expiry: None,
        partner: "p".into(),
        call_id: "c".into(),
        received: UNIX_EPOCH,
    };
    let record = crate::record::Record::new(&got, 0, origin).unwrap();
    let read = crate::record::decode(&crate::record::encode(&record)).unwrap();
    assert_eq!(read.into_notification(), got);
    let deep = with("/from", json!(0)).replace(":0", &format!(":{}", "[".repeat(128)));
    assert_eq!(
        error_of(deep),
        "pushrelay+json: expected at most 128 levels, got more"
    );
    assert_eq!(
        error_of(body(33)),
        "pushrelay+json: data: expected at most 32 levels, got more"
    );
}

/// Lync's filter puts an underscore in front of links, or a text in front of the message.
#[test]
fn what_an_url_filter_has_done_is_undone_where_that_is_certain() {
    let target = json!({"service": "mpns", "uri": CHANNEL});
    let whole = with("/targets/0", target);
    let expected = decode(&whole).unwrap();
    let links = whole.replace("https://", "_https://");
    for (damaged, damage) in [
        (links.clone(), Damage::LINKS),
        (
            format!("[Warning: links {{can}} be SECRET]\r\n{whole}"),
            Damage::TEXT_IN_FRONT,
        ),
        (
            format!("Links were changed: {links}"),
            Damage::LINKS | Damage::TEXT_IN_FRONT,
        ),
        (whole.clone(), Damage::default()),
    ] {
        let reading = read(&damaged);
        assert_eq!(reading.result.unwrap(), expected, "{damaged}");
        assert_eq!(reading.damage, damage, "{damaged}");
    }
    let beyond = read(&format!("[Warning] {}", &whole[..whole.len() - 1]));
    assert_eq!(
        beyond.result.unwrap_err().to_string(),
        "pushrelay+json: expected { at the beginning, got a text in front of it"
    );
    assert!(beyond.damage.text_in_front());
}

fn read(body: &str) -> super::super::Reading {
    Decoders::new(ChannelPolicy::default()).read(
        Body {
            content_type: Some(CONTENT_TYPE),
            bytes: body.as_bytes(),
        },
        &super::super::NoHeaders,
    )
}

#[test]
fn hostile_bodies_are_refused_without_a_panic() {
    let deep = |open: &str, close: &str, levels: usize| {
        format!("{}{}", open.repeat(levels), close.repeat(levels))
    };
    let valid = base().to_string();
    let bodies: Vec<Vec<u8>> = vec![
        vec![],
        b"null".to_vec(),
        b"[]".to_vec(),
        b"\"SECRET\"".to_vec(),
        b"SECRET".to_vec(),
        b"{".to_vec(),
        b"{}".to_vec(),
        b"\xef\xbb\xbf{}".to_vec(),
        b"{\"v\":1e999}".to_vec(),
        b"{\"v\":-99999999999999999999999999999999999999}".to_vec(),
        format!("{valid}x").into_bytes(),
        format!("{valid}{valid}").into_bytes(),
        valid.replace("im.message", "im.message\0").into_bytes(),
        valid.replace("im.message", "x-\\ud800").into_bytes(),
        valid.replace("im.message", "\\u0000").into_bytes(),
        valid.replace("apns", "\\ud83d\\ude00").into_bytes(),
        valid
            .bytes()
            .map(|byte| if byte == b'm' { 0xff } else { byte })
            .collect(),
        with("/data", json!({}))
            .replace("{}", &deep("[", "]", 5000))
            .into_bytes(),
        with("/data", json!({}))
            .replace("{}", &format!("{{\"a\":{}}}", deep("[", "]", 200)))
            .into_bytes(),
        with("/from", json!({}))
            .replace("{}", &deep("[", "]", 5000))
            .into_bytes(),
        with("/event", json!(0))
            .replace(
                ":0",
                &format!(":{}", deep("{\"event\":", "}", 1500).replace(":}", ":1}")),
            )
            .into_bytes(),
        b"[".repeat(16 * 1024),
        b"{\"v\":".repeat(3000),
    ];
    for body in bodies {
        let error = decode(&body).unwrap_err();
        assert!(matches!(error, BodyError::Malformed(_)), "{error}");
    }
}

#[test]
fn every_cut_of_a_good_body_is_refused() {
    let body = with("/data", json!({"a": [1, "\u{e9}", {"b": null}]}));
    for at in 0..body.len() {
        assert!(decode(&body.as_bytes()[..at]).is_err(), "{at}");
    }
}

#[test]
fn a_body_beyond_the_limit_is_too_large() {
    let filler = 16 * 1024 - with("/sound", json!("")).len();
    assert!(decode(with("/sound", json!("x".repeat(filler)))).is_ok());
    let error = decode(with("/sound", json!("x".repeat(filler + 1)))).unwrap_err();
    assert_eq!(
        error,
        BodyError::TooLarge {
            limit: 16384,
            got: 16385
        }
    );
    assert_eq!(error.status(), 413);
}

/// Any bytes may come: whatever they are, there is an answer, and it repeats none of them.
#[test]
fn mutated_bodies_are_answered() {
    let mut dice = fixture::dice();
    let body = with("/data", json!({"a": ["SECRET", 1.5, true, null]}));
    for _ in 0..5000 {
        let bytes = fixture::mutated(&body, b"{}[]\",:\\0e-", &mut dice);
        let _ = decode(&bytes); // decode() itself asserts what an error may say
    }
}
