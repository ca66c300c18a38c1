//! Devices that are no longer there: refused at the door, so that no provider is asked for them again.
//!
//! The table in memory is what the door looks at; the spool keeps it over a restart. Bounded, aged, and distrustful: a sudden wave
//! of gone devices is a fault of configuration, and then nothing is suppressed.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use pushrelay_push::{Device, Target};
use pushrelay_spool::Fingerprint;
use uuid::Uuid;

/// UUIDv5 of the DNS namespace and `gone.pushrelay.invalid`: the namespace of digests of devices.
const DEVICES: Uuid = uuid::uuid!("370b237f-8d9b-5fd5-8e25-b3c2afc1b5b1");

/// Over this long the share of lost devices is watched.
const WAVE_WINDOW: Duration = Duration::from_secs(300);

/// Fewer lost devices than this in the window are no wave, whatever their share.
const WAVE_DEVICES: usize = 50;

/// A window that has seen this many lost devices begins anew: a bound, far above what is normal in five minutes.
const WAVE_KEPT: usize = 100 * WAVE_DEVICES;

/// A device as the table knows it: a digest of service, app and token or channel.
pub(crate) fn fingerprint(target: &Target, app: &str) -> Fingerprint {
    let (service, device) = match &target.device {
        Device::Apple(token) => ("apns", token.as_str()),
        Device::WindowsPhone(channel) => ("mpns", channel.as_str()),
    };
    let mut name = Vec::with_capacity(service.len() + app.len() + device.len() + 2);
    for part in [service, app, device] {
        name.extend_from_slice(part.as_bytes());
        name.push(0);
    }
    Fingerprint(Uuid::new_v5(&DEVICES, &name).into_bytes())
}

/// What is known of a device that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// Since when, as the provider says.
    pub(crate) since: Option<SystemTime>,
    /// When the provider said so.
    pub(crate) noted: SystemTime,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct GoneDevices {
    /// So that an empty table costs the door one load.
    entries: AtomicUsize,
    bound: usize,
    age: Duration,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    known: HashMap<Fingerprint, Known>,
    /// In the order of noting, for the bound; may name devices that were noted again or forgotten since.
    order: VecDeque<(SystemTime, Fingerprint)>,
}

impl GoneDevices {
    /// At most `bound` devices, each for `age`.
    pub(crate) fn new(bound: usize, age: Duration) -> GoneDevices {
        GoneDevices {
            entries: AtomicUsize::new(0),
            bound,
            age,
            table: Mutex::default(),
        }
    }

    /// Whether nothing is known of anybody.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.load(Ordering::Relaxed) == 0
    }

    /// How many are known.
    pub(crate) fn len(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    /// Whether the device is gone. `registered` is when it registered last, as the sender says: later than the provider's
    /// own time, it is there again (Apple: "stop until the device registers a token with a later timestamp").
    pub(crate) fn find(
        &self,
        device: Fingerprint,
        registered: Option<SystemTime>,
        now: SystemTime,
    ) -> Option<Known> {
        if self.is_empty() {
            return None;
        }
        let mut table = self.lock();
        let known = *table.known.get(&device)?;
        let aged = now
            .duration_since(known.noted)
            .is_ok_and(|age| age > self.age);
        let returned =
            registered.is_some_and(|registered| registered > known.since.unwrap_or(known.noted));
        if aged || returned {
            table.known.remove(&device);
            self.entries.store(table.known.len(), Ordering::Relaxed);
            return None;
        }
        Some(known)
    }

    /// Remembers a device; the oldest makes room.
    pub(crate) fn note(&self, device: Fingerprint, known: Known) {
        let mut table = self.lock();
        table.known.insert(device, known);
        table.order.push_back((known.noted, device));
        while table.known.len() > self.bound || table.order.len() > 2 * self.bound {
            let Some((noted, oldest)) = table.order.pop_front() else {
                break;
            };
            if table
                .known
                .get(&oldest)
                .is_some_and(|known| known.noted == noted)
            {
                table.known.remove(&oldest);
            }
        }
        self.entries.store(table.known.len(), Ordering::Relaxed);
    }

    /// Forgets a device; whether it was known.
    pub(crate) fn forget(&self, device: Fingerprint) -> bool {
        let mut table = self.lock();
        let known = table.known.remove(&device).is_some();
        self.entries.store(table.known.len(), Ordering::Relaxed);
        known
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing below the lock can panic; a poisoned one would still hold sound values.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches for a wave of devices that are gone or whose tokens are bad: then it is our configuration, not the devices.
#[derive(Debug, Default)]
pub(crate) struct Wave {
    /// Of devices that are there, in the window: all that a living device costs.
    alive: AtomicUsize,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    since: Option<Instant>,
    lost: Vec<Fingerprint>,
    risen: bool,
}

/// What a lost device means now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tide {
    /// It is gone, as it says.
    Calm,
    /// A wave has just risen: believe none of these.
    Rising(Vec<Fingerprint>),
    /// The wave is still there: believe nothing.
    High,
}

impl Wave {
    /// A provider has answered for a device that is there.
    pub(crate) fn alive(&self) {
        self.alive.fetch_add(1, Ordering::Relaxed);
    }

    /// A provider has called a device gone, or its token bad.
    pub(crate) fn lost(&self, device: Fingerprint, now: Instant) -> Tide {
        let mut window = self.lock(now);
        if window.risen {
            return Tide::High;
        }
        window.lost.push(device);
        if window.lost.len() >= WAVE_DEVICES
            && window.lost.len() > self.alive.load(Ordering::Relaxed)
        {
            window.risen = true;
            return Tide::Rising(std::mem::take(&mut window.lost));
        }
        Tide::Calm
    }

    /// Whether there is a wave.
    pub(crate) fn is_high(&self, now: Instant) -> bool {
        self.lock(now).risen
    }

    fn lock(&self, now: Instant) -> MutexGuard<'_, Window> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let over = window
            .since
            .is_none_or(|since| now.duration_since(since) > WAVE_WINDOW);
        if over || window.lost.len() > WAVE_KEPT {
            if window.since.is_some() {
                self.alive.store(0, Ordering::Relaxed);
            }
            *window = Window {
                since: Some(now),
                ..Window::default()
            };
        }
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: u8) -> Fingerprint {
        Fingerprint([number; 16])
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn known(since: u64, noted: u64) -> Known {
        Known {
            since: Some(at(since)),
            noted: at(noted),
        }
    }

    #[test]
    fn a_gone_device_is_refused_until_it_registers_again_or_its_age_is_reached() {
        let table = GoneDevices::new(10, Duration::from_secs(100));
        table.note(device(1), known(500, 1000));
        assert!(table.find(device(1), None, at(1001)).is_some());
        assert!(
            table.find(device(1), Some(at(499)), at(1001)).is_some(),
            "registered before it went"
        );
        assert!(
            table.find(device(1), Some(at(501)), at(1001)).is_none(),
            "registered after it went"
        );
        assert!(table.is_empty());
        table.note(device(1), known(500, 1000));
        assert!(table.find(device(1), None, at(1101)).is_none(), "aged");
    }

    #[test]
    fn the_oldest_makes_room_and_the_order_stays_bounded() {
        let table = GoneDevices::new(3, Duration::from_secs(1000));
        for number in 0..5 {
            table.note(device(number), known(1, u64::from(number)));
        }
        let left: Vec<bool> = (0..5)
            .map(|n| table.find(device(n), None, at(10)).is_some())
            .collect();
        assert_eq!(left, [false, false, true, true, true]);
        for round in 0..100 {
            table.note(device(4), known(1, 10 + round));
        }
        assert!(table.lock().order.len() <= 6);
        assert!(table.find(device(4), None, at(50)).is_some());
    }

    #[test]
    fn a_wave_of_lost_devices_is_not_believed() {
        let now = Instant::now();
        let wave = Wave::default();
        let mut tides = (0..60).map(|n| wave.lost(device(n), now));
        assert!(
            tides
                .by_ref()
                .take(WAVE_DEVICES - 1)
                .all(|tide| tide == Tide::Calm)
        );
        assert!(matches!(tides.next(), Some(Tide::Rising(list)) if list.len() == WAVE_DEVICES));
        assert!(tides.all(|tide| tide == Tide::High));
        assert!(wave.is_high(now));
        assert!(
            !wave.is_high(now + WAVE_WINDOW + Duration::from_secs(1)),
            "a window later it is looked at afresh"
        );
    }

    #[test]
    fn losses_among_as_many_living_devices_are_no_wave() {
        let now = Instant::now();
        let wave = Wave::default();
        for number in 0..200 {
            wave.alive();
            assert_eq!(wave.lost(device(number), now), Tide::Calm);
        }
    }
}
