//! The whole requests, byte for byte: every push type of Apple's, every notification of MPNS, every tile.
//!
//! What each of them is made of, and how it is shortened, is held by `apns_payload` and `mpns_payload`.

use pushrelay_providers::apns::{self, ApnsApp};
use pushrelay_providers::mpns;
use pushrelay_push::Delay;
use pushrelay_push::present::{
    AppleLook, InterruptionLevel, Priority, PushKind, Shown, TileLook, TileStyle, ToastLook,
    Translation,
};
use serde_json::{Value, json};

use crate::support::*;

/// What Apple gets: headers in the order of their names, then the payload.
fn to_apple(members: Value, topic: &str, change: impl FnOnce(&mut AppleLook<'_>)) -> String {
    let target = json!({ "service": "apns", "token": "8dcf6c4f2a9b01e7" });
    let push = push(target, members);
    let app = ApnsApp::new(topic).unwrap();
    let fields = push.fields(false).unwrap();
    let mut look = AppleLook::of(&fields, None, app.is_voip(fields.target));
    change(&mut look);
    let request = apns::compose(&push, &app, &look).unwrap();
    let headers = request.headers();
    let mut lines: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()))
        .collect();
    lines.sort_unstable();
    let payload = std::str::from_utf8(request.payload()).unwrap();
    format!("POST {}\n{}\n{payload}", request.path(), lines.concat())
}

/// What a channel gets: headers in their order, then the body.
fn to_phone(shown: &Shown<'_>, delay: Delay) -> String {
    let uri = "http://127.0.0.1/throttledthirdparty/01.00/AAG?x=1";
    let push = push(json!({ "service": "mpns", "uri": uri }), json!({}));
    let request = mpns::compose(&push, shown, delay).unwrap();
    let headers = request.headers();
    let lines = headers
        .map(|(name, value)| format!("{name}: {}\n", std::str::from_utf8(value).unwrap()))
        .collect::<String>();
    let body = std::str::from_utf8(request.body()).unwrap();
    format!("POST {}\n{lines}\n{body}", request.url())
}

/// Of a tile, the document alone; the texts are those of its elements in their order.
fn tile(style: TileStyle, id: Option<&str>, texts: &[&str]) -> String {
    let elements = style.elements();
    assert_eq!(elements.len(), texts.len());
    let shown = Shown::Tile(TileLook {
        style,
        id: id.map(Into::into),
        elements: elements
            .iter()
            .zip(texts)
            .map(|(element, text)| (*element, (*text).into()))
            .collect(),
    });
    let request = to_phone(&shown, Delay::Immediate);
    let (head, document) = request.split_once("\n\n").unwrap();
    assert_eq!(head, TILE_HEAD);
    document.to_owned()
}

const TILE_HEAD: &str = "\
POST http://127.0.0.1/throttledthirdparty/01.00/AAG?x=1
content-type: text/xml
x-windowsphone-target: token
x-notificationclass: 1
x-messageid: 6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55";

#[test]
fn an_alert_in_the_senders_words() {
    let members = json!({
        "from": { "name": "Kim Akers" },
        "alert": { "title": "Kim", "subtitle": "Contoso", "body": "\"Ärger\" \\ \n & <ok>" },
        "badge": 3,
        "sound": "ping.caf",
        "thread": "conv-42",
        "collapse": "conv-42",
        "data": { "conversation": 42, "nested": { "a": [1, null] } },
    });
    assert_eq!(
        to_apple(members, TOPIC, |_| {}),
        r#"POST /3/device/8dcf6c4f2a9b01e7
apns-collapse-id: conv-42
apns-expiration: 1900000000
apns-id: 6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55
apns-priority: 10
apns-push-type: alert
apns-topic: com.example.chat

{"aps":{"alert":{"title":"Kim","subtitle":"Contoso","body":"\"Ärger\" \\ \n & <ok>"},"badge":3,"sound":"ping.caf","thread-id":"conv-42"},"conversation":42,"nested":{"a":[1,null]}}"#
    );
}

#[test]
fn an_alert_in_the_apps_own_translations() {
    let args = ["Kim", "3"].map(str::to_owned);
    let request = to_apple(json!({ "alert": { "body": "Hi" } }), TOPIC, |look| {
        look.title = None;
        look.title_translation = Some(Translation {
            key: "MISSED".into(),
            args: args[..1].to_vec().into(),
        });
        look.body = None;
        look.translation = Some(Translation {
            key: "MISSED_FROM".into(),
            args: args.to_vec().into(),
        });
        look.category = Some("CALL");
        look.interruption_level = Some(InterruptionLevel::TimeSensitive);
        look.priority = Some(Priority::Considerate);
    });
    assert_eq!(
        request,
        r#"POST /3/device/8dcf6c4f2a9b01e7
apns-expiration: 1900000000
apns-id: 6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55
apns-priority: 5
apns-push-type: alert
apns-topic: com.example.chat

{"aps":{"alert":{"title-loc-key":"MISSED","title-loc-args":["Kim"],"loc-key":"MISSED_FROM","loc-args":["Kim","3"]},"category":"CALL","interruption-level":"time-sensitive"}}"#
    );
}

#[test]
fn an_alert_that_is_a_number_alone() {
    let members = json!({ "event": "badge.update", "badge": 0 });
    assert_eq!(
        to_apple(members, TOPIC, |_| {}),
        r#"POST /3/device/8dcf6c4f2a9b01e7
apns-expiration: 1900000000
apns-id: 6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55
apns-priority: 10
apns-push-type: alert
apns-topic: com.example.chat

{"aps":{"badge":0}}"#
    );
}

#[test]
fn a_background_push() {
    assert_eq!(
        to_apple(json!({ "data": { "sync": true } }), TOPIC, |look| {
            assert_eq!(look.kind, PushKind::Background);
        }),
        r#"POST /3/device/8dcf6c4f2a9b01e7
apns-expiration: 1900000000
apns-id: 6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55
apns-priority: 5
apns-push-type: background
apns-topic: com.example.chat

{"aps":{"content-available":1},"sync":true}"#
    );
}

#[test]
fn a_voip_push() {
    let members = json!({ "event": "call.invite", "from": { "name": "Kim Akers" }, "data": { "call": "c1" } });
    assert_eq!(
        to_apple(members, "com.example.chat.voip", |_| {}),
        r#"POST /3/device/8dcf6c4f2a9b01e7
apns-expiration: 1900000000
apns-id: 6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55
apns-priority: 10
apns-push-type: voip
apns-topic: com.example.chat.voip

{"aps":{"alert":{"title":"Kim Akers","body":"Incoming call"}},"call":"c1"}"#
    );
}

#[test]
fn every_interruption_level_and_priority() {
    for (level, level_name, priority, number) in [
        (InterruptionLevel::Passive, "passive", Priority::Low, "1"),
        (
            InterruptionLevel::Active,
            "active",
            Priority::Considerate,
            "5",
        ),
        (
            InterruptionLevel::TimeSensitive,
            "time-sensitive",
            Priority::Immediate,
            "10",
        ),
        (
            InterruptionLevel::Critical,
            "critical",
            Priority::Immediate,
            "10",
        ),
    ] {
        let request = to_apple(json!({ "badge": 1 }), TOPIC, |look| {
            look.interruption_level = Some(level);
            look.priority = Some(priority);
        });
        let expected = r#"POST /3/device/8dcf6c4f2a9b01e7
apns-expiration: 1900000000
apns-id: 6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55
apns-priority: NUMBER
apns-push-type: alert
apns-topic: com.example.chat

{"aps":{"badge":1,"interruption-level":"LEVEL"}}"#;
        let expected = expected
            .replace("NUMBER", number)
            .replace("LEVEL", level_name);
        assert_eq!(request, expected);
    }
}

#[test]
fn a_toast() {
    let shown = Shown::Toast(ToastLook {
        text1: "Kim <Akers>".into(),
        text2: "R&D \"now\" 'please'".into(),
        param: Some("/Chat.xaml?c=42&d=1".into()),
    });
    assert_eq!(
        to_phone(&shown, Delay::Immediate),
        r#"POST http://127.0.0.1/throttledthirdparty/01.00/AAG?x=1
content-type: text/xml
x-windowsphone-target: toast
x-notificationclass: 2
x-messageid: 6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55

<?xml version="1.0" encoding="utf-8"?><wp:Notification xmlns:wp="WPNotification"><wp:Toast><wp:Text1>Kim &lt;Akers&gt;</wp:Text1><wp:Text2>R&amp;D &quot;now&quot; &apos;please&apos;</wp:Text2><wp:Param>/Chat.xaml?c=42&amp;d=1</wp:Param></wp:Toast></wp:Notification>"#
    );
}

#[test]
fn raw_bytes() {
    assert_eq!(
        to_phone(&Shown::Raw("<any>&thing".into()), Delay::Within450Seconds),
        "POST http://127.0.0.1/throttledthirdparty/01.00/AAG?x=1
content-type: text/xml
x-notificationclass: 13
x-messageid: 6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55

<any>&thing"
    );
}

#[test]
fn the_tile_of_windows_phone_7() {
    assert_eq!(
        tile(
            TileStyle::Plain,
            Some("/SecondaryTile.xaml?id=5&x=\""),
            &["red.jpg", "3", "Text", "blue.jpg", "Back", "Content"],
        ),
        concat!(
            r#"<?xml version="1.0" encoding="utf-8"?><wp:Notification xmlns:wp="WPNotification">"#,
            r#"<wp:Tile Id="/SecondaryTile.xaml?id=5&amp;x=&quot;"><wp:BackgroundImage>red.jpg</wp:BackgroundImage>"#,
            r#"<wp:Count>3</wp:Count><wp:Title>Text</wp:Title><wp:BackBackgroundImage>blue.jpg</wp:BackBackgroundImage>"#,
            r#"<wp:BackTitle>Back</wp:BackTitle><wp:BackContent>Content</wp:BackContent></wp:Tile></wp:Notification>"#,
        )
    );
}

#[test]
fn a_tile_that_is_cleared() {
    assert_eq!(
        tile(TileStyle::Plain, None, &[""; 6]),
        concat!(
            r#"<?xml version="1.0" encoding="utf-8"?><wp:Notification xmlns:wp="WPNotification">"#,
            r#"<wp:Tile><wp:BackgroundImage Action="Clear"></wp:BackgroundImage><wp:Count Action="Clear"></wp:Count>"#,
            r#"<wp:Title Action="Clear"></wp:Title><wp:BackBackgroundImage Action="Clear"></wp:BackBackgroundImage>"#,
            r#"<wp:BackTitle Action="Clear"></wp:BackTitle><wp:BackContent Action="Clear"></wp:BackContent></wp:Tile></wp:Notification>"#,
        )
    );
}

const HEAD_8: &str = r#"<?xml version="1.0" encoding="utf-8"?><wp:Notification xmlns:wp="WPNotification" Version="2.0">"#;

#[test]
fn a_flip_tile() {
    assert_eq!(
        tile(
            TileStyle::Flip,
            Some("/Chat.xaml?c=1&d=2"),
            &["a", "b", "c", "d", "e", "", "g", "h", "i", "j"],
        ),
        [
            HEAD_8,
            r#"<wp:Tile Id="/Chat.xaml?c=1&amp;d=2" Template="FlipTile"><wp:SmallBackgroundImage>a</wp:SmallBackgroundImage>"#,
            r#"<wp:WideBackgroundImage>b</wp:WideBackgroundImage><wp:WideBackBackgroundImage>c</wp:WideBackBackgroundImage>"#,
            r#"<wp:WideBackContent>d</wp:WideBackContent><wp:BackgroundImage>e</wp:BackgroundImage><wp:Count Action="Clear"></wp:Count>"#,
            r#"<wp:Title>g</wp:Title><wp:BackBackgroundImage>h</wp:BackBackgroundImage><wp:BackTitle>i</wp:BackTitle>"#,
            r#"<wp:BackContent>j</wp:BackContent></wp:Tile></wp:Notification>"#,
        ]
        .concat()
    );
}

#[test]
fn an_iconic_tile() {
    assert_eq!(
        tile(
            TileStyle::Iconic,
            None,
            &["a", "b", "c", "d", "e", "7", "g", "#FF2D6B4F"],
        ),
        [
            HEAD_8,
            r#"<wp:Tile Template="IconicTile"><wp:SmallIconImage>a</wp:SmallIconImage>"#,
            r#"<wp:IconImage>b</wp:IconImage><wp:WideContent1>c</wp:WideContent1><wp:WideContent2>d</wp:WideContent2>"#,
            r#"<wp:WideContent3>e</wp:WideContent3><wp:Count>7</wp:Count><wp:Title>g</wp:Title>"#,
            r#"<wp:BackgroundColor>#FF2D6B4F</wp:BackgroundColor></wp:Tile></wp:Notification>"#,
        ]
        .concat()
    );
}

#[test]
fn a_cycle_tile() {
    assert_eq!(
        tile(
            TileStyle::Cycle,
            Some("/a"),
            &["a", "b", "c", "d", "e", "", "g", "h", "i", "j", "9", "l"],
        ),
        [
            HEAD_8,
            r#"<wp:Tile Id="/a" Template="CycleTile"><wp:SmallBackgroundImage>a</wp:SmallBackgroundImage>"#,
            r#"<wp:CycleImage1>b</wp:CycleImage1><wp:CycleImage2>c</wp:CycleImage2><wp:CycleImage3>d</wp:CycleImage3>"#,
            r#"<wp:CycleImage4>e</wp:CycleImage4><wp:CycleImage5 Action="Clear"></wp:CycleImage5><wp:CycleImage6>g</wp:CycleImage6>"#,
            r#"<wp:CycleImage7>h</wp:CycleImage7><wp:CycleImage8>i</wp:CycleImage8><wp:CycleImage9>j</wp:CycleImage9>"#,
            r#"<wp:Count>9</wp:Count><wp:Title>l</wp:Title></wp:Tile></wp:Notification>"#,
        ]
        .concat()
    );
}
