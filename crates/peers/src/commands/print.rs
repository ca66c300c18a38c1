//! What the fakes saw, in plain lines.

use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use pushrelay_peers::SipAnswer;
use pushrelay_peers::apns::ApnsReceived;
use pushrelay_peers::mpns::MpnsReceived;

/// Prints a line to whoever reads it. `pushrelay-peers demo | head` must still end its relay in order.
pub(crate) fn line(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{text}"); // nobody reads any more
}

/// What Apple saw and said.
pub(crate) fn apple(received: &ApnsReceived) -> String {
    let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    let expires = match received.expiration {
        None => "none".to_owned(),
        Some(0) => "at once".to_owned(),
        Some(seconds) => httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds)),
    };
    let collapse = match &received.collapse_id {
        None => String::new(),
        Some(id) => format!(", collapse-id {id}"),
    };
    format!(
        "Apple          POST /3/device/{}\n\
         \x20              topic {}, push-type {}, priority {}, expires {expires}{collapse}\n\
         \x20              {}\n\
         \x20              answered {}",
        short(&received.token),
        or_none(&received.topic),
        or_none(&received.push_type),
        or_none(&received.priority),
        String::from_utf8_lossy(&received.body),
        status(received.status),
    )
}

/// What the Windows Phone service saw and said.
pub(crate) fn windows_phone(received: &MpnsReceived) -> String {
    let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    format!(
        "Windows Phone  POST {}\n\
         \x20              X-WindowsPhone-Target: {}, X-NotificationClass: {}\n\
         \x20              {}\n\
         \x20              answered {}",
        received.path,
        or_none(&received.target),
        or_none(&received.class),
        String::from_utf8_lossy(&received.body).replace('\n', ""),
        status(received.status),
    )
}

/// What the sender got.
pub(crate) fn answer(answer: &SipAnswer) -> String {
    let mut text = format!("Edge       ←   SIP/2.0 {} {}", answer.status, answer.phrase);
    for name in [
        "ms-diagnostics-public",
        "Warning",
        "Retry-After",
        "Accept",
        "Allow",
        "Supported",
    ] {
        for value in answer.headers(name) {
            text.push_str(&format!("\n               {name}: {value}"));
        }
    }
    text
}

fn status(status: Option<u16>) -> String {
    status.map_or_else(|| "not at all".to_owned(), |status| status.to_string())
}

fn short(token: &str) -> String {
    match token.get(..8) {
        Some(start) if token.len() > 16 => format!("{start}… ({} digits)", token.len()),
        _ => token.to_owned(),
    }
}
