//! The bytes of a request to a channel.

use std::sync::Arc;

use pushrelay_providers::Push;
use pushrelay_providers::mpns::MpnsRequest;
use pushrelay_push::{ChannelPolicy, ChannelUri, Local, MpnsKind, Tile};
use serde_json::{Value, json};

use crate::support::*;

fn phone_push(members: Value) -> Push {
    let target =
        json!({ "service": "mpns", "uri": "http://127.0.0.1/throttledthirdparty/01.00/AAG" });
    push(target, members)
}

fn composed(members: Value) -> MpnsRequest {
    compose_for_phone(&phone_push(members)).unwrap()
}

fn text(request: &MpnsRequest) -> &str {
    std::str::from_utf8(request.body()).unwrap()
}

fn headers(request: &MpnsRequest) -> Vec<(&'static str, &str)> {
    request
        .headers()
        .map(|(name, value)| (name, std::str::from_utf8(value).unwrap()))
        .collect()
}

const HEAD: &str =
    r#"<?xml version="1.0" encoding="utf-8"?><wp:Notification xmlns:wp="WPNotification">"#;

#[test]
fn the_first_line_of_a_toast_is_the_sender_where_there_is_no_title() {
    let request = composed(json!({ "from": { "name": "Kim" }, "alert": { "body": "Hi" } }));
    assert!(text(&request).contains("<wp:Text1>Kim</wp:Text1><wp:Text2>Hi</wp:Text2></wp:Toast>"));
}

#[test]
fn the_members_of_a_senders_tile_are_its_elements_in_this_order() {
    let request = composed(json!({ "mpns": { "kind": "tile", "tile": {
        "id": "/SecondaryTile.xaml?id=5&x=\"", "background": "red.jpg", "count": 3, "title": "Text",
        "back_background": "blue.jpg", "back_title": "Back", "back_content": "Content",
    } } }));
    assert_eq!(
        headers(&request)[1..3],
        [
            ("x-windowsphone-target", "token"),
            ("x-notificationclass", "1")
        ]
    );
    let expected = "<wp:Tile Id=\"/SecondaryTile.xaml?id=5&amp;x=&quot;\">\
        <wp:BackgroundImage>red.jpg</wp:BackgroundImage><wp:Count>3</wp:Count><wp:Title>Text</wp:Title>\
        <wp:BackBackgroundImage>blue.jpg</wp:BackBackgroundImage><wp:BackTitle>Back</wp:BackTitle>\
        <wp:BackContent>Content</wp:BackContent></wp:Tile></wp:Notification>";
    assert_eq!(text(&request), format!("{HEAD}{expected}"));
}

#[test]
fn what_is_empty_clears_and_what_is_absent_stays() {
    let request =
        composed(json!({ "badge": 0, "mpns": { "kind": "tile", "tile": { "back_title": "" } } }));
    let expected = "<wp:Tile><wp:Count Action=\"Clear\"></wp:Count>\
        <wp:BackTitle Action=\"Clear\"></wp:BackTitle></wp:Tile></wp:Notification>";
    assert_eq!(text(&request), format!("{HEAD}{expected}"));
}

#[test]
fn a_number_alone_goes_as_a_tile_and_never_above_99() {
    let request = composed(json!({ "event": "badge.update", "badge": 250 }));
    let expected = "<wp:Tile><wp:Count>99</wp:Count></wp:Tile></wp:Notification>";
    assert_eq!(text(&request), format!("{HEAD}{expected}"));
}

#[test]
fn the_class_names_kind_and_delay() {
    for (kind, delay, class) in [
        ("tile", "immediate", "1"),
        ("tile", "450", "11"),
        ("tile", "900", "21"),
        ("toast", "immediate", "2"),
        ("toast", "450", "12"),
        ("toast", "900", "22"),
        ("raw", "immediate", "3"),
        ("raw", "450", "13"),
        ("raw", "900", "23"),
    ] {
        let request = composed(
            json!({ "alert": { "body": "Hi" }, "mpns": { "kind": kind, "delay": delay, "raw": "x" } }),
        );
        assert!(
            headers(&request).contains(&("x-notificationclass", class)),
            "{kind} {delay}"
        );
    }
}

#[test]
fn a_long_text_is_shortened_to_three_kib_at_a_character_boundary() {
    for (unit, waste) in [("a", 0), ("ä", 1), ("&", 4), ("🙂", 3), ("\u{1}a", 0)] {
        let mut push = phone_push(json!({ "alert": { "title": "Kim", "body": "x" } }));
        let alert = Arc::make_mut(&mut push.notification)
            .alert
            .as_mut()
            .unwrap();
        alert.body = Some(unit.repeat(4000).into());
        let request = compose_for_phone(&push).unwrap();
        let length = request.body().len();
        assert!(
            length <= 3072 && length >= 3072 - waste,
            "{unit:?}: {length}"
        );
        assert!(text(&request).contains("<wp:Text1>Kim</wp:Text1>"));
        assert!(text(&request).contains("…</wp:Text2>"));
    }
}

#[test]
fn texts_of_a_tile_are_shortened_from_the_back() {
    let mut push = phone_push(json!({ "mpns": { "kind": "tile", "tile": { "title": "Title" } } }));
    let phone = &mut Arc::make_mut(&mut push.notification).windows_phone;
    phone.tile = Some(Tile {
        title: Some("Title".into()),
        back_title: Some("b".repeat(2000).into()),
        back_content: Some("c".repeat(2000).into()),
        ..Tile::default()
    });
    let request = compose_for_phone(&push).unwrap();
    assert!(request.body().len() <= 3072);
    assert!(
        text(&request).contains("bbb</wp:BackTitle>")
            && text(&request).contains("ccc…</wp:BackContent>")
    );
}

#[test]
fn what_cannot_be_shortened_is_too_large() {
    let mut push = phone_push(json!({ "mpns": { "kind": "raw", "raw": "x" } }));
    let phone = &mut Arc::make_mut(&mut push.notification).windows_phone;
    phone.raw = Some("x".repeat(1024).into());
    assert_eq!(compose_for_phone(&push).unwrap().body().len(), 1024);
    let phone = &mut Arc::make_mut(&mut push.notification).windows_phone;
    phone.raw = Some("x".repeat(1025).into());
    assert_eq!(compose_for_phone(&push).unwrap_err(), Local::TooLarge);
    let phone = &mut Arc::make_mut(&mut push.notification).windows_phone;
    phone.kind = MpnsKind::Toast;
    phone.param = Some(format!("/{}", "&".repeat(900)).into());
    assert_eq!(compose_for_phone(&push).unwrap_err(), Local::TooLarge);
}

#[test]
fn an_apple_device_gets_no_request_to_a_channel() {
    assert_eq!(
        compose_for_phone(&apple_push("8dcf6c4f2a9b01e7")).unwrap_err(),
        Local::UnknownApp
    );
}

#[test]
fn every_path_that_a_channel_uri_can_have_stands_in_a_request_line() {
    let policy = ChannelPolicy::default();
    let mut allowed = 0;
    for character in (0..=0x7f).map(char::from) {
        for place in [
            format!("a{character}"),
            format!("a?{character}"),
            format!("%20{character}b"),
        ] {
            let text = format!("http://sn1.notify.live.net/throttledthirdparty/{place}");
            if let Ok(uri) = ChannelUri::parse(&text, &policy) {
                allowed += 1;
                http::uri::PathAndQuery::try_from(uri.path_and_query()).unwrap();
            }
        }
    }
    assert!(allowed > 100);
}
