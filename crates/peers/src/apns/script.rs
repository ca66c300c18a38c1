//! What the fake Apple is to answer, and how it is to fail.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use serde::Deserialize;

/// The answer to one request.
#[derive(Clone, Debug)]
pub struct ApnsAnswer {
    /// `:status`
    pub status: u16,
    /// The `reason` of the error body; without one the answer has no body.
    pub reason: Option<Cow<'static, str>>,
    /// The `timestamp` of the error body, in milliseconds since 1970.
    pub timestamp_ms: Option<u64>,
    /// How long to wait before anything of the above.
    pub delay: Duration,
    /// A `date` header that is this many seconds off our clock; `None` sends none.
    pub date_skew_seconds: Option<i64>,
    /// A `retry-after` header, seconds.
    pub retry_after: Option<u32>,
    /// What goes wrong instead of, or along with, the answer.
    pub fault: Option<ApnsFault>,
}

impl ApnsAnswer {
    /// 200.
    pub fn ok() -> ApnsAnswer {
        ApnsAnswer {
            status: 200,
            reason: None,
            timestamp_ms: None,
            delay: Duration::ZERO,
            date_skew_seconds: None,
            retry_after: None,
            fault: None,
        }
    }

    /// An error status with Apple's reason.
    pub fn error(status: u16, reason: impl Into<Cow<'static, str>>) -> ApnsAnswer {
        ApnsAnswer {
            status,
            reason: Some(reason.into()),
            ..ApnsAnswer::ok()
        }
    }

    /// 410 Unregistered since `timestamp_ms`.
    pub fn gone(timestamp_ms: u64) -> ApnsAnswer {
        ApnsAnswer {
            timestamp_ms: Some(timestamp_ms),
            ..ApnsAnswer::error(410, "Unregistered")
        }
    }

    /// A fault: where it sends an answer at all, that is 503 ServiceUnavailable.
    pub fn fault(fault: ApnsFault) -> ApnsAnswer {
        ApnsAnswer {
            fault: Some(fault),
            ..ApnsAnswer::error(503, "ServiceUnavailable")
        }
    }

    /// 200 for this request, and the connection says this GOAWAY at once.
    pub fn go_away(go_away: GoAway) -> ApnsAnswer {
        ApnsAnswer {
            fault: Some(ApnsFault::GoAway(go_away)),
            ..ApnsAnswer::ok()
        }
    }

    /// The same after a wait.
    pub fn after(self, delay: Duration) -> ApnsAnswer {
        ApnsAnswer { delay, ..self }
    }

    /// The same with a `date` header this many seconds off our clock.
    pub fn dated(self, skew_seconds: i64) -> ApnsAnswer {
        ApnsAnswer {
            date_skew_seconds: Some(skew_seconds),
            ..self
        }
    }
}

/// What can go wrong with a request.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApnsFault {
    /// RST_STREAM with this code, such as 7, REFUSED_STREAM. The request was not processed.
    Reset(u32),
    /// The request is read and never answered.
    Stall,
    /// The head of the answer comes, the body begins and never ends.
    StallBody,
    /// A body that is no JSON.
    MalformedBody,
    /// A body without an end, as fast as the peer takes it.
    EndlessBody,
    /// This many header fields of 100 octets each before the answer.
    HeaderFlood(usize),
    /// GOAWAY, and the answer as far as the request is among the processed ones.
    GoAway(GoAway),
    /// The TCP connection ends at once, without an answer or a GOAWAY.
    Drop,
    /// The whole connection falls silent: nothing is answered any more, not even a PING.
    StallConnection,
}

/// One GOAWAY.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GoAway {
    /// Which streams will have been processed.
    pub last_stream: LastStream,
    /// The error code; 0 is NO_ERROR.
    pub code: u32,
    /// The debug data: Apple puts JSON with a reason there.
    pub debug: Cow<'static, str>,
    /// What happens afterwards.
    pub then: Then,
}

impl Default for GoAway {
    fn default() -> GoAway {
        GoAway::graceful()
    }
}

impl GoAway {
    /// Everything so far is answered, then the connection closes; what comes after is not processed.
    pub fn graceful() -> GoAway {
        GoAway {
            last_stream: LastStream::This,
            code: 0,
            debug: Cow::Borrowed(r#"{"reason":"Shutdown"}"#),
            then: Then::Finish,
        }
    }

    /// The GOAWAY names everything so far as processed, and the connection closes at once:
    /// what was not yet answered stays unknown to the client.
    pub fn abrupt() -> GoAway {
        GoAway {
            then: Then::Close,
            ..GoAway::graceful()
        }
    }

    /// The same without the request that brings it about: that one was not processed.
    pub fn before_this(self) -> GoAway {
        GoAway {
            last_stream: LastStream::Before,
            ..self
        }
    }
}

/// The last-stream-id of a GOAWAY.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum LastStream {
    /// The request that brings it about, or the newest one so far.
    This,
    /// The one before the request that brings it about.
    Before,
    /// 2^31-1, the warning of RFC 9113 6.8: nothing is refused yet.
    Unlimited,
}

/// What follows a GOAWAY.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// Answer what was processed, then close.
    Finish,
    /// Close at once.
    Close,
    /// Answer what was processed and stay.
    Stay,
}

/// One request, as far as a script that decides by itself may see it.
#[derive(Clone, Copy)]
pub struct ApnsSeen<'a> {
    /// The device token.
    pub token: &'a str,
    /// All header fields.
    pub headers: &'a HeaderMap,
    /// How many requests this fake had seen before.
    pub before: u64,
    /// Which connection, counted from 0.
    pub connection: u64,
    /// How many requests this connection had carried before.
    pub before_on_connection: u64,
}

type Decide = Arc<dyn Fn(ApnsSeen<'_>) -> Option<ApnsAnswer> + Send + Sync>;

/// All scripts of a fake.
#[derive(Default)]
pub(crate) struct Scripts {
    by_token: HashMap<String, Sequence>,
    decide: Option<Decide>,
    default: Sequence,
}

/// Answers in turn; the last one stays.
#[derive(Default)]
struct Sequence {
    answers: Vec<ApnsAnswer>,
    next: usize,
}

impl Scripts {
    pub(crate) fn set_token(&mut self, token: &str, answers: Vec<ApnsAnswer>) {
        let sequence = Sequence { answers, next: 0 };
        self.by_token.insert(token.to_owned(), sequence);
    }

    pub(crate) fn set_default(&mut self, answers: Vec<ApnsAnswer>) {
        self.default = Sequence { answers, next: 0 };
    }

    pub(crate) fn set_decide(&mut self, decide: Decide) {
        self.decide = Some(decide);
    }

    pub(crate) fn clear(&mut self) {
        *self = Scripts::default();
    }

    /// The answer to a request: by its token, else by the closure, else by default, else 200.
    pub(crate) fn answer(&mut self, seen: ApnsSeen<'_>) -> ApnsAnswer {
        if let Some(answer) = (self.by_token.get_mut(seen.token)).and_then(Sequence::next) {
            return answer;
        }
        if let Some(answer) = self.decide.as_ref().and_then(|decide| decide(seen)) {
            return answer;
        }
        self.default.next().unwrap_or_else(ApnsAnswer::ok)
    }
}

impl Sequence {
    fn next(&mut self) -> Option<ApnsAnswer> {
        let answer = self.answers.get(self.next).or(self.answers.last())?;
        self.next += 1;
        Some(answer.clone())
    }
}
