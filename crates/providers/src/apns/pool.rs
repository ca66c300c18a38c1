//! The connections of one client: who gets a stream now, who waits, and when to connect.
//!
//! Not here: what is written on a stream. Everything is decided under one short lock that is never held across an await; a
//! connect runs in a task of its own.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use pushrelay_push::{Local, Outcome, Transport};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep};

use super::connect::{ConnectError, Connector, Established};
use super::connection::Connection;
use super::options::ApnsOptions;
use super::stats::{ApnsStats, Counters, count, read};
use crate::backoff;

/// The connections of one client.
pub(crate) struct Pool {
    me: Weak<Pool>,
    options: ApnsOptions,
    connector: Arc<Connector>,
    /// Whether a connection must first see a good token.
    needs_trust: bool,
    counters: Counters,
    state: Mutex<State>,
    /// Told whenever a push of a closed client ends.
    drained: Notify,
}

#[derive(Default)]
struct State {
    /// Those that take pushes. A push goes to the first that has room, so that those behind fall idle.
    connections: Vec<Arc<Connection>>,
    waiting: VecDeque<Waiting>,
    next_waiter: u64,
    connecting: bool,
    /// Connects, and connections without a useful answer, in a row.
    failures: u32,
    /// Until when no connect is tried, and why.
    pause: Option<(Instant, Transport)>,
    /// When, at the pace of connects, the next one would be due.
    paced: Option<Instant>,
    closed: bool,
}

struct Waiting {
    id: u64,
    sender: oneshot::Sender<Result<Permit, Refusal>>,
}

/// One stream on one connection; given back when dropped.
pub(crate) struct Permit {
    pool: Arc<Pool>,
    connection: Option<Arc<Connection>>,
}

/// Why there is no stream.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    /// The peer is known to be out of reach.
    Unreachable(Transport),
    /// Too many wait already.
    Full,
    /// The client was closed.
    Closed,
}

impl Refusal {
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Refusal::Unreachable(transport) => transport.into(),
            Refusal::Full => Local::Deadline.outcome(),
            Refusal::Closed => Transport::Closed.into(),
        }
    }
}

impl Pool {
    pub(crate) fn new(connector: Connector, needs_trust: bool, options: ApnsOptions) -> Arc<Pool> {
        Arc::new_cyclic(|me| Pool {
            me: me.clone(),
            options,
            connector: Arc::new(connector),
            needs_trust,
            counters: Counters::default(),
            state: Mutex::default(),
            drained: Notify::new(),
        })
    }

    pub(crate) fn options(&self) -> &ApnsOptions {
        &self.options
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// `host:port`, for the log.
    pub(crate) fn peer(&self) -> String {
        self.connector.peer()
    }

    /// A stream, at once where there is one, else in the order of asking.
    pub(crate) async fn acquire(self: &Arc<Self>) -> Result<Permit, Refusal> {
        let mut waiter = {
            let mut state = self.lock();
            if state.closed {
                return Err(Refusal::Closed);
            }
            if state.waiting.is_empty()
                && let Some(connection) = self.room(&state)
            {
                return Ok(self.permit(connection));
            }
            self.enqueue(&mut state)?
        };
        match (&mut waiter.receiver).await {
            Ok(result) => result,
            // The pool is held by this very call, so its queue is only emptied by closing it.
            Err(_) => Err(Refusal::Closed),
        }
    }

    /// No more pushes on this connection: it is going away, or does not answer. Those that are on it stay.
    ///
    /// `why` is told to those who wait in vain when the connection was of no use at all.
    pub(crate) fn leave(&self, connection: &Arc<Connection>, why: Transport) {
        let mut state = self.lock();
        let Some(at) = position(&state.connections, connection) else {
            return;
        };
        state.connections.remove(at);
        if !connection.is_useful() {
            self.fail(&mut state, why);
        }
        self.settle(&mut state);
    }

    /// As [`leave`](Pool::leave), for a connection that nobody has needed for long, but never the last one.
    pub(crate) fn leave_spare(&self, connection: &Arc<Connection>) {
        let mut state = self.lock();
        if state.connections.len() > 1
            && connection.in_flight() == 0
            && let Some(at) = position(&state.connections, connection)
        {
            state.connections.remove(at);
        }
    }

    /// A connection can carry more, or less, than before.
    pub(crate) fn room_changed(&self) {
        self.settle(&mut self.lock());
    }

    /// A working service has answered on a connection for the first time.
    pub(crate) fn reached(&self) {
        let mut state = self.lock();
        state.failures = 0;
        state.pause = None;
    }

    /// No further pushes; connections end when those on them have ended.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.connections.clear();
        for waiting in state.waiting.drain(..) {
            // Whoever no longer listens needs no answer.
            let _ = waiting.sender.send(Err(Refusal::Closed));
        }
    }

    /// After [`close`](Pool::close): until no push is on a stream.
    pub(crate) async fn drained(&self) {
        loop {
            let drained = self.drained.notified();
            if self.in_flight() == 0 {
                return;
            }
            drained.await;
        }
    }

    /// Pushes on streams.
    fn in_flight(&self) -> u64 {
        read(&self.counters.streams)
    }

    pub(crate) fn stats(&self) -> ApnsStats {
        let state = self.lock();
        let most = self.options.max_streams;
        ApnsStats {
            connections: state.connections.len() as u64,
            streams_in_flight: self.in_flight(),
            stream_limit: state
                .connections
                .iter()
                .map(|connection| connection.limit(most) as u64)
                .sum(),
            waiting: state.waiting.len() as u64,
            unreachable: u64::from(state.failures >= PATIENCE && state.connections.is_empty()),
            connects: read(&self.counters.connects),
            connect_failures: read(&self.counters.connect_failures),
            goaways: read(&self.counters.goaways),
            stalls: read(&self.counters.stalls),
            pings_lost: read(&self.counters.pings_lost),
            resent: read(&self.counters.resent),
            ambiguous: read(&self.counters.ambiguous),
            queue_full: read(&self.counters.queue_full),
            failed_fast: read(&self.counters.failed_fast),
            tokens_minted: 0,
            token_renewals: read(&self.counters.token_renewals),
            clock_skew_seconds: self.counters.clock_skew.load(Ordering::Relaxed),
        }
    }

    fn room<'a>(&self, state: &'a State) -> Option<&'a Arc<Connection>> {
        let most = self.options.max_streams;
        state
            .connections
            .iter()
            .find(|connection| connection.has_room(most))
    }

    fn permit(self: &Arc<Self>, connection: &Arc<Connection>) -> Permit {
        connection.enter();
        count(&self.counters.streams);
        Permit {
            pool: self.clone(),
            connection: Some(connection.clone()),
        }
    }

    fn enqueue(self: &Arc<Self>, state: &mut State) -> Result<Waiter, Refusal> {
        if state.connections.is_empty()
            && state.failures >= PATIENCE
            && let Some((until, why)) = state.pause
            // Whoever comes after the pause waits for the connect that this starts; those who come meanwhile do not.
            && (Instant::now() < until || state.connecting)
        {
            count(&self.counters.failed_fast);
            return Err(Refusal::Unreachable(why));
        }
        if state.waiting.len() >= self.options.max_waiting {
            count(&self.counters.queue_full);
            return Err(Refusal::Full);
        }
        let (sender, receiver) = oneshot::channel();
        let id = state.next_waiter;
        state.next_waiter += 1;
        state.waiting.push_back(Waiting { id, sender });
        self.connect_if_needed(state);
        Ok(Waiter {
            pool: self.clone(),
            id,
            receiver,
        })
    }

    /// Hands free streams to those who wait, and sees to it that there will be more.
    fn settle(&self, state: &mut State) {
        let Some(me) = self.me.upgrade() else {
            return;
        };
        while !state.waiting.is_empty()
            && let Some(connection) = self.room(state)
        {
            let permit = me.permit(connection);
            let Some(waiting) = state.waiting.pop_front() else {
                break;
            };
            if let Err(Ok(permit)) = waiting.sender.send(Ok(permit)) {
                // Gone between two lines: taken back here, because dropping it would take the lock again.
                permit.take_back();
            }
        }
        if state.waiting.is_empty() {
            return;
        }
        match state.pause {
            Some((until, why))
                if state.connections.is_empty()
                    && state.failures >= PATIENCE
                    && Instant::now() < until =>
            {
                for waiting in state.waiting.drain(..) {
                    // Whoever no longer listens needs no answer.
                    let _ = waiting.sender.send(Err(Refusal::Unreachable(why)));
                }
            }
            _ => self.connect_if_needed(state),
        }
    }

    /// Starts a connect where there is none, none on its way and none too many.
    fn connect_if_needed(&self, state: &mut State) {
        if state.connecting
            || state.closed
            || state.connections.len() >= self.options.max_connections.max(1)
        {
            return;
        }
        // One more beside others only when it is known what these carry, and while nothing has failed.
        if state
            .connections
            .iter()
            .any(|connection| !connection.is_settled() || state.failures > 0)
        {
            return;
        }
        let now = Instant::now();
        let pause = state.pause.map_or(Duration::ZERO, |(until, _)| {
            until.saturating_duration_since(now)
        });
        let wait = self.pace(state, now).max(pause);
        state.connecting = true;
        let me = self.me.clone();
        let connector = self.connector.clone();
        tokio::spawn(async move {
            // Made in here: a runtime that is going down drops this task where it is spawned, under the lock.
            let attempt = Attempt(me);
            sleep(wait).await;
            attempt.end(connector.connect().await);
        });
    }

    /// How long the next connect has to wait for the pace of connects (a leaky bucket).
    fn pace(&self, state: &mut State, now: Instant) -> Duration {
        let interval = self.options.connect_interval;
        let burst = interval * self.options.connect_burst;
        let due = state.paced.map_or(now, |paced| paced.max(now)) + interval;
        state.paced = Some(due);
        (due - now).saturating_sub(burst)
    }

    fn connected(self: &Arc<Self>, established: Established) {
        count(&self.counters.connects);
        let (connection, driver) = Connection::new(established, self.needs_trust, self);
        let mut state = self.lock();
        state.connecting = false;
        if state.closed {
            return;
        }
        tokio::spawn(driver.drive());
        state.connections.push(connection);
        self.settle(&mut state);
    }

    fn failed(&self, error: &ConnectError) {
        count(&self.counters.connect_failures);
        let mut state = self.lock();
        state.connecting = false;
        if error.slow {
            // Three times as long is more than anybody waits.
            state.failures = state.failures.max(PATIENCE - 1);
        }
        self.fail(&mut state, error.transport);
        tracing::warn!(
            peer = %self.peer(), transport = error.transport.label(), error = %error.text, failures = state.failures,
            "no connection to Apple"
        );
        self.settle(&mut state);
    }

    /// One more failure in a row: a pause, twice as long as the one before, with jitter.
    fn fail(&self, state: &mut State, why: Transport) {
        let options = &self.options;
        let pause = backoff::pause(
            options.backoff_first,
            options.backoff_longest,
            state.failures,
        );
        state.failures = state.failures.saturating_add(1);
        state.pause = Some((Instant::now() + pause, why));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Where to send.
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        self.connection
            .as_ref()
            .expect("a permit lets go of its connection only when it goes itself")
    }

    /// Gives the stream back under the pool's lock.
    fn take_back(mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.counters.streams.fetch_sub(1, Ordering::Relaxed);
            connection.exit();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            let counters = &self.pool.counters;
            counters.streams.fetch_sub(1, Ordering::Relaxed);
            let mut state = self.pool.lock();
            connection.exit();
            if state.closed {
                self.pool.drained.notify_waiters();
            } else if !state.waiting.is_empty() {
                self.pool.settle(&mut state);
            }
        }
    }
}

/// A place in the queue, left when dropped.
struct Waiter {
    pool: Arc<Pool>,
    id: u64,
    receiver: oneshot::Receiver<Result<Permit, Refusal>>,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        if let Ok(at) = state
            .waiting
            .binary_search_by_key(&self.id, |waiting| waiting.id)
        {
            state.waiting.remove(at);
        }
    }
}

/// A connect on its way, of which the pool hears even if its task ends in a panic.
struct Attempt(Weak<Pool>);

impl Attempt {
    fn end(mut self, result: Result<Established, ConnectError>) {
        let Some(pool) = std::mem::take(&mut self.0).upgrade() else {
            return;
        };
        match result {
            Ok(established) => pool.connected(established),
            Err(error) => pool.failed(&error),
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(pool) = self.0.upgrade() {
            pool.failed(&ConnectError {
                transport: Transport::Connect,
                text: "the connect was given up".to_owned(),
                slow: false,
            });
        }
    }
}

fn position(connections: &[Arc<Connection>], connection: &Arc<Connection>) -> Option<usize> {
    connections
        .iter()
        .position(|one| Arc::ptr_eq(one, connection))
}

/// After so many failures in a row the peer is known to be out of reach: nobody waits for it any more. Before, a push waits out
/// the pause: 250 and 500 ms are well within what its sender has.
const PATIENCE: u32 = 3;
