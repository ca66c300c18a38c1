//! The server side of one peer: bytes in, requests out, answers in, bytes out.
//!
//! Not here: the socket and the clock. Every request that comes out is answered exactly once with
//! [`respond`](Connection::respond), in any order; what a repeated or merged request needs is done here.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::answer::{self, Answer, Hop};
use crate::decoder::{Decoder, Frame, Refusal};
use crate::field::Known;
use crate::head::Head;
use crate::limits::Limits;
use crate::message::Message;
use crate::request::Request;
use crate::transactions::{Keys, Remembered, Repeat, Transaction, TransactionKey, Transactions};

/// The server side of one SIP connection, as a value.
pub struct Connection {
    limits: Limits,
    peer: Hop,
    decoder: Decoder,
    keys: Keys,
    transactions: Transactions,
    outputs: VecDeque<Output>,
    transmit: BytesMut,
    /// When the message that is not whole yet began.
    begun: Option<Instant>,
    closing: Closing,
    counts: Counts,
}

/// What is to be done next.
#[derive(Debug)]
pub enum Output {
    /// Bytes for the peer. Several answers may be in them.
    Transmit(Bytes),
    /// A new request, faulty ones too. Answer it exactly once.
    Request(Request),
    /// Framing was lost; it has been answered as far as it could be, and a [`Close`](Output::Close) follows.
    Refused {
        /// 400, 413 or 513.
        status: u16,
        /// What was expected and what came.
        reason: String,
    },
    /// Close the connection: everything is answered and handed out. Comes last, and once.
    Close(CloseReason),
}

/// Why a connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Where the next message begins is not known any more.
    Framing,
    /// A message was begun and not completed in time.
    Stalled,
}

/// What a connection did by itself, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests handed out.
    pub requests: u64,
    /// Answers sent, those to repeated and merged requests not among them.
    pub answers: u64,
    /// Requests that came again the same way: absorbed, or answered again.
    pub retransmissions: u64,
    /// Requests that came again another way: answered like the first.
    pub merged: u64,
    /// Merged requests past the bound of those that may wait: answered 482.
    pub merged_refused: u64,
    /// Double CRLFs answered.
    pub pings: u64,
    /// Stray ACKs.
    pub acks_dropped: u64,
    /// Responses: nothing was asked here.
    pub responses_dropped: u64,
    /// Framing errors.
    pub refused: u64,
    /// Answered transactions forgotten before their time, for want of room.
    pub transactions_forgotten: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    /// Once everything is answered.
    Due(CloseReason),
    Told,
}

/// Timeouts that lie closer together than this become one.
const TIMEOUT_SLACK: Duration = Duration::from_secs(1);

/// An answer to a request of usual size.
const USUAL_ANSWER_BYTES: usize = 1024;

/// An output buffer that grew past this is given back.
const RETAINED_BYTES: usize = 64 * 1024;

impl Connection {
    /// The server side of a new connection from `peer`. From `seed`, which a peer must not be able to guess, come
    /// To tags and the keys of the transaction table.
    pub fn new(limits: Limits, peer: SocketAddr, seed: u64) -> Self {
        Connection {
            limits,
            peer: Hop::new(peer),
            decoder: Decoder::new(limits),
            keys: Keys::new(seed),
            transactions: Transactions::new(limits),
            outputs: VecDeque::new(),
            transmit: BytesMut::new(),
            begun: None,
            closing: Closing::No,
            counts: Counts::default(),
        }
    }

    /// Takes what came from the peer. After a framing error nothing more is read.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) {
        self.transactions.expire(now);
        self.decoder.feed(bytes);
        while let Some(frame) = self.decoder.poll() {
            self.begun = None;
            match frame {
                Frame::Message(message) => self.take_message(message),
                Frame::Ping => self.pong(),
                Frame::Refused(refusal) => self.refuse(refusal, CloseReason::Framing),
            }
        }
        self.begun = self
            .decoder
            .is_mid_message()
            .then(|| self.begun.unwrap_or(now));
    }

    /// What is to be done next; `None` when there is nothing until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        if !self.transmit.is_empty() {
            let bytes = self.transmit.split().freeze();
            if bytes.len() > RETAINED_BYTES {
                self.transmit = BytesMut::new();
            }
            return Some(Output::Transmit(bytes));
        }
        match self.closing {
            Closing::Due(reason) if self.unanswered() == 0 => {
                self.closing = Closing::Told;
                Some(Output::Close(reason))
            }
            _ => None,
        }
    }

    /// Answers the request under `key`, and all that were merged with it. A key that does not wait for an answer is a
    /// fault of the caller; nothing is sent then.
    pub fn respond(&mut self, key: TransactionKey, answer: &Answer, now: Instant) {
        let Some(pending) = self.transactions.pending(key) else {
            debug_assert!(false, "a request is answered exactly once");
            return;
        };
        self.counts.answers += 1;
        let out = &mut self.transmit;
        out.reserve(USUAL_ANSWER_BYTES);
        let start = out.len();
        answer.write_status_line(out);
        let vias = out.len();
        answer::write_vias(out, &pending.request, &self.peer);
        let rest = out.len();
        answer::write_echo(out, &pending.request, self.keys.tag(key));
        answer.write_rest(out);
        let remembered = pending
            .request
            .is_identified()
            .then(|| Remembered::new(&out[start..vias], &out[rest..], &pending.request));
        if let Some(remembered) = &remembered {
            for merged in &pending.merged {
                replay(out, remembered, merged, &self.peer);
            }
        }
        self.transactions.settle(key, remembered, now);
    }

    /// When [`handle_timeout`](Connection::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let expiry = self
            .transactions
            .next_expiry()
            .map(|until| until + TIMEOUT_SLACK);
        let stall = self.begun.map(|begun| begun + self.limits.message_life);
        expiry.into_iter().chain(stall).min()
    }

    /// Forgets what is over, and gives up a message that does not end.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.transactions.expire(now);
        if self
            .begun
            .is_some_and(|begun| begun + self.limits.message_life <= now)
        {
            self.begun = None;
            let refusal = self.decoder.give_up();
            self.refuse(refusal, CloseReason::Stalled);
        }
    }

    /// How many requests wait for their answer.
    pub fn unanswered(&self) -> usize {
        self.transactions.unanswered()
    }

    /// What was done here without asking anybody.
    pub fn counts(&self) -> Counts {
        Counts {
            transactions_forgotten: self.transactions.forgotten(),
            ..self.counts
        }
    }

    fn pong(&mut self) {
        self.counts.pings += 1;
        self.transmit.extend_from_slice(b"\r\n");
    }

    fn take_message(&mut self, message: Message) {
        if message.is_response() {
            self.counts.responses_dropped += 1;
            return;
        }
        let (head, fault) = Head::read(&message);
        if head.method(&message) == b"ACK" {
            self.counts.acks_dropped += 1;
            return;
        }
        let key = self.keys.key(&message, &head);
        let request = Request::new(key, message, head, fault);
        match self.transactions.find(key) {
            None => {
                self.counts.requests += 1;
                self.transactions.begin(request.clone());
                self.outputs.push_back(Output::Request(request));
            }
            Some(Transaction::Answered(remembered)) => {
                let is_retransmission = remembered.is_of(&request);
                self.counts.retransmissions += u64::from(is_retransmission);
                self.counts.merged += u64::from(!is_retransmission);
                replay(&mut self.transmit, remembered, &request, &self.peer);
            }
            Some(Transaction::Pending(pending)) => match pending.repeat(request) {
                Repeat::Absorbed => self.counts.retransmissions += 1,
                Repeat::Waits => self.counts.merged += 1,
                Repeat::TooMany(request) => {
                    self.counts.merged_refused += 1;
                    let loop_detected =
                        Answer::new(482).reason("this request came on too many ways at once");
                    self.write(&request, &loop_detected);
                }
            },
        }
    }

    fn refuse(&mut self, refusal: Refusal, reason: CloseReason) {
        self.counts.refused += 1;
        self.closing = Closing::Due(reason);
        let Refusal { error, message } = refusal;
        let text = error.to_string();
        if !message.is_response() {
            let (head, _) = Head::read(&message);
            if message.known(Known::Via).next().is_some() {
                let key = self.keys.key(&message, &head);
                let request = Request::new(key, message, head, None);
                self.write(&request, &Answer::new(error.status()).reason(text.clone()));
            }
        }
        self.outputs.push_back(Output::Refused {
            status: error.status(),
            reason: text,
        });
    }

    fn write(&mut self, request: &Request, answer: &Answer) {
        let out = &mut self.transmit;
        answer.write_status_line(out);
        answer::write_vias(out, request, &self.peer);
        answer::write_echo(out, request, self.keys.tag(request.key()));
        answer.write_rest(out);
    }
}

/// The answer that was given, under the Via lines of `request`.
fn replay(out: &mut BytesMut, remembered: &Remembered, request: &Request, peer: &Hop) {
    out.extend_from_slice(remembered.status_line());
    answer::write_vias(out, request, peer);
    out.extend_from_slice(remembered.rest());
}
