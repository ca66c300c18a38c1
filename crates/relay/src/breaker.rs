//! One breaker for each way to a provider: when it has failed often enough in a row, nobody waits for it any more.
//!
//! Closed: everything goes through. Open: nothing does, until a moment that moves away exponentially, with jitter.
//! Half open: one probe goes through; its success closes the breaker, its failure opens it again. Time and dice are arguments.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// This many failures in a row, with no success between them, are evidence enough.
const FAILURES: u32 = 8;

/// The first time that it stays open; doubles up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(1);

/// The longest time that it stays open: how late a provider's return is noticed.
const LONGEST: Duration = Duration::from_secs(30);

/// A probe that nobody has answered for this long counts as failed: longer than any exchange may take.
const PROBE: Duration = Duration::from_secs(20);

/// What a push may do; the best comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Passage {
    /// Go.
    Free,
    /// Go; this is the one that tries whether the provider is back.
    Probe,
    /// Wait at least this long.
    Barred(Duration),
}

/// What a push says of its provider when it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The provider has answered, whatever it said of the push.
    Alive,
    /// The provider could not be reached, or is out of order.
    Failed,
}

/// A breaker. The way through a closed one is a single load.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    tripped: AtomicBool,
    failures: AtomicU32,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    until: Option<Instant>,
    /// How often in a row it has opened.
    times: u32,
    probe: Option<Instant>,
}

impl Open {
    fn passage(&self, now: Instant) -> Passage {
        let Some(until) = self.until else {
            return Passage::Free;
        };
        if now < until {
            return Passage::Barred(until - now);
        }
        match self.probe {
            // It is back soon, most likely.
            Some(since) if now < since + PROBE => Passage::Barred(FIRST),
            _ => Passage::Probe,
        }
    }
}

impl Breaker {
    /// Whether pushes are held back.
    pub(crate) fn is_open(&self) -> bool {
        self.tripped.load(Ordering::Acquire)
    }

    /// May a push go to the provider? Whoever is told that it is the probe must go.
    pub(crate) fn ask(&self, now: Instant) -> Passage {
        if !self.is_open() {
            return Passage::Free;
        }
        let mut open = self.lock();
        let passage = open.passage(now);
        if passage == Passage::Probe {
            open.probe = Some(now);
        }
        passage
    }

    /// What a push would be told.
    pub(crate) fn look(&self, now: Instant) -> Passage {
        if !self.is_open() {
            return Passage::Free;
        }
        self.lock().passage(now)
    }

    /// A push has come back. `dice` is any number, evenly distributed.
    pub(crate) fn report(&self, report: Report, now: Instant, dice: u64) {
        match report {
            Report::Alive => {
                self.failures.store(0, Ordering::Relaxed);
                if self.is_open() {
                    *self.lock() = Open::default();
                    self.tripped.store(false, Ordering::Release);
                }
            }
            Report::Failed => {
                let failures = self
                    .failures
                    .fetch_add(1, Ordering::Relaxed)
                    .saturating_add(1);
                if failures >= FAILURES || self.is_open() {
                    self.trip(now, dice);
                }
            }
        }
    }

    fn trip(&self, now: Instant, dice: u64) {
        let mut open = self.lock();
        // Pushes that were under way when it opened fail after it: they are no further evidence.
        let fresh = open.until.is_none_or(|until| now >= until);
        if fresh {
            open.times = open.times.saturating_add(1);
            let window = FIRST
                .saturating_mul(1 << (open.times - 1).min(8))
                .min(LONGEST);
            // Between half the window and all of it: relays that share a provider do not come back together.
            let part = u32::try_from(dice % 1000).unwrap_or(0);
            open.until = Some(now + window / 2 + window / 2 * part / 1000);
            open.probe = None;
        }
        self.tripped.store(true, Ordering::Release);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        // Nothing below the lock can panic; a poisoned one would still hold sound values.
        self.open
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn opened(now: Instant) -> Breaker {
        let breaker = Breaker::default();
        for _ in 0..FAILURES {
            breaker.report(Report::Failed, now, 999);
        }
        breaker
    }

    #[test]
    fn failures_with_a_success_between_them_open_nothing() {
        let now = Instant::now();
        let breaker = Breaker::default();
        for round in 0..10 * FAILURES {
            breaker.report(
                if round % FAILURES == 0 {
                    Report::Alive
                } else {
                    Report::Failed
                },
                now,
                0,
            );
            assert_eq!(breaker.ask(now), Passage::Free);
        }
    }

    #[test]
    fn enough_failures_in_a_row_bar_the_way_until_one_probe_succeeds() {
        let now = Instant::now();
        let breaker = opened(now);
        assert!(
            matches!(breaker.ask(now), Passage::Barred(wait) if wait <= FIRST && wait >= FIRST / 2)
        );
        assert_eq!(breaker.look(now), breaker.ask(now));
        let later = now + SECOND;
        assert_eq!(breaker.look(later), Passage::Probe, "looking takes nothing");
        assert_eq!(breaker.ask(later), Passage::Probe);
        assert!(
            matches!(breaker.ask(later), Passage::Barred(_)),
            "one probe at a time"
        );
        assert_eq!(breaker.look(later), breaker.ask(later));
        breaker.report(Report::Alive, later, 0);
        assert_eq!(breaker.ask(later), Passage::Free);
        assert_eq!(breaker.look(later), Passage::Free);
        assert!(!breaker.is_open());
    }

    #[test]
    fn each_failed_probe_doubles_the_wait_up_to_its_ceiling() {
        let mut now = Instant::now();
        let breaker = opened(now);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let Passage::Barred(wait) = breaker.ask(now) else {
                panic!("expected a closed way")
            };
            waits.push(wait.as_secs());
            now += wait;
            assert_eq!(breaker.ask(now), Passage::Probe);
            breaker.report(Report::Failed, now, 999);
        }
        assert_eq!(waits, [0, 1, 3, 7, 15, 29, 29, 29]);
    }

    #[test]
    fn what_was_under_way_when_it_opened_does_not_lengthen_the_wait() {
        let now = Instant::now();
        let breaker = opened(now);
        for _ in 0..1000 {
            breaker.report(Report::Failed, now, 999);
        }
        assert_eq!(breaker.ask(now + SECOND), Passage::Probe);
    }

    #[test]
    fn a_probe_that_is_lost_is_followed_by_another() {
        let now = Instant::now();
        let breaker = opened(now);
        assert_eq!(breaker.ask(now + SECOND), Passage::Probe);
        assert_eq!(breaker.ask(now + SECOND + PROBE), Passage::Probe);
    }
}
