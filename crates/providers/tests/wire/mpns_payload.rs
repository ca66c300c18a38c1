//! The bytes of a request to a channel.

use std::sync::Arc;

use pushrelay_providers::Push;
use pushrelay_providers::mpns::{self, MpnsRequest};
use pushrelay_push::present::{Shown, TileLook, TileStyle};
use pushrelay_push::{ChannelPolicy, ChannelUri, Delay, Local, MpnsKind, Tile};
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
fn a_toast_is_these_bytes() {
    let request = composed(json!({
        "alert": { "title": "Kim <Akers>", "body": "R&D \"now\" 'please'" },
        "mpns": { "kind": "toast", "param": "/Chat.xaml?c=42&d=1" },
    }));
    assert_eq!(
        headers(&request),
        [
            ("content-type", "text/xml"),
            ("x-windowsphone-target", "toast"),
            ("x-notificationclass", "2"),
            ("x-messageid", "6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55"),
        ]
    );
    let expected = "<wp:Toast><wp:Text1>Kim &lt;Akers&gt;</wp:Text1>\
        <wp:Text2>R&amp;D &quot;now&quot; &apos;please&apos;</wp:Text2>\
        <wp:Param>/Chat.xaml?c=42&amp;d=1</wp:Param></wp:Toast></wp:Notification>";
    assert_eq!(text(&request), format!("{HEAD}{expected}"));
}

#[test]
fn the_first_line_of_a_toast_is_the_sender_where_there_is_no_title() {
    let request = composed(json!({ "from": { "name": "Kim" }, "alert": { "body": "Hi" } }));
    assert!(text(&request).contains("<wp:Text1>Kim</wp:Text1><wp:Text2>Hi</wp:Text2></wp:Toast>"));
}

#[test]
fn a_tile_is_these_bytes_in_this_order() {
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
fn raw_bytes_go_as_they_are_without_a_target() {
    let request = composed(json!({ "mpns": { "kind": "raw", "raw": "<any>&thing" } }));
    assert_eq!(text(&request), "<any>&thing");
    assert_eq!(
        headers(&request)[..2],
        [("content-type", "text/xml"), ("x-notificationclass", "3")]
    );
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

#[test]
fn every_tile_of_windows_phone_8_is_these_bytes() {
    for (style, expected) in [
        (
            TileStyle::Flip,
            concat!(
                r#"<wp:Tile Id="/Chat.xaml?c=1&amp;d=2" Template="FlipTile"><wp:SmallBackgroundImage>a</wp:SmallBackgroundImage>"#,
                r#"<wp:WideBackgroundImage>b</wp:WideBackgroundImage><wp:WideBackBackgroundImage>c</wp:WideBackBackgroundImage>"#,
                r#"<wp:WideBackContent>d</wp:WideBackContent><wp:BackgroundImage>e</wp:BackgroundImage><wp:Count Action="Clear"></wp:Count>"#,
                r#"<wp:Title>g</wp:Title><wp:BackBackgroundImage>h</wp:BackBackgroundImage><wp:BackTitle>i</wp:BackTitle>"#,
                r#"<wp:BackContent>j</wp:BackContent></wp:Tile>"#,
            ),
        ),
        (
            TileStyle::Iconic,
            concat!(
                r#"<wp:Tile Id="/Chat.xaml?c=1&amp;d=2" Template="IconicTile"><wp:SmallIconImage>a</wp:SmallIconImage>"#,
                r#"<wp:IconImage>b</wp:IconImage><wp:WideContent1>c</wp:WideContent1><wp:WideContent2>d</wp:WideContent2>"#,
                r#"<wp:WideContent3>e</wp:WideContent3><wp:Count Action="Clear"></wp:Count><wp:Title>g</wp:Title>"#,
                r#"<wp:BackgroundColor>h</wp:BackgroundColor></wp:Tile>"#,
            ),
        ),
        (
            TileStyle::Cycle,
            concat!(
                r#"<wp:Tile Id="/Chat.xaml?c=1&amp;d=2" Template="CycleTile"><wp:SmallBackgroundImage>a</wp:SmallBackgroundImage>"#,
                r#"<wp:CycleImage1>b</wp:CycleImage1><wp:CycleImage2>c</wp:CycleImage2><wp:CycleImage3>d</wp:CycleImage3>"#,
                r#"<wp:CycleImage4>e</wp:CycleImage4><wp:CycleImage5 Action="Clear"></wp:CycleImage5><wp:CycleImage6>g</wp:CycleImage6>"#,
                r#"<wp:CycleImage7>h</wp:CycleImage7><wp:CycleImage8>i</wp:CycleImage8><wp:CycleImage9>j</wp:CycleImage9>"#,
                r#"<wp:Count>k</wp:Count><wp:Title>l</wp:Title></wp:Tile>"#,
            ),
        ),
    ] {
        let texts = ["a", "b", "c", "d", "e", "", "g", "h", "i", "j", "k", "l"];
        let elements = style.elements().iter().zip(texts);
        let shown = Shown::Tile(TileLook {
            style,
            id: Some("/Chat.xaml?c=1&d=2".into()),
            elements: elements
                .map(|(element, text)| (*element, text.into()))
                .collect(),
        });
        let request = mpns::compose(&phone_push(json!({})), &shown, Delay::Immediate).unwrap();
        let whole = format!(
            r#"<?xml version="1.0" encoding="utf-8"?><wp:Notification xmlns:wp="WPNotification" Version="2.0">{expected}</wp:Notification>"#
        );
        assert_eq!(std::str::from_utf8(request.body()).unwrap(), whole);
    }
}
