//! The MESSAGEs of the last half minute: one that comes again, over whatever connection, is pushed once and answered alike.
//!
//! Remembered is what succeeded. What failed is forgotten at once, so that the sender may try again. One connection's own
//! retransmissions never get here (`pushrelay_sip`).

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// 32 s: the sender's Timer F, after which it sends no MESSAGE again (RFC 3261 17.1.2.2).
const WINDOW: Duration = Duration::from_secs(32);

/// At most this many in one shard: beyond, the oldest are forgotten, and one that comes again is pushed again with the same
/// apns-id.
const SHARD_ENTRIES: usize = 8192;

const SHARDS: usize = 16;

/// What makes a MESSAGE the same: a keyed hash of its partner's number, Call-ID, CSeq and From tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity(u128);

/// Identities are hashes already, and what picks the shard is in the other half.
#[derive(Default)]
struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn write(&mut self, _: &[u8]) {
        unreachable!("an identity is one u128");
    }

    fn write_u128(&mut self, identity: u128) {
        self.0 = (identity >> 64) as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What is known of a MESSAGE that has come before.
pub(crate) enum Before {
    /// Nothing: it is ours to push. The claim must be kept or dropped.
    Never(Claim),
    /// It is being pushed: its status will come out here; none when it failed.
    Now(watch::Receiver<Option<u16>>),
    /// It was answered with this status.
    Answered(u16),
}

/// All shards.
pub(crate) struct Recent {
    shards: Arc<[Mutex<Shard>; SHARDS]>,
    keys: [RandomState; 2],
}

#[derive(Default)]
struct Shard {
    known: HashMap<Identity, State, BuildHasherDefault<IdentityHasher>>,
    order: VecDeque<(Instant, Identity)>,
}

enum State {
    /// With a way to tell those who wait, once there is one.
    UnderWay(Option<watch::Sender<Option<u16>>>),
    Answered(u16),
}

/// The right to push one MESSAGE. Dropped without an answer, the MESSAGE is forgotten.
pub(crate) struct Claim {
    identity: Identity,
    shards: Arc<[Mutex<Shard>; SHARDS]>,
    kept: bool,
}

impl Recent {
    /// Nothing is known yet.
    pub(crate) fn new() -> Recent {
        Recent {
            shards: Arc::default(),
            keys: [RandomState::new(), RandomState::new()],
        }
    }

    /// The identity of a MESSAGE. Two different ones share it with a chance of 2^-128 a pair, and nobody outside knows the keys.
    pub(crate) fn identity(
        &self,
        partner: usize,
        call_id: &[u8],
        cseq: u32,
        from_tag: &[u8],
    ) -> Identity {
        let [high, low] =
            [0, 1].map(|half: usize| self.keys[half].hash_one((partner, call_id, cseq, from_tag)));
        Identity(u128::from(high) << 64 | u128::from(low))
    }

    /// Looks a MESSAGE up and claims it where it is new.
    pub(crate) fn claim(&self, identity: Identity, now: Instant) -> Before {
        let mut shard = lock(&self.shards, identity);
        shard.expire(now);
        match shard.known.get_mut(&identity) {
            Some(State::UnderWay(outcome)) => Before::Now(
                outcome
                    .get_or_insert_with(|| watch::channel(None).0)
                    .subscribe(),
            ),
            Some(State::Answered(status)) => Before::Answered(*status),
            None => {
                shard.known.insert(identity, State::UnderWay(None));
                shard.order.push_back((now, identity));
                Before::Never(Claim {
                    identity,
                    shards: self.shards.clone(),
                    kept: false,
                })
            }
        }
    }
}

impl Claim {
    /// Keeps the answer of a MESSAGE that succeeded.
    pub(crate) fn keep(mut self, status: u16) {
        self.kept = true;
        let before = lock(&self.shards, self.identity)
            .known
            .insert(self.identity, State::Answered(status));
        if let Some(State::UnderWay(Some(outcome))) = before {
            outcome.send_replace(Some(status));
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.kept {
            lock(&self.shards, self.identity)
                .known
                .remove(&self.identity);
        }
    }
}

impl Shard {
    fn expire(&mut self, now: Instant) {
        while let Some((since, identity)) = self.order.front().copied() {
            let crowded = self.order.len() > SHARD_ENTRIES;
            if !crowded && now.duration_since(since) <= WINDOW {
                break;
            }
            self.order.pop_front();
            // One that is still under way past the window is nobody's repetition any more.
            self.known.remove(&identity);
        }
    }
}

fn lock(shards: &[Mutex<Shard>; SHARDS], identity: Identity) -> MutexGuard<'_, Shard> {
    // The remainder is below the number of shards.
    let shard = &shards[(identity.0 % SHARDS as u128) as usize];
    // Nothing below the lock can panic; a poisoned one would still hold sound values.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_succeeded_is_remembered_and_what_failed_may_come_again() {
        let recent = Recent::new();
        let now = Instant::now();
        let one = recent.identity(0, b"call", 1, b"tag");
        let Before::Never(claim) = recent.claim(one, now) else {
            panic!("expected a new one")
        };
        assert!(matches!(recent.claim(one, now), Before::Now(_)));
        drop(claim);
        let Before::Never(claim) = recent.claim(one, now) else {
            panic!("expected it to be forgotten")
        };
        claim.keep(200);
        assert!(matches!(recent.claim(one, now), Before::Answered(200)));
        assert!(matches!(
            recent.claim(one, now + WINDOW + Duration::from_secs(1)),
            Before::Never(_)
        ));
    }

    #[test]
    fn a_difference_in_any_part_is_another_message() {
        let recent = Recent::new();
        let one = recent.identity(0, b"call", 1, b"tag");
        for other in [
            recent.identity(1, b"call", 1, b"tag"),
            recent.identity(0, b"calL", 1, b"tag"),
            recent.identity(0, b"call", 2, b"tag"),
            recent.identity(0, b"call", 1, b"tah"),
            recent.identity(0, b"callt", 1, b"ag"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn memory_is_bounded() {
        let recent = Recent::new();
        let now = Instant::now();
        for number in 0..300_000u32 {
            if let Before::Never(claim) =
                recent.claim(recent.identity(0, b"call", number, b""), now)
            {
                claim.keep(200);
            }
        }
        let kept: usize = recent
            .shards
            .iter()
            .map(|shard| shard.lock().map_or(0, |shard| shard.known.len()))
            .sum();
        assert!(kept <= SHARDS * (SHARD_ENTRIES + 1), "{kept}");
    }
}
