//! How fast a partner may send: a token bucket, kept as the one moment that it takes (GCRA).
//!
//! Not here: a clock. Time is an argument.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a partner may send: so many MESSAGEs at once, and so many a second in the long run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    per_second: f64,
    burst: u32,
}

impl Rate {
    /// More than this many a second is no limit that anybody needs; less than one a day is one that nobody means.
    const PER_SECOND: std::ops::RangeInclusive<f64> = 1.0 / 86_400.0..=1_000_000.0;

    /// `None` for what is no rate. Without a burst it is what comes in one second, at least one.
    pub(crate) fn new(per_second: f64, burst: Option<u32>) -> Option<Rate> {
        let burst = burst.unwrap_or_else(|| (per_second.ceil() as u32).max(1));
        (Rate::PER_SECOND.contains(&per_second) && burst > 0).then_some(Rate { per_second, burst })
    }

    /// From one MESSAGE to the next, in the long run.
    pub(crate) fn interval(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds())
    }

    fn nanoseconds(&self) -> u64 {
        (1e9 / self.per_second) as u64
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} a second, {} at once", self.per_second, self.burst)
    }
}

/// What is left of a rate.
#[derive(Debug)]
pub(crate) struct Bucket {
    since: Instant,
    /// When the bucket will be full again, in nanoseconds after `since`.
    full_at: AtomicU64,
}

impl Bucket {
    /// A full one.
    pub(crate) fn new(now: Instant) -> Bucket {
        Bucket {
            since: now,
            full_at: AtomicU64::new(0),
        }
    }

    /// Takes one MESSAGE out, or says how long until there is one.
    pub(crate) fn take(&self, rate: &Rate, now: Instant) -> Result<(), Duration> {
        let now = nanoseconds(now.saturating_duration_since(self.since));
        let room = rate.nanoseconds().saturating_mul(u64::from(rate.burst));
        // Nothing is emptier than empty: what a slower rate has left must not hold the partner under a faster one.
        let empty = now.saturating_add(room);
        if self.full_at.load(Ordering::Relaxed) > empty {
            self.full_at.fetch_min(empty, Ordering::Relaxed);
        }
        let take = |full_at: u64| {
            let after = full_at.max(now).saturating_add(rate.nanoseconds());
            (after - now <= room).then_some(after)
        };
        let taken = self
            .full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        match taken {
            Ok(_) => Ok(()),
            Err(full_at) => {
                let after = full_at.max(now).saturating_add(rate.nanoseconds());
                Err(Duration::from_nanos(after - now - room))
            }
        }
    }
}

/// 584 years fit.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn rate(per_second: f64, burst: u32) -> Rate {
        Rate::new(per_second, Some(burst)).unwrap()
    }

    #[test]
    fn a_burst_goes_through_and_then_one_each_interval() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let (bucket, rate) = (Bucket::new(start), rate(10.0, 3));
        for _ in 0..3 {
            assert_eq!(bucket.take(&rate, start), Ok(()));
        }
        assert_eq!(bucket.take(&rate, start), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(&rate, at(40)), Err(Duration::from_millis(60)));
        assert_eq!(bucket.take(&rate, at(100)), Ok(()));
        assert_eq!(bucket.take(&rate, at(100)), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(&rate, at(200)), Ok(()));
    }

    #[test]
    fn what_is_not_used_is_saved_up_to_the_burst_and_no_more() {
        let start = Instant::now();
        let (bucket, rate) = (Bucket::new(start), rate(10.0, 3));
        let later = start + Duration::from_secs(3600);
        let taken = (0..10).filter(|_| bucket.take(&rate, later).is_ok());
        assert_eq!(taken.count(), 3);
    }

    #[test]
    fn twenty_times_the_rate_gets_the_rate() {
        let start = Instant::now();
        let (bucket, rate) = (Bucket::new(start), rate(50.0, 50));
        // Ten seconds of one MESSAGE each millisecond.
        let moments = (0..10_000).map(|millis| start + Duration::from_millis(millis));
        let taken = moments.filter(|now| bucket.take(&rate, *now).is_ok());
        assert_eq!(taken.count(), 50 + 10 * 50 - 1);
    }

    #[test]
    fn another_rate_holds_from_the_next_message_on() {
        let start = Instant::now();
        let bucket = Bucket::new(start);
        assert_eq!(bucket.take(&rate(1.0, 1), start), Ok(()));
        assert!(bucket.take(&rate(1.0, 1), start).is_err());
        assert_eq!(bucket.take(&rate(1.0, 2), start), Ok(()));
        let later = start + Duration::from_secs(60);
        assert_eq!(bucket.take(&rate(1000.0, 1), later), Ok(()));
    }

    /// An operator had given a partner one MESSAGE in a quarter of an hour by mistake, and mended it: the partner was held for the rest of the
    /// quarter.
    #[test]
    fn a_faster_rate_frees_who_was_held_by_a_slower_one() {
        let start = Instant::now();
        let (bucket, mistake) = (Bucket::new(start), rate(1.0 / 900.0, 1));
        assert_eq!(bucket.take(&mistake, start), Ok(()));
        assert!(bucket.take(&mistake, start).unwrap_err() > Duration::from_secs(899));
        let mended = rate(10.0, 20);
        assert_eq!(bucket.take(&mended, start), Err(Duration::from_millis(100)));
        let later = start + Duration::from_millis(100);
        assert_eq!(bucket.take(&mended, later), Ok(()));
    }

    #[test]
    fn what_is_no_rate_is_none() {
        for per_second in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert_eq!(Rate::new(per_second, None), None, "{per_second}");
        }
        assert_eq!(Rate::new(1.0, Some(0)), None);
        assert_eq!(Rate::new(0.5, None), Rate::new(0.5, Some(1)));
        assert_eq!(Rate::new(20.0, None), Rate::new(20.0, Some(20)));
    }
}
