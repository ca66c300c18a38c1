//! When to try again: exponential back-off with full jitter, by the scope of the verdict.
//!
//! Pure: the moment and the dice are arguments. Who else must wait (an app, a provider) is the breaker's business, not
//! this module's; here one waiting target learns its own next moment.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::expiry::Expiry;
use crate::mpns::MpnsReason;
use crate::verdict::{Cause, Outcome, RefusedReason, Scope, Verdict};

/// What to do with a waiting target after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The provider has it: settle as done.
    Done,
    /// The device is no longer there: remember it as gone and settle as done.
    Gone {
        /// Since when, where the provider says so.
        since: Option<SystemTime>,
    },
    /// Try again, not before this moment.
    At {
        /// The moment.
        when: SystemTime,
        /// Whether this attempt counts against the notification: only the device's own deferrals do.
        counts: bool,
    },
    /// Never: keep it for the operator.
    Bury(Burial),
}

/// Why a waiting target is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Burial {
    /// The provider refused it for good.
    Refused(RefusedReason),
    /// Its time has passed, or will have passed before it may be tried again.
    Expired,
    /// The device deferred it too often.
    AttemptsSpent,
}

impl Burial {
    /// The label in metrics and logs, and the reason on the grave.
    pub fn label(self) -> &'static str {
        match self {
            Burial::Refused(_) => "refused",
            Burial::Expired => "expired",
            Burial::AttemptsSpent => "attempts_spent",
        }
    }
}

/// How often a target was deferred before the attempt that has just ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    /// By its own device: these are used up.
    pub counted: u32,
    /// By anybody: the exponent of the back-off.
    pub deferred: u32,
}

/// A window that doubles from `first` up to `ceiling`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The window after the first deferral.
    pub first: Duration,
    /// The widest window.
    pub ceiling: Duration,
}

/// How patient to be, by who must wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// A device that is busy.
    pub device: Backoff,
    /// A credential that somebody must mend.
    pub app: Backoff,
    /// A provider that is down; its breaker holds back the crowd.
    pub provider: Backoff,
    /// How often a device may defer one notification.
    pub attempts: u32,
}

impl Default for Patience {
    fn default() -> Patience {
        let backoff = |first, ceiling| Backoff {
            first: Duration::from_secs(first),
            ceiling: Duration::from_secs(ceiling),
        };
        Patience {
            // 10 s doubles to an hour in 9 steps: 12 attempts reach over about 5 h, half of it on average.
            device: backoff(10, 3600),
            // Nobody mends a credential in seconds, and a reload of the configuration wakes these anyway.
            app: backoff(30, 600),
            // The spool empties within this after an outage, spread evenly over it.
            provider: backoff(2, 300),
            attempts: 12,
        }
    }
}

/// What comes after `outcome`. `dice` is any number, evenly distributed.
///
/// `retry_after` is a floor and the jitter is added to it: the window of the back-off, cut where the notification
/// expires, so that a push is rather tried a little early than not at all. A floor beyond the expiry buries at once.
pub fn next(
    patience: &Patience,
    outcome: &Outcome,
    tries: Tries,
    now: SystemTime,
    expiry: Option<Expiry>,
    dice: u64,
) -> Next {
    let (scope, retry_after) = match outcome.verdict {
        Verdict::Accepted => return Next::Done,
        Verdict::Gone { since } => return Next::Gone { since },
        Verdict::Refused(RefusedReason::Expired) => return Next::Bury(Burial::Expired),
        Verdict::Refused(reason) => return Next::Bury(Burial::Refused(reason)),
        Verdict::Deferred { scope, retry_after } => (scope, retry_after),
    };
    let counts = scope == Scope::Device;
    if counts && tries.counted.saturating_add(1) >= patience.attempts {
        return Next::Bury(Burial::AttemptsSpent);
    }
    let mut floor = retry_after.unwrap_or_default();
    if outcome.cause == Cause::Mpns(MpnsReason::DayQuota) {
        floor = floor.max(rest_of_day(now));
    }
    let earliest = now + floor.min(LONGEST_FLOOR);
    let mut window = patience.window(scope, tries.deferred);
    if let Some(expiry) = expiry {
        let since_epoch = earliest.duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = Duration::from_secs(expiry.unix_seconds()).saturating_sub(since_epoch);
        if left <= LAST_CALL {
            return Next::Bury(Burial::Expired);
        }
        window = window.min(left - LAST_CALL);
    }
    Next::At {
        when: earliest + roll(window, dice),
        counts,
    }
}

/// What a last attempt needs before the expiry.
const LAST_CALL: Duration = Duration::from_secs(1);
/// No provider documents a longer wait; a `Retry-After` of a century is a mistake, not an order.
const LONGEST_FLOOR: Duration = Duration::from_secs(DAY_S);
const DAY_S: u64 = 24 * 60 * 60;

impl Patience {
    fn window(&self, scope: Scope, deferred: u32) -> Duration {
        let backoff = match scope {
            Scope::Device => self.device,
            Scope::App => self.app,
            Scope::Provider => self.provider,
        };
        let factor = 1_u32.checked_shl(deferred).unwrap_or(u32::MAX);
        backoff.first.saturating_mul(factor).min(backoff.ceiling)
    }
}

/// Evenly from nothing to the whole window ("full jitter"): whoever failed together does not come back together.
fn roll(window: Duration, dice: u64) -> Duration {
    let nanoseconds = window.as_nanos() * u128::from(dice) / (u128::from(u64::MAX) + 1);
    // Less than the window; 584 years fit.
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

/// Until the day turns, in UTC: nothing says by whose midnight Microsoft counts, and its servers log in UTC.
fn rest_of_day(now: SystemTime) -> Duration {
    let today = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() % DAY_S;
    Duration::from_secs(DAY_S - today)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apns;
    use crate::mpns::{self, StatusHeaders};
    use crate::verdict::{Local, Transport};

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// 15:00 UTC on some day.
    const NOW_S: u64 = 20_000 * DAY_S + 15 * 3600;

    fn ask(outcome: &Outcome, tries: Tries, expiry_s: Option<u64>, dice: u64) -> Next {
        let expiry = expiry_s.map(|after| Expiry::from_unix_seconds(NOW_S + after));
        next(
            &Patience::default(),
            outcome,
            tries,
            at(NOW_S),
            expiry,
            dice,
        )
    }

    fn delay(next: Next) -> (Duration, bool) {
        match next {
            Next::At { when, counts } => (
                when.duration_since(at(NOW_S)).expect("not in the past"),
                counts,
            ),
            other => panic!("expected another attempt, got {other:?}"),
        }
    }

    fn mpns(status: u16, notification: &str) -> Outcome {
        mpns::outcome(
            status,
            StatusHeaders {
                notification: Some(notification),
                ..StatusHeaders::default()
            },
        )
    }

    const FIRST: Tries = Tries {
        counted: 0,
        deferred: 0,
    };
    const HIGHEST: u64 = u64::MAX;

    #[test]
    fn what_is_settled_is_not_tried_again() {
        let since = Some(at(5));
        assert_eq!(
            ask(&apns::outcome(200, None, None), FIRST, None, 0),
            Next::Done
        );
        assert_eq!(
            ask(
                &apns::outcome(410, Some("Unregistered"), since),
                FIRST,
                None,
                0
            ),
            Next::Gone { since }
        );
        assert_eq!(
            ask(
                &apns::outcome(400, Some("BadDeviceToken"), None),
                FIRST,
                None,
                0
            ),
            Next::Bury(Burial::Refused(RefusedReason::Device))
        );
        assert_eq!(
            ask(&Local::Expired.outcome(), FIRST, None, 0),
            Next::Bury(Burial::Expired)
        );
    }

    #[test]
    fn the_window_doubles_up_to_its_ceiling() {
        let down = Outcome::from(Transport::Connect);
        for (deferred, seconds) in [
            (0, 2),
            (1, 4),
            (2, 8),
            (7, 256),
            (8, 300),
            (31, 300),
            (32, 300),
            (u32::MAX, 300),
        ] {
            let tries = Tries {
                counted: 0,
                deferred,
            };
            let (longest, _) = delay(ask(&down, tries, None, HIGHEST));
            let window = Duration::from_secs(seconds);
            assert!(
                longest < window && longest > window - Duration::from_millis(1),
                "{deferred}: {longest:?}"
            );
            assert_eq!(delay(ask(&down, tries, None, 0)).0, Duration::ZERO);
            assert_eq!(delay(ask(&down, tries, None, 1 << 63)).0, window / 2);
        }
    }

    /// A day of Apple's outage must not bury what the devices never saw.
    #[test]
    fn only_the_devices_own_deferrals_use_up_attempts() {
        let worn = Tries {
            counted: 10,
            deferred: 5000,
        };
        let spent = Tries {
            counted: 11,
            deferred: 11,
        };
        for outcome in [
            apns::outcome(503, None, None),
            apns::outcome(403, Some("InvalidProviderToken"), None),
            Outcome::from(Transport::Timeout),
            mpns(503, ""),
            mpns(401, ""),
        ] {
            assert!(!delay(ask(&outcome, spent, None, 7)).1);
        }
        let busy = apns::outcome(429, Some("TooManyRequests"), None);
        assert!(delay(ask(&busy, worn, None, 7)).1);
        assert_eq!(
            ask(&busy, spent, None, 7),
            Next::Bury(Burial::AttemptsSpent)
        );
    }

    #[test]
    fn retry_after_is_a_floor_and_the_jitter_comes_on_top() {
        let minute = Duration::from_secs(60);
        for (outcome, floor) in [
            (mpns(200, "QueueFull"), minute),
            (mpns(503, ""), minute),
            (mpns(412, "Dropped"), 60 * minute),
            (
                apns::outcome(429, Some("TooManyProviderTokenUpdates"), None),
                20 * minute,
            ),
        ] {
            let (least, _) = delay(ask(&outcome, FIRST, None, 0));
            let (most, _) = delay(ask(&outcome, FIRST, None, HIGHEST));
            assert_eq!(least, floor);
            assert!(most > floor && most < floor + minute, "{most:?}");
        }
    }

    #[test]
    fn a_day_quota_waits_until_the_day_turns_and_an_hour_at_least() {
        let quota = mpns(406, "Dropped");
        assert_eq!(
            delay(ask(&quota, FIRST, None, 0)).0,
            Duration::from_secs(9 * 3600)
        );
        let late = at(20_001 * DAY_S - 60);
        assert_eq!(
            next(&Patience::default(), &quota, FIRST, late, None, 0),
            Next::At {
                when: late + Duration::from_secs(3600),
                counts: true
            }
        );
    }

    #[test]
    fn a_provider_cannot_make_a_push_wait_for_years() {
        let outcome = Outcome {
            verdict: Verdict::Deferred {
                scope: Scope::Provider,
                retry_after: Some(Duration::MAX),
            },
            ..Outcome::from(Transport::Timeout)
        };
        assert_eq!(
            delay(ask(&outcome, FIRST, None, 0)).0,
            Duration::from_secs(DAY_S)
        );
    }

    #[test]
    fn nothing_is_planned_beyond_the_expiry() {
        let down = Outcome::from(Transport::Connect);
        let tries = Tries {
            counted: 0,
            deferred: 20,
        };
        // The window is 300 s, 100 s are left: drawn from the 99 that leave time for the attempt.
        let (longest, _) = delay(ask(&down, tries, Some(100), HIGHEST));
        assert!(longest > Duration::from_secs(98) && longest < Duration::from_secs(99));
        for left in [0, 1] {
            assert_eq!(
                ask(&down, tries, Some(left), 0),
                Next::Bury(Burial::Expired)
            );
        }
        assert_eq!(
            ask(&mpns(412, ""), FIRST, Some(3600), 0),
            Next::Bury(Burial::Expired)
        );
        assert!(matches!(
            ask(&mpns(412, ""), FIRST, Some(3602), 0),
            Next::At { .. }
        ));
        // Beyond every clock: no overflow.
        let never = Some(Expiry::from_unix_seconds(u64::MAX));
        let patience = Patience::default();
        assert!(matches!(
            next(&patience, &down, tries, at(NOW_S), never, HIGHEST),
            Next::At { .. }
        ));
    }

    #[test]
    fn whoever_failed_together_comes_back_spread() {
        let down = Outcome::from(Transport::Closed);
        let tries = Tries {
            counted: 0,
            deferred: 10,
        };
        let mut tenths = [0_u32; 10];
        for step in 0..10_000_u64 {
            // Weyl sequence: even by construction.
            let dice = step.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let (delay, _) = delay(ask(&down, tries, None, dice));
            tenths[(delay.as_secs() / 30) as usize] += 1;
        }
        assert!(
            tenths.iter().all(|count| (900..1100).contains(count)),
            "{tenths:?}"
        );
    }
}
