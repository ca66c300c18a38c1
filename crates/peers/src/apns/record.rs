//! What the fake Apple has seen.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

/// One request that reached the fake, whatever became of it.
#[derive(Clone)]
pub struct ApnsReceived {
    /// The device token of `:path`.
    pub token: String,
    /// `apns-topic`
    pub topic: Option<String>,
    /// `apns-push-type`
    pub push_type: Option<String>,
    /// `apns-priority`
    pub priority: Option<String>,
    /// `apns-expiration`, UNIX seconds.
    pub expiration: Option<u64>,
    /// `apns-id`
    pub id: Option<String>,
    /// `apns-collapse-id`
    pub collapse_id: Option<String>,
    /// All header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The body as JSON; `Null` where it is none.
    pub payload: Value,
    /// Which connection, counted from 0.
    pub connection: u64,
    /// The stream's id on its connection.
    pub stream: u32,
    /// The status that was answered; `None` where a fault came in the way.
    pub status: Option<u16>,
    /// Whether it was processed with status 200, so that a device would have got it, answered or not.
    pub accepted: bool,
}

impl ApnsReceived {
    pub(crate) fn new(token: &str, headers: HeaderMap, body: Bytes) -> ApnsReceived {
        let text = |name: &str| {
            let value = headers.get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        ApnsReceived {
            token: token.to_owned(),
            topic: text("apns-topic"),
            push_type: text("apns-push-type"),
            priority: text("apns-priority"),
            expiration: text("apns-expiration").and_then(|digits| digits.parse().ok()),
            id: text("apns-id"),
            collapse_id: text("apns-collapse-id"),
            payload: serde_json::from_slice(&body).unwrap_or_default(),
            headers,
            body,
            connection: 0,
            stream: 0,
            status: None,
            accepted: false,
        }
    }

    /// The `kid` of its provider token, whether or not Apple would know it; `None` where it has no readable one.
    pub fn key_id(&self) -> Option<String> {
        let credential = self.headers.get("authorization")?.to_str().ok()?;
        let (_, token) = credential.split_once(' ')?;
        jsonwebtoken::decode_header(token).ok()?.kid
    }
}

/// How much the fake remembers of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    /// Everything: [`FakeApns::received`](super::FakeApns::received).
    Everything,
    /// How often each apns-id was accepted.
    Ids,
    /// Counts only; headers and payload are still held to the rules.
    Counts,
    /// Counts only, and no rule is checked: the cheapest.
    Nothing,
}

/// What became of a request for each apns-id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApnsIdCounts {
    /// Requests that the fake processed and answered 200, or would have before the connection was taken away.
    pub accepted: u32,
    /// Requests that reached the fake at all.
    pub received: u32,
}

/// Exact counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApnsCounts {
    /// TCP connections accepted.
    pub connections: u64,
    /// TLS handshakes completed with HTTP/2 agreed.
    pub handshakes: u64,
    /// Connections that are open now.
    pub open_connections: u64,
    /// Requests whose head arrived.
    pub requests: u64,
    /// Requests that were processed with status 200: a device would have got them.
    pub accepted: u64,
    /// Of these, the ones whose answer was never handed to the connection: by a fault, or because it ended before.
    pub accepted_unanswered: u64,
    /// Requests that were answered with an error status.
    pub refused: u64,
    /// Requests that met a fault and were not accepted.
    pub faulted: u64,
    /// Requests above the last-stream-id of a GOAWAY whose head still arrived: not processed.
    pub unprocessed: u64,
    /// RST_STREAM sent by script.
    pub resets: u64,
    /// Requests that the client gave up before they were answered.
    pub cancelled: u64,
    /// GOAWAY frames sent.
    pub goaways: u64,
    /// PINGs that came in.
    pub pings: u64,
    /// Different provider tokens that were good.
    pub provider_tokens: u64,
    /// Breaches of Apple's rules.
    pub violations: u64,
}

macro_rules! counters {
    ($($name:ident),+) => {
        #[derive(Default)]
        pub(crate) struct Counters { $(pub(crate) $name: AtomicU64),+ }
        impl Counters {
            pub(crate) fn snapshot(&self) -> ApnsCounts {
                ApnsCounts { $($name: self.$name.load(Ordering::SeqCst)),+ }
            }
        }
    };
}
counters!(
    connections,
    handshakes,
    open_connections,
    requests,
    accepted,
    accepted_unanswered,
    refused,
    faulted,
    unprocessed,
    resets,
    cancelled,
    goaways,
    pings,
    provider_tokens,
    violations
);

pub(crate) fn add(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::SeqCst)
}

/// What is kept beside the counters.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) received: Vec<ApnsReceived>,
    pub(crate) ids: HashMap<String, ApnsIdCounts>,
    pub(crate) violations: Vec<String>,
}

/// More sentences than this are counted and not kept.
pub(crate) const VIOLATIONS_KEPT: usize = 1000;
