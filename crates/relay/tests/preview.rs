//! What `pushrelay preview` says is what the daemon does: the same requests to the byte, the same refusals, and a page on which
//! everything from outside is text.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{APPLE, Relay, binary, body, json, merge};
use hyper::HeaderMap;
use pushrelay_benches::proofs::has_strace;
use pushrelay_peers::apns::ApnsReceived;
use pushrelay_peers::edge::{SipAnswer, SipRequest};
use pushrelay_peers::mpns::MpnsReceived;
use serde_json::{Value, json};

/// Every look that the page and the requests can have.
const TEMPLATES: &str = r##"
[[apple.templates]]
events = ["call.missed"]
title_loc_key = "MISSED"
loc_key = "MISSED_FROM"
loc_args = ["{from.name}", "{alert.body:8}"]
interruption_level = "time-sensitive"
collapse = "call-{from.user}"
priority = 5
badge = "none"

[[apple.templates]]
events = ["im.missed"]
push_type = "background"

[[windows_phone.templates]]
events = ["im.message"]
toast = { text2 = "{alert.body:60|New message}", param = "/Chat.xaml?from={from.user}" }
tile = { style = "iconic", icon_image = "icon.png", wide_content1 = "{from.name}", wide_content2 = "{alert.body}", wide_content3 = "{alert.subtitle}", count = "{badge}", background_color = "{data.color|#FF2D6B4F}" }
delay = "450"

[[windows_phone.templates]]
events = ["call.missed"]
tile = { style = "flip", id = "/Calls.xaml", small_background_image = "s.png", background_image = "f.png", count = "{badge}", title = "{from.name}", back_title = "Missed call", back_content = "{alert.body}", wide_background_image = "w.png", wide_back_content = "{alert.body}" }

[[windows_phone.templates]]
events = ["conf.invite"]
tile = { style = "cycle", cycle_image1 = "a.png", cycle_image2 = "b.png", title = "{from.name}", count = "0" }
toast = {}
"##;

const VOIP: &str = r#"{"service":"apns","token":"8dcf6c4f2a9b01e7","app":"com.example.chat.voip"}"#;

/// A relay with the templates, and with a pattern of apps beside the world's own.
async fn relay() -> Relay {
    Relay::configured(|config| {
        merge(config, TEMPLATES.parse().unwrap());
        let apps = config["apple"]["apps"].as_array_mut().unwrap();
        let mut calls = apps[0].as_table().unwrap().clone();
        calls.insert("id".into(), "*.voip".into());
        calls.remove("topic");
        apps[0]
            .as_table_mut()
            .unwrap()
            .insert("default".into(), true.into());
        apps.push(calls.into());
    })
    .await
}

fn run(relay: &Relay, file: &Path, arguments: &[&str]) -> Output {
    Command::new(binary())
        .arg("preview")
        .arg(file)
        .arg("--config")
        .arg(relay.daemon.config_path())
        .args(arguments)
        .output()
        .unwrap()
}

/// What the command says of these bytes, and its exit code.
fn preview(relay: &Relay, bytes: &[u8], arguments: &[&str]) -> (Value, i32) {
    let file = relay.world.dir.path().join("message");
    std::fs::write(&file, bytes).unwrap();
    let output = run(relay, &file, &[&["--json"], arguments].concat());
    let code = output.status.code().unwrap();
    let told = serde_json::from_slice(&output.stdout);
    (told.unwrap_or_else(|_| panic!("{output:?}")), code)
}

fn requests(previewed: &Value) -> Vec<Value> {
    let targets = previewed["targets"].as_array().unwrap();
    let requests = targets
        .iter()
        .flat_map(|target| target["requests"].as_array().unwrap());
    requests.cloned().collect()
}

/// A request as the fakes have seen it, in the words of the preview; `most` is the provider's bound.
fn seen(url: String, headers: &HeaderMap, body: &[u8], most: usize) -> Value {
    let provider_token = headers.contains_key("authorization");
    let of_http = ["authorization", "host", "content-length"];
    let headers: serde_json::Map<String, Value> = headers
        .iter()
        .filter(|(name, _)| !of_http.contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()))
        .collect();
    json!({
        "method": "POST",
        "url": url,
        "headers": headers,
        "provider_token": provider_token,
        "body": std::str::from_utf8(body).unwrap(),
        "bytes": body.len(),
        "most_bytes": most,
    })
}

fn at_apple(relay: &Relay, push: &ApnsReceived) -> Value {
    let url = format!("{}/3/device/{}", relay.world.apple.url(), push.token);
    let most = if push.push_type.as_deref() == Some("voip") {
        5120
    } else {
        4096
    };
    seen(url, &push.headers, &push.body, most)
}

fn at_windows_phone(push: &MpnsReceived) -> Value {
    let host = push.headers["host"].to_str().unwrap();
    let length = push.headers["content-length"].to_str().unwrap();
    assert_eq!(length, push.body.len().to_string());
    let most = if push.target.is_some() { 3072 } else { 1024 };
    seen(
        format!("http://{host}{}", push.path),
        &push.headers,
        &push.body,
        most,
    )
}

/// All that came since the last time, Apple's first.
fn arrived(relay: &Relay) -> Vec<Value> {
    let apple = relay.world.apple.take_received();
    let phone = relay.world.windows_phone.take_received();
    let apple = apple.iter().map(|push| at_apple(relay, push));
    apple.chain(phone.iter().map(at_windows_phone)).collect()
}

/// A body that says when it ends, so that its expiry does not depend on when it is looked at.
fn lasting(body: &str) -> String {
    let now = humantime::format_rfc3339_seconds(SystemTime::now());
    let members = format!("\"v\":1,\"created\":\"{now}\",\"ttl\":3600,");
    body.replacen("\"v\":1,", &members, 1)
}

fn with(body: &str, members: &str) -> String {
    let whole = body.strip_suffix('}').unwrap();
    format!("{whole},{members}}}")
}

#[tokio::test]
async fn what_is_previewed_is_what_is_sent() {
    let relay = relay().await;
    let edge = relay.edge().await;
    let phone = relay.windows_phone("phone");
    let both = body(&[APPLE, &phone]);
    let plain = both.replace("im.message", "voicemail.new");
    let long = both.replace("Are you there?", &"Ärger & \\\"🎉\\\" ".repeat(700));
    let cases = [
        (both.clone(), 3),
        (both.replace("im.message", "call.missed"), 2),
        (both.replace("im.message", "conf.invite"), 3),
        (both.replace("im.message", "im.missed"), 2),
        (plain.clone(), 2),
        (
            r#"{"v":1,"event":"badge.update","targets":[TARGETS],"badge":0}"#
                .replace("TARGETS", &format!("{APPLE},{phone}")),
            2,
        ),
        (long.clone(), 3),
        (long.replace("im.message", "voicemail.new"), 2),
        (
            both.replace("Kim Akers", "محمد علي")
                .replace("Are", "שלום 👩‍👩‍👧‍👦 Are"),
            3,
        ),
        (body(&[VOIP]), 1),
        (
            with(
                &plain,
                r#""thread":"c1","collapse":"c1","data":{"room":{"a":[1,null]}}"#,
            ),
            2,
        ),
        (
            with(&plain, r#""mpns":{"kind":"raw","raw":"<any>&thing"}"#),
            2,
        ),
        (
            with(
                &plain,
                r#""mpns":{"kind":"tile","delay":"900","tile":{"id":"/a?b=\"c\"","title":"T","back_title":""}}"#,
            ),
            2,
        ),
        (
            with(&plain, r#""id":"6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55""#),
            2,
        ),
    ];
    for (body, count) in &cases {
        let request = edge.request(json(), lasting(body));
        let answer = edge.exchange(&request).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        let sent = arrived(&relay);
        assert_eq!(sent.len(), *count, "{body}");
        let (previewed, code) = preview(&relay, &request.encode(), &[]);
        assert_eq!(code, 0, "{previewed:#}");
        assert_eq!(requests(&previewed), sent, "{body}");
        assert_eq!(previewed["partner"], "contoso");
        assert_eq!(previewed["answer"], json!({"status": 200, "headers": {}}));
    }
    // A body alone has everything but the ids, and with an id of its own those too.
    let (body, _) = cases.last().unwrap();
    let request = edge.request(json(), lasting(body));
    edge.exchange(&request).await.unwrap();
    let sent = arrived(&relay);
    let (previewed, _) = preview(&relay, &request.body, &[]);
    assert_eq!(requests(&previewed), sent);
    relay.end().await;
}

#[tokio::test]
async fn what_names_no_time_ends_when_it_would_have_ended() {
    let relay = relay().await;
    let edge = relay.edge().await;
    for field in [None, Some(("Expires", "600"))] {
        let mut request = edge.request(json(), body(&[APPLE]));
        request
            .fields
            .extend(field.map(|(name, value)| (name.into(), value.into())));
        assert_eq!(edge.exchange(&request).await.unwrap().status, 200);
        let ends = relay
            .world
            .apple
            .received()
            .last()
            .unwrap()
            .expiration
            .unwrap();
        let lasts = if field.is_some() { 600 } else { 24 * 3600 };
        let came = UNIX_EPOCH + Duration::from_secs(ends - lasts);
        let came = humantime::format_rfc3339(came).to_string();
        let (previewed, _) = preview(&relay, &request.encode(), &["--at", &came]);
        assert_eq!(requests(&previewed), [arrived(&relay).remove(0)]);
    }
    relay.end().await;
}

#[tokio::test]
async fn a_capture_becomes_what_its_message_became() {
    let relay = Relay::with(
        "[bodies]\ncapture = \"all\"\ncapture_folder = \"captures\"\ncapture_redact = false",
    )
    .await;
    let edge = relay.edge().await;
    let text = lasting(&body(&[APPLE, &relay.windows_phone("phone")]));
    assert_eq!(edge.message(json(), text).await.unwrap().status, 200);
    let capture = relay.captured().await;
    let output = run(&relay, &capture, &["--json"]);
    let previewed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(requests(&previewed), arrived(&relay));
    relay.end().await;
}

/// Line ends and lengths suffer where people copy; what matters is still there.
#[tokio::test]
async fn a_message_out_of_a_trace_becomes_what_it_became() {
    let relay = relay().await;
    let edge = relay.edge().await;
    let request = edge.request(
        json(),
        lasting(&body(&[APPLE, &relay.windows_phone("phone")])),
    );
    edge.exchange(&request).await.unwrap();
    let sent = arrived(&relay);
    let bytes = String::from_utf8(request.encode().to_vec()).unwrap();
    let length = format!("Content-Length: {}", request.body.len());
    assert!(bytes.contains(&length), "{bytes}");
    let copied = bytes
        .replace("\r\n", "\n")
        .replace(&length, "Content-Length: 7");
    let (previewed, code) = preview(&relay, copied.as_bytes(), &[]);
    assert_eq!(code, 0);
    assert_eq!(requests(&previewed), sent);
    relay.end().await;
}

/// The headers of an answer that say why.
const TELLING: [&str; 3] = ["ms-diagnostics-public", "Warning", "Accept"];

fn assert_same_answer(previewed: &Value, answer: &SipAnswer) {
    let told = TELLING.iter().filter_map(|name| {
        let value = answer.header(name)?;
        Some(((*name).to_owned(), Value::from(value)))
    });
    let told: serde_json::Map<String, Value> = told.collect();
    assert_eq!(
        *previewed,
        json!({"status": answer.status, "headers": told})
    );
}

/// What the daemon says of a request, and that the command says the same.
async fn judged(relay: &Relay, request: &SipRequest) -> (u16, Value, i32) {
    let edge = relay.edge().await;
    let answer = edge.exchange(request).await.unwrap();
    let (previewed, code) = preview(relay, &request.encode(), &[]);
    assert_same_answer(&previewed["answer"], &answer);
    assert_eq!(requests(&previewed), arrived(relay));
    (answer.status, previewed, code)
}

#[tokio::test]
async fn what_is_refused_is_refused_in_the_same_words() {
    let relay = relay().await;
    let edge = relay.edge().await;
    let phone = relay.windows_phone("phone");
    let unknown = APPLE.replace("com.example.chat", "com.un\\\"known");
    let foreign = phone.replace("http://127.0.0.1", "http://10.0.0.1");
    let damaged = format!("Links can be dangerous. {}", lasting(&body(&[&phone])));
    let huge = with(
        &body(&[APPLE]),
        &format!(r#""data":{{"x":"{}"}}"#, "x".repeat(5000)),
    );
    for (text, status, code) in [
        ("hello".to_owned(), 400, 1),
        (body(&[APPLE]).replace("\"v\":1", "\"v\":2"), 415, 1),
        (body(&[&foreign]), 400, 1),
        (" ".repeat(16 * 1024 + 1), 413, 1),
        (body(&[&unknown]), 488, 1),
        (lasting(&body(&[APPLE, &unknown, &unknown])), 200, 1),
        (huge, 488, 1),
        (
            with(
                &body(&[APPLE]),
                r#""created":"2020-01-01T00:00:00Z","ttl":60"#,
            ),
            488,
            1,
        ),
        (body(&[APPLE, &phone]).replace("im.message", "test"), 200, 0),
        (damaged, 200, 0),
    ] {
        let (told, previewed, exit) = judged(&relay, &edge.request(json(), text.clone())).await;
        assert_eq!((told, exit), (status, code), "{text}: {previewed:#}");
    }
    let of_type = edge.request("text/plain", "hello");
    assert_eq!(judged(&relay, &of_type).await.0, 415);
    let late = edge.request(json(), body(&[APPLE]));
    let late = late
        .field("Date", "Wed, 01 Jan 2020 00:00:00 GMT")
        .field("Expires", "60");
    // It counts the seconds, so the moment is given.
    let answer = edge.exchange(&late).await.unwrap();
    let reason = answer.reason().unwrap();
    let seconds = reason.split(' ').nth(1).unwrap().parse::<u64>().unwrap();
    let first = UNIX_EPOCH + Duration::from_secs(1_577_836_800 + 60 + seconds);
    let at = humantime::format_rfc3339(first).to_string();
    let (previewed, code) = preview(&relay, &late.encode(), &["--at", &at]);
    assert_same_answer(&previewed["answer"], &answer);
    assert_eq!((answer.status, code), (488, 1));
    relay.end().await;
}

#[tokio::test]
async fn the_switches_of_a_site_and_hidden_content_count() {
    let relay = Relay::with("partners = [{ windows_phone = false, hide_content = true }]").await;
    let edge = relay.edge().await;
    let phone = relay.windows_phone("phone");
    let (status, _, code) = judged(&relay, &edge.request(json(), body(&[&phone]))).await;
    assert_eq!((status, code), (403, 1));
    let request = edge.request(json(), lasting(&body(&[APPLE, &phone])));
    let (status, previewed, code) = judged(&relay, &request).await;
    assert_eq!((status, code), (200, 1), "one of two is refused");
    assert_eq!(previewed["targets"][1]["decided"]["cause"], "platform_off");
    assert!(
        !previewed.to_string().contains("Are you there?"),
        "{previewed:#}"
    );
    relay.end().await;
}

#[tokio::test]
async fn what_is_accepted_once_it_is_kept_is_told_so() {
    let relay = Relay::with(
        "[bodies]\ncapture = \"undecodable\"\ncapture_folder = \"captures\"\nunknown_body = \"accept-captured\"",
    )
    .await;
    let edge = relay.edge().await;
    let request = edge.request("text/plain", "hello");
    let answer = edge.exchange(&request).await.unwrap();
    let (previewed, code) = preview(&relay, &request.encode(), &[]);
    assert_same_answer(&previewed["answer_once_kept"], &answer);
    assert_eq!(previewed["answer"]["status"], 415);
    assert_eq!(code, 1);
    relay.end().await;
}

#[tokio::test]
async fn what_is_of_no_use_says_why_and_exits_with_2() {
    let relay = Relay::configured(|config| {
        let partners = config["partners"].as_array_mut().unwrap();
        let mut other = partners[0].as_table().unwrap().clone();
        other.insert("name".into(), "fabrikam".into());
        other.insert("edges".into(), vec!["sip.fabrikam.example"].into());
        other.insert("domains".into(), vec!["fabrikam.example"].into());
        partners.push(other.into());
    })
    .await;
    let folder = relay.world.dir.path();
    let edge = relay.edge().await;
    let alone = folder.join("alone");
    std::fs::write(&alone, body(&[APPLE])).unwrap();
    let options = folder.join("options");
    let mut request = edge.request(json(), body(&[APPLE]));
    std::fs::write(folder.join("whole"), request.encode()).unwrap();
    request.method = "OPTIONS".into();
    std::fs::write(&options, request.encode()).unwrap();
    let refused = |file: &Path, arguments: &[&str], expected: &str| {
        let output = run(&relay, file, arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(expected), "{text}");
    };
    refused(
        &alone,
        &[],
        "expected --partner with one of contoso, fabrikam",
    );
    refused(
        &alone,
        &["--partner", "litware"],
        "one of contoso, fabrikam, got \"litware\"",
    );
    refused(&folder.join("nothing"), &[], "nothing: cannot be read");
    refused(&options, &[], "expected a MESSAGE, got something else");
    refused(&alone, &["--at", "yesterday"], "--at");
    refused(&alone, &["--json", "--html"], "cannot be used with");
    // From says which it is.
    assert_eq!(
        run(&relay, &folder.join("whole"), &[]).status.code(),
        Some(0)
    );
    let broken = folder.join("broken.toml");
    std::fs::write(&broken, "[sip]\n").unwrap();
    let output = Command::new(binary())
        .args(["preview", "-", "--config"])
        .arg(&broken)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("broken.toml: error"), "{text}");
    relay.end().await;
}

#[tokio::test]
async fn the_text_has_all_of_it_and_nothing_that_a_terminal_would_obey() {
    let relay = relay().await;
    let nameless = r#"{"service":"apns","token":"8dcf6c4f2a9b01e7"}"#;
    let text = body(&[APPLE, &relay.windows_phone("phone"), nameless]);
    let text = text.replace("Are you there?", "\u{202e}Are you\u{9b}31m there?");
    let file = relay.world.dir.path().join("body");
    std::fs::write(&file, text).unwrap();
    let output = run(&relay, &file, &[]);
    let told = String::from_utf8(output.stdout).unwrap();
    for part in [
        "From partner contoso.",
        "targets[0]: Apple, app com.example.chat",
        "/3/device/00112233",
        "apns-topic: com.example.chat",
        "authorization: bearer (a provider token, made when it is sent)",
        "bytes of at most 4096)",
        "targets[1]: Windows Phone, the default app",
        "targets[2]: Apple, app com.example.chat",
        "x-windowsphone-target: token",
        "x-windowsphone-target: toast",
        "It is answered when every provider accepts:\nSIP/2.0 200 OK",
        "\\u{202e}Are you",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains(['\u{202e}', '\u{9b}', '\u{1b}']), "{told}");
    relay.end().await;
}

/// Everything between angle brackets, in order: what a browser takes for markup.
fn markup(page: &str) -> Vec<&str> {
    let pieces = page.split('<').skip(1);
    pieces
        .map(|piece| piece.split_once('>').unwrap().0)
        .collect()
}

#[tokio::test]
async fn whatever_comes_from_outside_is_text_on_the_page() {
    let relay = relay().await;
    let phone = relay.windows_phone("phone");
    let file = relay.world.dir.path().join("body");
    let hostile = "</p><script>alert(1)</script><img src=x onerror='a()'>\\\"&lt;";
    let draw = |words: &str, event: &str| {
        let text = body(&[APPLE, &phone]).replace("im.message", event);
        let text = text
            .replace("Kim Akers", words)
            .replace("Are you there?", words);
        let text = text.replace("\"default\"", &format!("\"{words}\""));
        let text = with(&text, &format!(r#""data":{{"color":"{words}"}}"#));
        std::fs::write(&file, text).unwrap();
        let output = run(&relay, &file, &["--html"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for event in [
        "im.message",
        "call.missed",
        "conf.invite",
        "voicemail.new",
        "x-<b>",
    ] {
        let event = event.replace("<b>", "door");
        let page = draw(hostile, &event);
        assert_eq!(markup(&page), markup(&draw("harmless", &event)), "{event}");
        assert!(
            page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
            "{page}"
        );
        assert!(page.contains("default-src 'none'") && page.contains("An approximation"));
    }
    // A color that is none never reaches the style.
    let page = draw("#FF000000;background:url(//example.org)", "im.message");
    assert!(!page.contains("style=\"background"), "{page}");
    let page = draw("#80112233", "im.message");
    assert!(page.contains("style=\"background:#11223380\""), "{page}");
    relay.end().await;
}

#[tokio::test]
async fn the_page_says_what_is_not_shown() {
    let relay = relay().await;
    let phone = relay.windows_phone("phone");
    let file = relay.world.dir.path().join("body");
    let page = |text: String| {
        std::fs::write(&file, text).unwrap();
        String::from_utf8(run(&relay, &file, &["--html"]).stdout).unwrap()
    };
    let unknown = APPLE.replace("com.example.chat", "com.unknown");
    for (text, expected) in [
        (
            body(&[APPLE]).replace("im.message", "im.missed"),
            "the app is woken and decides by itself",
        ),
        (body(&[VOIP]), "A VoIP push"),
        (
            r#"{"v":1,"event":"badge.update","targets":[TARGET],"badge":0}"#
                .replace("TARGET", APPLE),
            "the number goes away",
        ),
        (
            with(
                &body(&[&phone]).replace("im.message", "voicemail.new"),
                r#""mpns":{"kind":"raw","raw":"x"}"#,
            ),
            "the phone shows nothing",
        ),
        (
            body(&[&phone]).replace("im.message", "conf.invite"),
            "cleared: Count",
        ),
        (body(&[&unknown]), "refused: no app of that id"),
        ("{}".to_owned(), "SIP/2.0 400"),
    ] {
        let page = page(text);
        assert!(page.contains(expected), "{expected}: {page}");
    }
    relay.end().await;
}

/// Not even a name is looked up: a partner that is known by its SRV record has a server that nobody must ask.
#[tokio::test]
async fn nobody_is_spoken_to() {
    if !has_strace() {
        eprintln!("skipped: strace may not trace here");
        return;
    }
    let relay = Relay::configured(|config| {
        let sip = config["sip"].as_table_mut().unwrap();
        sip.insert("dns".into(), "127.0.0.1:9".into());
        let partners = config["partners"].as_array_mut().unwrap();
        let mut other = partners[0].as_table().unwrap().clone();
        other.insert("name".into(), "fabrikam".into());
        other.remove("edges");
        other.insert("known_by".into(), "srv".into());
        other.insert("domains".into(), vec!["fabrikam.example"].into());
        partners.push(other.into());
    })
    .await;
    let folder = relay.world.dir.path();
    let (file, calls) = (folder.join("body"), folder.join("calls"));
    std::fs::write(&file, body(&[APPLE, &relay.windows_phone("phone")])).unwrap();
    let output = Command::new("strace")
        .args(["-f", "-e", "trace=%network", "-o"])
        .arg(&calls)
        .arg(binary())
        .arg("preview")
        .arg(&file)
        .args(["--partner", "fabrikam", "--config"])
        .arg(relay.daemon.config_path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let calls = std::fs::read_to_string(&calls).unwrap();
    assert!(calls.contains("exited with 0"), "{calls}");
    for call in ["connect(", "sendto(", "sendmsg(", "AF_INET"] {
        assert!(!calls.contains(call), "{calls}");
    }
    relay.end().await;
}
