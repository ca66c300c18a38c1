#![allow(clippy::unwrap_used)]

use super::*;
use crate::fixture;

const TOKEN: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";

fn json() -> String {
    format!(
        r#"{{"v":1,"event":"im.message","targets":[{{"service":"apns","token":"{TOKEN}"}}],"sound":"json"}}"#
    )
}

fn xml() -> String {
    format!(
        "<push v='1' event='im.message' sound='xml'><targets><target service='apns' token='{TOKEN}'/></targets></push>"
    )
}

fn mixed(parts: &[(&str, &str)]) -> String {
    let parts = parts
        .iter()
        .map(|(kind, body)| format!("--b\r\nContent-Type: {kind}\r\n\r\n{body}\r\n"));
    format!("{}--b--\r\n", parts.collect::<String>())
}

fn read(content_type: &str, body: impl AsRef<[u8]>) -> Result<Notification, BodyError> {
    Decoders::new(ChannelPolicy::default()).decode(Body {
        content_type: Some(content_type),
        bytes: body.as_ref(),
    })
}

fn sound(content_type: &str, body: impl AsRef<[u8]>) -> String {
    let notification = read(content_type, body).unwrap();
    notification.sound.unwrap().into()
}

const JSON: &str = "application/vnd.pushrelay+json; v=1";
const XML: &str = "application/vnd.pushrelay+xml";

#[test]
fn the_part_that_a_decoder_knows_is_read() {
    let (json, xml) = (json(), xml());
    let both = [(JSON, &*json), ("text/plain", "hello"), (XML, &*xml)];
    assert_eq!(sound("multipart/mixed; boundary=b", mixed(&both)), "json");
    // RFC 2046 5.1.4: the last is the richest.
    assert_eq!(
        sound("multipart/alternative; boundary=b", mixed(&both)),
        "xml"
    );
    let inner = mixed(&both).replace("--b", "--inner");
    let outer = mixed(&[("multipart/mixed; boundary=inner", &inner)]);
    assert_eq!(sound("multipart/mixed; boundary=b", outer), "json");
    let cpim = format!("From: <sip:a@b>\r\n\r\nContent-Type: {JSON}\r\n\r\n{json}");
    assert_eq!(sound("message/cpim", cpim), "json");
}

#[test]
fn what_is_wrong_in_a_part_names_the_part() {
    let body = mixed(&[("text/plain", "x"), (JSON, "{\"v\":1}")]);
    let error = read("multipart/mixed; boundary=b", body).unwrap_err();
    assert_eq!(
        error.to_string(),
        "part 2: pushrelay+json: event: expected a string, got nothing"
    );
    assert_eq!(error.status(), 400);
    let error = read("multipart/mixed; boundary=b", mixed(&[("text/plain", "x")])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "expected application/vnd.pushrelay+json, application/vnd.pushrelay+xml, got a container without such a part"
    );
    assert_eq!(error.status(), 415);
}

#[test]
fn containers_are_opened_four_deep_and_no_deeper() {
    let wrapped = |levels: usize| {
        (0..levels).fold((JSON.to_owned(), json()), |(kind, body), _| {
            (
                "message/cpim".into(),
                format!("a: b\r\n\r\nContent-Type: {kind}\r\n\r\n{body}"),
            )
        })
    };
    let (kind, body) = wrapped(4);
    assert_eq!(sound(&kind, body), "json");
    let (kind, body) = wrapped(5);
    assert_eq!(read(&kind, body).unwrap_err().status(), 415);
}

#[test]
fn every_encoding_of_a_body_is_read() {
    for (kind, body) in [(JSON, json()), (XML, xml())] {
        let expected = read(kind, &body).unwrap();
        let little: Vec<u8> = body.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = body.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for (charset, bytes) in [
            ("; charset=utf-16", little.clone()),
            ("; charset=\"UTF-16BE\"", big.clone()),
            ("", little.clone()),
            ("", [b"\xff\xfe".as_slice(), &little].concat()),
            ("", [b"\xfe\xff".as_slice(), &big].concat()),
            (
                "; charset=utf-8",
                [b"\xef\xbb\xbf", body.as_bytes()].concat(),
            ),
            ("; charset=iso-8859-1", body.clone().into_bytes()),
        ] {
            assert_eq!(
                read(&format!("{kind}{charset}"), bytes).unwrap(),
                expected,
                "{charset}"
            );
        }
    }
}

#[test]
fn accept_names_every_type_once_in_the_order_of_the_decoders() {
    let decoders = Decoders::ordered(ChannelPolicy::default(), vec![Decoder::Xml, Decoder::Json]);
    assert_eq!(
        decoders.accept(),
        "application/vnd.pushrelay+xml, application/vnd.pushrelay+json"
    );
}

#[test]
fn a_reason_is_never_longer_than_200_characters() {
    let long = BodyError::Malformed("x".repeat(500)).within("decoder");
    assert_eq!(long.to_string().len(), 200);
}

#[test]
fn an_explanation_shows_each_decoder_each_field_and_what_is_missing() {
    let body = mixed(&[(XML, &xml())]);
    let body = Body {
        content_type: Some("multipart/mixed; boundary=b"),
        bytes: body.as_bytes(),
    };
    let parts = Decoders::new(ChannelPolicy::default()).explain(body, &NoHeaders);
    assert_eq!(parts.len(), 2);
    assert_eq!(parts[0].wrapped, Wrapped::Parts(1));
    assert_eq!(parts[1].path, [1]);
    let [json, xml] = parts[1].decoders.as_slice() else {
        panic!("{parts:?}");
    };
    assert_eq!(json.mismatch, Some("the content type is another"));
    assert_eq!(xml.mismatch, None);
    let token = xml
        .fields
        .iter()
        .find(|field| field.name == "targets[0].token");
    assert_eq!(token.unwrap().value, Ok(Some(TOKEN.into())));
    assert!(xml.missing.iter().any(|name| name == "alert.title"));
    assert!(!xml.missing.iter().any(|name| name == "sound"));
    assert!(xml.result.as_ref().unwrap().is_ok());
}

/// Any bytes may come: whatever they are, there is an answer of at most 200 printable characters.
#[test]
fn mutated_bodies_are_answered() {
    let mut dice = fixture::dice();
    let (json, xml) = (json(), xml());
    let bodies = [
        (XML.to_owned(), xml.clone()),
        (format!("{XML}; charset=utf-16"), xml.clone()),
        (
            "multipart/mixed; boundary=b".to_owned(),
            mixed(&[(JSON, &json), (XML, &xml)]),
        ),
        (
            "message/cpim".to_owned(),
            format!("a: b\n\nContent-Type: {XML}\n\n{xml}"),
        ),
    ];
    for round in 0..8000 {
        let (kind, body) = &bodies[round % bodies.len()];
        let bytes = fixture::mutated(body, b"<>&;'\"=/![]-\0\n", &mut dice);
        if let Err(error) = read(kind, &bytes) {
            let text = error.to_string();
            assert!(text.len() <= 200 && text.is_ascii(), "{text}");
        }
    }
}
