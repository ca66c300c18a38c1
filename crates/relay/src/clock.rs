//! What time it is: the one place of the relay's daily work that asks.
//!
//! [`now`] goes with tokio's timers, so that a runtime whose clock is paused pauses everything; [`wall`] is the system's, except in a
//! simulation. Not here: the configuration's and the captures' dates, and unit tests, which take time as an argument.

#[cfg(test)]
use std::cell::Cell;
use std::time::{Instant, SystemTime};

/// The clock that only goes on: deadlines, windows, durations.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The time of day: expiries, due times, what is written down.
pub(crate) fn wall() -> SystemTime {
    #[cfg(test)]
    if let Some((wall, since)) = SIMULATED.get() {
        return wall + now().duration_since(since);
    }
    SystemTime::now()
}

/// On this thread it is `wall` now, and its runtime's clock goes on from there.
#[cfg(test)]
pub(crate) fn simulate(wall: SystemTime) {
    SIMULATED.set(Some((wall, now())));
}

#[cfg(test)]
thread_local! {
    static SIMULATED: Cell<Option<(SystemTime, Instant)>> = const { Cell::new(None) };
}
