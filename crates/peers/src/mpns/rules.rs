//! What Microsoft prescribes of a request, as a list of breaches.
//!
//! Source: Microsoft, "Sending push notifications for Windows Phone", "Push notification service response codes".

use http::{HeaderMap, Method};

use super::xml::Element;

/// Adds a sentence to `breaches` for each rule that a request breaks.
pub(crate) fn check(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    body: &[u8],
    breaches: &mut Vec<String>,
) {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let mut breach = |what: String| breaches.push(what);
    if method != Method::POST {
        breach(format!("the method is {method}, expected POST"));
    }
    if super::token_of(path).is_none() {
        breach("the path is no channel's".to_owned());
    }
    let block: usize = headers
        .iter()
        .map(|(n, v)| n.as_str().len() + v.len() + 4)
        .sum();
    if block > HEADER_LIMIT {
        breach(format!(
            "the header fields have {block} octets, expected at most {HEADER_LIMIT}"
        ));
    }
    for name in [
        "content-type",
        "x-windowsphone-target",
        "x-notificationclass",
        "x-messageid",
    ] {
        if headers.get_all(name).iter().count() > 1 {
            breach(format!("{name} stands more than once"));
        }
    }
    if text("host").is_none_or(str::is_empty) {
        breach("Host is missing".to_owned());
    }
    if text("transfer-encoding").is_some() || text("content-length").is_none() {
        breach("the body has no Content-Length".to_owned());
    }
    if let Some(id) = text("x-messageid")
        && uuid::Uuid::try_parse(id).is_err()
    {
        breach("X-MessageID is no UUID".to_owned());
    }
    let target = text("x-windowsphone-target");
    let content_type = text("content-type").unwrap_or_default();
    if !content_type.starts_with("text/")
        || (target.is_some() && !content_type.starts_with("text/xml"))
    {
        breach("Content-Type is not text/xml".to_owned());
    }
    let (units, limit) = match target {
        Some("toast") => ('2', BODY_LIMIT),
        Some("token" | "tile") => ('1', BODY_LIMIT),
        None => ('3', RAW_LIMIT),
        Some(other) => {
            breach(format!(
                "X-WindowsPhone-Target is {other:?}, expected toast, token or none"
            ));
            return;
        }
    };
    match text("x-notificationclass") {
        Some(class) if is_class(class, units) => {}
        Some(class) => breach(format!(
            "X-NotificationClass is {class:?}, expected {units}, 1{units} or 2{units}"
        )),
        None => breach("X-NotificationClass is missing".to_owned()),
    }
    if body.len() > limit {
        breach(format!(
            "the body has {} octets, expected at most {limit}",
            body.len()
        ));
    }
    if target.is_none() {
        return;
    }
    match Element::parse(body) {
        Err(error) => breach(format!("the body is no well-formed XML: {error}")),
        Ok(root) => check_notification(&root, units == '2', &mut breach),
    }
}

fn check_notification(root: &Element, toast: bool, breach: &mut impl FnMut(String)) {
    let prefix = root.name.strip_suffix(":Notification");
    let Some(prefix) = prefix else {
        return breach("the root element is no wp:Notification".to_owned());
    };
    if root.attribute(&format!("xmlns:{prefix}")) != Some("WPNotification") {
        breach("the namespace is not WPNotification".to_owned());
    }
    let [content] = root.children.as_slice() else {
        return breach("the notification holds not exactly one element".to_owned());
    };
    let local = |element: &Element| {
        let name = element
            .name
            .strip_prefix(prefix)
            .and_then(|name| name.strip_prefix(':'));
        name.unwrap_or_default().to_owned()
    };
    let template = content.attribute("Template");
    let (kind, order): (_, &[&str]) = match (toast, template) {
        (true, _) => ("Toast", &TOAST),
        (false, None) => ("Tile", &TILE),
        (false, Some("FlipTile")) => ("Tile", &FLIP_TILE),
        (false, Some("IconicTile")) => ("Tile", &ICONIC_TILE),
        (false, Some("CycleTile")) => ("Tile", &CYCLE_TILE),
        (false, Some(other)) => return breach(format!("there is no template {other:?}")),
    };
    if template.is_some() != (root.attribute("Version") == Some("2.0")) {
        breach("Version=\"2.0\" and Template go together".to_owned());
    }
    if local(content) != kind {
        return breach(format!("the notification is no {kind}"));
    }
    let mut from = 0;
    for child in &content.children {
        let name = local(child);
        match order[from..].iter().position(|known| *known == name) {
            Some(at) => from += at + 1,
            None => breach(format!("wp:{name} is unknown, repeated or out of order")),
        }
        match name.as_str() {
            "Param" if !child.text.starts_with('/') => {
                breach("wp:Param does not begin with /".to_owned())
            }
            "Param" if child.text.chars().count() > 256 => {
                breach("wp:Param has more than 256 characters".to_owned())
            }
            "Count"
                if child.attribute("Action") != Some("Clear")
                    && !child.text.parse().is_ok_and(|count: u32| count <= 99) =>
            {
                breach("wp:Count is no number up to 99".to_owned());
            }
            _ => {}
        }
    }
    if toast && from == 0 {
        breach("the toast is empty".to_owned());
    }
}

fn is_class(class: &str, units: char) -> bool {
    let tens = class.strip_suffix(units);
    matches!(tens, Some("" | "1" | "2"))
}

/// Octets: "header block 1 KB".
const HEADER_LIMIT: usize = 1024;
/// Octets of a toast or a tile.
const BODY_LIMIT: usize = 3072;
/// Octets of a raw notification.
const RAW_LIMIT: usize = 1024;

/// The elements of a toast in the order in which the phone reads them.
const TOAST: [&str; 3] = ["Text1", "Text2", "Param"];
/// The elements of a 7.1 tile in the order in which the phone reads them.
const TILE: [&str; 6] = [
    "BackgroundImage",
    "Count",
    "Title",
    "BackBackgroundImage",
    "BackTitle",
    "BackContent",
];
/// The elements of the tiles of 8.0, each in the order of Microsoft's schema.
const FLIP_TILE: [&str; 10] = [
    "SmallBackgroundImage",
    "WideBackgroundImage",
    "WideBackBackgroundImage",
    "WideBackContent",
    "BackgroundImage",
    "Count",
    "Title",
    "BackBackgroundImage",
    "BackTitle",
    "BackContent",
];
const ICONIC_TILE: [&str; 8] = [
    "SmallIconImage",
    "IconImage",
    "WideContent1",
    "WideContent2",
    "WideContent3",
    "Count",
    "Title",
    "BackgroundColor",
];
const CYCLE_TILE: [&str; 12] = [
    "SmallBackgroundImage",
    "CycleImage1",
    "CycleImage2",
    "CycleImage3",
    "CycleImage4",
    "CycleImage5",
    "CycleImage6",
    "CycleImage7",
    "CycleImage8",
    "CycleImage9",
    "Count",
    "Title",
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    const PATH: &str = "/throttledthirdparty/01.00/phone1";

    fn breaches(target: Option<&str>, class: &str, body: &str) -> Vec<String> {
        let length = body.len().to_string();
        let mut fields = vec![
            ("host", "127.0.0.1"),
            ("content-type", "text/xml"),
            ("content-length", &*length),
            ("x-notificationclass", class),
            ("x-messageid", "6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55"),
        ];
        fields.extend(target.map(|target| ("x-windowsphone-target", target)));
        checked(&fields, body)
    }

    fn checked(fields: &[(&'static str, &str)], body: &str) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let value = HeaderValue::from_str(value).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        let mut breaches = Vec::new();
        check(
            &Method::POST,
            PATH,
            &headers,
            body.as_bytes(),
            &mut breaches,
        );
        breaches
    }

    fn wrapped(content: &str) -> String {
        format!(
            r#"<?xml version="1.0" encoding="utf-8"?><wp:Notification xmlns:wp="WPNotification">{content}</wp:Notification>"#
        )
    }

    fn toast(content: &str) -> Vec<String> {
        breaches(
            Some("toast"),
            "2",
            &wrapped(&format!("<wp:Toast>{content}</wp:Toast>")),
        )
    }

    fn tile(content: &str) -> Vec<String> {
        breaches(
            Some("token"),
            "1",
            &wrapped(&format!("<wp:Tile>{content}</wp:Tile>")),
        )
    }

    #[test]
    fn requests_by_the_book_break_nothing() {
        assert_eq!(
            toast("<wp:Text1>a</wp:Text1><wp:Text2>b</wp:Text2><wp:Param>/x?a=1</wp:Param>"),
            [""; 0]
        );
        assert_eq!(toast("<wp:Text2>b</wp:Text2>"), [""; 0]);
        assert_eq!(
            tile(r#"<wp:Count>3</wp:Count><wp:BackTitle Action="Clear"></wp:BackTitle>"#),
            [""; 0]
        );
        assert_eq!(tile(r#"<wp:Count Action="Clear"/>"#), [""; 0]);
        assert_eq!(breaches(None, "3", "anything"), [""; 0]);
        for class in ["2", "12", "22"] {
            let body = wrapped("<wp:Toast><wp:Text1>a</wp:Text1></wp:Toast>");
            assert_eq!(breaches(Some("toast"), class, &body), [""; 0]);
        }
    }

    #[test]
    fn the_class_belongs_to_the_target() {
        let body = wrapped("<wp:Toast><wp:Text1>a</wp:Text1></wp:Toast>");
        for class in ["1", "3", "02", "32", "x", ""] {
            assert_eq!(breaches(Some("toast"), class, &body).len(), 1, "{class}");
        }
        assert_eq!(breaches(None, "2", "anything").len(), 1);
        assert_eq!(breaches(Some("poster"), "2", &body).len(), 1);
    }

    #[test]
    fn broken_xml_is_seen() {
        for body in [
            "",
            "no xml",
            "<wp:Notification>",
            "<a></b>",
            "<wp:Notification xmlns:wp=\"WPNotification\"><wp:Toast><wp:Text1>a & b</wp:Text1></wp:Toast></wp:Notification>",
            "<wp:Notification xmlns:wp=\"WPNotification\"><wp:Toast><wp:Text1>&nbsp;</wp:Text1></wp:Toast></wp:Notification>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><wp:Notification xmlns:wp=\"WPNotification\"><wp:Toast/></wp:Notification>",
            "<wp:Notification xmlns:wp=\"other\"><wp:Toast><wp:Text1>a</wp:Text1></wp:Toast></wp:Notification>",
            "<wp:Notification xmlns:wp=\"WPNotification\"/>",
        ] {
            assert_eq!(breaches(Some("toast"), "2", body).len(), 1, "{body}");
        }
    }

    #[test]
    fn content_is_held_to_order_and_form() {
        for content in [
            "",
            "<wp:Text2>b</wp:Text2><wp:Text1>a</wp:Text1>",
            "<wp:Text1>a</wp:Text1><wp:Text1>a</wp:Text1>",
            "<wp:Text1>a</wp:Text1><wp:Text3>a</wp:Text3>",
            "<wp:Text1>a</wp:Text1><wp:Param>x</wp:Param>",
            &format!(
                "<wp:Text1>a</wp:Text1><wp:Param>/{}</wp:Param>",
                "x".repeat(256)
            ),
        ] {
            assert_eq!(toast(content).len(), 1, "{content}");
        }
        assert_eq!(tile("<wp:Count>100</wp:Count>").len(), 1);
        assert_eq!(tile("<wp:Count>few</wp:Count>").len(), 1);
        assert_eq!(
            tile("<wp:Title>a</wp:Title><wp:Count>1</wp:Count>").len(),
            1
        );
    }

    #[test]
    fn sizes_are_held() {
        assert_eq!(breaches(None, "3", &"x".repeat(1024)), [""; 0]);
        assert_eq!(breaches(None, "3", &"x".repeat(1025)).len(), 1);
        let text = |length: usize| format!("<wp:Text1>{}</wp:Text1>", "x".repeat(length));
        assert_eq!(toast(&text(2800)), [""; 0]);
        assert_eq!(toast(&text(3072)).len(), 1);
        let long = "x".repeat(1024);
        let fields = [
            ("host", "127.0.0.1"),
            ("content-type", "text/xml"),
            ("content-length", "1"),
            ("x-notificationclass", "3"),
            ("x-more", &*long),
        ];
        assert_eq!(checked(&fields, "x").len(), 1);
    }

    #[test]
    fn missing_headers_are_seen() {
        let fields = [
            ("host", "127.0.0.1"),
            ("content-type", "text/xml"),
            ("content-length", "1"),
            ("x-notificationclass", "3"),
        ];
        assert_eq!(checked(&fields, "x"), [""; 0]);
        for (missing, _) in &fields {
            let rest: Vec<_> = fields
                .iter()
                .copied()
                .filter(|(n, _)| n != missing)
                .collect();
            assert_eq!(checked(&rest, "x").len(), 1, "{missing}");
        }
    }
}
