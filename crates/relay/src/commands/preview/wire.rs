//! One request to a provider, for eyes.

use std::fmt;

use pushrelay_providers::apns::{ApnsClient, ApnsRequest};
use pushrelay_providers::mpns::MpnsRequest;
use serde_json::{Map, Value, json};

/// A request as it goes over the wire.
pub(super) struct Wire {
    url: String,
    headers: Vec<(String, String)>,
    /// Whether a provider token is added when it is sent.
    provider_token: bool,
    body: String,
    /// The most bytes of body that the provider takes.
    most_bytes: usize,
}

impl Wire {
    /// One to Apple, by this client.
    pub(super) fn to_apple(client: &ApnsClient, request: &ApnsRequest) -> Wire {
        let headers = request.headers();
        let headers = headers.iter();
        Wire {
            url: client.url(request),
            headers: headers
                .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
                .collect(),
            provider_token: client.sends_tokens(),
            body: text(request.payload()),
            most_bytes: request.most_bytes(),
        }
    }

    /// One to a channel.
    pub(super) fn to_windows_phone(request: &MpnsRequest) -> Wire {
        Wire {
            url: request.url().to_owned(),
            headers: request
                .headers()
                .map(|(name, value)| (name.to_owned(), text(value)))
                .collect(),
            provider_token: false,
            body: text(request.body()),
            most_bytes: request.most_bytes(),
        }
    }

    /// The body: JSON to Apple, XML or raw bytes to a channel.
    pub(super) fn body(&self) -> &str {
        &self.body
    }

    /// The value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(found, _)| found == name)?;
        Some(value)
    }

    /// For machines.
    pub(super) fn json(&self) -> Value {
        let headers = self.headers.iter();
        let headers: Map<String, Value> = headers
            .map(|(name, value)| (name.clone(), value.as_str().into()))
            .collect();
        json!({
            "method": "POST",
            "url": self.url,
            "headers": headers,
            "provider_token": self.provider_token,
            "body": self.body,
            "bytes": self.body.len(),
            "most_bytes": self.most_bytes,
        })
    }
}

/// What this relay composes is UTF-8.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "POST {}", self.url)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {value}")?;
        }
        if self.provider_token {
            writeln!(
                f,
                "authorization: bearer (a provider token, made when it is sent)"
            )?;
        }
        writeln!(f, "\n{}", self.body)?;
        write!(
            f,
            "({} bytes of at most {})",
            self.body.len(),
            self.most_bytes
        )
    }
}
