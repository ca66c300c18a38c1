//! Bodies of `application/vnd.pushrelay+json; v=1`.

use bytes::Bytes;
use serde_json::{Value, json};

/// The Content-Type of a [`Push`].
pub const PUSH_JSON: &str = "application/vnd.pushrelay+json; v=1";

/// A push as a sender composes it. Whatever has no method of its own is set by [`with`](Push::with).
#[derive(Clone, Debug, PartialEq)]
pub struct Push(Value);

impl Push {
    /// A push of this event (`im.message`, `call.missed`, …), without any target.
    pub fn new(event: &str) -> Push {
        Push(json!({ "v": 1, "event": event, "targets": [] }))
    }

    /// One more target: an iPhone by its token, with the app that the relay has as its default.
    pub fn apple(self, token: &str) -> Push {
        self.target(json!({ "service": "apns", "token": token }))
    }

    /// One more target: a Windows Phone by its channel URI.
    pub fn windows_phone(self, channel_uri: &str) -> Push {
        self.target(json!({ "service": "mpns", "uri": channel_uri }))
    }

    /// One more target, as it is.
    pub fn target(mut self, target: Value) -> Push {
        if let Some(targets) = self.0["targets"].as_array_mut() {
            targets.push(target);
        }
        self
    }

    /// What to show.
    pub fn alert(self, title: &str, body: &str) -> Push {
        self.with("alert", json!({ "title": title, "body": body }))
    }

    /// A member of the root, as it is; replaces what was there.
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Push {
        self.0[member] = value.into();
        self
    }

    /// The octets.
    pub fn encode(&self) -> Bytes {
        self.0.to_string().into()
    }
}

impl From<Push> for Bytes {
    fn from(push: Push) -> Bytes {
        push.encode()
    }
}
