//! Which requests are in hand or have just been answered: RFC 3261 8.2.2.2 and 17.2.3.
//!
//! One table, keyed by what a request keeps on every way that it takes: From tag, Call-ID, CSeq. A second request with
//! that key is a retransmission when its top Via matches too, by the rules of RFC 3261 17.2.3 or RFC 2543, else a merged
//! request, which came to us on two ways. Neither is handed out; both get the answer of the first.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Instant;

use crate::head::Head;
use crate::limits::Limits;
use crate::message::Message;
use crate::request::Request;

/// Names one request of one connection until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransactionKey(u64);

/// Makes keys and tags that a peer cannot foresee.
///
/// SipHash-1-3 (the standard library's) over the seed and then the parts. Whoever does not know the seed cannot make
/// two requests collide, in the key or in the table's buckets. By accident it happens to one request in 2^64 / 4096.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    seeded: DefaultHasher,
    anonymous: u64,
}

impl Keys {
    pub(crate) fn new(seed: u64) -> Self {
        let mut seeded = DefaultHasher::new();
        seeded.write_u64(seed);
        Keys {
            seeded,
            anonymous: 0,
        }
    }

    /// The key of a request. One that lacks something is like no other.
    pub(crate) fn key(&mut self, message: &Message, head: &Head) -> TransactionKey {
        let mut hasher = self.seeded.clone();
        if !head.is_identified {
            self.anonymous += 1;
            hasher.write_u64(self.anonymous);
            return TransactionKey(hasher.finish());
        }
        let (from, call_id) = head.identity(message);
        // The lengths keep the parts apart. (A head has at most 2^24 bytes, CSeq at most 31 bits.)
        let is_message = head.method(message) == b"MESSAGE";
        let lengths = (call_id.len() as u64) << 32 | u64::from(is_message) << 31;
        hasher.write_u64(lengths | u64::from(head.cseq_number));
        hasher.write(call_id);
        hasher.write(from);
        if !is_message {
            hasher.write(head.method(message));
            hasher.write_u64(from.len() as u64);
        }
        TransactionKey(hasher.finish())
    }

    /// The To tag of the answer under `key`: the same whenever it is asked for, and it does not show the key.
    pub(crate) fn tag(&self, key: TransactionKey) -> u64 {
        let mut hasher = self.seeded.clone();
        hasher.write_u64(key.0);
        hasher.finish()
    }
}

/// Keys are hashes already.
#[derive(Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, _: &[u8]) {
        unreachable!("a key is one u64");
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// All of one connection.
pub(crate) struct Transactions {
    table: HashMap<TransactionKey, Transaction, BuildHasherDefault<KeyHasher>>,
    /// The answered ones, oldest first, with when they are forgotten.
    answered: VecDeque<(Instant, TransactionKey)>,
    answered_bytes: usize,
    forgotten: u64,
    limits: Limits,
}

pub(crate) enum Transaction {
    Pending(Pending),
    Answered(Remembered),
}

/// Not answered yet.
pub(crate) struct Pending {
    pub(crate) request: Request,
    /// Those that came on another way and wait for the same answer.
    pub(crate) merged: Vec<Request>,
}

/// What becomes of a request that came before.
pub(crate) enum Repeat {
    /// The same way as one that waits: that one's answer is its answer.
    Absorbed,
    /// Another way: it is answered with the first.
    Waits,
    /// Another way, and there are too many already.
    TooMany(Request),
}

/// Merged requests that may wait for one answer. The next is answered 482 at once.
const MERGED_WAITING: usize = 16;

impl Pending {
    pub(crate) fn repeat(&mut self, request: Request) -> Repeat {
        let is_same = |seen: &Request| seen.hop() == request.hop();
        if is_same(&self.request) || self.merged.iter().any(is_same) {
            Repeat::Absorbed
        } else if self.merged.len() < MERGED_WAITING {
            self.merged.push(request);
            Repeat::Waits
        } else {
            Repeat::TooMany(request)
        }
    }
}

/// An answer without its Via lines, for whoever asks again.
pub(crate) struct Remembered {
    /// The status line and everything behind the Via lines, then what told the request's top Via from others.
    bytes: Box<[u8]>,
    status_line: u32,
    rest: u32,
}

impl Remembered {
    pub(crate) fn new(status_line: &[u8], rest: &[u8], request: &Request) -> Self {
        let hop = request.hop();
        let hop_bytes: usize = hop.iter().map(|part| part.len() + 1).sum();
        let mut bytes = Vec::with_capacity(status_line.len() + rest.len() + hop_bytes);
        bytes.extend_from_slice(status_line);
        bytes.extend_from_slice(rest);
        for part in hop {
            bytes.extend_from_slice(part);
            bytes.push(b'\n'); // in none of the parts but the last
        }
        Remembered {
            bytes: bytes.into_boxed_slice(),
            status_line: status_line.len() as u32,
            rest: (status_line.len() + rest.len()) as u32,
        }
    }

    pub(crate) fn status_line(&self) -> &[u8] {
        &self.bytes[..self.status_line as usize]
    }

    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.status_line as usize..self.rest as usize]
    }

    /// Whether `request` came from the same hop in the same transaction.
    pub(crate) fn is_of(&self, request: &Request) -> bool {
        let mut hop = &self.bytes[self.rest as usize..];
        request.hop().iter().all(|part| {
            let behind = hop
                .strip_prefix(*part)
                .and_then(|behind| behind.strip_prefix(b"\n"));
            behind.map(|behind| hop = behind).is_some()
        })
    }
}

/// What an entry costs besides its bytes: table, queue, allocation.
const ENTRY_BYTES: usize = 128;

impl Transactions {
    pub(crate) fn new(limits: Limits) -> Self {
        Transactions {
            table: HashMap::default(),
            answered: VecDeque::new(),
            answered_bytes: 0,
            forgotten: 0,
            limits,
        }
    }

    pub(crate) fn find(&mut self, key: TransactionKey) -> Option<&mut Transaction> {
        self.table.get_mut(&key)
    }

    pub(crate) fn begin(&mut self, request: Request) {
        self.table.insert(
            request.key(),
            Transaction::Pending(Pending {
                request,
                merged: Vec::new(),
            }),
        );
    }

    /// What waits for an answer under `key`.
    pub(crate) fn pending(&self, key: TransactionKey) -> Option<&Pending> {
        match self.table.get(&key)? {
            Transaction::Pending(pending) => Some(pending),
            Transaction::Answered(_) => None,
        }
    }

    /// What waited under `key` has been answered, and this is kept of it; without, it is forgotten.
    pub(crate) fn settle(&mut self, key: TransactionKey, answer: Option<Remembered>, now: Instant) {
        let Some(answer) = answer else {
            self.table.remove(&key);
            return;
        };
        self.answered_bytes += answer.bytes.len() + ENTRY_BYTES;
        self.answered
            .push_back((now + self.limits.transaction_life, key));
        self.table.insert(key, Transaction::Answered(answer));
        while self.answered.len() > self.limits.transactions
            || self.answered_bytes > self.limits.transaction_bytes
        {
            self.forgotten += 1;
            self.forget_oldest();
        }
    }

    /// Forgets those whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        while self.next_expiry().is_some_and(|until| until <= now) {
            self.forget_oldest();
        }
    }

    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.answered.front().map(|(until, _)| *until)
    }

    pub(crate) fn unanswered(&self) -> usize {
        self.table.len() - self.answered.len()
    }

    /// Those that a bound pushed out before their time.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn forget_oldest(&mut self) {
        let Some((_, key)) = self.answered.pop_front() else {
            return;
        };
        if let Some(Transaction::Answered(answer)) = self.table.remove(&key) {
            self.answered_bytes -= answer.bytes.len() + ENTRY_BYTES;
        }
    }
}
