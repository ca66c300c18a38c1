//! What the answers of the Microsoft Push Notification Service mean (protocol notes 5.7).

use std::time::Duration;

use crate::verdict::{Cause, Outcome, RefusedReason, Scope, Verdict};

/// A row of the response table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MpnsReason {
    /// 200 Received, device connected.
    Received,
    /// 200 Received, device not connected for the moment: the service keeps it.
    ReceivedDisconnected,
    /// 200 QueueFull: the service holds as many for this device as it will.
    QueueFull,
    /// 200 Suppressed: the user has switched this class of notification off.
    Suppressed,
    /// 400: the XML or the URI is bad.
    BadRequest,
    /// 401: our certificate is not the one that this channel was opened for.
    Unauthorized,
    /// 404 Dropped, subscription Expired: the channel is closed for ever.
    SubscriptionExpired,
    /// 405: something else than POST.
    MethodNotAllowed,
    /// 406: this unauthenticated subscription has had its 500 of the day.
    DayQuota,
    /// 412: the device is inactive.
    DeviceInactive,
    /// 503
    ServiceUnavailable,
    /// What the table does not have.
    Other,
}

impl MpnsReason {
    /// All, in the order of the metrics.
    pub const ALL: [MpnsReason; 12] = [
        MpnsReason::Received,
        MpnsReason::ReceivedDisconnected,
        MpnsReason::QueueFull,
        MpnsReason::Suppressed,
        MpnsReason::BadRequest,
        MpnsReason::Unauthorized,
        MpnsReason::SubscriptionExpired,
        MpnsReason::MethodNotAllowed,
        MpnsReason::DayQuota,
        MpnsReason::DeviceInactive,
        MpnsReason::ServiceUnavailable,
        MpnsReason::Other,
    ];

    /// The label in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            MpnsReason::Received => "Received",
            MpnsReason::ReceivedDisconnected => "ReceivedDisconnected",
            MpnsReason::QueueFull => "QueueFull",
            MpnsReason::Suppressed => "Suppressed",
            MpnsReason::BadRequest => "BadRequest",
            MpnsReason::Unauthorized => "Unauthorized",
            MpnsReason::SubscriptionExpired => "SubscriptionExpired",
            MpnsReason::MethodNotAllowed => "MethodNotAllowed",
            MpnsReason::DayQuota => "DayQuota",
            MpnsReason::DeviceInactive => "DeviceInactive",
            MpnsReason::ServiceUnavailable => "ServiceUnavailable",
            MpnsReason::Other => "other",
        }
    }

    /// Who must act, and what to do, for whoever asks what became of a push.
    pub fn note(self) -> &'static str {
        match self {
            MpnsReason::Received => "nobody: the service has it",
            MpnsReason::ReceivedDisconnected => {
                "nobody: the service keeps it until the phone connects"
            }
            MpnsReason::QueueFull => {
                "nobody: the service holds enough for this phone; tried again in minutes"
            }
            MpnsReason::Suppressed => {
                "the user: the app's notifications of this kind are switched off on the phone"
            }
            MpnsReason::BadRequest => {
                "the operator: the service dislikes the XML or the channel; please report it with the Call-ID"
            }
            MpnsReason::Unauthorized => {
                "the operator: the client certificate is not the one that the app opened its channel for"
            }
            MpnsReason::SubscriptionExpired => {
                "the sender: the channel is closed for ever; forget it, the phone will upload another"
            }
            MpnsReason::MethodNotAllowed => "the developers: the service wants POST",
            MpnsReason::DayQuota => {
                "the operator: an unauthenticated channel takes 500 a day; use a client certificate, or wait for tomorrow"
            }
            MpnsReason::DeviceInactive => {
                "the user: the phone has not been seen for long; tried again at most hourly"
            }
            MpnsReason::ServiceUnavailable => "nobody: the service is down; tried again in minutes",
            MpnsReason::Other => {
                "the operator: an answer that is in no table; is the host really an MPNS service?"
            }
        }
    }

    fn verdict(self) -> Verdict {
        let deferred = |scope, retry_after| Verdict::Deferred { scope, retry_after };
        match self {
            MpnsReason::Received | MpnsReason::ReceivedDisconnected | MpnsReason::Suppressed => {
                Verdict::Accepted
            }
            MpnsReason::QueueFull => deferred(Scope::Device, Some(MINUTES)),
            MpnsReason::DayQuota | MpnsReason::DeviceInactive => {
                deferred(Scope::Device, Some(HOUR))
            }
            MpnsReason::Unauthorized => deferred(Scope::App, None),
            MpnsReason::ServiceUnavailable => deferred(Scope::Provider, Some(MINUTES)),
            MpnsReason::SubscriptionExpired => Verdict::Gone { since: None },
            MpnsReason::BadRequest => Verdict::Refused(RefusedReason::Notification),
            MpnsReason::MethodNotAllowed | MpnsReason::Other => {
                Verdict::Refused(RefusedReason::Other)
            }
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

/// What an answer means; compares without case and spaces. What the table does not have is refused as `other`: a 200
/// without `X-NotificationStatus` does not come from an MPNS service and proves nothing.
pub fn outcome(status: u16, headers: StatusHeaders<'_>) -> Outcome {
    let reason = reason(status, headers);
    Outcome {
        verdict: reason.verdict(),
        cause: Cause::Mpns(reason),
        ambiguous: false,
    }
}

/// "Use exponential back-off in minutes": QueueFull and 503.
const MINUTES: Duration = Duration::from_secs(60);
/// 412: "at most one retry per hour", or the service blocks the sender; 406 likewise, and often until the day turns.
const HOUR: Duration = Duration::from_secs(3600);

fn reason(status: u16, headers: StatusHeaders<'_>) -> MpnsReason {
    match status {
        200 if is(headers.notification, "received") => {
            // Printed as "TempDisconnected", "Temp Disconnected" and "Temporarily Disconnected".
            if is(headers.device_connection, "tempdisconnected")
                || is(headers.device_connection, "temporarilydisconnected")
                || is(headers.device_connection, "disconnected")
            {
                MpnsReason::ReceivedDisconnected
            } else {
                MpnsReason::Received
            }
        }
        200 if is(headers.notification, "queuefull") => MpnsReason::QueueFull,
        200 if is(headers.notification, "suppressed") => MpnsReason::Suppressed,
        400 => MpnsReason::BadRequest,
        401 => MpnsReason::Unauthorized,
        // A bare 404 can come from any web server in between; only the service's own word closes a channel.
        404 if is(headers.subscription, "expired") => MpnsReason::SubscriptionExpired,
        405 => MpnsReason::MethodNotAllowed,
        406 => MpnsReason::DayQuota,
        412 => MpnsReason::DeviceInactive,
        503 => MpnsReason::ServiceUnavailable,
        _ => MpnsReason::Other,
    }
}

/// Whether a header says `word` (lower case, no spaces).
fn is(header: Option<&str>, word: &str) -> bool {
    header.is_some_and(|value| {
        value
            .bytes()
            .filter(|byte| !matches!(byte, b' ' | b'\t'))
            .map(|byte| byte.to_ascii_lowercase())
            .eq(word.bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(
        notification: &'static str,
        device_connection: &'static str,
        subscription: &'static str,
    ) -> StatusHeaders<'static> {
        let given = |text: &'static str| (!text.is_empty()).then_some(text);
        StatusHeaders {
            notification: given(notification),
            device_connection: given(device_connection),
            subscription: given(subscription),
        }
    }

    #[test]
    fn every_row_of_the_table_has_its_verdict() {
        use MpnsReason as R;
        let deferred = |scope, seconds: Option<u64>| Verdict::Deferred {
            scope,
            retry_after: seconds.map(Duration::from_secs),
        };
        let rows = [
            (
                200,
                headers("Received", "Connected", "Active"),
                R::Received,
                Verdict::Accepted,
            ),
            (
                200,
                headers("Received", "", ""),
                R::Received,
                Verdict::Accepted,
            ),
            (
                200,
                headers("Received", "TempDisconnected", "Active"),
                R::ReceivedDisconnected,
                Verdict::Accepted,
            ),
            (
                200,
                headers("RECEIVED", "Temp Disconnected", "Active"),
                R::ReceivedDisconnected,
                Verdict::Accepted,
            ),
            (
                200,
                headers("received ", "Temporarily Disconnected", ""),
                R::ReceivedDisconnected,
                Verdict::Accepted,
            ),
            (
                200,
                headers("QueueFull", "Connected", "Active"),
                R::QueueFull,
                deferred(Scope::Device, Some(60)),
            ),
            (
                200,
                headers("Queue Full", "Inactive", "Active"),
                R::QueueFull,
                deferred(Scope::Device, Some(60)),
            ),
            (
                200,
                headers("Suppressed", "Connected", "Active"),
                R::Suppressed,
                Verdict::Accepted,
            ),
            (
                400,
                headers("", "", ""),
                R::BadRequest,
                Verdict::Refused(RefusedReason::Notification),
            ),
            (
                401,
                headers("", "", ""),
                R::Unauthorized,
                deferred(Scope::App, None),
            ),
            (
                404,
                headers("Dropped", "Disconnected", "Expired"),
                R::SubscriptionExpired,
                Verdict::Gone { since: None },
            ),
            (
                404,
                headers("", "", ""),
                R::Other,
                Verdict::Refused(RefusedReason::Other),
            ),
            (
                404,
                headers("Dropped", "", "Active"),
                R::Other,
                Verdict::Refused(RefusedReason::Other),
            ),
            (
                405,
                headers("", "", ""),
                R::MethodNotAllowed,
                Verdict::Refused(RefusedReason::Other),
            ),
            (
                406,
                headers("Dropped", "Connected", "Active"),
                R::DayQuota,
                deferred(Scope::Device, Some(3600)),
            ),
            (
                412,
                headers("Dropped", "Inactive", ""),
                R::DeviceInactive,
                deferred(Scope::Device, Some(3600)),
            ),
            (
                503,
                headers("", "", ""),
                R::ServiceUnavailable,
                deferred(Scope::Provider, Some(60)),
            ),
            (
                200,
                headers("", "", ""),
                R::Other,
                Verdict::Refused(RefusedReason::Other),
            ),
            (
                200,
                headers("Dropped", "", ""),
                R::Other,
                Verdict::Refused(RefusedReason::Other),
            ),
            (
                302,
                headers("Received", "", ""),
                R::Other,
                Verdict::Refused(RefusedReason::Other),
            ),
            (
                418,
                headers("", "", ""),
                R::Other,
                Verdict::Refused(RefusedReason::Other),
            ),
        ];
        for (status, headers, reason, verdict) in rows {
            let got = outcome(status, headers);
            assert_eq!(
                (got.cause, got.verdict),
                (Cause::Mpns(reason), verdict),
                "{status} {headers:?}"
            );
            assert!(!got.ambiguous);
        }
    }

    #[test]
    fn labels_are_unique() {
        for (at, one) in MpnsReason::ALL.iter().enumerate() {
            assert!(
                MpnsReason::ALL[..at]
                    .iter()
                    .all(|other| other.label() != one.label())
            );
            assert!(!one.note().is_empty());
        }
    }
}
