#![allow(clippy::unwrap_used)]

use super::*;
use crate::channel::ChannelPolicy;
use crate::notification::{Delay, MpnsKind, Tile};

/// A record of version 1 as the first release wrote it. It must be readable as long as a reader of version 1 is here.
const VERSION_1: &[u8] = include_bytes!("record_v1.bin");

fn channel(text: &str, host: &str) -> ChannelUri {
    let policy = ChannelPolicy {
        hosts: vec![host.to_owned()],
        ports: vec![80, 443, 8080],
        path_prefixes: vec!["/".to_owned()],
    };
    ChannelUri::parse(text, &policy).unwrap()
}

fn full() -> Record {
    let text = |text: &str| Some(Box::<str>::from(text));
    let notification = Notification {
        id: Some(uuid::uuid!("6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55")),
        created: Some(UNIX_EPOCH + Duration::new(1_795_464_000, 5)),
        ttl: Some(Duration::from_secs(3600)),
        event: Event::ImMessage,
        targets: vec![
            Target {
                device: Device::Apple(DeviceToken::parse("abcdef0123").unwrap()),
                app: None,
                environment: Some(Environment::Sandbox),
                registered: None,
            },
            Target {
                device: Device::WindowsPhone(channel("http://[::1]:8080/x?%41", "::1")),
                app: text("com.example.chat.wp"),
                environment: None,
                registered: None,
            },
        ],
        from: Some(Sender {
            uri: text("sip:kima@contoso.com"),
            name: text("Kim \u{201c}A\u{201d} \u{1f600}\u{0}"),
        }),
        alert: Some(Alert {
            title: text("t"),
            subtitle: text("s"),
            body: text("line\nline"),
            loc_key: text("k"),
            loc_args: vec!["a".to_owned(), String::new()],
        }),
        badge: Some(7),
        sound: text("default"),
        thread: text("conv-42"),
        collapse: text("conv-42"),
        windows_phone: WindowsPhone {
            kind: MpnsKind::Tile,
            param: text("/x"),
            delay: Delay::Within900Seconds,
            tile: Some(Tile {
                id: text("/y"),
                background: text("b"),
                count: Some(9),
                title: text("t"),
                back_background: text("bb"),
                back_title: text("bt"),
                back_content: text("bc"),
            }),
            raw: text("raw"),
        },
        data: serde_json::from_str(
            r#"{"a":18446744073709551615,"z":[1,-2.5,null,{"a":"\u0000"}]}"#,
        )
        .unwrap(),
    };
    let origin = Origin {
        push_id: uuid::uuid!("541acc9f-5d0a-55d1-a365-292ec71b92db"),
        expiry: Some(Expiry::from_unix_seconds(1_795_467_600)),
        partner: "contoso".into(),
        call_id: "cecb8c21ba01462a90f2f7235673f2b9".into(),
        received: UNIX_EPOCH + Duration::new(1_795_464_001, 999_999_999),
    };
    Record::new(&notification, 1, origin).unwrap()
}

#[test]
fn a_record_keeps_its_own_target_and_no_other() {
    let record = decode(&encode(&full())).unwrap();
    assert_eq!(record, full());
    assert_eq!(
        (record.index(), record.notification().targets.len()),
        (1, 1)
    );
    assert!(Record::new(record.notification(), 1, record.origin.clone()).is_none());
}

#[test]
fn records_of_version_1_are_read_for_ever() {
    assert_eq!(decode(VERSION_1).unwrap(), full());
}

/// Only a new member of the record makes other bytes; then a new fixture stands beside this one.
#[test]
fn the_same_record_makes_the_same_bytes() {
    assert_eq!(encode(&full()), VERSION_1);
}

#[test]
fn a_members_absence_and_a_strange_member_are_read() {
    let payload = r#"{"push_id":"541acc9f-5d0a-55d1-a365-292ec71b92db","index":0,"partner":"p","call_id":"c",
        "received":{"secs":1,"nanos":0},"later":[1],
        "notification":{"event":"test","later":{},"target":{"token":"abcdef01","later":1},"alert":{"later":1}}}"#;
    let record = decode(&sealed(VERSION, payload.as_bytes())).unwrap();
    assert_eq!(record.origin.expiry, None);
    assert_eq!(record.notification().alert, Some(Alert::default()));
    assert_eq!(record.notification().windows_phone, WindowsPhone::default());
}

#[test]
fn a_turned_bit_and_a_cut_are_found_wherever_they_are() {
    let bytes = encode(&full());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut turned = bytes.clone();
            turned[at] ^= 1 << bit;
            assert!(decode(&turned).is_err(), "{at}.{bit}");
        }
        assert!(decode(&bytes[..at]).is_err(), "{at}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(decode(&longer), Err(RecordError::Length));
    let mut sum = bytes;
    *sum.last_mut().unwrap() ^= 1;
    assert_eq!(decode(&sum), Err(RecordError::Checksum));
}

#[test]
fn a_later_version_is_named_before_anything_else_is_looked_at() {
    assert_eq!(decode(&[2]), Err(RecordError::Version(2)));
    assert_eq!(
        decode(&sealed(7, b"whatever")),
        Err(RecordError::Version(7))
    );
    assert_eq!(
        RecordError::Version(7).to_string(),
        "expected a record of version 1, got version 7"
    );
}

#[test]
fn a_whole_record_with_wrong_content_is_no_panic_and_repeats_nothing() {
    for (payload, expected) in [
        ("SECRET", "JSON"),
        ("{}", "JSON"),
        (
            r#"{"push_id":"541acc9f-5d0a-55d1-a365-292ec71b92db","index":0,"partner":"p","call_id":"c","received":{"secs":18446744073709551615,"nanos":0},"notification":{"event":"test","target":{"token":"abcdef01"}}}"#,
            "a moment that clocks can show",
        ),
        (
            r#"{"push_id":"541acc9f-5d0a-55d1-a365-292ec71b92db","index":0,"partner":"p","call_id":"c","received":{"secs":1,"nanos":0},"notification":{"event":"SECRET","target":{"token":"abcdef01"}}}"#,
            "a known event",
        ),
        (
            r#"{"push_id":"541acc9f-5d0a-55d1-a365-292ec71b92db","index":0,"partner":"p","call_id":"c","received":{"secs":1,"nanos":0},"notification":{"event":"test","target":{"token":"SECRET"}}}"#,
            "a device token",
        ),
        (
            r#"{"push_id":"541acc9f-5d0a-55d1-a365-292ec71b92db","index":0,"partner":"p","call_id":"c","received":{"secs":1,"nanos":0},"notification":{"event":"test","target":{}}}"#,
            "either a token or a URI",
        ),
    ] {
        let error = decode(&sealed(VERSION, payload.as_bytes())).unwrap_err();
        assert_eq!(error, RecordError::Payload(expected));
        assert!(!error.to_string().contains("SECRET"));
    }
}

/// Whatever a notification holds, what was written is what is read.
#[test]
fn decode_undoes_encode() {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(0x7ec0_4d5e_u64);
    eprintln!("SEED={seed}");
    let mut dice = Dice(seed);
    for _ in 0..2000 {
        let record = dice.record();
        assert_eq!(decode(&encode(&record)), Ok(record));
    }
}

fn sealed(version: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![version];
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    bytes.extend_from_slice(payload);
    let sum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&sum.to_be_bytes());
    bytes
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Dice) -> T) -> Option<T> {
        (self.roll(2) == 0).then(|| make(self))
    }

    fn string(&mut self) -> String {
        const LETTERS: [char; 12] = [
            'a',
            'Z',
            '"',
            '\\',
            '\n',
            '\0',
            '\u{1f}',
            '\u{e9}',
            '\u{2028}',
            '\u{1f600}',
            '<',
            '\u{ffff}',
        ];
        (0..self.roll(20))
            .map(|_| LETTERS[self.roll(12) as usize])
            .collect()
    }

    fn text(&mut self) -> Option<Box<str>> {
        self.maybe(|dice| dice.string().into())
    }

    fn moment(&mut self) -> SystemTime {
        let seconds = self.roll(1 << 34);
        UNIX_EPOCH + Duration::new(seconds, self.roll(1_000_000_000) as u32)
    }

    fn value(&mut self, depth: u32) -> Value {
        match self.roll(if depth == 0 { 5 } else { 7 }) {
            0 => Value::Null,
            1 => (self.roll(2) == 0).into(),
            2 => self.roll(u64::MAX).into(),
            3 => (self.roll(1 << 40) as f64 / 1e7 - 5e4).into(),
            4 => self.string().into(),
            5 => (0..self.roll(4)).map(|_| self.value(depth - 1)).collect(),
            _ => Value::Object(self.map(depth - 1)),
        }
    }

    fn map(&mut self, depth: u32) -> Map<String, Value> {
        (0..self.roll(4))
            .map(|_| (self.string(), self.value(depth)))
            .collect()
    }

    fn target(&mut self) -> Target {
        const EVERY: [Option<Environment>; 3] = [
            None,
            Some(Environment::Production),
            Some(Environment::Sandbox),
        ];
        let device = match self.roll(3) {
            0 => {
                let digits = 8 + 2 * self.roll(97);
                let token: String = (0..digits)
                    .map(|_| char::from_digit(self.roll(16) as u32, 16).unwrap())
                    .collect();
                Device::Apple(DeviceToken::parse(&token).unwrap())
            }
            1 => Device::WindowsPhone(channel(
                &format!("https://a.example:8080/{}", self.roll(1 << 60)),
                ".example",
            )),
            _ => Device::WindowsPhone(channel("http://[::1]/?x", "::1")),
        };
        Target {
            device,
            app: self.text(),
            environment: EVERY[self.roll(3) as usize],
            registered: None,
        }
    }

    fn record(&mut self) -> Record {
        const EVENTS: [&str; 10] = [
            "im.invite",
            "im.message",
            "im.missed",
            "conf.invite",
            "call.invite",
            "call.missed",
            "voicemail.new",
            "badge.update",
            "test",
            "x-other.event_1",
        ];
        const KINDS: [MpnsKind; 3] = [MpnsKind::Toast, MpnsKind::Tile, MpnsKind::Raw];
        const DELAYS: [Delay; 3] = [
            Delay::Immediate,
            Delay::Within450Seconds,
            Delay::Within900Seconds,
        ];
        let notification = Notification {
            id: self.maybe(|dice| Uuid::from_u64_pair(dice.roll(u64::MAX), dice.roll(u64::MAX))),
            created: self.maybe(Dice::moment),
            ttl: self.maybe(|dice| Duration::from_secs(dice.roll(1 << 32))),
            event: Event::parse(EVENTS[self.roll(10) as usize]).unwrap(),
            targets: (0..=self.roll(3)).map(|_| self.target()).collect(),
            from: self.maybe(|dice| Sender {
                uri: dice.text(),
                name: dice.text(),
            }),
            alert: self.maybe(|dice| Alert {
                title: dice.text(),
                subtitle: dice.text(),
                body: dice.text(),
                loc_key: dice.text(),
                loc_args: (0..dice.roll(4)).map(|_| dice.string()).collect(),
            }),
            badge: self.maybe(|dice| dice.roll(1 << 32) as u32),
            sound: self.text(),
            thread: self.text(),
            collapse: self.text(),
            windows_phone: WindowsPhone {
                kind: KINDS[self.roll(3) as usize],
                param: self.text(),
                delay: DELAYS[self.roll(3) as usize],
                tile: self.maybe(|dice| Tile {
                    id: dice.text(),
                    background: dice.text(),
                    count: dice.maybe(|dice| dice.roll(100) as u32),
                    title: dice.text(),
                    back_background: dice.text(),
                    back_title: dice.text(),
                    back_content: dice.text(),
                }),
                raw: self.text(),
            },
            data: self.map(3),
        };
        let index = self.roll(notification.targets.len() as u64) as usize;
        let origin = Origin {
            push_id: Uuid::from_u64_pair(self.roll(u64::MAX), self.roll(u64::MAX)),
            expiry: self.maybe(|dice| Expiry::from_unix_seconds(dice.roll(u64::MAX))),
            partner: self.string().into(),
            call_id: self.string().into(),
            received: self.moment(),
        };
        Record::new(&notification, index, origin).unwrap()
    }
}
