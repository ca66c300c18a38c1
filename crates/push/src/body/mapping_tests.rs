#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::super::{Body, Decoder, Decoders, Headers, JsonPointer, NoHeaders, Transform, XmlPath};
use super::*;
use crate::device::Device;
use crate::event::Event;

const TOKEN: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";
const CHANNEL: &str = "https://sn1.notify.live.net/unthrottledthirdparty/01.00/AAGvdLTQ";

fn json(pointer: &str) -> Rule {
    Rule::new(Source::Json(JsonPointer::parse(pointer).unwrap()))
}

fn xml(path: &str) -> Rule {
    Rule::new(Source::Xml(XmlPath::parse(path).unwrap()))
}

fn group(name: &str) -> Rule {
    Rule::new(Source::Group(name.into()))
}

fn constant(value: impl Into<Value>) -> Rule {
    Rule::new(Source::Constant(value.into()))
}

fn fields<const N: usize>(rules: [(&str, Rule); N]) -> Vec<Field> {
    let field = |(name, rule)| Field {
        name: FieldName::parse(name).unwrap(),
        rule,
    };
    rules.into_iter().map(field).collect()
}

fn text_plain() -> Match {
    Match {
        content_types: vec!["text/plain".into()],
        ..Match::default()
    }
}

fn mapping<const N: usize>(rules: [(&str, Rule); N]) -> Mapping {
    Mapping::new("foreign", text_plain(), Vec::new(), fields(rules)).unwrap()
}

fn decode(mapping: Mapping, body: &str) -> Result<Notification, BodyError> {
    decode_with(mapping, body, &NoHeaders)
}

fn decode_with(
    mapping: Mapping,
    body: &str,
    headers: &dyn Headers,
) -> Result<Notification, BodyError> {
    let list = vec![Decoder::Json, Decoder::Mapping(Arc::new(mapping))];
    let body = Body {
        content_type: Some("text/plain; charset=utf-8"),
        bytes: body.as_bytes(),
    };
    Decoders::ordered(ChannelPolicy::default(), list)
        .read(body, headers)
        .result
}

#[test]
fn a_foreign_json_becomes_a_notification() {
    let rules = [
        ("event", {
            let mut rule = json("/kind");
            rule.lookup = vec![("IM".into(), "im.message".into())];
            rule.default = Some("x-other".into());
            rule
        }),
        ("targets[0].token", {
            let mut rule = json("/devices/0/tok~1en");
            rule.transforms = vec![Transform::Trim, Transform::Base64ToHex];
            rule
        }),
        ("targets[1].uri", json("/devices/1/channel")),
        ("targets[2].uri", json("/devices/2/channel")),
        ("targets[0].app", constant("com.example.chat")),
        ("alert.title", json("/who")),
        ("alert.loc_args[0]", json("/unread")),
        ("badge", json("/unread")),
        ("data.conversation", json("/unread")),
        ("data.deep.flag", json("/flag")),
    ];
    let body = format!(
        r#"{{"kind":"IM","devices":[{{"tok/en":" APwTrf94USK0rSiAmjQgmCNBJBQhNICXh45XfJkd6PA "}},{{"channel":"{CHANNEL}"}}],"who":"Kim","unread":3,"flag":true}}"#
    );
    let got = decode(mapping(rules.clone()), &body).unwrap();
    assert_eq!(got.event, Event::ImMessage);
    let [first, second] = got.targets.as_slice() else {
        panic!("{got:?}");
    };
    assert!(matches!(&first.device, Device::Apple(token) if token.as_str() == TOKEN));
    assert!(matches!(&second.device, Device::WindowsPhone(uri) if uri.as_str() == CHANNEL));
    assert_eq!(first.app.as_deref(), Some("com.example.chat"));
    let alert = got.alert.unwrap();
    assert_eq!(alert.title.as_deref(), Some("Kim"));
    assert_eq!(alert.loc_args, ["3"]);
    assert_eq!(got.badge, Some(3));
    assert_eq!(
        Value::Object(got.data),
        serde_json::json!({"conversation": "3", "deep": {"flag": "true"}})
    );
    let other = decode(mapping(rules), &body.replace("\"IM\"", "\"other\"")).unwrap();
    assert_eq!(other.event.name(), "x-other");
}

#[test]
fn a_foreign_xml_becomes_a_notification() {
    let rules = [
        ("event", constant("im.message")),
        ("targets[0].token", xml("n/dev[1]/@id")),
        ("targets[1].token", xml("n/dev[2]/@id")),
        ("from.uri", xml("*/from")),
    ];
    let body =
        format!("<x:n xmlns:x='_http://x/'><dev id='{TOKEN}'/><from>sip:k@c.example</from></x:n>");
    let got = decode(mapping(rules), &body).unwrap();
    assert_eq!(got.targets.len(), 1);
    assert_eq!(got.from.unwrap().uri.as_deref(), Some("sip:k@c.example"));
}

struct Agent;

impl Headers for Agent {
    fn header(&self, name: &str) -> Option<&[u8]> {
        name.eq_ignore_ascii_case("user-agent")
            .then_some(b"RTCC/5.0.0.0 McxService/5.0.0.0")
    }
}

#[test]
fn a_foreign_text_is_read_by_its_groups_and_its_user_agent() {
    let matching = Match {
        user_agent: Some(Pattern::new("McxService/").unwrap()),
        body: Some(Pattern::new("(?m)^Token: (?<token>[0-9a-f ]+)").unwrap()),
        ..Match::default()
    };
    let groups = vec![Pattern::new("(?m)^Badge: (?<badge>[0-9]+)").unwrap()];
    let mut token = group("token");
    token.transforms = vec![Transform::Hex];
    let rules = [
        ("event", constant("badge.update")),
        ("targets[0].token", token),
        ("badge", group("badge")),
        ("from.name", Rule::new(Source::Header("User-Agent".into()))),
    ];
    let mapping = Mapping::new("text", matching, groups, fields(rules)).unwrap();
    let body = "Hello\r\nToken: 00fc 13ad\r\nBadge: 7\r\n";
    let got = decode_with(mapping.clone(), body, &Agent).unwrap();
    assert_eq!(got.badge, Some(7));
    assert_eq!(
        got.from.unwrap().name.as_deref(),
        Some("RTCC/5.0.0.0 McxService/5.0.0.0")
    );
    let without = decode_with(mapping.clone(), "Token: 00fc 13ad", &Agent).unwrap();
    assert_eq!(without.badge, None);
    for (body, headers) in [(body, &NoHeaders as &dyn Headers), ("Badge: 7", &Agent)] {
        let error = decode_with(mapping.clone(), body, headers).unwrap_err();
        assert_eq!(error.status(), 415, "{error}");
    }
}

#[test]
fn what_is_wrong_names_mapping_and_field_and_repeats_nothing() {
    let rule = |transform| {
        let mut rule = json("/t");
        rule.transforms = vec![transform];
        rule
    };
    let looked_up = {
        let mut rule = json("/t");
        rule.lookup = vec![("a".into(), "im.message".into())];
        rule
    };
    let event = || ("event", constant("test"));
    let token = || ("targets[0].token", constant(TOKEN));
    let cases: Vec<(Mapping, &str, &str)> = vec![
        (
            mapping([event(), ("targets[0].token", json("/t"))]),
            r#"{"t":"SECRET"}"#,
            "targets[0].token: expected hexadecimal digits, got another character at position 0",
        ),
        (
            mapping([event(), ("targets[1].token", json("/t"))]),
            r#"{"t":"SECRET"}"#,
            "targets[1].token: expected hexadecimal digits, got another character at position 0",
        ),
        (
            mapping([event(), ("targets[0].token", json("/t"))]),
            "{}",
            "targets: expected a token or uri of at least one device, found none",
        ),
        (
            mapping([event(), ("targets[0].token", json("/t"))]),
            r#"{"t":["SECRET"]}"#,
            "targets[0].token: expected one value, got an array",
        ),
        (
            mapping([event(), ("targets[0].token", rule(Transform::Hex))]),
            r#"{"t":"SECRET"}"#,
            "targets[0].token: expected hexadecimal digits, got something else",
        ),
        (
            mapping([event(), ("targets[0].token", rule(Transform::Base64ToHex))]),
            r#"{"t":"?SECRET"}"#,
            "targets[0].token: expected base64, got something else",
        ),
        (
            mapping([event(), token(), ("badge", json("/t"))]),
            r#"{"t":"SECRET"}"#,
            "badge: expected an integer, got something else",
        ),
        (
            mapping([event(), token(), ("badge", json("/t"))]),
            r#"{"t":-1}"#,
            "badge: expected an integer from 0 to 2147483647, got one outside",
        ),
        (
            mapping([token(), ("event", looked_up)]),
            r#"{"t":"SECRET"}"#,
            "event: expected an entry of the lookup table, got another value",
        ),
        (
            mapping([token(), ("event", json("/t"))]),
            "{}",
            "event: expected a string, got nothing",
        ),
        (
            mapping([token(), ("event", json("/t"))]),
            "SECRET",
            "line 1 column 1: expected JSON, got something else",
        ),
        (
            mapping([token(), ("event", xml("a"))]),
            "SECRET",
            "byte 0: expected text only inside the root element, got it outside",
        ),
    ];
    for (mapping, body, expected) in cases {
        let error = decode(mapping, body).unwrap_err();
        assert_eq!(error.to_string(), format!("foreign: {expected}"), "{body}");
        assert_eq!(error.status(), 400);
    }
}

#[test]
fn a_mapping_that_cannot_work_is_none() {
    let rules = || {
        [
            ("event", constant("test")),
            ("targets[0].token", group("t")),
        ]
    };
    let new = |name, fields| Mapping::new(name, Match::default(), Vec::new(), fields);
    assert_eq!(new("a b", fields(rules())).unwrap_err(), MappingError::Name);
    assert_eq!(
        new("a", fields(rules())).unwrap_err().to_string(),
        "targets[0].token: expected a named group of match.body or match.groups, got \"t\""
    );
    let [event, token] = rules();
    assert_eq!(
        new("a", fields([event])).unwrap_err(),
        MappingError::NoTarget
    );
    assert_eq!(
        new("a", fields([token])).unwrap_err(),
        MappingError::NoEvent
    );
    let twice = [
        ("event", constant("test")),
        ("event", constant("test")),
        ("targets[0].uri", constant(CHANNEL)),
    ];
    assert_eq!(
        new("a", fields(twice)).unwrap_err(),
        MappingError::Twice("event".into())
    );
}

#[test]
fn field_names_are_those_of_the_model() {
    for good in super::super::shape::leaves() {
        assert_eq!(FieldName::parse(&good).is_some(), good != "data", "{good}");
    }
    for bad in [
        "",
        "events",
        "alert",
        "targets",
        "targets[0]",
        "targets.token",
        "targets[32].token",
        "badge[0]",
        "badge.x",
        "data",
        "data.",
        "data.a[0]",
        "alert.loc_args",
        "targets[x].token",
        "targets[-1].token",
    ] {
        assert_eq!(FieldName::parse(bad), None, "{bad}");
    }
}

#[test]
fn pointers_and_patterns_are_judged_when_they_are_made() {
    for good in ["", "/a", "/a~0/~1b"] {
        assert!(JsonPointer::parse(good).is_some(), "{good}");
    }
    for bad in ["a", "/a~", "/~2"] {
        assert!(JsonPointer::parse(bad).is_none(), "{bad}");
    }
    let error = Pattern::new("(a").unwrap_err();
    assert!(
        error.contains("unclosed group") && !error.contains('\n'),
        "{error}"
    );
    assert!(
        Pattern::new("(a{1000}){1000}")
            .unwrap_err()
            .contains("1048576")
    );
}

/// A filter's text in front of the document does not hide it.
#[test]
fn a_damaged_foreign_body_is_repaired() {
    let rules = [
        ("event", constant("im.message")),
        ("targets[0].uri", json("/c")),
    ];
    let body = format!(r#"[Links were changed] {{"c":"_{CHANNEL}"}}"#);
    let list = vec![Decoder::Mapping(Arc::new(mapping(rules)))];
    let reading = Decoders::ordered(ChannelPolicy::default(), list).read(
        Body {
            content_type: Some("text/plain"),
            bytes: body.as_bytes(),
        },
        &NoHeaders,
    );
    assert_eq!(reading.result.unwrap().targets.len(), 1);
    assert!(reading.damage.links() && reading.damage.text_in_front());
}
