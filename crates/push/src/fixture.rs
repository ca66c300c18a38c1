//! A notification for tests.

#![allow(clippy::unwrap_used)]

use crate::device::{Device, DeviceToken};
use crate::event::Event;
use crate::notification::{Alert, Notification, Sender, Target, WindowsPhone};

/// One with everything that templates can name.
pub(crate) fn notification() -> Notification {
    Notification {
        id: None,
        created: None,
        ttl: None,
        event: Event::ImMessage,
        targets: vec![Target {
            device: Device::Apple(DeviceToken::parse("8dcf6c4f2a9b01e7").unwrap()),
            app: Some("com.example.chat".into()),
            environment: None,
            registered: None,
        }],
        from: Some(Sender {
            uri: Some("sip:kima@contoso.com".into()),
            name: Some("Kim Akers".into()),
        }),
        alert: Some(Alert {
            title: Some("Kim".into()),
            body: Some("Are you there?".into()),
            ..Alert::default()
        }),
        badge: Some(3),
        sound: Some("default".into()),
        thread: Some("conv-42".into()),
        collapse: None,
        windows_phone: WindowsPhone::default(),
        data: serde_json::from_str(r#"{"room":"B","floor":7,"none":null}"#).unwrap(),
    }
}

/// Numbers in no order, always the same for the seed in `SEED`, which is printed.
pub(crate) fn dice() -> impl FnMut() -> usize {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(0x5eed_u64);
    eprintln!("SEED={seed}");
    let mut state = seed;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    }
}

/// The body with one to four of its bytes changed, left out or added to by one of `marks`.
pub(crate) fn mutated(body: &str, marks: &[u8], dice: &mut impl FnMut() -> usize) -> Vec<u8> {
    let mut bytes = body.as_bytes().to_vec();
    for _ in 0..=dice() % 4 {
        let at = dice() % bytes.len();
        match dice() % 3 {
            0 => bytes[at] = dice() as u8,
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, marks[dice() % marks.len()]),
        }
    }
    bytes
}
