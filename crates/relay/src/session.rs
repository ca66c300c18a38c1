//! One SIP connection: bytes in, requests to the intake, answers out in the order in which they are ready.
//!
//! One task, no locks. When too many requests are in flight it stops reading, so that TCP carries the pressure back to the
//! peer. What was read is finished, whatever happens to the connection or the process meanwhile.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use arc_swap::Guard;
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use pushrelay_sip::{Answer, CloseReason, Connection, Output, Request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};
use tracing::{debug, info, warn};

use crate::accounts::Account;
use crate::clock;
use crate::intake::{self, Intake, Wait};
use crate::listener;
use crate::log::printable;
use crate::metrics::{Ended, Refusal};
use crate::partners::{Partner, Presented, Standing, Voice};
use crate::rules::Rules;
use crate::service::Service;
use crate::trail::{Answered, Place};

/// Who is at the other end, as long as the connection lives.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Where it connects from.
    pub(crate) address: SocketAddr,
    /// What it has shown of itself.
    pub(crate) presented: Presented,
}

/// The partner that a peer is by the rules of the moment.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    /// As the rules have it.
    pub(crate) partner: Arc<Partner>,
    /// What of its domains this peer may speak for.
    pub(crate) voice: Voice,
    /// What is known of it beyond these rules.
    pub(crate) account: Arc<Account>,
}

impl Sender {
    /// Whose these names are; `None` for a stranger.
    pub(crate) fn identify(
        service: &Service,
        rules: &Rules,
        presented: &Presented,
    ) -> Option<Sender> {
        let identified = rules.partners.identify(presented, &service.srv)?;
        let account = service.accounts.of(&identified.partner.name);
        Some(Sender {
            partner: identified.partner.clone(),
            voice: identified.voice,
            account,
        })
    }

    /// Whether it may send for users of `host`.
    pub(crate) fn standing(&self, host: &[u8]) -> Standing {
        self.voice.standing(&self.partner, host)
    }
}

/// A stranger is told why it is refused, this many times; then the connection closes.
const STRANGER_REQUESTS: u32 = 3;

/// One TLS record's worth of plain text (RFC 8446 5.1).
const READ_BYTES: usize = 16 * 1024;

/// How often time limits are looked at: coarse, so that the hot path sets no timer.
const TICK: Duration = Duration::from_secs(1);

/// When more than this waits to be written, nothing is read: a peer that asks and never listens must not fill the memory with
/// answers. 256 KiB are some 500 of them.
const OUTBOX_BYTES: usize = 256 * 1024;

/// A partner over its rate is not read from until there may be room for another of its MESSAGEs, but never longer than this. What it sends
/// meanwhile is refused in one go: a flood must not cost the others a turn of this machine for each MESSAGE.
const LONGEST_REST: Duration = Duration::from_millis(10);

/// As much is read of it between two rests: 6 MiB a second, so that what lies in the buffers of TCP is answered within seconds.
const READ_BETWEEN_RESTS: usize = 64 * 1024;

/// What comes sooner is no rest: timers count in milliseconds.
const SHORTEST_REST: Duration = Duration::from_millis(1);

/// A stranger has few places, and nothing to wait for.
const STRANGER_IDLE: Duration = Duration::from_secs(30);

/// What a sender is asked to wait whom the drain turns away: a restart is over by then.
const DRAINED_SENDER_WAITS: u32 = 5;

/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// The most that is thrown away meanwhile: 4 MiB.
const GOODBYE_READS: usize = 256;

enum Event {
    Read(usize),
    Wrote,
    Settled,
    Draining,
    /// While draining: nothing is under way and nothing has come that was not read.
    Quiet,
    /// The drain has had all the time that it may take.
    GraceOver,
    /// A partner was over its rate, and nothing more of it is there.
    Rest,
    /// It is read from again.
    Rested,
    Tick,
    Failed(io::Error),
}

/// Serves one connection until the peer, a limit or the drain ends it. `seed` makes its To tags.
pub(crate) async fn run<S>(
    service: Arc<Service>,
    mut stream: S,
    peer: Peer,
    seed: u64,
    mut draining: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let rules = service.rules.load_full();
    let mut session = Session {
        connection: Connection::new(service.limits.sip(), peer.address, seed),
        service: service.clone(),
        sender: Sender::identify(&service, &rules, &peer.presented),
        rules,
        peer,
        outbox: Outbox::default(),
        ending: None,
        phase: Phase::Serving,
        over_rate: false,
        read_since_rest: 0,
        requests: 0,
        last_read: clock::now(),
        retransmissions: 0,
    };
    let mut deliveries = FuturesUnordered::new();
    let mut settled = Vec::new();
    let mut buffer = vec![0; READ_BYTES].into_boxed_slice();
    let mut ticks = tokio::time::interval(TICK);
    let mut rest: Option<Pin<Box<Sleep>>> = None;
    let mut draining = pin!(listener::drained(&mut draining));
    let mut grace_over = pin!(service.grace_over());
    loop {
        while let Some((request, place, wait)) = session.next_wait() {
            let since = clock::now();
            deliveries.push(async move { (request, since, place, wait.answer().await) });
        }
        let closing = session.ending.is_some();
        if closing && deliveries.is_empty() && session.outbox.is_empty() {
            break;
        }
        let may_read = !closing
            && rest.is_none()
            && deliveries.len() < service.limits.requests_in_flight
            && session.outbox.bytes < OUTBOX_BYTES;
        let event = poll_fn(|cx| {
            if let Poll::Ready(result) = session.outbox.poll_write(&mut stream, cx) {
                return Poll::Ready(result.map_or_else(Event::Failed, |()| Event::Wrote));
            }
            while let Poll::Ready(Some(done)) = deliveries.poll_next_unpin(cx) {
                settled.push(done);
            }
            if !settled.is_empty() {
                return Poll::Ready(Event::Settled);
            }
            if may_read && session.has_read_enough() {
                return Poll::Ready(Event::Rest);
            }
            if may_read {
                let mut buffer = ReadBuf::new(&mut buffer);
                if let Poll::Ready(result) = Pin::new(&mut stream).poll_read(cx, &mut buffer) {
                    return Poll::Ready(match result {
                        Ok(()) => Event::Read(buffer.filled().len()),
                        // No close_notify. SIP says itself where a message ends, so nothing can have been cut off unseen.
                        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                            Event::Read(0)
                        }
                        Err(error) => Event::Failed(error),
                    });
                }
                if session.phase != Phase::Serving && deliveries.is_empty() {
                    return Poll::Ready(Event::Quiet);
                }
                if session.over_rate {
                    return Poll::Ready(Event::Rest);
                }
            }
            if let Some(rest) = &mut rest
                && rest.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Event::Rested);
            }
            match session.phase {
                Phase::Serving if draining.as_mut().poll(cx).is_ready() => {
                    return Poll::Ready(Event::Draining);
                }
                Phase::Draining if grace_over.as_mut().poll(cx).is_ready() => {
                    return Poll::Ready(Event::GraceOver);
                }
                _ => {}
            }
            ticks.poll_tick(cx).map(|_| Event::Tick)
        })
        .await;
        match event {
            // The peer has said all it has to say; answers can still go out.
            Event::Read(0) => session.end(Ended::Peer),
            Event::Read(length) => session.read(&buffer[..length]),
            Event::Wrote => {}
            Event::Settled => {
                for (request, since, place, (answer, words)) in settled.drain(..) {
                    session.answer(&request, since, place, &answer, words.refusal(), &words);
                }
            }
            Event::Draining => session.phase = Phase::Draining,
            Event::Quiet => session.end(Ended::Draining),
            Event::GraceOver => session.cut(),
            Event::Rest => rest = session.rest().map(|rest| Box::pin(sleep(rest))),
            Event::Rested => rest = None,
            Event::Tick => session.tick(deliveries.is_empty()),
            Event::Failed(error) => {
                debug!(peer = %session.peer.address, %error, "connection failed");
                session.abandon(Ended::Failed);
            }
        }
    }
    if let Some(ended) = session.ending {
        service.metrics.connection_ended(ended);
    }
    if !session.outbox.abandoned {
        // The peer may be gone already; nothing depends on the goodbye.
        let _ = tokio::time::timeout(GOODBYE, goodbye(&mut stream, &mut buffer)).await;
    }
    session.count_retransmissions();
}

/// Says that nothing more will come, and takes what the peer is still sending: closing on unread bytes resets the
/// connection, and a reset takes away the answer that says why.
async fn goodbye<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    buffer: &mut [u8],
) -> io::Result<()> {
    stream.shutdown().await?;
    for _ in 0..GOODBYE_READS {
        if stream.read(buffer).await? == 0 {
            break;
        }
    }
    Ok(())
}

struct Session {
    service: Arc<Service>,
    connection: Connection,
    peer: Peer,
    /// The rules of the last request, or of the last tick.
    rules: Arc<Rules>,
    /// Who the peer is by these rules; `None` for a stranger.
    sender: Option<Sender>,
    outbox: Outbox,
    /// Why no more is read; the connection ends when all is answered.
    ending: Option<Ended>,
    phase: Phase,
    /// Since the last rest something was refused because the partner sends too fast.
    over_rate: bool,
    /// Octets read since that was.
    read_since_rest: usize,
    requests: u32,
    last_read: Instant,
    retransmissions: u64,
}

/// What is done with what comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// It is turned away; the connection ends when nothing comes and all is answered.
    Draining,
    /// Nobody waits for the peer any more.
    Over,
}

impl Session {
    fn read(&mut self, bytes: &[u8]) {
        self.last_read = clock::now();
        if self.over_rate {
            self.read_since_rest += bytes.len();
        }
        self.connection.receive(bytes, self.last_read);
    }

    /// Works off what the connection has to say, up to the next request whose answer must wait.
    fn next_wait(&mut self) -> Option<(Request, Place, Wait)> {
        while let Some(output) = self.connection.poll_output() {
            match output {
                Output::Transmit(bytes) => self.outbox.push(bytes),
                Output::Refused { status, reason } => {
                    self.service.metrics.refusal(Refusal::Framing);
                    info!(peer = %self.peer.address, partner = self.partner_name(), status, reason, "framing lost");
                }
                Output::Close(reason) => {
                    debug!(peer = %self.peer.address, ?reason, "closing");
                    self.end(match reason {
                        CloseReason::Framing => Ended::Framing,
                        CloseReason::Stalled => Ended::MessageTimeout,
                    });
                }
                Output::Request(request) => {
                    self.heed_reload();
                    let place = self.count_request(&request);
                    if self.phase != Phase::Serving {
                        let answer = Answer::new(503)
                            .reason("this relay is stopping: send it again, here or to another")
                            .retry_after(DRAINED_SENDER_WAITS);
                        self.answer_at_once(&request, place, &answer, Some(Refusal::Draining));
                        continue;
                    }
                    match intake::judge(
                        &self.service,
                        &self.rules,
                        &request,
                        self.sender.as_ref(),
                        place,
                        clock::wall(),
                    ) {
                        Intake::Wait(wait) => return Some((request, place, wait)),
                        Intake::Answer(answer, refusal) => {
                            self.answer_at_once(&request, place, &answer, refusal)
                        }
                    }
                }
            }
        }
        None
    }

    /// Takes up the rules of the moment; when they have changed, the peer may be somebody else by them, or nobody.
    fn heed_reload(&mut self) {
        let rules = self.service.rules.load();
        if !Arc::ptr_eq(&rules, &self.rules) {
            self.sender = Sender::identify(&self.service, &rules, &self.peer.presented);
            self.rules = Guard::into_inner(rules);
        }
    }

    /// Counts it, and remembers a MESSAGE.
    fn count_request(&mut self, request: &Request) -> Place {
        self.requests += 1;
        let metrics = &self.service.metrics;
        if request.is_message() {
            metrics.requests_message.inc();
            metrics.messages_in_flight.inc();
            let sender = self.sender.as_ref();
            sender
                .map_or(&metrics.messages_of_strangers, |sender| {
                    &sender.account.received
                })
                .inc();
            let account = sender.map(|sender| sender.account.number);
            let (call_id, cseq) = (request.call_id(), request.cseq().0);
            return self
                .service
                .trail
                .received(call_id, cseq, account, self.last_read);
        }
        if request.is_options() {
            metrics.requests_options.inc();
        } else {
            metrics.requests_other.inc();
        }
        Place::nowhere(self.last_read)
    }

    fn answer_at_once(
        &mut self,
        request: &Request,
        place: Place,
        answer: &Answer,
        refusal: Option<Refusal>,
    ) {
        if let Some(refusal) = refusal {
            self.service.metrics.refusal(refusal);
            self.over_rate |= refusal == Refusal::OverRate;
        }
        self.answer(
            request,
            clock::now(),
            place,
            answer,
            refusal,
            &refusal.map_or("", Refusal::label),
        );
        if self.sender.is_none() && self.requests >= STRANGER_REQUESTS {
            self.end(Ended::Stranger);
        }
    }

    fn answer(
        &mut self,
        request: &Request,
        since: Instant,
        place: Place,
        answer: &Answer,
        refusal: Option<Refusal>,
        verdicts: &dyn fmt::Display,
    ) {
        let now = clock::now();
        self.connection.respond(request.key(), answer, now);
        let elapsed = now.duration_since(since);
        if request.is_message() {
            self.service.metrics.message_answered(answer.status());
            self.service
                .metrics
                .message_seconds
                .observe(elapsed.as_secs_f64());
            let answered = Answered {
                status: answer.status(),
                refusal,
                took: elapsed,
            };
            self.service.trail.answered(place, answered);
        }
        info!(
            call_id = &*printable(request.call_id()),
            method = &*printable(request.method()),
            partner = self.partner_name(),
            status = answer.status(),
            %verdicts,
            reason = answer.reason_text(),
            micros = elapsed.as_micros() as u64,
            "answered"
        );
    }

    /// Whether a partner over its rate, that goes on and on, has had its turn.
    fn has_read_enough(&self) -> bool {
        self.over_rate && self.read_since_rest >= READ_BETWEEN_RESTS
    }

    /// How long a partner that was over its rate is left alone now; never so long that it could not send at its rate.
    fn rest(&mut self) -> Option<Duration> {
        self.over_rate = false;
        self.read_since_rest = 0;
        let rate = self.sender.as_ref()?.partner.rate.as_ref()?;
        let rest = rate.interval().min(LONGEST_REST);
        (rest >= SHORTEST_REST).then_some(rest)
    }

    fn partner_name(&self) -> &str {
        self.sender
            .as_ref()
            .map_or("-", |sender| &*sender.partner.name)
    }

    fn tick(&mut self, idle: bool) {
        let now = clock::now();
        self.connection.handle_timeout(now);
        // An idle connection must not keep old rules, and the clients in them, alive.
        self.heed_reload();
        self.count_retransmissions();
        let limits = &self.service.limits;
        if self
            .outbox
            .since
            .is_some_and(|since| now.duration_since(since) > limits.write_timeout)
        {
            info!(peer = %self.peer.address, partner = self.partner_name(), "the peer does not take its answers, closing");
            self.abandon(Ended::WriteTimeout);
        } else if idle
            && self.outbox.is_empty()
            && now.duration_since(self.last_read) > self.idle_timeout()
        {
            self.end(Ended::Idle);
        }
    }

    fn idle_timeout(&self) -> Duration {
        let limit = self.service.limits.idle_timeout;
        match self.sender {
            Some(_) => limit,
            None => limit.min(STRANGER_IDLE),
        }
    }

    /// Nothing more is read. The first reason counts.
    fn end(&mut self, why: Ended) {
        self.ending.get_or_insert(why);
    }

    /// The stream is of no more use; what was read is finished all the same.
    fn abandon(&mut self, why: Ended) {
        self.end(why);
        self.outbox.abandon();
    }

    /// The drain waits no longer: neither for a peer that goes on asking nor for one that does not take its answers.
    fn cut(&mut self) {
        self.phase = Phase::Over;
        if self.outbox.is_empty() {
            return self.end(Ended::Draining);
        }
        warn!(peer = %self.peer.address, partner = self.partner_name(), "the peer has not taken its answers until the drain's end, closing");
        self.ending = Some(Ended::WriteTimeout);
        self.outbox.abandon();
    }

    fn count_retransmissions(&mut self) {
        let total = self.connection.counts().retransmissions;
        self.service
            .metrics
            .retransmissions
            .inc_by(total - self.retransmissions);
        self.retransmissions = total;
    }
}

/// Bytes that wait to be written.
#[derive(Default)]
struct Outbox {
    queue: VecDeque<Bytes>,
    /// How much is in the queue.
    bytes: usize,
    /// Handed to TLS, but perhaps not yet on the wire.
    unflushed: bool,
    /// Since when something waits.
    since: Option<Instant>,
    /// Nothing can be written any more.
    abandoned: bool,
}

impl Outbox {
    fn push(&mut self, bytes: Bytes) {
        if !self.abandoned {
            self.bytes += bytes.len();
            self.queue.push_back(bytes);
            self.since.get_or_insert_with(clock::now);
        }
    }

    fn is_empty(&self) -> bool {
        self.queue.is_empty() && !self.unflushed
    }

    fn abandon(&mut self) {
        *self = Outbox {
            abandoned: true,
            ..Outbox::default()
        };
    }

    /// Ready when something was waiting and all of it is written; pending when nothing waits.
    fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(bytes) = self.queue.front_mut() {
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            bytes.advance(written);
            self.bytes -= written;
            if !bytes.has_remaining() {
                self.queue.pop_front();
            }
            self.since = Some(clock::now());
        }
        if !self.unflushed {
            return Poll::Pending;
        }
        ready!(Pin::new(stream).poll_flush(cx))?;
        self.unflushed = false;
        self.since = None;
        Poll::Ready(Ok(()))
    }
}
