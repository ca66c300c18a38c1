//! The id under which a push is known at the provider, in the spool and in the logs.
//!
//! It is derived, never drawn: a MESSAGE that comes again, over another connection or after a crash, makes the same
//! push again, with the same `apns-id`.

use uuid::Uuid;

use crate::notification::Notification;

/// UUIDv5 of the DNS namespace and `pushrelay.invalid`: the namespace of ids that come from a request.
const REQUESTS: Uuid = uuid::uuid!("541acc9f-5d0a-55d1-a365-292ec71b92db");

/// What makes a MESSAGE itself and no other: RFC 3261 8.2.2.2 calls requests that share these merged.
#[derive(Clone, Copy, Debug)]
pub struct RequestIdentity<'a> {
    /// The value of Call-ID, as it came.
    pub call_id: &'a [u8],
    /// The number of CSeq.
    pub cseq: u32,
    /// The tag of From, as it came; empty without one.
    pub from_tag: &'a [u8],
}

/// The stable id of one target of a notification.
///
/// With an id of the sender's own: that id when there is one target, the UUIDv5 of it and the target's index when there
/// are several. Without: the UUIDv5 of Call-ID, CSeq, From tag and the target's index.
pub fn push_id(notification: &Notification, target: usize, request: RequestIdentity<'_>) -> Uuid {
    let index = u32::try_from(target).unwrap_or(u32::MAX).to_be_bytes();
    match notification.id {
        Some(id) if notification.targets.len() <= 1 => id,
        Some(id) => Uuid::new_v5(&id, &index),
        None => {
            let mut name = Vec::with_capacity(request.call_id.len() + request.from_tag.len() + 16);
            // Each part with its length in front, so that no two requests spell the same name.
            for part in [
                request.call_id,
                &request.cseq.to_be_bytes(),
                request.from_tag,
                &index,
            ] {
                let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
                name.extend_from_slice(&length.to_be_bytes());
                name.extend_from_slice(part);
            }
            Uuid::new_v5(&REQUESTS, &name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::ChannelPolicy;
    use crate::device::{Device, DeviceToken};
    use crate::notification::{Target, WindowsPhone};
    use crate::{ChannelUri, Event};

    const REQUEST: RequestIdentity<'static> = RequestIdentity {
        call_id: b"cecb8c21ba01462a90f2f7235673f2b9",
        cseq: 1,
        from_tag: b"dfac414f0f",
    };

    fn notification(id: Option<Uuid>, targets: usize) -> Notification {
        let apple = Device::Apple(DeviceToken::parse("abcdef01").expect("eight digits"));
        let phone = "http://sn1.notify.live.net/throttledthirdparty/x";
        let phone = ChannelUri::parse(phone, &ChannelPolicy::default()).expect("a channel URI");
        let devices = [apple, Device::WindowsPhone(phone)].into_iter().cycle();
        Notification {
            id,
            created: None,
            ttl: None,
            event: Event::Test,
            targets: devices
                .take(targets)
                .map(|device| Target {
                    device,
                    app: None,
                    environment: None,
                    registered: None,
                })
                .collect(),
            from: None,
            alert: None,
            badge: None,
            sound: None,
            thread: None,
            collapse: None,
            windows_phone: WindowsPhone::default(),
            data: serde_json::Map::new(),
        }
    }

    #[test]
    fn the_namespace_is_what_its_comment_says() {
        assert_eq!(
            REQUESTS,
            Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"pushrelay.invalid")
        );
    }

    /// A change here makes every retry across an upgrade a second push.
    #[test]
    fn ids_do_not_change_between_versions() {
        let id = push_id(&notification(None, 2), 1, REQUEST);
        assert_eq!(id.to_string(), "d45f156c-fcfd-5125-a3c9-58ea1c3797b9");
        let own = uuid::uuid!("6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55");
        assert_eq!(push_id(&notification(Some(own), 1), 0, REQUEST), own);
        let id = push_id(&notification(Some(own), 2), 0, REQUEST);
        assert_eq!(id.to_string(), "8443ece7-93cf-557c-912a-ff38b20adb48");
    }

    #[test]
    fn another_request_or_target_has_another_id() {
        let plain = notification(None, 2);
        let ids = [
            push_id(&plain, 0, REQUEST),
            push_id(&plain, 1, REQUEST),
            push_id(&plain, 0, RequestIdentity { cseq: 2, ..REQUEST }),
            push_id(
                &plain,
                0,
                RequestIdentity {
                    call_id: b"cecb",
                    ..REQUEST
                },
            ),
            push_id(
                &plain,
                0,
                RequestIdentity {
                    from_tag: b"",
                    ..REQUEST
                },
            ),
            push_id(&notification(Some(Uuid::NAMESPACE_OID), 2), 0, REQUEST),
            push_id(&notification(Some(Uuid::NAMESPACE_OID), 2), 1, REQUEST),
        ];
        for (at, id) in ids.iter().enumerate() {
            assert!(!ids[..at].contains(id));
            assert_eq!(id.get_version_num(), 5);
        }
    }
}
