//! The bytes of a request to Apple.

use std::sync::Arc;

use pushrelay_providers::apns::{ApnsApp, ApnsRequest};
use pushrelay_push::{Expiry, Local};
use serde_json::{Value, json};

use crate::support::*;

const TOKEN: &str = "8dcf6c4f2a9b01e7";

fn target() -> Value {
    json!({ "service": "apns", "token": TOKEN })
}

fn composed(members: Value) -> ApnsRequest {
    compose_for_apple(&push(target(), members), &app()).unwrap()
}

fn text(request: &ApnsRequest) -> &str {
    std::str::from_utf8(request.payload()).unwrap()
}

fn header(request: &ApnsRequest, name: &str) -> Option<String> {
    let value = request.headers().get(name)?.clone();
    Some(value.to_str().unwrap().to_owned())
}

#[test]
fn the_title_is_the_sender_where_there_is_none() {
    let request = composed(json!({ "from": { "name": "Kim Akers" }, "alert": { "body": "Hi" } }));
    assert_eq!(
        text(&request),
        r#"{"aps":{"alert":{"title":"Kim Akers","body":"Hi"}}}"#
    );
}

#[test]
fn a_voip_topic_makes_a_voip_push_with_more_room() {
    let app = ApnsApp::new("com.example.chat.voip").unwrap();
    let data = json!({ "data": { "filler": "x".repeat(5000) } });
    let request = compose_for_apple(&push(target(), data.clone()), &app).unwrap();
    assert_eq!(header(&request, "apns-push-type").as_deref(), Some("voip"));
    assert_eq!(header(&request, "apns-priority").as_deref(), Some("10"));
    assert!(request.payload().len() > 4096 && request.payload().len() <= 5120);
    assert_eq!(
        compose_for_apple(&push(target(), data), &crate::support::app()).unwrap_err(),
        Local::TooLarge
    );
}

#[test]
fn without_expiry_and_collapse_their_headers_are_absent() {
    let mut push = push(target(), json!({ "badge": 1 }));
    push.expiry = None;
    let request = compose_for_apple(&push, &app()).unwrap();
    assert_eq!(header(&request, "apns-expiration"), None);
    assert_eq!(header(&request, "apns-collapse-id"), None);
    push.expiry = Some(Expiry::from_unix_seconds(0));
    assert_eq!(
        header(
            &compose_for_apple(&push, &app()).unwrap(),
            "apns-expiration"
        )
        .as_deref(),
        Some("0")
    );
}

#[test]
fn custom_data_cannot_replace_aps() {
    let mut push = push(target(), json!({ "badge": 1 }));
    let notification = Arc::make_mut(&mut push.notification);
    notification.data = json!({ "aps": { "badge": 99 }, "a": 1 })
        .as_object()
        .unwrap()
        .clone();
    assert_eq!(
        text(&compose_for_apple(&push, &app()).unwrap()),
        r#"{"aps":{"badge":1},"a":1}"#
    );
}

#[test]
fn a_long_text_is_shortened_to_what_apple_takes_and_not_further() {
    for (unit, waste) in [
        ("a", 0),
        ("ä", 1),
        ("🙂", 3),
        ("\"", 1),
        ("\\", 1),
        ("a\u{301}🙂\"", 8),
    ] {
        let alert = json!({ "alert": { "title": "Kim", "body": unit.repeat(4096 / unit.len()) } });
        let mut push = push(target(), json!({ "alert": { "title": "Kim", "body": "" } }));
        Arc::make_mut(&mut push.notification)
            .alert
            .as_mut()
            .unwrap()
            .body = Some(alert["alert"]["body"].as_str().unwrap().into());
        let request = compose_for_apple(&push, &app()).unwrap();
        let length = request.payload().len();
        assert!(
            length <= 4096 && length >= 4096 - waste,
            "{unit:?}: {length}"
        );
        let payload: Value = serde_json::from_slice(request.payload()).unwrap();
        let body = payload["aps"]["alert"]["body"].as_str().unwrap();
        let whole = unit.repeat(4096 / unit.len());
        assert!(
            whole.starts_with(body.strip_suffix('…').unwrap()),
            "{unit:?}"
        );
        assert_eq!(payload["aps"]["alert"]["title"], "Kim");
    }
}

#[test]
fn a_text_that_just_fits_is_left_as_it_is() {
    let around = text(&composed(json!({ "alert": { "body": "x" } }))).len() - 1;
    for (length, fits) in [(4096 - around, true), (4096 - around + 1, false)] {
        let mut push = push(target(), json!({ "alert": { "body": "x" } }));
        let body = "x".repeat(length);
        Arc::make_mut(&mut push.notification)
            .alert
            .as_mut()
            .unwrap()
            .body = Some(body.into());
        let request = compose_for_apple(&push, &app()).unwrap();
        assert_eq!(request.payload().len(), 4096);
        assert_eq!(!text(&request).contains('…'), fits);
    }
}

#[test]
fn where_the_body_is_not_enough_subtitle_and_title_give_too() {
    let mut push = push(target(), json!({ "alert": { "body": "x" } }));
    let alert = Arc::make_mut(&mut push.notification)
        .alert
        .as_mut()
        .unwrap();
    alert.body = Some("b".repeat(2000).into());
    alert.subtitle = Some("s".repeat(2000).into());
    alert.title = Some("t".repeat(6000).into());
    let request = compose_for_apple(&push, &app()).unwrap();
    assert!(request.payload().len() <= 4096);
    let payload: Value = serde_json::from_slice(request.payload()).unwrap();
    let title = payload["aps"]["alert"]["title"].as_str().unwrap();
    assert!(title.starts_with("ttt") && title.ends_with('…') && title.len() > 4000);
    assert!(payload["aps"]["alert"].get("body").is_none());
}

#[test]
fn data_that_is_too_large_cannot_be_shortened() {
    let members = json!({ "alert": { "body": "Hi" }, "data": { "filler": "x".repeat(4096) } });
    assert_eq!(
        compose_for_apple(&push(target(), members), &app()).unwrap_err(),
        Local::TooLarge
    );
}

#[test]
fn a_topic_that_cannot_stand_in_a_header_is_refused() {
    for topic in ["", "com example", "com.example\r\n", "ä", &"x".repeat(256)] {
        let error = ApnsApp::new(topic).unwrap_err().to_string();
        assert!(error.contains("expected a topic"), "{error}");
    }
}

#[test]
fn a_windows_phone_gets_no_request_to_apple() {
    let phone = json!({ "service": "mpns", "uri": "http://127.0.0.1/throttledthirdparty/01.00/A" });
    let push = push(phone, json!({ "badge": 1 }));
    assert_eq!(
        compose_for_apple(&push, &app()).unwrap_err(),
        Local::UnknownApp
    );
}
