//! What the phones are shown: the sender's words, the operator's templates, or none of the words, over real sockets.

#![allow(clippy::unwrap_used)]

mod common;

use common::{APPLE, PATIENCE, Relay, body, json};
use pushrelay_peers::MpnsAnswer;

#[tokio::test]
async fn a_template_of_the_app_and_event_decides_what_an_iphone_shows() {
    let relay = Relay::with(
        r#"
        [[apple.templates]]
        events = ["call.missed"]
        title_loc_key = "MISSED"
        loc_key = "MISSED_FROM"
        loc_args = ["{from.name}", "{alert.body:8}"]
        badge = "none"
        [[apple.templates]]
        apps = ["com.example.*"]
        title = "{from.name} ({from.user})"
        subtitle = "{app}"
        body = "{alert.body:8|New message}"
        badge = 7
        sound = ""
        thread = "{from.uri}"
        category = "MESSAGE"
        interruption_level = "time-sensitive"
        priority = 5
        collapse = "im-{from.user}"
        "#,
    )
    .await;
    let missed = body(&[APPLE]).replace("im.message", "call.missed");
    relay.accepts([body(&[APPLE]), missed]).await;
    let seen = relay.world.apple.received();
    let text = |at: usize| std::str::from_utf8(&seen[at].body).unwrap();
    assert_eq!(
        text(0),
        concat!(
            r#"{"aps":{"alert":{"title":"Kim Akers (kima)","subtitle":"com.example.chat","body":"Are you…"},"badge":7,"#,
            r#""thread-id":"sip:kima@contoso.example","category":"MESSAGE","interruption-level":"time-sensitive"}}"#
        )
    );
    assert_eq!(seen[0].priority.as_deref(), Some("5"));
    assert_eq!(seen[0].collapse_id.as_deref(), Some("im-kima"));
    assert_eq!(
        text(1),
        concat!(
            r#"{"aps":{"alert":{"title-loc-key":"MISSED","loc-key":"MISSED_FROM","loc-args":["Kim Akers","Are you…"]},"#,
            r#""sound":"default"}}"#
        )
    );
    relay.end().await;
}

#[tokio::test]
async fn a_background_template_shows_nothing() {
    let relay = Relay::with(
        r#"
        [[apple.templates]]
        push_type = "background"
        "#,
    )
    .await;
    relay.accepts([body(&[APPLE])]).await;
    let seen = relay.world.apple.received().remove(0);
    assert_eq!(&*seen.body, br#"{"aps":{"content-available":1}}"#);
    assert_eq!(seen.push_type.as_deref(), Some("background"));
    assert_eq!(seen.priority.as_deref(), Some("5"));
    relay.end().await;
}

#[tokio::test]
async fn one_event_sets_a_tile_and_then_shows_a_toast() {
    let relay = Relay::with(
        r#"
        [[windows_phone.templates]]
        tile = { style = "iconic", wide_content1 = "{from.name}", wide_content2 = "{alert.subtitle}", count = "{badge}" }
        toast = { text2 = "{event.text}", param = "/Chat.xaml?from={from.user}" }
        delay = "450"
        "#,
    )
    .await;
    relay
        .accepts([body(&[&relay.windows_phone("phone")])])
        .await;
    let seen = relay.world.windows_phone.received();
    assert_eq!(seen.len(), 2);
    let text = |at: usize| std::str::from_utf8(&seen[at].body).unwrap();
    assert_eq!(
        text(0),
        concat!(
            r#"<?xml version="1.0" encoding="utf-8"?><wp:Notification xmlns:wp="WPNotification" Version="2.0">"#,
            r#"<wp:Tile Template="IconicTile"><wp:WideContent1>Kim Akers</wp:WideContent1>"#,
            r#"<wp:WideContent2 Action="Clear"></wp:WideContent2><wp:Count>3</wp:Count></wp:Tile></wp:Notification>"#
        )
    );
    assert_eq!(seen[0].class.as_deref(), Some("11"));
    assert_eq!(
        text(1),
        concat!(
            r#"<?xml version="1.0" encoding="utf-8"?><wp:Notification xmlns:wp="WPNotification"><wp:Toast>"#,
            r#"<wp:Text1>Kim Akers</wp:Text1><wp:Text2>New message</wp:Text2>"#,
            r#"<wp:Param>/Chat.xaml?from=kima</wp:Param></wp:Toast></wp:Notification>"#
        )
    );
    assert_eq!(seen[1].class.as_deref(), Some("12"));
    assert_ne!(seen[0].message_id, seen[1].message_id);
    relay.end().await;
}

/// A relay that was to send a tile and a toast, and got this answer to the tile.
async fn with_a_tile_answered(status: u16) -> Relay {
    let relay = Relay::with(
        r#"
        [[windows_phone.templates]]
        tile = { count = "{badge}" }
        toast = {}
        "#,
    )
    .await;
    let answers = [MpnsAnswer::status(status), MpnsAnswer::received()];
    relay.world.windows_phone.script("phone", answers);
    let phone = relay.windows_phone("phone");
    relay.accepts([body(&[&phone])]).await;
    relay
}

#[tokio::test]
async fn a_toast_waits_with_its_tile_so_that_it_is_shown_once() {
    let relay = with_a_tile_answered(503).await;
    // The tile was deferred, so all of it waits.
    relay.settled(1.0).await;
    assert_eq!(relay.world.windows_phone.received().len(), 1);
    let tile = relay.world.windows_phone.received().remove(0);
    assert_eq!(tile.target.as_deref(), Some("token"));
    relay.end().await;
}

#[tokio::test]
async fn a_tile_that_is_refused_does_not_keep_the_toast_away() {
    let relay = with_a_tile_answered(400).await;
    assert_eq!(relay.world.windows_phone.received().len(), 2);
    relay.end().await;
}

#[tokio::test]
async fn hidden_content_never_leaves_wherever_it_is_switched_on() {
    const SECRET: &str = "Are you there?";
    for switches in [
        "hide_content = true",
        "partners = [{ hide_content = true }]",
        "apple.apps = [{ hide_content = true }]\nwindows_phone.hide_content = true",
    ] {
        let relay = Relay::with(switches).await;
        let targets = [APPLE, &relay.windows_phone("phone")];
        relay.accepts([body(&targets)]).await;
        let apple = relay.world.apple.received().remove(0);
        assert_eq!(
            std::str::from_utf8(&apple.body).unwrap(),
            r#"{"aps":{"alert":{"title":"Kim Akers","body":"New message"},"badge":3,"sound":"default"}}"#
        );
        let phone = relay.world.windows_phone.received().remove(0);
        assert_eq!(phone.text("wp:Text2"), Some("New message"));
        assert!(!String::from_utf8_lossy(&phone.body).contains(SECRET));
        relay.end().await;
    }
}

#[tokio::test]
async fn a_site_has_switches_of_its_own() {
    let relay = Relay::configured(|config| {
        let partner = config["partners"].as_array_mut().unwrap()[0].as_table_mut();
        let partner = partner.unwrap();
        partner.insert("apple".into(), false.into());
        partner.insert("windows_phone".into(), true.into());
        config["windows_phone"]
            .as_table_mut()
            .unwrap()
            .insert("enabled".into(), false.into());
    })
    .await;
    let edge = relay.edge().await;
    let answer = edge.message(json(), body(&[APPLE])).await.unwrap();
    assert_eq!(answer.status, 403);
    assert!(
        answer.reason().unwrap().contains("switched off"),
        "{answer:?}"
    );
    let phone = relay.windows_phone("phone");
    let answer = edge.message(json(), body(&[&phone])).await.unwrap();
    assert_eq!(answer.status, 200);
    relay
        .world
        .windows_phone
        .wait_for(1, PATIENCE)
        .await
        .unwrap();
    relay.end().await;
}
