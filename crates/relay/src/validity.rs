//! Until when a MESSAGE is worth pushing: what its headers say, what its body says, and our own bounds.

use std::time::{Duration, SystemTime};

use pushrelay_push::{Event, Expiry, Notification};
use pushrelay_sip::{Answer, Request};

use crate::attempt;
use crate::rules::Rules;

/// How far the sender's clock may be from ours. An Access Edge belongs to no domain that would keep its time; a minute is more
/// than any time service leaves, and a push that comes so late is still of use.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// When the sender's own Expires ends, counted from its Date (RFC 3428 5). A Date that we have not reached yet is that of a
/// clock ahead of ours: then, as without one, from now.
pub(crate) fn valid_until(request: &Request, now: SystemTime) -> Option<SystemTime> {
    let sent = || request.date().map_or(now, |date| date.min(now));
    request.expires().map(|expires| sent() + expires)
}

/// What is said of a MESSAGE whose time was over at `until`. 488, as where the body's own `ttl` has run out: 2xx would promise a
/// push, 410 would name the device, 480 would ask the sender to come again.
pub(crate) fn expired(until: SystemTime, now: SystemTime) -> Option<Answer> {
    let late = now.duration_since(until).ok()?;
    (late > CLOCK_SKEW).then(|| {
        Answer::new(488).reason(format!(
            "expired {} s ago by its Date and Expires, not pushed: is the Edge's clock right?",
            late.as_secs()
        ))
    })
}

/// The sender's time to live from when it made the notification, ours where it names none; never past its Expires, `until`,
/// or our ceiling. What has just expired is tried once.
pub(crate) fn expiry(
    rules: &Rules,
    notification: &Notification,
    until: Option<SystemTime>,
    now: SystemTime,
) -> Expiry {
    let is_over = until.is_some_and(|until| until <= now);
    if is_over || notification.ttl == Some(Duration::ZERO) {
        return attempt::ONCE;
    }
    let ceiling = Expiry::after(now, rules.max_ttl);
    let until = until.map(|until| Expiry::after(until, Duration::ZERO));
    let wanted = match notification.ttl {
        Some(ttl) => Expiry::after(notification.created.unwrap_or(now), ttl),
        None if until.is_some() || notification.event == Event::Test => ceiling,
        None => Expiry::after(now, rules.default_ttl),
    };
    wanted.min(until.unwrap_or(ceiling)).min(ceiling)
}
