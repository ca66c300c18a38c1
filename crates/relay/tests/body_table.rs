//! A table of bodies: for each, the exact answer and the exact requests to the providers, over real sockets.
//!
//! `body_table.txt` beside this file holds what is expected. `UPDATE=1 cargo test -p pushrelay --test body_table` writes it anew: read
//! the difference before you keep it.

#![allow(clippy::unwrap_used)]

mod common;

use std::fmt::Write as _;
use std::path::Path;

use common::Relay;
use pushrelay_peers::apns::ApnsReceived;
use pushrelay_peers::edge::SipAnswer;
use pushrelay_peers::mpns::MpnsReceived;
use pushrelay_peers::world::World;
use toml::Table;

const EXPECTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/body_table.txt");
const TOKEN: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";
const BASE64: &str = "APwTrf94USK0rSiAmjQgmCNBJBQhNICXh45XfJkd6PA=";
const JSON: &str = "application/vnd.pushrelay+json; v=1";
const XML: &str = "application/vnd.pushrelay+xml; v=1";

struct Case {
    name: &'static str,
    content_type: String,
    body: Vec<u8>,
}

fn case(name: &'static str, content_type: impl Into<String>, body: impl Into<Vec<u8>>) -> Case {
    Case {
        name,
        content_type: content_type.into(),
        body: body.into(),
    }
}

/// A JSON body for one iPhone with these members beside.
fn json(name: &'static str, members: &str) -> Case {
    case(name, JSON, json_body(members))
}

fn json_body(members: &str) -> String {
    let comma = if members.is_empty() { "" } else { "," };
    format!(
        r#"{{"v":1,"event":"im.message","targets":[{{"service":"apns","token":"{TOKEN}"}}]{comma}{members}}}"#
    )
}

/// A JSON body for one Windows Phone with these members beside.
fn phone(name: &'static str, channel: &str, members: &str) -> Case {
    let target = format!(r#"{{"service":"mpns","uri":"{channel}"}}"#);
    let apple = format!(r#"{{"service":"apns","token":"{TOKEN}"}}"#);
    case(name, JSON, json_body(members).replace(&apple, &target))
}

/// An XML body for one iPhone with these elements beside.
fn xml(name: &'static str, members: &str) -> Case {
    case(name, XML, xml_body(members))
}

fn xml_body(members: &str) -> String {
    format!(
        "<push v='1' event='im.message'><targets><target service='apns' token='{TOKEN}'/></targets>{members}</push>"
    )
}

fn multipart(kind: &str, parts: &[(&str, &str)]) -> (String, String) {
    let parts = parts.iter().map(|(content_type, body)| {
        format!("--b\r\nContent-Type: {content_type}\r\n\r\n{body}\r\n")
    });
    (
        format!("multipart/{kind}; boundary=b"),
        format!("{}--b--\r\n", parts.collect::<String>()),
    )
}

fn utf_16(text: &str, bytes_of: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes_of).collect()
}

const ALERT: &str = r#""alert":{"title":"Kim Akers","body":"Are you there?"}"#;
const XML_ALERT: &str = "<alert><title>Kim Akers</title><body>Are you there?</body></alert>";

fn of_json(channel: &str) -> Vec<Case> {
    vec![
        json("json: the smallest", ""),
        json(
            "json: a message",
            &format!(
                r#"{ALERT},"badge":3,"sound":"default","thread":"c-42","collapse":"c-42","from":{{"uri":"sip:kima@contoso.com","name":"Kim Akers"}}"#
            ),
        ),
        json("json: a badge alone", r#""badge":0"#).with("im.message", "badge.update"),
        json("json: a missed call", ALERT).with("im.message", "call.missed"),
        json("json: a voice mail", ALERT).with("im.message", "voicemail.new"),
        json("json: an event of the sender's own", ALERT).with("im.message", "x-door-bell"),
        json("json: a test", ALERT).with("im.message", "test"),
        json(
            "json: translated on the device",
            r#""alert":{"loc_key":"IM_FROM","loc_args":["Kim Akers","2"]}"#,
        ),
        json(
            "json: subtitle and custom members",
            &format!(
                r#"{},"data":{{"conversation":"42","n":[1,2.5,null]}}"#,
                ALERT.replace("}", r#","subtitle":"Sales"}"#)
            ),
        ),
        json(
            "json: right to left, emoji, beyond the first plane",
            r#""alert":{"title":"\u05e7\u05d9\u05dd","body":"\ud83d\udc4d\ud83c\udffd \ud834\udd1e \u202eabc"}"#,
        ),
        json("json: try once", &format!(r#"{ALERT},"ttl":0"#)),
        json(
            "json: with an id, made long ago",
            &format!(
                r#"{ALERT},"id":"6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55","created":"2001-01-01T00:00:00Z","ttl":60"#
            ),
        ),
        phone("json: a toast", channel, ALERT),
        phone(
            "json: a toast with a page, in time",
            channel,
            &format!(r#"{ALERT},"mpns":{{"param":"/Chat.xaml?c=1&d=2","delay":"450"}}"#),
        ),
        phone(
            "json: a tile",
            channel,
            r#""badge":5,"mpns":{"kind":"tile","delay":"900","tile":{"title":"Kim","background":"a.png","back_title":"b","back_content":"c <&> d","back_background":"e.png"}}"#,
        ),
        phone(
            "json: a tile that clears its count",
            channel,
            r#""mpns":{"kind":"tile","tile":{"count":0,"title":""}}"#,
        ),
        phone(
            "json: raw",
            channel,
            r#""mpns":{"kind":"raw","raw":"<any>thing</any>"}"#,
        ),
        phone(
            "json: characters that XML has not",
            channel,
            r#""alert":{"title":"a\u0000b\u001fc","body":"\uffff \"<&>' ok"}"#,
        ),
        case(
            "json: both platforms",
            JSON,
            format!(
                r#"{{"v":1,"event":"im.message","targets":[{{"service":"apns","token":"{TOKEN}"}},{{"service":"mpns","uri":"{channel}"}}],{ALERT}}}"#
            ),
        ),
        json(
            "json: unknown members",
            &format!(r#"{ALERT},"future":{{"a":[1]}}"#),
        ),
    ]
}

fn of_xml(channel: &str) -> Vec<Case> {
    vec![
        xml("xml: the smallest", ""),
        xml(
            "xml: a message",
            &format!("{XML_ALERT}<badge>3</badge><sound>default</sound><thread>c-42</thread>"),
        ),
        xml(
            "xml: CDATA and entities",
            "<alert><body>a &lt;b&gt; &#x1F44D; <![CDATA[<c> & d]]></body></alert>",
        ),
        xml("xml: prefixes, comments, instructions", XML_ALERT)
            .with(
                "<push",
                "<?xml version='1.0'?><!-- c --><?pi?><x:push xmlns:x='urn:x'",
            )
            .with("</push", "</x:push"),
        xml(
            "xml: custom members",
            "<data><conversation>42</conversation><more><a>1</a></more></data>",
        ),
        xml("xml: a toast", XML_ALERT).with(
            &format!("service='apns' token='{TOKEN}'"),
            &format!("service='mpns' uri='{channel}'"),
        ),
        xml("xml: a number that is none", "<badge>three</badge>"),
        xml("xml: a member twice", "<badge>1</badge><badge>2</badge>"),
        case(
            "xml: another root",
            XML,
            xml_body("").replace("push", "pull"),
        ),
        xml("xml: not closed", "<alert>"),
    ]
}

fn of_mappings(channel: &str) -> Vec<Case> {
    let element = |device: &str| {
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<pushNotification xmlns=\"http://schemas.example.invalid/push\">\n <eventType>NewIM</eventType>\n {device}\n <from>sip:kima@contoso.com</from><displayName>Kim Akers</displayName><message>Are you there?</message><badge>2</badge>\n</pushNotification>"
        )
    };
    let attribute = format!(
        "<push type='VM' count='1' deviceType='Apple' token='{BASE64}'><title>Kim Akers</title></push>"
    );
    let json = format!(
        r#"{{"eventType":"MissedIM","deviceToken":"{TOKEN}","badge":"4","conversationId":"c1","from":{{"uri":"sip:kima@contoso.com","displayName":"Kim Akers"}},"message":"Are you there?"}}"#
    );
    let text = "DeviceToken: <00fc13ad ff785122 b4ad2880 9a342098 23412414 21348097 878e577c 991de8f0>\r\nBadge: 9\r\nFrom: sip:kima@contoso.com\r\nDisplayName: Kim Akers\r\nMessage: Are you there?\r\n";
    let uri = format!("<channelUri> {channel} </channelUri>");
    vec![
        case(
            "mapped: elements, a channel",
            "text/plain; charset=UTF-8",
            element(&uri),
        ),
        case(
            "mapped: elements, a token",
            "text/xml",
            element(&format!("<deviceToken>{TOKEN}</deviceToken>")),
        ),
        case("mapped: elements, no device", "text/xml", element("")),
        case(
            "mapped: attributes, base64",
            "application/xml",
            attribute.clone(),
        ),
        case(
            "mapped: attributes, an event that the table lacks",
            "application/xml",
            attribute.replace("'VM'", "'Fax'"),
        ),
        case(
            "mapped: attributes, base64 that is none",
            "application/xml",
            attribute.replace(BASE64, "SECRET!"),
        ),
        case("mapped: JSON as text", "text/plain", json.clone()),
        case(
            "mapped: JSON with a badge that is none",
            "text/plain",
            json.replace("\"4\"", "\"SECRET\""),
        ),
        case(
            "mapped: JSON that breaks off",
            "text/plain",
            json[..json.len() - 1].to_owned(),
        ),
        case("mapped: lines", "text/plain", text),
        case(
            "mapped: lines that no mapping knows",
            "text/plain",
            text.replace("DeviceToken", "DeviceTicket"),
        ),
    ]
}

fn wrapped() -> Vec<Case> {
    let (json, xml) = (json_body(ALERT), xml_body("<sound>x</sound>"));
    let parts = [("text/plain", "hello"), (JSON, &*json), (XML, &*xml)];
    let (mixed, mixed_body) = multipart("mixed", &parts);
    let (alternative, alternative_body) = multipart("alternative", &parts);
    let (_, inner) = multipart("mixed", &parts);
    let inner = inner.replace("--b", "--inner");
    let (_, nested) = multipart("mixed", &[("multipart/mixed; boundary=inner", &inner)]);
    let broken = multipart("mixed", &[("text/plain", "x"), (JSON, "{\"v\":1}")]).1;
    vec![
        case(
            "wrapped: mixed takes the first known part",
            mixed.clone(),
            mixed_body.clone(),
        ),
        case(
            "wrapped: alternative takes the last known part",
            alternative,
            alternative_body,
        ),
        case("wrapped: in two layers", mixed.clone(), nested),
        case(
            "wrapped: message/cpim",
            "message/cpim",
            format!("From: <sip:a@b>\r\nTo: <sip:c@d>\r\n\r\nContent-Type: {JSON}\r\n\r\n{json}"),
        ),
        case(
            "wrapped: base64",
            mixed.clone(),
            format!(
                "--b\r\nContent-Type: {JSON}\r\nContent-Transfer-Encoding: base64\r\n\r\neyJ2IjoxLCJldmVudCI6ImltLm1lc3NhZ2UiLCJ0YXJnZXRzIjpbeyJzZXJ2\r\naWNlIjoiYXBucyIsInRva2VuIjoiMDBmYzEzYWQifV0sInNvdW5kIjoieCJ9\r\n--b--"
            ),
        ),
        case(
            "wrapped: nothing known",
            mixed.clone(),
            multipart("mixed", &[("text/plain", "hello")]).1,
        ),
        case("wrapped: a part is wrong", mixed.clone(), broken),
        case(
            "wrapped: never closed",
            mixed,
            mixed_body.replace("--b--", ""),
        ),
        case("wrapped: no boundary", "multipart/mixed", mixed_body),
    ]
}

fn encoded() -> Vec<Case> {
    let text = json_body(r#""alert":{"body":"Grüße 👍"}"#);
    let marked = |mark: &[u8], bytes: Vec<u8>| [mark, &bytes].concat();
    vec![
        case("encoded: UTF-8 with a mark", JSON, marked(b"\xef\xbb\xbf", text.clone().into_bytes())),
        case("encoded: UTF-16, little end first, marked", JSON, marked(b"\xff\xfe", utf_16(&text, u16::to_le_bytes))),
        case("encoded: UTF-16, big end first, marked", JSON, marked(b"\xfe\xff", utf_16(&text, u16::to_be_bytes))),
        case("encoded: UTF-16 by its name", format!("{JSON}; charset=UTF-16LE"), utf_16(&text, u16::to_le_bytes)),
        case("encoded: ISO-8859-1", format!("{JSON}; charset=iso-8859-1"), b"{\"v\":1,\"event\":\"im.message\",\"targets\":[{\"service\":\"apns\",\"token\":\"00fc13ad\"}],\"alert\":{\"body\":\"Gr\xfc\xdfe\"}}".to_vec()),
        case("encoded: a charset that nobody knows", format!("{JSON}; charset=koi8-r"), text.clone()),
        case("encoded: no UTF-8", JSON, marked(b"\xc3\x28", text.clone().into_bytes())),
        case("encoded: half a UTF-16 character", format!("{JSON}; charset=utf-16"), b"{\0\"\0v".to_vec()),
        case("encoded: half a surrogate pair", JSON, b"\xff\xfe{\0\x00\xd8{\0".to_vec()),
    ]
}

fn damaged(channel: &str) -> Vec<Case> {
    let links = phone("", channel, ALERT).body;
    let links = String::from_utf8(links).unwrap();
    let links = links.replace("http://", "_http://");
    let xml = xml_body(XML_ALERT);
    vec![
        case(
            "damaged: an underscore before the channel",
            JSON,
            links.clone(),
        ),
        case(
            "damaged: a text in front of JSON",
            JSON,
            format!("Links can be {{dangerous}}.\r\n{}", json_body(ALERT)),
        ),
        case("damaged: both", JSON, format!("Warning! {links}")),
        case(
            "damaged: a text in front of XML",
            XML,
            format!("Links can be <dangerous>.\r\n{xml}"),
        ),
        case(
            "damaged: a link inside a text",
            JSON,
            json_body(r#""alert":{"body":"look at _http://contoso.com"}"#),
        ),
        case(
            "damaged: the namespace of a mapped body",
            "text/xml",
            format!(
                "Warning! <pushNotification xmlns='_http://x/'><eventType>NewIM</eventType><channelUri>_{channel}</channelUri></pushNotification>"
            ),
        ),
        case(
            "damaged: beyond repair",
            JSON,
            format!("Warning! {}", &links[..links.len() - 1]),
        ),
    ]
}

fn hostile(channel: &str) -> Vec<Case> {
    let secret = "SECRET\\r\\nX-Injected: 1";
    let mut cases = vec![
        case("hostile: nothing at all", JSON, ""),
        case("hostile: an unknown type", "text/plain", "hello"),
        case("hostile: a type that is none", "SECRET\u{7f}", "hello"),
        case(
            "hostile: version 2",
            "application/vnd.pushrelay+json; v=2",
            json_body(""),
        ),
        json("hostile: a member twice", r#""event":"test""#),
        json(
            "hostile: too deep",
            &format!(r#""data":{}"#, "{\"a\":".repeat(200) + &"}".repeat(200)),
        ),
        json(
            "hostile: a header in the thread",
            &format!(r#""thread":"{secret}""#),
        ),
        json(
            "hostile: a header in the collapse id",
            &format!(r#""collapse":"{secret}""#),
        ),
        json(
            "hostile: a member of Apple's own in the data",
            r#""data":{"aps":{"alert":"x"}}"#,
        ),
        json("hostile: seventeen targets", "").with(
            "\"targets\":[",
            &format!(
                "\"targets\":[{}",
                format!(r#"{{"service":"apns","token":"{TOKEN}"}},"#).repeat(16)
            ),
        ),
        json("hostile: a token that is none", "").with(TOKEN, "../../3/device"),
        json("hostile: an event with a colour", "").with("im.message", "\\u001b[31mSECRET"),
        case(
            "hostile: a body of 16 KiB and one",
            JSON,
            vec![b' '; 16 * 1024 + 1],
        ),
        case(
            "hostile: entities that grow",
            XML,
            format!(
                "<!DOCTYPE a [<!ENTITY b '{}'>]><push>&b;</push>",
                "x".repeat(100)
            ),
        ),
        xml("hostile: an entity from elsewhere", "<sound>&xxe;</sound>"),
        case(
            "hostile: a thousand levels of XML",
            XML,
            "<push>".repeat(1000) + &"</push>".repeat(1000),
        ),
        case(
            "hostile: parts without end",
            "multipart/mixed; boundary=b",
            "--b\r\n\r\n".repeat(500),
        ),
        case(
            "hostile: noise",
            JSON,
            (0..=255).cycle().take(3000).collect::<Vec<u8>>(),
        ),
    ];
    for (name, from, to) in [
        (
            "hostile: a channel inside our network",
            channel,
            "http://10.0.0.1/throttledthirdparty/01.00/x",
        ),
        ("hostile: a channel with a user", "http://", "http://user@"),
        (
            "hostile: a channel that climbs",
            "/throttledthirdparty/",
            "/throttledthirdparty/../admin/",
        ),
    ] {
        cases.push(phone(name, channel, "").with(from, to));
    }
    cases
}

impl Case {
    fn with(mut self, from: &str, to: &str) -> Case {
        let text = String::from_utf8(self.body).unwrap();
        assert!(text.contains(from), "{}: {from}", self.name);
        self.body = text.replacen(from, to, 1).into_bytes();
        self
    }
}

/// The shipped hypotheses, switched on: the table tries them too.
fn switch_on_mappings(world: &mut World) {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/mappings");
    let folder = world.dir.path().join("mappings");
    std::fs::create_dir(&folder).unwrap();
    for entry in std::fs::read_dir(shipped).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let on = text.replacen("enabled = false", "enabled = true", 1);
        std::fs::write(folder.join(path.file_name().unwrap()), on).unwrap();
    }
    let bodies: Table = "mappings = \"mappings\"".parse().unwrap();
    world.config.insert("bodies".into(), bodies.into());
}

#[tokio::test]
async fn every_body_has_its_answer_and_its_requests() {
    let mut world = World::start().await.unwrap();
    switch_on_mappings(&mut world);
    let relay = Relay::in_world(world).await;
    let channel = relay.world.windows_phone.url_for("phone");
    let cases: Vec<Case> = [
        of_json(&channel),
        of_xml(&channel),
        of_mappings(&channel),
        wrapped(),
        encoded(),
        damaged(&channel),
        hostile(&channel),
    ]
    .into_iter()
    .flatten()
    .collect();
    assert!(cases.len() >= 60, "{}", cases.len());
    let edge = relay.edge().await;
    let mut told = String::new();
    for case in &cases {
        let answer = edge
            .message(&case.content_type, case.body.clone())
            .await
            .unwrap();
        let apple = relay.world.apple.take_received();
        let phone = relay.world.windows_phone.take_received();
        let _ = writeln!(told, "== {}\n{}", case.name, of_answer(&answer)); // to a String: cannot fail
        for request in &apple {
            told.push_str(&to_apple(request));
        }
        for request in &phone {
            told.push_str(&to_phone(request));
        }
    }
    let address = relay.world.windows_phone.address().to_string();
    let told = told.replace(&address, "<windows phone service>");
    relay.end().await;
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(EXPECTED, &told).unwrap();
    }
    let expected = std::fs::read_to_string(EXPECTED).unwrap();
    for (told, expected) in told.split("\n== ").zip(expected.split("\n== ")) {
        assert_eq!(told, expected);
    }
    assert_eq!(told.len(), expected.len(), "cases are missing at the end");
}

/// A body that is refused is refused in words of our own: short, printable, without anything of it.
fn of_answer(answer: &SipAnswer) -> String {
    let mut text = format!("{}", answer.status);
    if let Some(reason) = answer.reason() {
        assert!(
            reason.len() <= 200 && !reason.chars().any(char::is_control),
            "{reason}"
        );
        for secret in ["SECRET", "Injected", TOKEN] {
            assert!(!reason.contains(secret), "{reason}");
        }
        let _ = write!(text, " {reason}"); // to a String: cannot fail
    }
    if answer.status == 415 {
        assert!(answer.header("Accept").is_some(), "{answer:?}");
    }
    text
}

fn to_apple(request: &ApnsReceived) -> String {
    let fields = request.headers.iter().filter_map(|(name, value)| {
        let value = value.to_str().unwrap();
        let value = match name.as_str() {
            "authorization" => return None,
            "apns-id" => "<id>",
            "apns-expiration" if value != "0" => "<time>",
            _ => value,
        };
        Some(format!("{name}: {value}\n"))
    });
    let body = std::str::from_utf8(&request.body).unwrap();
    format!(
        "-- POST /3/device/{}\n{}{body}\n",
        request.token,
        fields.collect::<String>()
    )
}

fn to_phone(request: &MpnsReceived) -> String {
    let fields = request.headers.iter().map(|(name, value)| {
        let value = match name.as_str() {
            "x-messageid" => "<id>",
            _ => value.to_str().unwrap(),
        };
        format!("{name}: {value}\n")
    });
    let body = std::str::from_utf8(&request.body).unwrap();
    format!(
        "-- POST {}\n{}{body}\n",
        request.path,
        fields.collect::<String>()
    )
}
