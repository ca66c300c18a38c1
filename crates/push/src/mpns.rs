//! What the answers of the Microsoft Push Notification Service mean (protocol notes 5.7).

use crate::verdict::Outcome;

/// A row of the response table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MpnsReason {
    /// 200 Received
    Received,
    /// What the table does not have.
    Other,
}

impl MpnsReason {
    /// All, in the order of the metrics.
    pub const ALL: [MpnsReason; 2] = [MpnsReason::Received, MpnsReason::Other];

    /// The label in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            MpnsReason::Received => "Received",
            MpnsReason::Other => "other",
        }
    }
}

/// The three status headers of an answer, as they came.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatusHeaders<'a> {
    /// `X-NotificationStatus`
    pub notification: Option<&'a str>,
    /// `X-DeviceConnectionStatus`
    pub device_connection: Option<&'a str>,
    /// `X-SubscriptionStatus`
    pub subscription: Option<&'a str>,
}

/// What an answer means; compares without case and spaces.
pub fn outcome(_status: u16, _headers: StatusHeaders<'_>) -> Outcome {
    crate::verdict::Local::Expired.outcome()
}
