//! Sends MESSAGEs over mutual TLS and accounts for each of them.
//!
//! Closed loop: every connection keeps a window of MESSAGEs unanswered, so the relay sets the pace. Open loop: MESSAGEs are
//! due at fixed times whatever the relay does, and a latency counts from the time at which its MESSAGE was due.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use pushrelay_benches::message::{Answers, Template};

/// When MESSAGEs are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// This many unanswered on each connection.
    Window(u64),
    /// This many a second, over all connections.
    Rate(f64),
}

/// How much is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) pace: Pace,
    /// Over all connections.
    pub(crate) messages: u64,
    /// Nothing is sent after this.
    pub(crate) at_most: Duration,
}

/// After the last MESSAGE was sent, answers are awaited this long; what comes later is lost. Timer F, after which the sender
/// gives up, is 32 s (RFC 3261 17.1.2.2); no answer of interest takes a third of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of a plan.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    /// How many answers had which status.
    pub(crate) answers: BTreeMap<u16, u64>,
    /// One per answer, microseconds, ascending.
    latencies: Vec<u32>,
    /// From the first MESSAGE to the last answer.
    pub(crate) elapsed: Duration,
}

impl Tally {
    /// MESSAGEs that were answered 200.
    pub(crate) fn accepted(&self) -> u64 {
        self.answers.get(&200).copied().unwrap_or(0)
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answers.values().sum()
    }

    /// MESSAGEs without an answer.
    pub(crate) fn lost(&self) -> u64 {
        self.sent - self.answered()
    }

    /// Answers a second.
    pub(crate) fn throughput(&self) -> f64 {
        self.answered() as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that this share of the answers kept within, microseconds.
    pub(crate) fn latency(&self, share: f64) -> u32 {
        let last = self.latencies.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.latencies.get(at).copied().unwrap_or(0)
    }

    fn add(&mut self, other: Tally) {
        self.sent += other.sent;
        for (status, count) in other.answers {
            *self.answers.entry(status).or_default() += count;
        }
        self.latencies.extend(other.latencies);
        self.elapsed = self.elapsed.max(other.elapsed);
    }
}

/// Open connections to one subject, and the next number for a MESSAGE.
pub(crate) struct Generator {
    wires: Vec<Wire>,
    template: Arc<Template>,
    next: u64,
}

impl Generator {
    /// Connects this many times.
    pub(crate) async fn connect(
        address: SocketAddr,
        tls: Arc<ClientConfig>,
        name: &str,
        connections: usize,
        template: Template,
    ) -> anyhow::Result<Generator> {
        let mut wires = Vec::new();
        for _ in 0..connections {
            let stream = TcpStream::connect(address).await.context("connect")?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(name.to_owned())?;
            let connector = TlsConnector::from(Arc::clone(&tls));
            let stream = connector.connect(name, stream).await.context("handshake")?;
            wires.push(Wire {
                stream,
                input: Vec::new(),
                output: Vec::new(),
                answers: Answers::default(),
            });
        }
        Ok(Generator {
            wires,
            template: Arc::new(template),
            next: 0,
        })
    }

    /// Carries out a plan. The connections stay open.
    pub(crate) async fn drive(&mut self, plan: Plan) -> anyhow::Result<Tally> {
        let connections = self.wires.len() as u64;
        let start = Instant::now();
        let deadline = start + plan.at_most;
        let mut work = JoinSet::new();
        let mut pacer = None;
        match plan.pace {
            Pace::Window(window) => {
                for (at, wire) in self.wires.drain(..).enumerate() {
                    let share = share(plan.messages, connections, at as u64);
                    let numbers = Numbers::new(self.next, share);
                    self.next += share;
                    let template = Arc::clone(&self.template);
                    work.spawn(wire.closed(template, numbers, window, start, deadline));
                }
            }
            Pace::Rate(rate) => {
                let mut lanes = Vec::new();
                for (at, wire) in self.wires.drain(..).enumerate() {
                    let share = share(plan.messages, connections, at as u64);
                    let numbers = Numbers::new(self.next, share);
                    self.next += share;
                    let (lane, due) = mpsc::unbounded_channel(); // bounded by the plan
                    lanes.push(lane);
                    let template = Arc::clone(&self.template);
                    work.spawn(wire.open(template, numbers, due, start));
                }
                let messages = plan.messages;
                // A thread of its own: tokio's timer counts in milliseconds.
                pacer = Some(std::thread::spawn(move || {
                    keep_time(&lanes, messages, rate, start, deadline);
                }));
            }
        }
        let mut tally = Tally::default();
        while let Some(done) = work.join_next().await {
            let (wire, part) = done??;
            self.wires.push(wire);
            tally.add(part);
        }
        if let Some(pacer) = pacer {
            pacer.join().expect("the pacer only sleeps and sends");
        }
        tally.latencies.sort_unstable();
        Ok(tally)
    }
}

/// What falls to one of several connections.
fn share(messages: u64, connections: u64, at: u64) -> u64 {
    messages / connections + u64::from(at < messages % connections)
}

/// Says at each due time that a MESSAGE is due, to each lane in turn.
fn keep_time(
    lanes: &[mpsc::UnboundedSender<Instant>],
    messages: u64,
    rate: f64,
    start: Instant,
    deadline: Instant,
) {
    for number in 0..messages {
        let due = start + Duration::from_secs_f64(number as f64 / rate);
        if due > deadline {
            return;
        }
        let early = due.saturating_duration_since(Instant::now());
        if !early.is_zero() {
            std::thread::sleep(early);
        }
        let lane = &lanes[(number % lanes.len() as u64) as usize];
        if lane.send(due).is_err() {
            return; // the connection failed, which its task reports
        }
    }
}

/// The numbers of the MESSAGEs of one connection, and since when each waits for its answer.
struct Numbers {
    first: u64,
    count: usize,
    since: Vec<Option<Instant>>,
    tally: Tally,
}

impl Numbers {
    fn new(first: u64, count: u64) -> Numbers {
        let count = usize::try_from(count).expect("a count of messages fits memory");
        Numbers {
            first,
            count,
            since: Vec::with_capacity(count),
            tally: Tally {
                latencies: Vec::with_capacity(count),
                ..Tally::default()
            },
        }
    }

    fn all_sent(&self) -> bool {
        self.since.len() == self.count
    }

    fn unanswered(&self) -> u64 {
        self.tally.sent - self.tally.latencies.len() as u64
    }

    /// The number of the next MESSAGE.
    fn send(&mut self, since: Instant) -> u64 {
        let number = self.first + self.since.len() as u64;
        self.since.push(Some(since));
        self.tally.sent += 1;
        number
    }

    fn answered(&mut self, number: u64, status: u16, now: Instant) -> anyhow::Result<()> {
        let at = number.checked_sub(self.first);
        let since = at
            .and_then(|at| self.since.get_mut(usize::try_from(at).ok()?))
            .and_then(Option::take);
        let Some(since) = since else {
            bail!("an answer to number {number}, which does not wait for one");
        };
        let micros = now.saturating_duration_since(since).as_micros();
        self.tally
            .latencies
            .push(u32::try_from(micros).unwrap_or(u32::MAX));
        *self.tally.answers.entry(status).or_default() += 1;
        Ok(())
    }

    fn close(mut self, start: Instant, last: Instant) -> Tally {
        self.tally.elapsed = last.saturating_duration_since(start);
        self.tally
    }
}

/// One connection.
struct Wire {
    stream: TlsStream<TcpStream>,
    input: Vec<u8>,
    output: Vec<u8>,
    answers: Answers,
}

impl Wire {
    async fn closed(
        mut self,
        template: Arc<Template>,
        mut numbers: Numbers,
        window: u64,
        start: Instant,
        deadline: Instant,
    ) -> anyhow::Result<(Wire, Tally)> {
        let mut last = start;
        loop {
            let now = Instant::now();
            while numbers.unanswered() < window && !numbers.all_sent() && now < deadline {
                let number = numbers.send(now);
                template.write(number, &mut self.output);
            }
            self.flush().await?;
            if numbers.unanswered() == 0 {
                break;
            }
            let Ok(read) = timeout_at((Instant::now() + PATIENCE).into(), self.read()).await else {
                break;
            };
            read?;
            last = Instant::now();
            self.account(&mut numbers, last)?;
        }
        Ok((self, numbers.close(start, last)))
    }

    async fn open(
        mut self,
        template: Arc<Template>,
        mut numbers: Numbers,
        mut due: mpsc::UnboundedReceiver<Instant>,
        start: Instant,
    ) -> anyhow::Result<(Wire, Tally)> {
        let mut last = start;
        let mut more = true;
        while more || numbers.unanswered() > 0 {
            tokio::select! {
                time = due.recv(), if more => {
                    let mut next = time;
                    more = next.is_some();
                    while let Some(time) = next {
                        let number = numbers.send(time);
                        template.write(number, &mut self.output);
                        next = due.try_recv().ok();
                    }
                    self.flush().await?;
                }
                read = self.read() => {
                    read?;
                    last = Instant::now();
                    self.account(&mut numbers, last)?;
                }
                () = tokio::time::sleep(PATIENCE), if !more => break,
            }
        }
        Ok((self, numbers.close(start, last)))
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await?;
            self.output.clear();
        }
        Ok(())
    }

    /// Reads something. Loses nothing when it is dropped.
    async fn read(&mut self) -> anyhow::Result<()> {
        self.input.reserve(READ);
        if self.stream.read_buf(&mut self.input).await? == 0 {
            bail!("the connection was closed under us");
        }
        Ok(())
    }

    /// Accounts for the answers that have come.
    fn account(&mut self, numbers: &mut Numbers, now: Instant) -> anyhow::Result<()> {
        let mut used = 0;
        while let Some((answer, length)) = self.answers.first(&self.input[used..])? {
            used += length;
            numbers.answered(answer.number, answer.status, now)?;
        }
        self.input.drain(..used);
        Ok(())
    }
}

/// One TLS record's worth.
const READ: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_plan() {
        let shares: Vec<u64> = (0..4).map(|at| share(10, 4, at)).collect();
        assert_eq!(shares, [3, 3, 2, 2]);
    }

    #[test]
    fn percentiles_are_latencies_that_occurred() {
        let tally = Tally {
            latencies: (1..=1000).collect(),
            ..Tally::default()
        };
        assert_eq!(tally.latency(0.0), 1);
        assert_eq!(tally.latency(0.5), 501);
        assert_eq!(tally.latency(0.999), 999);
        assert_eq!(tally.latency(1.0), 1000);
    }

    #[test]
    fn an_answer_counts_once() {
        let now = Instant::now();
        let mut numbers = Numbers::new(40, 2);
        let number = numbers.send(now);
        assert!(numbers.answered(number + 1, 200, now).is_err());
        assert!(numbers.answered(number, 200, now).is_ok());
        assert!(numbers.answered(number, 200, now).is_err());
        assert_eq!(numbers.unanswered(), 0);
    }
}
