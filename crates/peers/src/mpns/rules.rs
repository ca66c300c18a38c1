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
    let (kind, order): (_, &[&str]) = if toast {
        ("Toast", &TOAST)
    } else {
        ("Tile", &TILE)
    };
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
