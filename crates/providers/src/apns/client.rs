//! One exchange with Apple: a stream, the request, the answer, and what became of it.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use http::StatusCode;
use http::uri::Authority;
use pushrelay_push::apns::ApnsReason;
use pushrelay_push::{Cause, Outcome, Transport};
use serde::Deserialize;
use tokio::time::timeout;

use super::connect::Connector;
use super::connection::Connection;
use super::credential::Bearer;
use super::pool::Pool;
use super::stats::count;
use super::{ApnsError, ApnsOptions, ApnsRequest, ApnsStats, Credential, Endpoint, ProviderTokens};

/// A client of one endpoint with one credential. Clones share their connections; the last one to go closes them.
///
/// Needs a tokio runtime. Connects when the first push comes, in a task of its own.
#[derive(Clone)]
pub struct ApnsClient {
    shared: Arc<Shared>,
}

struct Shared {
    pool: Arc<Pool>,
    tokens: Option<Arc<ProviderTokens>>,
    authority: Authority,
}

impl ApnsClient {
    /// Makes a client; opens nothing.
    pub fn new(
        endpoint: Endpoint,
        credential: Credential,
        options: ApnsOptions,
    ) -> Result<ApnsClient, ApnsError> {
        let connector = Connector::new(&endpoint, &credential, &options)?;
        let tokens = match credential {
            Credential::Token(tokens) => Some(tokens),
            Credential::Certificate(_) => None,
        };
        Ok(ApnsClient {
            shared: Arc::new(Shared {
                authority: endpoint.authority()?,
                pool: Pool::new(connector, tokens.is_some(), options),
                tokens,
            }),
        })
    }

    /// Sends one push and says what became of it, within [`ApnsOptions::exchange_timeout`].
    ///
    /// Dropping the future cancels the push; whether Apple took it is then unknown.
    pub async fn send(&self, request: ApnsRequest) -> Outcome {
        let pool = &self.shared.pool;
        let mut progress = Progress::default();
        let exchange = self.shared.exchange(&request, &mut progress);
        let outcome = match timeout(pool.options().exchange_timeout, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => progress.timed_out(pool),
        };
        if outcome.ambiguous {
            count(&pool.counters().ambiguous);
        }
        outcome
    }

    /// What the client has done and holds.
    pub fn stats(&self) -> ApnsStats {
        let tokens = self.shared.tokens.as_ref();
        ApnsStats {
            tokens_minted: tokens.map_or(0, |tokens| tokens.minted()),
            ..self.shared.pool.stats()
        }
    }

    /// Takes no further pushes and waits until those on their way have their outcome.
    pub async fn close(&self) {
        let pool = &self.shared.pool;
        pool.close();
        pool.drained().await;
    }
}

/// How far a push has come, for when its time is up.
#[derive(Default)]
struct Progress {
    /// The connection on which it waits for an answer, and how many answers had come there before.
    waiting_on: Option<(Arc<Connection>, u64)>,
    /// The answer's status, while its body is read.
    status: Option<StatusCode>,
}

impl Progress {
    fn timed_out(self, pool: &Pool) -> Outcome {
        if let Some(status) = self.status {
            return pushrelay_push::apns::outcome(status.as_u16(), None, None);
        }
        let Some((connection, answers)) = self.waiting_on else {
            return Transport::Timeout.into();
        };
        // Nobody was answered here for a whole exchange: not this push but the connection is at fault.
        if connection.answers() == answers {
            count(&pool.counters().stalls);
            pool.leave(&connection, Transport::Timeout);
        }
        Outcome {
            ambiguous: true,
            ..Transport::Timeout.into()
        }
    }
}

impl Shared {
    async fn exchange(&self, request: &ApnsRequest, progress: &mut Progress) -> Outcome {
        let pool = &self.pool;
        let mut resends = pool.options().max_resends;
        let mut repeated = false;
        loop {
            let permit = match pool.acquire().await {
                Ok(permit) => permit,
                Err(refusal) => return refusal.outcome(),
            };
            let connection = permit.connection();
            let bearer = self.bearer();
            let answers = connection.answers();
            let authorization = bearer.as_ref().map(|bearer| &bearer.value);
            let head = request.head(&self.authority, authorization);
            let (error, after) = match connection.send(head, request.payload().clone()) {
                Ok((response, _stream)) => {
                    progress.waiting_on = Some((connection.clone(), answers));
                    match self.answer(response, connection, progress).await {
                        Ok(answer) => {
                            let outcome = answer.outcome();
                            let again = self.heed(outcome.cause, bearer.as_ref(), connection);
                            if !again || repeated {
                                return outcome;
                            }
                            repeated = true;
                            *progress = Progress::default();
                            continue;
                        }
                        Err(error) => {
                            let after = After::of(&error);
                            (error, after)
                        }
                    }
                }
                Err(error) => (error, After::SendAgain),
            };
            progress.waiting_on = None;
            let transport = transport(&error);
            if !error.is_reset() {
                pool.leave(connection, transport);
            }
            match after {
                After::SendAgain if resends > 0 => {
                    resends -= 1;
                    count(&pool.counters().resent);
                }
                After::SendAgain => return transport.into(),
                After::Unknown => {
                    return Outcome {
                        ambiguous: true,
                        ..transport.into()
                    };
                }
            }
        }
    }

    fn bearer(&self) -> Option<Bearer> {
        self.tokens
            .as_ref()
            .map(|tokens| tokens.bearer(Instant::now()))
    }

    /// Waits for the answer, and lets the pool know what it tells of the connection.
    async fn answer(
        &self,
        response: ResponseFuture,
        connection: &Connection,
        progress: &mut Progress,
    ) -> Result<Answer, h2::Error> {
        let (head, body) = response.await?.into_parts();
        let status = head.status;
        progress.status = Some(status);
        connection.answered();
        if status.as_u16() < 500 && connection.set_useful() {
            self.pool.reached();
        }
        // A 403 or 429 may be about the token itself.
        let taken = status.as_u16() < 500 && !matches!(status.as_u16(), 403 | 429);
        if taken && connection.set_trusted() {
            self.pool.room_changed();
        }
        let body = match body.is_end_stream() {
            true => Vec::new(),
            false if status == StatusCode::OK => {
                // The verdict is known; reading the end spares the peer a RST_STREAM.
                let _ = timeout(NEEDLESS_BODY, read(body)).await;
                Vec::new()
            }
            false => read(body).await,
        };
        Ok(Answer { status, body })
    }

    /// Does what Apple asks for beyond this push. `true`: with another token, or on another connection, the push is worth
    /// repeating once.
    fn heed(&self, cause: Cause, bearer: Option<&Bearer>, connection: &Arc<Connection>) -> bool {
        let Cause::Apns(reason) = cause else {
            return false;
        };
        match (reason, &self.tokens, bearer) {
            (ApnsReason::ExpiredProviderToken, Some(tokens), Some(bearer)) => {
                let renewed = tokens.renew(bearer.generation, Instant::now()).is_some();
                if renewed {
                    count(&self.pool.counters().token_renewals);
                }
                renewed
            }
            (ApnsReason::TooManyProviderTokenUpdates, Some(tokens), _) => {
                tokens.hold(Instant::now());
                false
            }
            (ApnsReason::Shutdown | ApnsReason::IdleTimeout, _, _) => {
                self.pool.leave(connection, Transport::Closed);
                // An idle connection says nothing about the service; one that is shutting down wants a pause.
                reason == ApnsReason::IdleTimeout
            }
            _ => false,
        }
    }
}

/// An answer with the beginning of its body.
struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

#[derive(Deserialize)]
struct ErrorBody<'a> {
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
    /// Milliseconds since 1970.
    timestamp: Option<u64>,
}

impl Answer {
    fn outcome(&self) -> Outcome {
        let body: Option<ErrorBody<'_>> = match self.body.is_empty() {
            true => None,
            // A body that is none of Apple's says nothing: the status decides.
            false => serde_json::from_slice(&self.body).ok(),
        };
        let reason = body.as_ref().and_then(|body| body.reason.as_deref());
        let timestamp = body
            .as_ref()
            .and_then(|body| UNIX_EPOCH.checked_add(Duration::from_millis(body.timestamp?)));
        pushrelay_push::apns::outcome(self.status.as_u16(), reason, timestamp)
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

/// What an error on a stream leaves to be done.
enum After {
    /// The peer has said that it did not process the push: it is sent again, under the same `apns-id`.
    SendAgain,
    /// The peer may have taken it.
    Unknown,
}

impl After {
    fn of(error: &h2::Error) -> After {
        // h2 gives the error of a GOAWAY to the streams above its last-stream-id only (RFC 9113, 6.8); those below wait on.
        let unprocessed = error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM);
        if error.is_remote() && unprocessed {
            After::SendAgain
        } else {
            After::Unknown
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

/// What of an error body is read; Apple's have less than a hundred bytes.
const BODY_BYTES: usize = 4096;

/// DATA frames that an error body may come in.
const BODY_FRAMES: usize = 64;

/// How long the end of a body that nobody needs is waited for.
const NEEDLESS_BODY: Duration = Duration::from_millis(500);
