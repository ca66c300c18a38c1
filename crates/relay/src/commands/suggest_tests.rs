#![allow(clippy::unwrap_used)]

use super::*;
use pushrelay_push::Notification;
use pushrelay_push::body::NoHeaders;

const TOKEN: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";
const CHANNEL: &str = "https://sn1.notify.live.net/unthrottledthirdparty/01.00/AAGvdLTQ";

/// What the draft of a body makes of that body.
fn drafted(content_type: &str, text: &str) -> (String, Notification) {
    let channels = ChannelPolicy::default();
    let candidates = values(text);
    let draft = Draft::new(&candidates, &channels).unwrap();
    let toml = draft.toml(text, content_type, None);
    let mapping = config::mapping("draft", &toml)
        .unwrap_or_else(|problem| panic!("{problem}\n{toml}"))
        .unwrap();
    let list = vec![Decoder::Mapping(Arc::new(mapping))];
    let body = Body {
        content_type: Some(content_type),
        bytes: text.as_bytes(),
    };
    let reading = Decoders::ordered(channels, list).read(body, &NoHeaders);
    let notification = reading
        .result
        .unwrap_or_else(|error| panic!("{error}\n{toml}"));
    (toml, notification)
}

fn check(content_type: &str, text: &str) -> String {
    let (toml, got) = drafted(content_type, text);
    assert_eq!(got.event.name(), "im.missed", "{toml}");
    assert_eq!(got.badge, Some(7), "{toml}");
    let alert = got.alert.unwrap();
    assert_eq!(alert.title.as_deref(), Some("Kim Akers"), "{toml}");
    assert_eq!(alert.body.as_deref(), Some("Are you there?"), "{toml}");
    let from = got.from.unwrap();
    assert_eq!(
        from.uri.as_deref(),
        Some("sip:kima@contoso.example"),
        "{toml}"
    );
    assert_eq!(got.targets.len(), 1, "{toml}");
    toml
}

#[test]
fn json_xml_and_text_are_drafted_from_one_body_each() {
    let json = format!(
        r#"{{"device":{{"id":"6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55","token":"{TOKEN}"}},"eventType":"MissedIM","unread":7,"from":"sip:kima@contoso.example","displayName":"Kim Akers","message":"Are you there?","x":"y"}}"#
    );
    let toml = check("application/json", &json);
    assert!(toml.contains("# json /x = \"y\""), "{toml}");
    let xml = format!(
        "<n:notify xmlns:n='http://x/' kind='MissedIM' badge='7'><from>sip:kima@contoso.example</from><displayName>Kim Akers</displayName>\
         <text>Are you there?</text><channel>{CHANNEL}</channel></n:notify>"
    );
    check("text/xml", &xml);
    let spaced = "<00fc13ad ff785122 b4ad2880 9a342098 23412414 21348097 878e577c 991de8f0>";
    let lines = format!(
        "Token: {spaced}\r\nEvent: MissedIM\r\nBadge: 7\r\nFrom: sip:kima@contoso.example\r\nName: Kim Akers\r\nText: Are you there?\r\n"
    );
    check("text/plain", &lines);
    let form = "token=APwTrf94USK0rSiAmjQgmCNBJBQhNICXh45XfJkd6PA=&kind=MissedIM&count=7&from=sip:kima@contoso.example&name=Kim Akers&text=Are you there?";
    check("application/x-www-form-urlencoded", form);
}

#[test]
fn without_an_event_it_is_a_message_and_without_a_device_there_is_no_draft() {
    let (toml, got) = drafted("text/plain", &format!("Channel: {CHANNEL}"));
    assert_eq!(got.event.name(), "im.message");
    assert!(
        toml.contains("nothing in it looks like the name of an event"),
        "{toml}"
    );
    let candidates = values(r#"{"badge":7,"id":"6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55"}"#);
    assert!(Draft::new(&candidates, &ChannelPolicy::default()).is_none());
}

/// What was redacted still looks like what it was.
#[test]
fn a_redacted_capture_can_be_drafted_from() {
    let mut bytes = format!("<p><t>{TOKEN}</t><channel>{CHANNEL}99</channel></p>").into_bytes();
    crate::redaction::redact(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    assert!(
        !text.contains(TOKEN) && !text.contains("AAGvdLTQ"),
        "{text}"
    );
    let (_, got) = drafted("text/xml", &text);
    assert_eq!(got.targets.len(), 1);
}
