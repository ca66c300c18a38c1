//! `sync-order`: in the order of system calls, every answer to a spooled MESSAGE comes after a sync that covers its append.
//!
//! strace watches all threads. The log of the spool is in clear: a write to it shows which Call-IDs it brings, the frame's header
//! whether it ends a transaction, and fdatasync what is on disk from then on. The answers are encrypted, but their lengths are
//! not: a TLS 1.3 record says how long it is and is 17 octets longer than what it carries (RFC 8446 5.2), and the sender
//! knows in which order the answers came and how long each is. So each write to the SIP socket is known to carry which answers, to
//! the octet; the sums must agree in the end. A write is judged when it is entered; a sync counts when it has returned, for what
//! was there when it was entered.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use pushrelay_peers::WorldOptions;

use super::ground::{Ground, PATIENCE};
use super::strace::{Strace, Tracee};
use crate::generator::{Heard, Pace, Plan};
use crate::message::Template;

/// How much.
#[derive(Clone, Debug, clap::Args)]
pub struct SyncOrderPlan {
    /// MESSAGEs with 32 unanswered
    #[arg(long, default_value_t = 9000)]
    pub pipelined: u64,
    /// MESSAGEs with one unanswered
    #[arg(long, default_value_t = 1000)]
    pub one_by_one: u64,
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct SyncOrderReport {
    /// Answers whose sync came before.
    pub answers: u64,
    /// Syncs of the log.
    pub syncs: u64,
    /// Writes to the SIP socket.
    pub writes: u64,
    /// The most answers that one sync had to cover.
    pub most: u64,
    /// From the first MESSAGE to the last answer.
    pub elapsed: Duration,
}

/// Carries it out.
pub async fn run(daemon: &Path, plan: &SyncOrderPlan) -> anyhow::Result<SyncOrderReport> {
    let mut ground = Ground::lay(daemon, WorldOptions::default()).await?;
    ground.reply_within("0s");
    ground.new_spool()?;
    ground.world.apple.refuse_connects().await;
    let mut daemon = ground.start().await?;
    let mut generator = ground.connect(daemon.sip_addr(), 1).await?;
    let sends = |messages, window| Plan {
        pace: Pace::Window(window),
        messages,
        at_most: 5 * PATIENCE,
    };
    // With one answer behind us the handshake is over, its tickets too.
    generator.drive(sends(1, 1)).await?.unbroken()?;
    let trace = ground.world.dir.path().join("strace");
    let options = [
        "-x",
        "-yy",
        "-s",
        "70000",
        "-e",
        "signal=none",
        "-e",
        "trace=pwrite64,fsync,fdatasync,sendto,sendmsg,write,writev",
    ];
    let process = Tracee::Process(daemon.pid().context("a daemon that runs")?);
    let strace = Strace::attach(process, &options, &trace).await?;
    let start = Instant::now();
    let mut heard = generator
        .drive(sends(plan.one_by_one, 1))
        .await?
        .unbroken()?
        .heard;
    heard.extend(
        generator
            .drive(sends(plan.pipelined, 32))
            .await?
            .unbroken()?
            .heard,
    );
    let elapsed = start.elapsed();
    let sip = daemon.sip_addr().port();
    daemon.kill().await?;
    strace.ended().await?;
    ensure!(
        heard.iter().all(|heard| heard.status == 200),
        "not everything was answered 200"
    );
    ensure!(
        heard.len() as u64 == plan.one_by_one + plan.pipelined,
        "{} answers",
        heard.len()
    );
    let mut order = Order::new(ground.template(), sip, &heard);
    for line in BufReader::new(File::open(&trace)?).split(b'\n') {
        order.line(&String::from_utf8_lossy(&line?))?;
    }
    let report = order.close()?;
    Ok(SyncOrderReport { elapsed, ..report })
}

/// What the lines of a trace have shown so far.
struct Order<'a> {
    template: &'a Template,
    /// How a call on the SIP connection is recognised.
    sip: String,
    answers: &'a [Heard],
    /// How many answers have been judged, and where the next begins in the clear text.
    judged: usize,
    next: u64,
    stream: Records,
    /// In the log, and not yet in a transaction that has ended.
    written: HashSet<u64>,
    /// In a transaction that has ended, and not yet synced.
    committed: HashSet<u64>,
    synced: HashSet<u64>,
    /// Whether the frame whose header was written last ends a transaction.
    ends: bool,
    /// Calls that a thread has entered and not left.
    entered: HashMap<String, Call>,
    since_sync: u64,
    report: SyncOrderReport,
}

/// A call that matters.
#[derive(Clone, Debug)]
enum Call {
    Log(Vec<u8>),
    /// With what was in the log by then, and not yet synced.
    Sync(HashSet<u64>),
    Send(Vec<u8>),
}

impl<'a> Order<'a> {
    fn new(template: &'a Template, sip: u16, answers: &'a [Heard]) -> Order<'a> {
        Order {
            template,
            sip: format!("<TCP:[127.0.0.1:{sip}->"),
            answers,
            judged: 0,
            next: 0,
            stream: Records::default(),
            written: HashSet::new(),
            committed: HashSet::new(),
            synced: HashSet::new(),
            ends: false,
            entered: HashMap::new(),
            since_sync: 0,
            report: SyncOrderReport::default(),
        }
    }

    /// Reads `PID name(<arguments>) = result`, whole or in two lines.
    fn line(&mut self, line: &str) -> anyhow::Result<()> {
        let Some((thread, rest)) = line.split_once(' ') else {
            return Ok(());
        };
        let rest = rest.trim_start();
        if rest.starts_with("<... ") {
            return match self.entered.remove(thread) {
                // Killed before it returned; the sender has read it all the same.
                Some(Call::Send(bytes)) if rest.ends_with("= ?") => {
                    self.sent(&bytes);
                    Ok(())
                }
                Some(call) => self.left(call, result(rest)),
                None => Ok(()),
            };
        }
        let Some(call) = self.call(rest) else {
            return Ok(());
        };
        if let Call::Send(bytes) = &call {
            self.judge(bytes)?;
        }
        if rest.ends_with("<unfinished ...>") || rest.ends_with("= ?") {
            self.entered.insert(thread.to_owned(), call);
            return Ok(());
        }
        self.left(call, result(rest))
    }

    fn call(&self, text: &str) -> Option<Call> {
        let (name, arguments) = text.split_once('(')?;
        let file = arguments.split([',', ')']).next()?;
        let at_log = arguments.split('>').next()?.ends_with("-wal");
        match name {
            "pwrite64" | "write" | "writev" if at_log => Some(Call::Log(strings(arguments))),
            "fdatasync" | "fsync" if at_log => Some(Call::Sync(self.committed.clone())),
            "sendto" | "sendmsg" | "write" | "writev" if file.contains(&self.sip) => {
                Some(Call::Send(strings(arguments)))
            }
            _ => None,
        }
    }

    /// Every answer of which an octet is offered to the socket must be on disk.
    fn judge(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut offered = self.stream.clone();
        offered.feed(bytes);
        while let Some(answer) = self.answers.get(self.judged)
            && self.next < offered.clear
        {
            ensure!(
                self.synced.contains(&answer.number),
                "number {} is answered, and its append is {}",
                answer.number,
                if self.committed.contains(&answer.number) {
                    "not synced"
                } else {
                    "not in the log"
                }
            );
            self.next += u64::from(answer.octets);
            self.judged += 1;
            self.since_sync += 1;
            self.report.most = self.report.most.max(self.since_sync);
        }
        Ok(())
    }

    fn left(&mut self, call: Call, result: Option<usize>) -> anyhow::Result<()> {
        match (call, result) {
            (Call::Log(bytes), Some(written)) => {
                ensure!(written == bytes.len(), "a short write to the log");
                self.log(&bytes);
            }
            (Call::Sync(covered), Some(0)) => {
                self.committed.retain(|number| !covered.contains(number));
                self.synced.extend(covered);
                self.since_sync = 0;
                self.report.syncs += 1;
            }
            (Call::Send(bytes), Some(sent)) => self.sent(&bytes[..sent]),
            _ => {} // failed: nothing has happened
        }
        Ok(())
    }

    fn sent(&mut self, bytes: &[u8]) {
        self.stream.feed(bytes);
        self.report.writes += 1;
    }

    /// A frame is a header of 24 octets, whose second word is 0 in all but the last of a transaction, and a page.
    fn log(&mut self, bytes: &[u8]) {
        if bytes.len() == FRAME_HEADER {
            self.ends = bytes[4..8] != [0; 4];
            return;
        }
        let new = self.template.numbers_in(bytes);
        self.written
            .extend(new.filter(|number| !self.synced.contains(number)));
        if self.ends {
            self.committed.extend(self.written.drain());
            self.ends = false;
        }
    }

    fn close(mut self) -> anyhow::Result<SyncOrderReport> {
        for call in std::mem::take(&mut self.entered).into_values() {
            if let Call::Send(bytes) = call {
                self.sent(&bytes);
            }
        }
        let expected: u64 = self
            .answers
            .iter()
            .map(|answer| u64::from(answer.octets))
            .sum();
        ensure!(
            self.stream.clear == expected && self.judged == self.answers.len(),
            "{} octets in clear were sent, {expected} were read; {} of {} answers were judged",
            self.stream.clear,
            self.judged,
            self.answers.len()
        );
        ensure!(self.report.syncs > 0, "the log was never synced");
        Ok(SyncOrderReport {
            answers: self.judged as u64,
            ..self.report
        })
    }
}

const FRAME_HEADER: usize = 24;

/// TLS records in a stream of octets, by their headers alone.
#[derive(Clone, Debug, Default)]
struct Records {
    header: Vec<u8>,
    /// Octets of the record that are still to come.
    rest: usize,
    /// What all records so far carry, in clear.
    clear: u64,
}

/// Type, version, length.
const RECORD_HEADER: usize = 5;

/// Application data.
const APPLICATION: u8 = 23;

/// A tag of 16 octets, and the type inside.
const OVERHEAD: u64 = 17;

impl Records {
    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let part = self.rest.min(bytes.len());
                self.rest -= part;
                bytes = &bytes[part..];
                continue;
            }
            self.header.push(bytes[0]);
            bytes = &bytes[1..];
            if let [kind, _, _, high, low] = self.header[..] {
                let length = u16::from_be_bytes([high, low]);
                self.rest = usize::from(length);
                if kind == APPLICATION {
                    self.clear += u64::from(length).saturating_sub(OVERHEAD);
                }
                self.header.clear();
            }
        }
        debug_assert!(self.header.len() < RECORD_HEADER);
    }
}

/// What a call has returned; `None` for an error.
fn result(line: &str) -> Option<usize> {
    let (_, result) = line.rsplit_once(" = ")?;
    result.split(' ').next()?.parse().ok()
}

/// The octets of all strings among the arguments, as strace writes them.
fn strings(arguments: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = arguments.bytes().peekable();
    let mut inside = false;
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => inside = !inside,
            b'\\' if inside => {
                let escape = rest.next().unwrap_or(b'\\');
                let (radix, most) = match escape {
                    b'x' => (16, 2),
                    b'0'..=b'7' => (8, 3),
                    _ => {
                        bytes.push(plain(escape));
                        continue;
                    }
                };
                let mut value = if radix == 8 {
                    u32::from(escape - b'0')
                } else {
                    0
                };
                let mut digits = usize::from(radix == 8);
                while digits < most
                    && let Some(digit) = rest
                        .peek()
                        .and_then(|byte| char::from(*byte).to_digit(radix))
                {
                    value = value * radix + digit;
                    digits += 1;
                    rest.next();
                }
                bytes.push(u8::try_from(value).unwrap_or(u8::MAX));
            }
            _ if inside => bytes.push(byte),
            _ => {}
        }
    }
    bytes
}

/// The escapes of C.
fn plain(escape: u8) -> u8 {
    match escape {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'f' => 0x0c,
        other => other,
    }
}

impl fmt::Display for SyncOrderReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} answers in {} writes, each after the sync of its append; {} syncs, the largest before {} answers; {:.0} s",
            self.answers,
            self.writes,
            self.syncs,
            self.most,
            self.elapsed.as_secs_f64()
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
    }

    fn frame(ends: u8, number: u64) -> [String; 2] {
        let mut header = [0; FRAME_HEADER];
        header[7] = ends;
        let page = format!("\0{:016x}{number:016x}\0", 7);
        [&header[..], page.as_bytes()].map(|bytes| {
            let length = bytes.len();
            format!(
                "9 pwrite64(6</s-wal>, \"{}\", {length}, 24) = {length}",
                hex(bytes)
            )
        })
    }

    fn answer(octets: u16) -> String {
        let record = [&[23, 3, 3][..], &(octets + 17).to_be_bytes()].concat();
        let body = vec![0xff; usize::from(octets) + 17];
        let length = record.len() + body.len();
        format!(
            "8 sendto(5<TCP:[127.0.0.1:5061->127.0.0.1:9]>, \"{}\", {length}, 0, NULL, 0) = {length}",
            hex(&[record, body].concat())
        )
    }

    fn judge(lines: &[String]) -> anyhow::Result<SyncOrderReport> {
        let template = Template::new(600, 7);
        let heard = [1, 2].map(|number| Heard::example(number, 100));
        let mut order = Order::new(&template, 5061, &heard);
        lines.iter().try_for_each(|line| order.line(line))?;
        order.close()
    }

    fn sync() -> String {
        "9 fdatasync(6</s-wal>) = 0".to_owned()
    }

    #[test]
    fn an_answer_after_its_sync_is_as_promised() {
        let [header, page] = frame(1, 1);
        let [second_header, second_page] = frame(1, 2);
        let lines = [
            header,
            page,
            second_header,
            second_page,
            sync(),
            answer(100),
            answer(100),
        ];
        let report = judge(&lines).unwrap();
        assert_eq!((report.answers, report.syncs, report.most), (2, 1, 2));
    }

    #[test]
    fn an_answer_before_its_sync_is_found() {
        let [header, page] = frame(1, 1);
        let [second_header, second_page] = frame(1, 2);
        let early = [
            header,
            page,
            sync(),
            answer(100),
            second_header,
            second_page,
            answer(100),
            sync(),
        ];
        let error = judge(&early).unwrap_err().to_string();
        assert!(
            error.contains("number 2 is answered, and its append is not synced"),
            "{error}"
        );
    }

    #[test]
    fn a_sync_in_the_middle_of_a_transaction_covers_nothing() {
        let [header, page] = frame(0, 1);
        let error = judge(&[header, page, sync(), answer(100)])
            .unwrap_err()
            .to_string();
        assert!(error.contains("not in the log"), "{error}");
    }

    #[test]
    fn a_sync_that_has_not_returned_or_has_failed_covers_nothing() {
        for result in ["<unfinished ...>", ") = -1 EIO (Input/output error)"] {
            let [header, page] = frame(1, 1);
            let sync = format!("9 fdatasync(6</s-wal>{result}");
            assert!(
                judge(&[header, page, sync, answer(100)]).is_err(),
                "{result}"
            );
        }
    }

    #[test]
    fn a_sync_covers_nothing_that_came_after_it_was_entered() {
        let [header, page] = frame(1, 1);
        let [second_header, second_page] = frame(1, 2);
        let lines = [
            header,
            page,
            "7 fdatasync(9</s-wal> <unfinished ...>".to_owned(),
            second_header,
            second_page,
            "7 <... fdatasync resumed>) = 0".to_owned(),
            answer(100),
            answer(100),
        ];
        let error = judge(&lines).unwrap_err().to_string();
        assert!(error.contains("number 2 is answered"), "{error}");
    }

    #[test]
    fn a_write_that_a_kill_has_cut_off_counts_as_read() {
        let [header, page] = frame(1, 1);
        let [second_header, second_page] = frame(1, 2);
        let whole = answer(100);
        let (whole, _) = whole.split_once(" = ").unwrap();
        for end in ["= ?", "<unfinished ...>"] {
            let last = format!("{whole} {end}");
            let lines = [
                &header,
                &page,
                &second_header,
                &second_page,
                &sync(),
                &answer(100),
                &last,
            ];
            assert_eq!(
                judge(&lines.map(String::clone)).unwrap().answers,
                2,
                "{end}"
            );
        }
    }

    #[test]
    fn answers_in_one_record_are_told_apart_by_their_lengths() {
        let [header, page] = frame(1, 1);
        let error = judge(&[header, page, sync(), answer(200)])
            .unwrap_err()
            .to_string();
        assert!(error.contains("number 2"), "{error}");
    }

    #[test]
    fn strings_are_read_as_strace_writes_them() {
        let arguments = r#"5<TCP:[a]>, [{iov_base="\x17\x03", iov_len=2}, {iov_base="q \"w\"\r\n\0\12", iov_len=9}], 2"#;
        assert_eq!(strings(arguments), b"\x17\x03q \"w\"\r\n\0\n");
    }
}
