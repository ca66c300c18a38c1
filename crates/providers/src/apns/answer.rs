//! What comes back on a stream: an answer with its outcome, or an error and what it leaves to be done.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use h2::{Reason, RecvStream};
use http::header::{DATE, RETRY_AFTER};
use http::{HeaderName, StatusCode, response};
use pushrelay_push::apns::ApnsReason;
use pushrelay_push::{Cause, Outcome, Transport};
use serde::Deserialize;
use tokio::time::timeout;

use crate::retry_after::with_retry_after;

/// An answer with the beginning of its body.
pub(crate) struct Answer {
    status: u16,
    body: Vec<u8>,
    retry_after: Option<Duration>,
    date: Option<SystemTime>,
}

#[derive(Deserialize)]
struct ErrorBody<'a> {
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
    /// Milliseconds since 1970.
    timestamp: Option<u64>,
}

impl Answer {
    /// Reads what an error needs of its body, and nothing where there is no error.
    pub(crate) async fn read(head: &response::Parts, body: RecvStream) -> Answer {
        let success = head.status == StatusCode::OK;
        let mut answer = Answer {
            status: head.status.as_u16(),
            body: Vec::new(),
            retry_after: None,
            date: None,
        };
        if !success {
            let text = |name: HeaderName| head.headers.get(name)?.to_str().ok();
            answer.retry_after = text(RETRY_AFTER)
                .and_then(|seconds| Some(Duration::from_secs(seconds.parse().ok()?)));
            answer.date = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok());
        }
        match body.is_end_stream() {
            true => {}
            // The verdict is known; reading the end spares the peer a RST_STREAM.
            false if success => drop(timeout(NEEDLESS_BODY, read(body)).await),
            false => answer.body = read(body).await,
        }
        answer
    }

    /// What became of the push.
    pub(crate) fn outcome(&self) -> Outcome {
        let body: Option<ErrorBody<'_>> = match self.body.is_empty() {
            true => None,
            // A body that is none of Apple's says nothing: the status decides.
            false => serde_json::from_slice(&self.body).ok(),
        };
        let reason = body.as_ref().and_then(|body| body.reason.as_deref());
        let timestamp = body
            .as_ref()
            .and_then(|body| UNIX_EPOCH.checked_add(Duration::from_millis(body.timestamp?)));
        let outcome = pushrelay_push::apns::outcome(self.status, reason, timestamp);
        if outcome.cause == Cause::Apns(ApnsReason::Other) {
            let reason =
                reason.map(|reason| reason.chars().take(REASON_CHARACTERS).collect::<String>());
            tracing::info!(
                status = self.status,
                ?reason,
                "Apple gives a reason that is in no table"
            );
        }
        with_retry_after(outcome, self.retry_after)
    }

    /// How many seconds the peer's clock is ahead of `now`; negative where it is behind. `None` where it does not say.
    pub(crate) fn clock_skew(&self, now: SystemTime) -> Option<i64> {
        let date = self.date?;
        let seconds = |skew: Duration| i64::try_from(skew.as_secs()).unwrap_or(i64::MAX);
        Some(match date.duration_since(now) {
            Ok(ahead) => seconds(ahead),
            Err(behind) => -seconds(behind.duration()),
        })
    }
}

/// The beginning of a body, as far as an error needs it. Dropping the rest cancels the stream.
async fn read(mut body: RecvStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..BODY_FRAMES {
        let Some(Ok(chunk)) = body.data().await else {
            break;
        };
        let room = BODY_BYTES - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if bytes.len() == BODY_BYTES || body.flow_control().release_capacity(chunk.len()).is_err() {
            break;
        }
    }
    bytes
}

/// An HTTP/2 error that ended a push.
pub(crate) struct Failure {
    pub(crate) transport: Transport,
    /// The peer may have taken the push; where it provably has not, it can be sent again under the same `apns-id`.
    pub(crate) is_unknown: bool,
    /// The connection can carry no further push.
    pub(crate) of_connection: bool,
}

impl Failure {
    /// A push of which nothing was written.
    pub(crate) fn unsent(error: &h2::Error) -> Failure {
        Failure {
            transport: transport(error),
            is_unknown: false,
            of_connection: true,
        }
    }

    /// A push that was written, or was about to be.
    pub(crate) fn on_stream(error: &h2::Error) -> Failure {
        // h2 gives the error of a GOAWAY to the streams above its last-stream-id only (RFC 9113, 6.8); those below wait on.
        let unprocessed = error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM);
        Failure {
            transport: transport(error),
            is_unknown: !(error.is_remote() && unprocessed),
            of_connection: !error.is_reset(),
        }
    }
}

/// What an HTTP/2 error means for the push that it ended.
pub(crate) fn transport(error: &h2::Error) -> Transport {
    match error.get_io().map(|io| io.kind()) {
        // rustls reports every breach of TLS, and every alert of the peer, as invalid data.
        Some(ErrorKind::InvalidData) => Transport::Tls,
        Some(ErrorKind::TimedOut) => Transport::Timeout,
        Some(_) => Transport::Closed,
        None if error.is_library() => Transport::Protocol,
        None => Transport::Closed,
    }
}

/// An error for the log: a GOAWAY may carry 16 KiB of its sender's choice.
pub(crate) fn brief(error: &h2::Error) -> String {
    error.to_string().chars().take(ERROR_CHARACTERS).collect()
}

/// What of an error body is read; Apple's have less than a hundred bytes.
const BODY_BYTES: usize = 4096;

/// DATA frames that an error body may come in.
const BODY_FRAMES: usize = 64;

/// How long the end of a body that nobody needs is waited for.
const NEEDLESS_BODY: Duration = Duration::from_millis(500);

/// What of an unknown reason is logged.
const REASON_CHARACTERS: usize = 64;

/// What of an error is logged.
const ERROR_CHARACTERS: usize = 200;
