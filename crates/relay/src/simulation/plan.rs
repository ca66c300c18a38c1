//! What a seed means: who sends what and when, what the weather is at the providers, and when the power goes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pushrelay_peers::world::device_token;
use pushrelay_push::Service as Provider;

/// SplitMix64.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.next() % sides
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }

    /// Evenly between two durations, by the millisecond.
    pub(super) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = most.saturating_sub(least).as_millis() as u64;
        least + Duration::from_millis(self.roll(span + 1))
    }

    pub(super) fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.roll(list.len() as u64) as usize]
    }
}

/// One whole story.
pub(super) struct Plan {
    pub(super) begin: SystemTime,
    /// In the order of sending.
    pub(super) messages: Vec<Message>,
    /// For Apple and for Windows Phone: what it is like up to each moment. Clear afterwards.
    pub(super) weather: [Vec<(Duration, Weather)>; 2],
    /// The lives but for the last, which ends when nothing waits.
    pub(super) lives: Vec<Life>,
    pub(super) reply_within: Duration,
    pub(super) in_flight: usize,
    /// Entries that a lane may hold.
    pub(super) lane_entries: u64,
    /// The longest that one sync takes.
    pub(super) sync: Duration,
}

/// A MESSAGE.
pub(super) struct Message {
    pub(super) at: Duration,
    pub(super) call_id: String,
    pub(super) body: String,
    pub(super) devices: Vec<(Provider, u64)>,
    /// `None` names the relay's own, a day.
    pub(super) ttl: Option<Duration>,
    pub(super) collapse: Option<u64>,
    pub(super) is_test: bool,
    /// Sent over two connections at once.
    pub(super) twice: bool,
}

/// How a provider is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    /// It takes everything from every device that is there.
    Clear,
    /// Mostly so; now and then each of the troubles of the others.
    Fair,
    /// It takes everything, after seconds.
    Slow,
    /// It takes no connection.
    Refusing,
    /// It takes connections and says nothing.
    Silent,
    /// It says 503.
    Unavailable,
    /// It does not like our credential.
    Credential,
    /// Every device is busy, inactive or has had enough for the day.
    Busy,
    /// It calls every device gone: a wave.
    Vanishing,
}

/// A life of the relay's process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) length: Duration,
    pub(super) end: End,
    /// Until the next one begins.
    pub(super) pause: Duration,
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// `kill -9` when its time is over.
    Killed,
    /// `kill -9` between this sync and the answers to it, if there are so many.
    KilledAfterSync(u64),
    /// SIGTERM.
    Drained,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

impl Plan {
    /// A moment of the story, in seconds since it began.
    pub(super) fn clock(&self, moment: SystemTime) -> String {
        let since = moment.duration_since(self.begin).unwrap_or_default();
        format!("{:12.3}", since.as_secs_f64())
    }

    pub(super) fn of(seed: u64) -> Plan {
        let mut dice = Dice::new(seed);
        let dice = &mut dice;
        let horizon = match dice.roll(20) {
            0..12 => dice.between(MINUTE, 10 * MINUTE),
            12..19 => dice.between(10 * MINUTE, 2 * HOUR),
            _ => dice.between(2 * HOUR, 30 * HOUR),
        };
        let pool = dice.pick(&[2, 6, 40]);
        let mut messages: Vec<Message> = (0..dice.pick(&[5, 20, 60]))
            .map(|number| message(dice, seed, number, pool, horizon))
            .collect();
        messages.sort_by_key(|message| message.at);
        let lives = (0..dice.roll(4)).map(|_| life(dice, horizon)).collect();
        Plan {
            // Some hours before the day turns, when the quota of a phone ends.
            begin: UNIX_EPOCH + Duration::from_secs(1_800_057_600 - dice.roll(3 * 3600)),
            weather: [weather(dice, horizon), weather(dice, horizon)],
            lives,
            reply_within: dice.pick(&[Duration::ZERO, SECOND / 10, 3 * SECOND / 2, 3 * SECOND / 2]),
            in_flight: dice.pick(&[1, 4, 64]),
            lane_entries: dice.pick(&[3, 10, 100_000, 100_000, 100_000]),
            sync: dice.pick(&[SECOND / 500, SECOND / 20, SECOND / 2]),
            messages,
        }
    }
}

fn message(dice: &mut Dice, seed: u64, number: u64, pool: u64, horizon: Duration) -> Message {
    let seconds = Duration::from_secs;
    // Half of them in bursts.
    let at = match dice.chance(50) {
        true => dice.between(Duration::ZERO, horizon),
        false => horizon / 8 * dice.roll(8) as u32 + dice.between(Duration::ZERO, SECOND),
    };
    let mut devices = Vec::new();
    for _ in 0..dice.pick(&[1, 1, 2, 4]) {
        let device = (dice.pick(&Provider::ALL), dice.roll(pool));
        if !devices.contains(&device) {
            devices.push(device);
        }
    }
    let ttl = match dice.roll(6) {
        0 => Some(Duration::ZERO),
        1 => Some(dice.between(seconds(2), MINUTE)),
        2 => Some(dice.between(MINUTE, HOUR)),
        3 => Some(dice.between(HOUR, 48 * HOUR)),
        _ => None,
    };
    let collapse = dice.chance(25).then(|| dice.roll(2));
    let is_test = dice.chance(3);
    let targets: Vec<String> = devices.iter().map(|device| target(*device)).collect();
    let event = if is_test { "test" } else { "im.message" };
    let ttl_member = ttl.map_or_else(String::new, |ttl| format!(r#""ttl":{},"#, ttl.as_secs()));
    let collapse_member =
        collapse.map_or_else(String::new, |id| format!(r#""collapse":"thread {id}","#));
    Message {
        at,
        call_id: format!("{seed:016x}.{number}"),
        body: format!(
            r#"{{"v":1,"event":"{event}",{ttl_member}{collapse_member}"targets":[{}],"alert":{{"title":"Kim","body":"{number}"}}}}"#,
            targets.join(",")
        ),
        devices,
        ttl: ttl.map(|ttl| seconds(ttl.as_secs())),
        collapse,
        is_test,
        twice: dice.chance(10),
    }
}

fn target((provider, number): (Provider, u64)) -> String {
    match provider {
        Provider::Apns => format!(r#"{{"service":"apns","token":"{}"}}"#, device_token(number)),
        Provider::Mpns => format!(r#"{{"service":"mpns","uri":"{PHONES}{number}"}}"#),
    }
}

/// Where phones have their channels; the configuration allows it.
const PHONES: &str = "http://127.0.0.1:80/throttledthirdparty/01.00/";

fn weather(dice: &mut Dice, horizon: Duration) -> Vec<(Duration, Weather)> {
    use Weather::*;
    let mut until = Duration::ZERO;
    let mut list = Vec::new();
    while until < horizon {
        until += dice.between(10 * SECOND, horizon / 2);
        let weather = dice.pick(&[
            Clear,
            Fair,
            Fair,
            Fair,
            Slow,
            Refusing,
            Silent,
            Unavailable,
            Credential,
            Busy,
            Vanishing,
        ]);
        list.push((until.min(horizon), weather));
    }
    list
}

fn life(dice: &mut Dice, horizon: Duration) -> Life {
    let longest = dice.pick(&[SECOND, 20 * SECOND, 2 * MINUTE]);
    Life {
        length: dice.between(Duration::ZERO, horizon / 2),
        end: match dice.roll(4) {
            0 => End::Drained,
            1 => End::KilledAfterSync(1 + dice.roll(20)),
            _ => End::Killed,
        },
        pause: dice.between(Duration::ZERO, longest),
    }
}
