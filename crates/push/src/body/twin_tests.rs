#![allow(clippy::unwrap_used)]

use super::super::{Body, Decoders};
use super::*;

const TOKEN: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";
const CHANNEL: &str = "https://sn1.notify.live.net/unthrottledthirdparty/01.00/AAGvdLTQ";

fn decode(body: &str) -> Result<Notification, BodyError> {
    decode_as("application/vnd.pushrelay+xml; v=1", body.as_bytes())
}

fn decode_as(content_type: &str, bytes: &[u8]) -> Result<Notification, BodyError> {
    let result = Decoders::new(ChannelPolicy::default()).decode(Body {
        content_type: Some(content_type),
        bytes,
    });
    if let Err(error) = &result {
        let text = error.to_string();
        assert!(
            text.starts_with("pushrelay+xml: ") && text.len() <= 200,
            "{text}"
        );
        assert!(!text.contains("SECRET"), "{text}");
    }
    result
}

fn push(members: &str) -> String {
    format!(
        "<push v='1' event='im.message'><targets><target service='apns' token='{TOKEN}'/></targets>{members}</push>"
    )
}

/// Every member, once as an element and once as an attribute where it can be one, beside the same in JSON.
#[test]
fn every_member_says_what_its_json_twin_says() {
    let json = format!(
        r#"{{"v":1,"id":"6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55","created":"2026-11-23T20:00:00Z","ttl":3600,"event":"im.message",
        "targets":[{{"service":"apns","token":"{TOKEN}","app":"com.example.chat","env":"sandbox","registered":"2026-11-01T00:00:00Z"}},
        {{"service":"mpns","uri":"{CHANNEL}","app":"wp"}}],
        "from":{{"uri":"sip:kima@contoso.com","name":"Kim & Co"}},
        "alert":{{"title":"t","subtitle":"s","body":"b <i>","loc_key":"K","loc_args":["1","2"]}},
        "badge":3,"sound":"default","thread":"th","collapse":"co",
        "mpns":{{"kind":"raw","param":"/C.xaml","delay":"450","raw":"<x/>","tile":{{"id":"/S.xaml","background":"r.jpg","count":7,
        "title":"tt","back_background":"b.jpg","back_title":"bt","back_content":"bc"}}}},
        "data":{{"conversation":"42","more":{{"a":"1","b":""}}}}}}"#
    );
    let expected = Decoders::new(ChannelPolicy::default())
        .decode(Body {
            content_type: Some("application/vnd.pushrelay+json"),
            bytes: json.as_bytes(),
        })
        .unwrap();
    let elements = format!(
        r#"<?xml version="1.0" encoding="utf-8"?>
<p:push xmlns:p="urn:any">
  <v>1</v> <id>6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55</id> <created>2026-11-23T20:00:00Z</created> <ttl> 3600 </ttl>
  <event>im.message</event>
  <targets>
    <target><service>apns</service><token>{TOKEN}</token><app>com.example.chat</app><env>sandbox</env><registered>2026-11-01T00:00:00Z</registered></target>
    <unknown/>
    <target><service>mpns</service><uri>{CHANNEL}</uri><app>wp</app></target>
  </targets>
  <from><uri>sip:kima@contoso.com</uri><name>Kim &amp; Co</name></from>
  <alert><title>t</title><subtitle>s</subtitle><body>b <![CDATA[<i>]]></body><loc_key>K</loc_key><loc_args><arg>1</arg><arg>2</arg></loc_args></alert>
  <badge>3</badge><sound>default</sound><thread>th</thread><collapse>co</collapse>
  <mpns><kind>raw</kind><param>/C.xaml</param><delay>450</delay><raw>&lt;x/&gt;</raw>
    <tile><id>/S.xaml</id><background>r.jpg</background><count>7</count><title>tt</title><back_background>b.jpg</back_background><back_title>bt</back_title><back_content>bc</back_content></tile></mpns>
  <data><conversation>42</conversation><more><a>1</a><b/></more></data>
  <unknown><event>test</event></unknown>
</p:push>"#
    );
    assert_eq!(decode(&elements).unwrap(), expected);
    let attributes = format!(
        r#"<push v="1" id="6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55" created="2026-11-23T20:00:00Z" ttl="3600" event="im.message" badge="3" sound="default" thread="th" collapse="co">
<targets><target service="apns" token="{TOKEN}" app="com.example.chat" env="sandbox" registered="2026-11-01T00:00:00Z"/><target service="mpns" uri="{CHANNEL}" app="wp"/></targets>
<from uri="sip:kima@contoso.com" name="Kim &amp; Co"/>
<alert title="t" subtitle="s" body="b &lt;i&gt;" loc_key="K"><loc_args><arg>1</arg><arg>2</arg></loc_args></alert>
<mpns kind="raw" param="/C.xaml" delay="450" raw="&lt;x/&gt;"><tile id="/S.xaml" background="r.jpg" count="7" title="tt" back_background="b.jpg" back_title="bt" back_content="bc"/></mpns>
<data conversation="42"><more a="1" b=""/></data></push>"#
    );
    assert_eq!(decode(&attributes).unwrap(), expected);
}

#[test]
fn an_empty_element_is_an_absent_member() {
    let small = decode(&push("")).unwrap();
    let empty = "<id/><created/><ttl/><from/><alert> </alert><badge></badge><sound/><mpns/><data/>";
    assert_eq!(decode(&push(empty)).unwrap(), small);
    assert_eq!(small.alert, None);
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (members, expected) in [
        (
            "<badge>many SECRET</badge>",
            "badge: expected an integer, got a string",
        ),
        (
            "<badge><b/></badge>",
            "badge: expected an integer, got an object",
        ),
        (
            "<alert>SECRET</alert>",
            "alert: expected an object, got a string",
        ),
        (
            "<alert><title><b>SECRET</b></title></alert>",
            "alert.title: expected a string, got an object",
        ),
        (
            "<sound>a</sound><sound>b</sound>",
            "sound: expected it once in its parent, got it twice",
        ),
        (
            "<event>test</event>",
            "event: expected it once in its parent, got it twice",
        ),
        (
            "<mpns delay='SECRET'/>",
            "mpns.delay: expected immediate, 450 or 900, got another",
        ),
        (
            "<id>SECRET</id>",
            "id: expected a UUID of 36 characters, got something else",
        ),
        (
            "<data>SECRET</data>",
            "data: expected an object, got a string",
        ),
    ] {
        let error = decode(&push(members)).unwrap_err();
        assert_eq!(error.to_string(), format!("pushrelay+xml: {expected}"));
        assert_eq!(error.status(), 400);
    }
    for (body, expected) in [
        ("<SECRET/>", "expected the root element push, got another"),
        ("<push/>", "the body: expected an object, got null"),
        ("<push v='2'/>", "expected v: 1, got another version"),
        (
            "<push v='1' event='test'/>",
            "targets: expected an array, got nothing",
        ),
        (
            "<push v='1' event='test'><targets/></push>",
            "targets: expected 1 to 16 elements, got 0",
        ),
        (
            "<push v='1' event='test'><targets><target service='apns' token='SECRET'/></targets></push>",
            "targets[0].token: expected hexadecimal digits, got another character at position 0",
        ),
    ] {
        let error = decode(body).unwrap_err();
        assert_eq!(error.to_string(), format!("pushrelay+xml: {expected}"));
    }
    let version = decode_as("application/vnd.pushrelay+xml; v=2", push("").as_bytes());
    assert_eq!(version.unwrap_err().status(), 415);
}

#[test]
fn data_is_nested_as_deep_as_in_json_and_no_deeper() {
    let nested = |levels: usize| {
        push(&format!(
            "<data>{}x{}</data>",
            "<a>".repeat(levels),
            "</a>".repeat(levels)
        ))
    };
    assert!(decode(&nested(32)).is_ok());
    let error = decode(&nested(33)).unwrap_err().to_string();
    assert_eq!(
        error,
        "pushrelay+xml: data: expected at most 32 levels, got more"
    );
}

#[test]
fn every_cut_of_a_good_body_is_refused() {
    let body = push("<data><a>1</a></data>");
    for at in 0..body.len() {
        assert!(decode(&body[..at]).is_err(), "{at}");
    }
}
