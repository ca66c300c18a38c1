//! Random choices that a seed repeats.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// SplitMix64. The same seed makes the same choices; what the machine makes of them differs.
#[derive(Clone, Debug)]
pub(super) struct Dice {
    seed: u64,
    state: u64,
}

impl Dice {
    /// Begins with `seed`, or with a new one.
    pub(super) fn new(seed: Option<u64>) -> Dice {
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0));
        Dice { seed, state: seed }
    }

    /// What it began with, for whoever wants to repeat it.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// Any number.
    pub(super) fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    /// Whether something happens that happens once in `times`.
    pub(super) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// A time shorter than `bound`, which is at least a microsecond.
    pub(super) fn shorter_than(&mut self, bound: Duration) -> Duration {
        let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.below(micros.max(1)))
    }
}
