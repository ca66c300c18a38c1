//! The header names and constant values that APNs requests carry, made once.

use a2::request::notification::{Priority, PushType};
use http::{HeaderName, HeaderValue};

pub(crate) static APNS_ID: HeaderName = HeaderName::from_static("apns-id");
pub(crate) static APNS_TOPIC: HeaderName = HeaderName::from_static("apns-topic");
pub(crate) static APNS_PUSH_TYPE: HeaderName = HeaderName::from_static("apns-push-type");
pub(crate) static APNS_PRIORITY: HeaderName = HeaderName::from_static("apns-priority");
pub(crate) static APNS_EXPIRATION: HeaderName = HeaderName::from_static("apns-expiration");
pub(crate) static APNS_COLLAPSE_ID: HeaderName = HeaderName::from_static("apns-collapse-id");

/// The value of `apns-push-type`.
pub(crate) fn push_type(push_type: PushType) -> HeaderValue {
    HeaderValue::from_static(match push_type {
        PushType::Alert => "alert",
        PushType::Background => "background",
        PushType::Location => "location",
        PushType::Voip => "voip",
        PushType::FileProvider => "fileprovider",
        PushType::Mdm => "mdm",
        PushType::LiveActivity => "liveactivity",
        PushType::PushToTalk => "pushtotalk",
    })
}

/// The value of `apns-priority`.
pub(crate) fn priority(priority: &Priority) -> HeaderValue {
    HeaderValue::from_static(match priority {
        Priority::High => "10",
        Priority::Normal => "5",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_are_the_ones_of_a2() {
        for kind in [
            PushType::Alert,
            PushType::Background,
            PushType::Location,
            PushType::Voip,
            PushType::FileProvider,
            PushType::Mdm,
            PushType::LiveActivity,
            PushType::PushToTalk,
        ] {
            assert_eq!(push_type(kind), kind.to_string().as_str());
        }
        for value in [Priority::High, Priority::Normal] {
            assert_eq!(priority(&value), value.to_string().as_str());
        }
    }
}
