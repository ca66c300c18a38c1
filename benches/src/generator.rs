//! Sends MESSAGEs over mutual TLS and accounts for each of them.
//!
//! Closed loop: every connection keeps a window of MESSAGEs unanswered, so the relay sets the pace. Open loop: MESSAGEs are
//! due at fixed times whatever the relay does, and a latency counts from the time at which its MESSAGE was due.

use std::collections::BTreeMap;
use std::io;
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

use crate::message::{Answer, Answers, Template};

/// When MESSAGEs are sent.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// This many unanswered on each connection.
    Window(u64),
    /// This many a second, over all connections.
    Rate(f64),
}

/// How much is sent.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// When.
    pub pace: Pace,
    /// Over all connections.
    pub messages: u64,
    /// Nothing is sent after this.
    pub at_most: Duration,
}

/// After the last MESSAGE was sent, answers are awaited this long; what comes later is lost. Timer F, after which the sender
/// gives up, is 32 s (RFC 3261 17.1.2.2); no answer of interest takes a third of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of a plan.
#[derive(Debug, Default)]
pub struct Tally {
    /// MESSAGEs that were sent, or were on their way out when their connection broke.
    pub sent: u64,
    /// Every answer, in the order in which it came; of several connections one after the other.
    pub heard: Vec<Heard>,
    /// The numbers of MESSAGEs that were sent and have no answer.
    pub unanswered: Vec<u64>,
    /// The heads of answers other than 200.
    pub refusals: Vec<Refusal>,
    /// Why connections ended that the generator did not end.
    pub broken: Vec<String>,
    /// One per answer, microseconds, ascending.
    latencies: Vec<u32>,
    /// From the first MESSAGE to the last answer.
    pub elapsed: Duration,
}

/// One answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The number of its MESSAGE.
    pub number: u64,
    /// Its status.
    pub status: u16,
    /// Its octets.
    pub octets: u16,
    /// Microseconds from sending, or from the due time.
    micros: u32,
}

#[cfg(test)]
impl Heard {
    /// 200, at once.
    pub(crate) fn example(number: u64, octets: u16) -> Heard {
        Heard {
            number,
            status: 200,
            octets,
            micros: 0,
        }
    }
}

/// One answer that is not 200.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The number of its MESSAGE.
    pub number: u64,
    head: String,
}

impl Refusal {
    /// What `ms-diagnostics-public` says of it.
    pub fn reason(&self) -> &str {
        let reason = self.header("ms-diagnostics-public").split_once("reason=\"");
        reason.map_or("", |(_, reason)| reason.trim_end_matches('"'))
    }

    /// Seconds after which the sender shall come again.
    pub fn retry_after(&self) -> Option<u32> {
        self.header("Retry-After").parse().ok()
    }

    fn header(&self, name: &str) -> &str {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut values = fields.filter_map(|(field, value)| (field == name).then_some(value));
        values.next().unwrap_or("")
    }
}

impl Tally {
    /// MESSAGEs that were answered 200.
    pub fn accepted(&self) -> u64 {
        self.heard
            .iter()
            .filter(|heard| heard.status == 200)
            .count() as u64
    }

    /// MESSAGEs that were answered.
    pub fn answered(&self) -> u64 {
        self.heard.len() as u64
    }

    /// How many answers had which status.
    pub fn statuses(&self) -> BTreeMap<u16, u64> {
        let mut statuses = BTreeMap::new();
        for heard in &self.heard {
            *statuses.entry(heard.status).or_default() += 1;
        }
        statuses
    }

    /// MESSAGEs without an answer.
    pub fn lost(&self) -> u64 {
        self.sent - self.answered()
    }

    /// Fails where a connection ended under the generator.
    pub fn unbroken(self) -> anyhow::Result<Tally> {
        match self.broken.first() {
            None => Ok(self),
            Some(why) => bail!("a connection ended under us: {why}"),
        }
    }

    /// Answers a second.
    pub fn throughput(&self) -> f64 {
        self.answered() as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that this share of the answers kept within, microseconds.
    pub fn latency(&self, share: f64) -> u32 {
        let last = self.latencies.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.latencies.get(at).copied().unwrap_or(0)
    }

    fn sort(&mut self) {
        self.latencies = self.heard.iter().map(|heard| heard.micros).collect();
        self.latencies.sort_unstable();
    }

    fn add(&mut self, other: Tally) {
        self.sent += other.sent;
        self.heard.extend(other.heard);
        self.unanswered.extend(other.unanswered);
        self.refusals.extend(other.refusals);
        self.broken.extend(other.broken);
        self.elapsed = self.elapsed.max(other.elapsed);
    }
}

/// Open connections to one subject, and the next number for a MESSAGE.
pub struct Generator {
    wires: Vec<Wire>,
    template: Arc<Template>,
    next: u64,
}

impl Generator {
    /// Connects this many times; its first MESSAGE has the number `next`.
    pub async fn connect(
        address: SocketAddr,
        tls: Arc<ClientConfig>,
        name: &str,
        connections: usize,
        template: Template,
        next: u64,
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
            next,
        })
    }

    /// The number of the next MESSAGE.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Sends MESSAGEs of these numbers, ascending, again: at most `window` unanswered, on the first connection.
    pub async fn repeat(&mut self, numbers: Vec<u64>, window: u64) -> anyhow::Result<Tally> {
        let wire = self.wires.pop().context("a connection that is open")?;
        let template = Arc::clone(&self.template);
        let start = Instant::now();
        let numbers = Numbers::new(numbers);
        let (wire, mut tally) = wire
            .closed(template, numbers, window, start, start + PATIENCE)
            .await?;
        self.wires.extend(wire);
        tally.sort();
        Ok(tally)
    }

    /// Carries out a plan. The connections stay open, those that broke excepted.
    pub async fn drive(&mut self, plan: Plan) -> anyhow::Result<Tally> {
        let connections = self.wires.len() as u64;
        let start = Instant::now();
        let deadline = start + plan.at_most;
        let mut work = JoinSet::new();
        let mut pacer = None;
        match plan.pace {
            Pace::Window(window) => {
                for (at, wire) in self.wires.drain(..).enumerate() {
                    let share = share(plan.messages, connections, at as u64);
                    let numbers = Numbers::new((self.next..self.next + share).collect());
                    self.next += share;
                    let template = Arc::clone(&self.template);
                    work.spawn(wire.closed(template, numbers, window, start, deadline));
                }
            }
            Pace::Rate(rate) => {
                let mut lanes = Vec::new();
                for (at, wire) in self.wires.drain(..).enumerate() {
                    let share = share(plan.messages, connections, at as u64);
                    let numbers = Numbers::new((self.next..self.next + share).collect());
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
            self.wires.extend(wire);
            tally.add(part);
        }
        if let Some(pacer) = pacer {
            pacer.join().expect("the pacer only sleeps and sends");
        }
        tally.sort();
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

/// The numbers of the MESSAGEs of one connection, ascending, and since when each waits for its answer.
struct Numbers {
    list: Vec<u64>,
    since: Vec<Option<Instant>>,
    tally: Tally,
}

impl Numbers {
    fn new(list: Vec<u64>) -> Numbers {
        Numbers {
            since: Vec::with_capacity(list.len()),
            tally: Tally {
                heard: Vec::with_capacity(list.len()),
                ..Tally::default()
            },
            list,
        }
    }

    fn all_sent(&self) -> bool {
        self.since.len() == self.list.len()
    }

    fn unanswered(&self) -> u64 {
        self.tally.lost()
    }

    /// The number of the next MESSAGE.
    fn send(&mut self, since: Instant) -> u64 {
        let number = self.list[self.since.len()];
        self.since.push(Some(since));
        self.tally.sent += 1;
        number
    }

    fn answered(&mut self, answer: Answer, head: &[u8], now: Instant) -> anyhow::Result<()> {
        let Answer { number, status } = answer;
        let since = self
            .place(number)
            .and_then(|at| self.since.get_mut(at)?.take());
        let Some(since) = since else {
            bail!("an answer to number {number}, which does not wait for one");
        };
        let micros = now.saturating_duration_since(since).as_micros();
        self.tally.heard.push(Heard {
            number,
            status,
            octets: u16::try_from(head.len()).context("an answer of ordinary length")?,
            micros: u32::try_from(micros).unwrap_or(u32::MAX),
        });
        if status != 200 {
            let head = String::from_utf8_lossy(head).into_owned();
            self.tally.refusals.push(Refusal { number, head });
        }
        Ok(())
    }

    /// Where a number stands: most often the numbers have no gaps.
    fn place(&self, number: u64) -> Option<usize> {
        let guess = usize::try_from(number.checked_sub(*self.list.first()?)?).ok()?;
        if self.list.get(guess) == Some(&number) {
            return Some(guess);
        }
        self.list.binary_search(&number).ok()
    }

    fn break_off(mut self, why: io::Error, start: Instant, last: Instant) -> Tally {
        self.tally.broken.push(why.to_string());
        self.close(start, last)
    }

    fn close(mut self, start: Instant, last: Instant) -> Tally {
        self.tally.elapsed = last.saturating_duration_since(start);
        let waits = self.list.iter().zip(&self.since);
        let waits = waits.filter_map(|(number, since)| since.and(Some(*number)));
        self.tally.unanswered = waits.collect();
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
    /// Keeps `window` MESSAGEs unanswered. The wire comes back unless it broke.
    async fn closed(
        mut self,
        template: Arc<Template>,
        mut numbers: Numbers,
        window: u64,
        start: Instant,
        deadline: Instant,
    ) -> anyhow::Result<(Option<Wire>, Tally)> {
        let mut last = start;
        loop {
            let now = Instant::now();
            while numbers.unanswered() < window && !numbers.all_sent() && now < deadline {
                let number = numbers.send(now);
                template.write(number, &mut self.output);
            }
            // What was answered before the connection broke can still be read.
            let flushed = self.flush().await;
            if numbers.unanswered() == 0 {
                break;
            }
            let Ok(read) = timeout_at((Instant::now() + PATIENCE).into(), self.read()).await else {
                break;
            };
            if let Err(why) = read.and(flushed) {
                return Ok((None, numbers.break_off(why, start, last)));
            }
            last = Instant::now();
            self.account(&mut numbers, last)?;
        }
        Ok((Some(self), numbers.close(start, last)))
    }

    async fn open(
        mut self,
        template: Arc<Template>,
        mut numbers: Numbers,
        mut due: mpsc::UnboundedReceiver<Instant>,
        start: Instant,
    ) -> anyhow::Result<(Option<Wire>, Tally)> {
        let mut last = start;
        let mut more = true;
        while more || numbers.unanswered() > 0 {
            let moved = tokio::select! {
                time = due.recv(), if more => {
                    let mut next = time;
                    more = next.is_some();
                    while let Some(time) = next {
                        let number = numbers.send(time);
                        template.write(number, &mut self.output);
                        next = due.try_recv().ok();
                    }
                    self.flush().await
                }
                read = self.read() => {
                    last = Instant::now();
                    read
                }
                () = tokio::time::sleep(PATIENCE), if !more => break,
            };
            if let Err(why) = moved {
                return Ok((None, numbers.break_off(why, start, last)));
            }
            self.account(&mut numbers, last)?;
        }
        Ok((Some(self), numbers.close(start, last)))
    }

    async fn flush(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await?;
            self.output.clear();
        }
        Ok(())
    }

    /// Reads something. Loses nothing when it is dropped.
    async fn read(&mut self) -> io::Result<()> {
        self.input.reserve(READ);
        if self.stream.read_buf(&mut self.input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Accounts for the answers that have come.
    fn account(&mut self, numbers: &mut Numbers, now: Instant) -> anyhow::Result<()> {
        let mut used = 0;
        while let Some((answer, length)) = self.answers.first(&self.input[used..])? {
            let head = &self.input[used..used + length];
            numbers.answered(answer, head, now)?;
            used += length;
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
        let mut numbers = Numbers::new(vec![40, 41, 50]);
        for expected in [40, 41, 50] {
            assert_eq!(numbers.send(now), expected);
        }
        let mut hear = |number| {
            let answer = Answer {
                status: 200,
                number,
            };
            numbers.answered(answer, b"SIP/2.0 200 OK\r\n\r\n", now)
        };
        assert!(hear(42).is_err());
        assert!(hear(50).is_ok());
        assert!(hear(50).is_err());
        assert!(hear(40).is_ok());
        let tally = numbers.close(now, now);
        assert_eq!((tally.accepted(), tally.unanswered), (2, vec![41]));
    }

    #[test]
    fn a_refusal_says_why_and_for_how_long() {
        let head = "SIP/2.0 503 Service Unavailable\r\nRetry-After: 17\r\n\
                    ms-diagnostics-public: 2;reason=\"the spool is full\"\r\n\r\n";
        let refusal = Refusal {
            number: 1,
            head: head.to_owned(),
        };
        assert_eq!(refusal.reason(), "the spool is full");
        assert_eq!(refusal.retry_after(), Some(17));
    }
}
