//! One exchange with Apple: a stream, the request, the answer, and what became of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use h2::client::ResponseFuture;
use http::uri::Authority;
use pushrelay_push::apns::ApnsReason;
use pushrelay_push::{Cause, Outcome, Transport};
use tokio::time::{sleep, timeout};

use super::answer::{Answer, Failure};
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

    /// Where a request goes: `https://host/3/device/…`. Holds the device token, never log it.
    pub fn url(&self, request: &ApnsRequest) -> String {
        format!("https://{}{}", self.shared.authority, request.path())
    }

    /// Whether each request carries a provider token, in `authorization`.
    pub fn sends_tokens(&self) -> bool {
        self.shared.tokens.is_some()
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
    status: Option<u16>,
}

impl Progress {
    fn timed_out(self, pool: &Pool) -> Outcome {
        if let Some(status) = self.status {
            return pushrelay_push::apns::outcome(status, None, None);
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
        let mut resends = 0;
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
            let error = match connection.send(head, request.payload().clone()) {
                Ok((response, _stream)) => {
                    progress.waiting_on = Some((connection.clone(), answers));
                    match self.answer(response, connection, progress).await {
                        Ok(answer) => {
                            let outcome = answer.outcome();
                            let again = self.heed(&answer, outcome.cause, bearer, connection);
                            if !again || repeated {
                                return outcome;
                            }
                            repeated = true;
                            *progress = Progress::default();
                            continue;
                        }
                        Err(error) => Failure::on_stream(&error),
                    }
                }
                Err(error) => Failure::unsent(&error),
            };
            let written = progress.waiting_on.take().is_some();
            if error.of_connection {
                pool.leave(connection, error.transport);
            }
            drop(permit);
            if error.is_unknown {
                return Outcome {
                    ambiguous: true,
                    ..error.transport.into()
                };
            }
            if resends == pool.options().max_resends {
                return error.transport.into();
            }
            if !error.of_connection {
                // Another connection is worth trying at once; the same one has just said that it is too much.
                sleep(REFUSED_PAUSE * (1 << resends.min(5))).await;
            }
            resends += 1;
            if written {
                count(&pool.counters().resent);
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
        let status = head.status.as_u16();
        progress.status = Some(status);
        connection.answered();
        if status < 500 && connection.set_useful() {
            self.pool.reached();
        }
        // A 403 or 429 may be about the token itself.
        if status < 500 && !matches!(status, 403 | 429) && connection.set_trusted() {
            self.pool.room_changed();
        }
        Ok(Answer::read(&head, body).await)
    }

    /// Does what Apple asks for beyond this push. `true`: with another token, or on another connection, the push is worth
    /// repeating once.
    fn heed(
        &self,
        answer: &Answer,
        cause: Cause,
        bearer: Option<Bearer>,
        connection: &Arc<Connection>,
    ) -> bool {
        let Cause::Apns(reason) = cause else {
            return false;
        };
        match (reason, &self.tokens, bearer) {
            (
                ApnsReason::ExpiredProviderToken | ApnsReason::InvalidProviderToken,
                Some(tokens),
                Some(bearer),
            ) => {
                self.compare_clocks(answer);
                reason == ApnsReason::ExpiredProviderToken && self.renew(tokens, &bearer)
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

    fn renew(&self, tokens: &ProviderTokens, bearer: &Bearer) -> bool {
        let renewed = tokens.renew(bearer.generation, Instant::now()).is_some();
        if renewed {
            count(&self.pool.counters().token_renewals);
        }
        renewed
    }

    /// A token that is not yet or no longer valid is most often one of a clock that goes wrong.
    fn compare_clocks(&self, answer: &Answer) {
        if let Some(skew) = answer.clock_skew(SystemTime::now()) {
            self.pool
                .counters()
                .clock_skew
                .store(skew, Ordering::Relaxed);
            if skew.unsigned_abs() > CLOCK_TOLERANCE {
                tracing::error!(
                    peer = %self.pool.peer(), seconds = skew,
                    "Apple refuses the provider token and our clock differs from Apple's"
                );
            }
        }
    }
}

/// The pause before a push is sent again on a connection that has refused its stream; doubled each time.
const REFUSED_PAUSE: Duration = Duration::from_millis(5);

/// A difference of clocks, in seconds, that no token fails for.
const CLOCK_TOLERANCE: u64 = 60;
