//! The Access Edge, played: it sends MESSAGEs over a few connections, reads the answers, and comes again when a connection breaks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pushrelay_peers::SipRequest;
use pushrelay_peers::world::EDGE_DOMAIN;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::ledger::Ledger;
use crate::clock;
use crate::partners::Presented;
use crate::service::Service;
use crate::session::{self, Peer};

/// An Edge in one life of the relay.
pub(super) struct Edge {
    ledger: Arc<Ledger>,
    service: Arc<Service>,
    presented: Presented,
    draining: watch::Receiver<bool>,
    lines: [Option<WriteHalf<DuplexStream>>; 2],
    /// The relay's side of every connection.
    pub(super) sessions: JoinSet<()>,
    opened: u64,
}

/// After this a sender gives up (Timer F, RFC 3261 17.1.2.2), and its user sees a failure.
const TIMER_F: Duration = Duration::from_secs(32);

/// A connection is closed when nothing is to be sent for so long.
const QUIET: Duration = Duration::from_secs(20);

impl Edge {
    pub(super) fn new(
        ledger: &Arc<Ledger>,
        service: &Arc<Service>,
        presented: &Presented,
        draining: &watch::Receiver<bool>,
    ) -> Edge {
        Edge {
            ledger: ledger.clone(),
            service: service.clone(),
            presented: presented.clone(),
            draining: draining.clone(),
            lines: [None, None],
            sessions: JoinSet::new(),
            opened: 0,
        }
    }

    /// Sends what the last life left unanswered, and then every message from `next` on in its time.
    pub(super) async fn run(&mut self, next: &mut usize) {
        for message in self.unanswered(*next) {
            self.send(message, 0).await;
        }
        let ledger = self.ledger.clone();
        while let Some(message) = ledger.plan.messages.get(*next) {
            let at = ledger.plan.begin + message.at;
            let wait = at.duration_since(clock::wall()).unwrap_or_default();
            if wait > QUIET {
                self.hang_up().await;
            }
            let wait = at.duration_since(clock::wall()).unwrap_or_default();
            tokio::time::sleep(wait).await;
            *next += 1;
            self.send(*next - 1, *next % 2).await;
            if message.twice {
                self.send(*next - 1, (*next + 1) % 2).await;
            }
        }
        self.hang_up().await;
    }

    /// What was sent of late and not answered, mostly; and now and then what was.
    fn unanswered(&self, next: usize) -> Vec<usize> {
        let now = clock::wall();
        let again = |message: &usize| {
            let (young, answered) = {
                let state = self.ledger.lock();
                let sent = &state.messages[*message];
                let first = sent.at.first().copied().unwrap_or(now);
                (now < first + TIMER_F, !sent.answers.is_empty())
            };
            young && self.ledger.chance(if answered { 25 } else { 75 })
        };
        (0..next).filter(again).collect()
    }

    async fn send(&mut self, message: usize, line: usize) {
        self.ledger.sent(message);
        let sends = self.ledger.lock().messages[message].at.len();
        let bytes = request(&self.ledger, message, sends);
        let open = match self.lines[line].take() {
            Some(open) => open,
            None => self.open(),
        };
        let open = self.lines[line].insert(open);
        if open.write_all(&bytes).await.is_err() {
            self.ledger
                .fault(format!("message {message} finds a closed connection"));
        }
    }

    fn open(&mut self) -> WriteHalf<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        self.opened += 1;
        let peer = Peer {
            address: SocketAddr::from(([192, 0, 2, 10], 49_812)),
            presented: self.presented.clone(),
        };
        self.sessions.spawn(session::run(
            self.service.clone(),
            theirs,
            peer,
            self.opened,
            self.draining.clone(),
        ));
        let (answers, requests) = tokio::io::split(ours);
        tokio::spawn(listen(answers, self.ledger.clone()));
        requests
    }

    /// Waits for the answers that are due and closes the connections.
    async fn hang_up(&mut self) {
        let mut waited = Duration::ZERO;
        while self.ledger.open() > 0 {
            if waited > QUIET {
                self.ledger
                    .fault("silence: a MESSAGE is not answered".to_owned());
                break;
            }
            tokio::time::sleep(LOOK).await;
            waited += LOOK;
        }
        for line in &mut self.lines {
            if let Some(mut open) = line.take() {
                // The relay may have closed it first.
                let _ = open.shutdown().await;
            }
        }
    }
}

const LOOK: Duration = Duration::from_millis(500);

async fn listen(mut stream: ReadHalf<DuplexStream>, ledger: Arc<Ledger>) {
    let mut bytes = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut bytes).await {
        while let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = bytes.drain(..end + 4).collect();
            ledger.answered(&String::from_utf8_lossy(&head));
        }
    }
}

fn request(ledger: &Ledger, message: usize, sends: usize) -> bytes::Bytes {
    let plan = &ledger.plan.messages[message];
    let from = format!("sip:kima@{EDGE_DOMAIN}");
    let media_type = "application/vnd.pushrelay+json; v=1";
    SipRequest {
        call_id: plan.call_id.clone(),
        from_tag: "kim".to_owned(),
        // Each time another transaction: what makes it the same is Call-ID, CSeq and From tag.
        via: format!(
            "SIP/2.0/TLS 192.0.2.10:49812;branch=z9hG4bK{}.{sends}",
            plan.call_id
        ),
        more_vias: Vec::new(),
        ..SipRequest::message(
            "sip:push@push.example.org",
            &from,
            media_type,
            plan.body.clone(),
        )
    }
    .encode()
}
