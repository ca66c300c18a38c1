//! A fake DNS server on loopback, UDP and TCP: SRV records only, scriptable by fault.
//!
//! Not a resolver: it answers for what it was told, and says NXDOMAIN to everything else.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// What is said of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsAnswer {
    /// SRV records to these hosts, port 5061, with this time to live in seconds.
    Srv(Vec<String>, u32),
    /// The same, but over UDP an empty answer that says that it was cut off.
    CutOff(Vec<String>, u32),
    /// The name is not there, for this many seconds.
    NoSuchName(u32),
    /// The server has failed.
    ServerFailure,
    /// No answer at all.
    Silence,
    /// Octets that are no DNS message, behind the question's id.
    Garbage,
}

/// A DNS server, running until it is dropped.
pub struct FakeDns {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Default)]
struct State {
    answers: HashMap<String, DnsAnswer>,
    asked: Vec<String>,
}

impl FakeDns {
    /// Starts it on a free port of 127.0.0.1, the same for UDP and TCP.
    pub async fn start() -> io::Result<FakeDns> {
        let (udp, tcp) = bind().await?;
        FakeDns::over(udp, tcp)
    }

    /// Starts it at this address, which must be free for both: with port 53 it is where a system's resolver looks.
    pub async fn start_at(address: SocketAddr) -> io::Result<FakeDns> {
        let udp = UdpSocket::bind(address).await?;
        FakeDns::over(udp, TcpListener::bind(address).await?)
    }

    fn over(udp: UdpSocket, tcp: TcpListener) -> io::Result<FakeDns> {
        let address = udp.local_addr()?;
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(udp, shared.clone()));
        tasks.spawn(serve_tcp(tcp, shared.clone()));
        Ok(FakeDns {
            address,
            shared,
            _tasks: tasks,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it says of `name` from now on. Names are compared without case.
    pub fn says(&self, name: &str, answer: DnsAnswer) {
        let name = name.to_ascii_lowercase();
        self.shared.lock().answers.insert(name, answer);
    }

    /// What it says of the hosts that `domain` publishes for federation.
    pub fn publishes(&self, domain: &str, answer: DnsAnswer) {
        self.says(&format!("_sipfederationtls._tcp.{domain}"), answer);
    }

    /// How often it was asked for `name`, over UDP and TCP.
    pub fn asked(&self, name: &str) -> usize {
        let state = self.shared.lock();
        let same = |asked: &&String| asked.eq_ignore_ascii_case(name);
        state.asked.iter().filter(same).count()
    }

    /// Waits until it has been asked for `name` this many times.
    pub async fn wait_asked(&self, name: &str, times: usize, within: Duration) -> io::Result<()> {
        let enough = async {
            loop {
                let mut news = std::pin::pin!(self.shared.news.notified());
                news.as_mut().enable(); // before looking, so that nothing slips in between
                if self.asked(name) >= times {
                    return;
                }
                news.await;
            }
        };
        tokio::time::timeout(within, enough).await.map_err(|_| {
            let asked = self.asked(name);
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("asked {asked} times for {name} within {within:?}, expected {times}"),
            )
        })
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to a message; `None` for silence, and for what is no question.
    fn answer(&self, message: &[u8], over_udp: bool) -> Option<Vec<u8>> {
        let question = Question::read(message)?;
        let mut state = self.lock();
        state.asked.push(question.name.clone());
        let answer = state
            .answers
            .get(&question.name)
            .cloned()
            .unwrap_or(DnsAnswer::NoSuchName(60));
        drop(state);
        self.news.notify_waiters();
        match answer {
            DnsAnswer::Srv(hosts, ttl) => Some(question.srv(&hosts, ttl)),
            DnsAnswer::CutOff(..) if over_udp => Some(question.head(TRUNCATED, 0, 0)),
            DnsAnswer::CutOff(hosts, ttl) => Some(question.srv(&hosts, ttl)),
            DnsAnswer::NoSuchName(ttl) => Some(question.no_such_name(ttl)),
            DnsAnswer::ServerFailure => Some(question.head(SERVER_FAILURE, 0, 0)),
            DnsAnswer::Silence => None,
            DnsAnswer::Garbage => Some([&message[..2], &[0xff; 30]].concat()),
        }
    }
}

async fn bind() -> io::Result<(UdpSocket, TcpListener)> {
    let mut last = io::Error::other("no free port");
    for _ in 0..PORTS_TRIED {
        let udp = UdpSocket::bind(("127.0.0.1", 0)).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) => last = error, // somebody else has this one
        }
    }
    Err(last)
}

async fn serve_udp(socket: UdpSocket, shared: Arc<Shared>) {
    let mut buffer = [0; 2048];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        if let Some(answer) = shared.answer(&buffer[..length], true) {
            let _ = socket.send_to(&answer, from).await; // who has gone asks no more
        }
    }
}

async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve_stream(stream, shared.clone()));
    }
}

async fn serve_stream(mut stream: TcpStream, shared: Arc<Shared>) {
    // Each message stands behind its length, RFC 1035 4.2.2.
    while let Ok(length) = stream.read_u16().await {
        let mut message = vec![0; length.into()];
        if stream.read_exact(&mut message).await.is_err() {
            return;
        }
        let Some(answer) = shared.answer(&message, false) else {
            continue;
        };
        let length = (answer.len() as u16).to_be_bytes();
        if stream
            .write_all(&[&length[..], &answer].concat())
            .await
            .is_err()
        {
            return;
        }
    }
}

/// One question, RFC 1035 4.1.
struct Question<'a> {
    id: &'a [u8],
    /// As it came, name, type and class: the asker wants its own letters back.
    octets: &'a [u8],
    /// In lower case, without the last dot.
    name: String,
}

impl Question<'_> {
    fn read(message: &[u8]) -> Option<Question<'_>> {
        let mut name = String::new();
        let mut at = HEAD;
        loop {
            let length = usize::from(*message.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            let label = message.get(at..at + length)?;
            if !name.is_empty() {
                name.push('.');
            }
            name += &String::from_utf8_lossy(label).to_ascii_lowercase();
            at += length;
        }
        Some(Question {
            id: message.get(..2)?,
            octets: message.get(HEAD..at + 4)?,
            name,
        })
    }

    /// Head and question of an answer with these flags and so many records.
    fn head(&self, flags: u16, answers: u16, authorities: u16) -> Vec<u8> {
        let mut message = self.id.to_vec();
        for number in [flags, 1, answers, authorities, 0] {
            message.extend(number.to_be_bytes());
        }
        message.extend(self.octets);
        message
    }

    fn srv(&self, hosts: &[String], ttl: u32) -> Vec<u8> {
        let mut message = self.head(ANSWER, hosts.len() as u16, 0);
        for host in hosts {
            let mut data = [0_u16, 0, 5061].map(u16::to_be_bytes).concat();
            data.extend(name_octets(host));
            record(&mut message, &QUESTION_NAME, SRV, ttl, &data);
        }
        message
    }

    fn no_such_name(&self, ttl: u32) -> Vec<u8> {
        let mut message = self.head(NO_SUCH_NAME, 0, 1);
        let mut data = [name_octets("ns.invalid"), name_octets("hostmaster.invalid")].concat();
        // Serial, refresh, retry, expire, and how long "no" is good for (RFC 2308 4).
        for number in [1, 3600, 600, 86_400, ttl] {
            data.extend(number.to_be_bytes());
        }
        record(&mut message, &QUESTION_NAME, SOA, ttl, &data);
        message
    }
}

fn record(message: &mut Vec<u8>, name: &[u8], kind: u16, ttl: u32, data: &[u8]) {
    message.extend(name);
    message.extend(kind.to_be_bytes());
    message.extend(INTERNET.to_be_bytes());
    message.extend(ttl.to_be_bytes());
    message.extend((data.len() as u16).to_be_bytes());
    message.extend(data);
}

fn name_octets(name: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        octets.push(label.len() as u8);
        octets.extend(label.as_bytes());
    }
    octets.push(0);
    octets
}

const HEAD: usize = 12;
/// A pointer to the question's name.
const QUESTION_NAME: [u8; 2] = [0xc0, HEAD as u8];
const SRV: u16 = 33;
const SOA: u16 = 6;
const INTERNET: u16 = 1;
/// An answer of a server that recurses.
const ANSWER: u16 = 0x8180;
const TRUNCATED: u16 = ANSWER | 0x0200;
const SERVER_FAILURE: u16 = ANSWER | 2;
const NO_SUCH_NAME: u16 = ANSWER | 3;
const PORTS_TRIED: usize = 16;
