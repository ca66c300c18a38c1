//! Pauses between connects that fail.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The pause after so many failures in a row before this one: `first`, doubled by each, at most `longest`; of that, between half and all.
pub(crate) fn pause(first: Duration, longest: Duration, failures: u32) -> Duration {
    let whole = first.saturating_mul(1 << failures.min(16)).min(longest);
    // A fresh `RandomState` is a fresh random number.
    let dice = RandomState::new().hash_one(0_u8) % 1024;
    whole / 2 + whole.mul_f64(dice as f64 / 2048.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_up_to_its_bound_and_keeps_half_of_itself() {
        let (first, longest) = (Duration::from_millis(250), Duration::from_secs(30));
        for (failures, whole) in [(0, 250), (1, 500), (4, 4000), (7, 30_000), (40, 30_000)] {
            let whole = Duration::from_millis(whole);
            for _ in 0..100 {
                let pause = pause(first, longest, failures);
                assert!(
                    pause >= whole / 2 && pause <= whole,
                    "{failures}: {pause:?}"
                );
            }
        }
    }
}
