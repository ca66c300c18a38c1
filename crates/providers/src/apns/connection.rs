//! One HTTP/2 connection to Apple: what the pool knows of it, and the task that drives it.
//!
//! Not here: which connection a push takes (`pool`) and what an answer means (`client`).

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, SendStream};
use http::Request;
use pushrelay_push::Transport;
use tokio::net::TcpStream;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tokio_rustls::client::TlsStream;

use super::answer::{brief, transport};
use super::connect::Established;
use super::pool::Pool;
use super::stats::count;

/// What the pool and the pushes know of a connection. When the last of them lets go, HTTP/2 closes it.
pub(crate) struct Connection {
    sender: SendRequest<Bytes>,
    /// Pushes on it; changed under the pool's lock only.
    in_flight: AtomicUsize,
    /// SETTINGS_MAX_CONCURRENT_STREAMS as it stands now.
    limit: AtomicUsize,
    /// Apple has taken our credential: until then one stream (Apple, "Establishing a token-based connection").
    trusted: AtomicBool,
    /// Answers that came.
    answers: AtomicU64,
    /// An answer came that a working service gives.
    useful: AtomicBool,
}

impl Connection {
    /// Takes a fresh connection apart: what is shared, and what its task drives.
    pub(crate) fn new(
        established: Established,
        needs_trust: bool,
        pool: &Arc<Pool>,
    ) -> (Arc<Connection>, Driver) {
        let Established {
            sender,
            mut connection,
        } = established;
        let shared = Arc::new(Connection {
            sender: sender.clone(),
            in_flight: AtomicUsize::new(0),
            limit: AtomicUsize::new(connection.max_concurrent_send_streams()),
            trusted: AtomicBool::new(!needs_trust),
            answers: AtomicU64::new(0),
            useful: AtomicBool::new(false),
        });
        let options = pool.options();
        let mut tick = interval(options.stall_interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let driver = Driver {
            pool: Arc::downgrade(pool),
            shared: Arc::downgrade(&shared),
            ping: connection.ping_pong(),
            probe: Some(sender),
            limit: connection.max_concurrent_send_streams(),
            connection,
            tick,
            pinged: None,
            answers: 0,
            busy: false,
            quiet_since: Instant::now(),
            idle_since: Some(Instant::now()),
            ping_interval: options.ping_interval,
            ping_timeout: options.ping_timeout,
            idle_timeout: options.idle_timeout,
        };
        (shared, driver)
    }

    /// Writes a request with its whole body. An error means that nothing of it was written.
    pub(crate) fn send(
        &self,
        head: Request<()>,
        body: Bytes,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let (response, mut stream) = self.sender.clone().send_request(head, false)?;
        // A stream that was reset meanwhile: the answer says why.
        let _ = stream.send_data(body, true);
        Ok((response, stream))
    }

    /// Whether one more push may go, where `most` is the most that we ever put on a connection.
    pub(crate) fn has_room(&self, most: usize) -> bool {
        self.in_flight() < self.limit(most)
    }

    /// Streams that may be open now.
    pub(crate) fn limit(&self, most: usize) -> usize {
        let limit = self.limit.load(Ordering::Relaxed).min(most);
        if self.trusted.load(Ordering::Relaxed) {
            limit
        } else {
            limit.min(1)
        }
    }

    /// Pushes on it.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// One more; under the pool's lock.
    pub(crate) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// One less; under the pool's lock.
    pub(crate) fn exit(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Answers so far: who remembers the number can tell later whether any came.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// An answer came.
    pub(crate) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a working service has answered here.
    pub(crate) fn is_useful(&self) -> bool {
        self.useful.load(Ordering::Relaxed)
    }

    /// A working service has answered; `true` the first time.
    pub(crate) fn set_useful(&self) -> bool {
        !self.useful.load(Ordering::Relaxed) && !self.useful.swap(true, Ordering::Relaxed)
    }

    /// Apple has taken our credential; `true` the first time.
    pub(crate) fn set_trusted(&self) -> bool {
        !self.trusted.load(Ordering::Relaxed) && !self.trusted.swap(true, Ordering::Relaxed)
    }

    /// Whether it is known what the connection can carry.
    pub(crate) fn is_settled(&self) -> bool {
        self.trusted.load(Ordering::Relaxed) && self.answers() > 0
    }
}

/// Drives one connection: reads, writes, follows the peer's stream limit, sees a GOAWAY, asks a silent peer with a PING.
pub(crate) struct Driver {
    pool: Weak<Pool>,
    shared: Weak<Connection>,
    connection: client::Connection<TlsStream<TcpStream>, Bytes>,
    ping: Option<PingPong>,
    /// Tells a connection that is going away. It goes when nobody uses the connection any more, so that h2 closes it.
    probe: Option<SendRequest<Bytes>>,
    limit: usize,
    tick: Interval,
    /// When the PING that is on its way was sent.
    pinged: Option<Instant>,
    /// Answers and pushes at the last tick.
    answers: u64,
    busy: bool,
    quiet_since: Instant,
    idle_since: Option<Instant>,
    ping_interval: Duration,
    ping_timeout: Duration,
    idle_timeout: Duration,
}

/// Why a connection ended.
enum End {
    /// Closed, by whomever.
    Closed(Option<h2::Error>),
    /// A PING stayed unanswered.
    Dead,
}

impl Driver {
    /// Until the connection has ended. Pushes that are still on it then get the error from h2.
    pub(crate) async fn drive(mut self) {
        let end = poll_fn(|cx| self.poll(cx)).await;
        let Some(pool) = self.pool.upgrade() else {
            return;
        };
        let peer = pool.peer();
        let fault = match end {
            End::Closed(None) => None,
            End::Closed(Some(error)) => {
                tracing::info!(%peer, error = brief(&error), "connection to Apple ended");
                Some(transport(&error))
            }
            End::Dead => {
                count(&pool.counters().pings_lost);
                count(&pool.counters().stalls);
                tracing::warn!(%peer, "connection to Apple does not answer a PING, given up");
                Some(Transport::Timeout)
            }
        };
        if let Some(shared) = self.shared.upgrade() {
            pool.leave(&shared, fault.unwrap_or(Transport::Closed));
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if let Poll::Ready(result) = Pin::new(&mut self.connection).poll(cx) {
            // A GOAWAY to an idle connection ends it in the same breath.
            self.see_go_away(cx);
            return Poll::Ready(End::Closed(result.err()));
        }
        self.follow_limit();
        self.see_go_away(cx);
        if self.pinged.is_some()
            && let Some(ping) = &mut self.ping
            && let Poll::Ready(Ok(_)) = ping.poll_pong(cx)
        {
            self.pinged = None;
            self.quiet_since = Instant::now();
        }
        while self.tick.poll_tick(cx).is_ready() {
            if self.tick() {
                return Poll::Ready(End::Dead);
            }
        }
        Poll::Pending
    }

    fn follow_limit(&mut self) {
        let limit = self.connection.max_concurrent_send_streams();
        if limit == self.limit {
            return;
        }
        self.limit = limit;
        if let (Some(pool), Some(shared)) = (self.pool.upgrade(), self.shared.upgrade()) {
            shared.limit.store(limit, Ordering::Relaxed);
            pool.room_changed();
        }
    }

    fn see_go_away(&mut self, cx: &mut Context<'_>) {
        let Some(probe) = &mut self.probe else {
            return;
        };
        let Poll::Ready(Err(error)) = probe.poll_ready(cx) else {
            return;
        };
        self.probe = None;
        let (Some(pool), Some(shared)) = (self.pool.upgrade(), self.shared.upgrade()) else {
            return;
        };
        if error.is_go_away() && error.is_remote() {
            count(&pool.counters().goaways);
            tracing::info!(peer = %pool.peer(), error = brief(&error), "Apple sends GOAWAY");
        }
        pool.leave(&shared, transport(&error));
    }

    /// Once every `stall_interval`; `true` when the peer is dead.
    fn tick(&mut self) -> bool {
        let Some(shared) = self.shared.upgrade() else {
            self.probe = None;
            return false;
        };
        let now = Instant::now();
        if let Some(pinged) = self.pinged {
            return now.duration_since(pinged) >= self.ping_timeout;
        }
        let (answers, busy) = (shared.answers(), shared.in_flight() > 0);
        let stalled = self.busy && busy && answers == self.answers;
        if answers != self.answers {
            self.quiet_since = now;
        }
        if stalled || now.duration_since(self.quiet_since) >= self.ping_interval {
            self.send_ping(now);
        }
        (self.answers, self.busy) = (answers, busy);
        self.idle_since = match self.idle_since {
            _ if busy => None,
            Some(since) if answers == self.answers => Some(since),
            _ => Some(now),
        };
        if self
            .idle_since
            .is_some_and(|since| now.duration_since(since) >= self.idle_timeout)
            && let Some(pool) = self.pool.upgrade()
        {
            pool.leave_spare(&shared);
        }
        false
    }

    fn send_ping(&mut self, now: Instant) {
        if let Some(ping) = &mut self.ping
            && ping.send_ping(Ping::opaque()).is_ok()
        {
            self.pinged = Some(now);
        }
    }
}
