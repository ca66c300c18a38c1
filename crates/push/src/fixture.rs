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
