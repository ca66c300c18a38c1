//! What Apple's answers mean (design: verdicts; Apple, "Handling error responses from APNs").

use std::time::{Duration, SystemTime};

use crate::verdict::{Cause, Outcome, RefusedReason, Scope, Verdict};

/// What `status` with `reason` and `timestamp` (410 only) from the error body means.
///
/// A known reason decides, except that a device is gone only where the status says so too; an unknown one, or none, is
/// judged by the status.
pub fn outcome(status: u16, reason: Option<&str>, timestamp: Option<SystemTime>) -> Outcome {
    let reason = match status {
        200 => ApnsReason::Success,
        _ => reason.map_or(ApnsReason::Other, ApnsReason::parse),
    };
    let verdict = match reason.verdict() {
        Some(Verdict::Gone { .. }) if status != 410 => by_status(status, timestamp),
        Some(Verdict::Gone { .. }) => Verdict::Gone { since: timestamp },
        Some(verdict) => verdict,
        None => by_status(status, timestamp),
    };
    Outcome {
        verdict,
        cause: Cause::Apns(reason),
        ambiguous: false,
    }
}

/// A reason that APNs gives in its error body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApnsReason {
    /// 200
    Success,
    /// 400: the collapse identifier exceeds 64 bytes.
    BadCollapseId,
    /// 400: no token, or one of the other environment.
    BadDeviceToken,
    /// 400: `apns-expiration` is bad.
    BadExpirationDate,
    /// 400: `apns-id` is bad.
    BadMessageId,
    /// 400: `apns-priority` is bad.
    BadPriority,
    /// 400: `apns-topic` is bad.
    BadTopic,
    /// 400: the token belongs to another app.
    DeviceTokenNotForTopic,
    /// 400: one or more headers are repeated.
    DuplicateHeaders,
    /// 400: the connection idled too long.
    IdleTimeout,
    /// 400: `apns-push-type` is bad.
    InvalidPushType,
    /// 400: no token in `:path`.
    MissingDeviceToken,
    /// 400: `apns-topic` is missing, and the certificate has several topics.
    MissingTopic,
    /// 400: the payload is empty.
    PayloadEmpty,
    /// 400: pushing to this topic is not allowed.
    TopicDisallowed,
    /// 403: the certificate is bad.
    BadCertificate,
    /// 403: the certificate is for the other environment.
    BadCertificateEnvironment,
    /// 403: the key of the provider token is for the other environment.
    BadEnvironmentKeyIdInToken,
    /// 403: the provider token is stale.
    ExpiredProviderToken,
    /// 403: the specified action is not allowed.
    Forbidden,
    /// 403: the provider token is not valid, or its signature cannot be verified.
    InvalidProviderToken,
    /// 403: no certificate and no provider token.
    MissingProviderToken,
    /// 403: the key id in the provider token is not of the token's team or topic.
    UnrelatedKeyIdInToken,
    /// 404: `:path` is bad.
    BadPath,
    /// 405: something else than POST.
    MethodNotAllowed,
    /// 410: the device token has expired.
    ExpiredToken,
    /// 410: the device token is inactive for the topic.
    Unregistered,
    /// 413: more than 4096 bytes, or 5120 for VoIP.
    PayloadTooLarge,
    /// 429: the provider token is renewed too often.
    TooManyProviderTokenUpdates,
    /// 429: too many in a row to this device.
    TooManyRequests,
    /// 500
    InternalServerError,
    /// 503
    ServiceUnavailable,
    /// 503: the server is going down.
    Shutdown,
    /// A reason that this program does not know, or none.
    Other,
}

impl ApnsReason {
    /// All, in the order of the metrics.
    pub const ALL: [ApnsReason; 34] = [
        ApnsReason::Success,
        ApnsReason::BadCollapseId,
        ApnsReason::BadDeviceToken,
        ApnsReason::BadExpirationDate,
        ApnsReason::BadMessageId,
        ApnsReason::BadPriority,
        ApnsReason::BadTopic,
        ApnsReason::DeviceTokenNotForTopic,
        ApnsReason::DuplicateHeaders,
        ApnsReason::IdleTimeout,
        ApnsReason::InvalidPushType,
        ApnsReason::MissingDeviceToken,
        ApnsReason::MissingTopic,
        ApnsReason::PayloadEmpty,
        ApnsReason::TopicDisallowed,
        ApnsReason::BadCertificate,
        ApnsReason::BadCertificateEnvironment,
        ApnsReason::BadEnvironmentKeyIdInToken,
        ApnsReason::ExpiredProviderToken,
        ApnsReason::Forbidden,
        ApnsReason::InvalidProviderToken,
        ApnsReason::MissingProviderToken,
        ApnsReason::UnrelatedKeyIdInToken,
        ApnsReason::BadPath,
        ApnsReason::MethodNotAllowed,
        ApnsReason::ExpiredToken,
        ApnsReason::Unregistered,
        ApnsReason::PayloadTooLarge,
        ApnsReason::TooManyProviderTokenUpdates,
        ApnsReason::TooManyRequests,
        ApnsReason::InternalServerError,
        ApnsReason::ServiceUnavailable,
        ApnsReason::Shutdown,
        ApnsReason::Other,
    ];

    /// Apple's own word; unknown ones are [`ApnsReason::Other`].
    pub fn parse(word: &str) -> ApnsReason {
        // Both spellings have been seen from Apple.
        if word == "BadEnvironmentKeyInToken" {
            return ApnsReason::BadEnvironmentKeyIdInToken;
        }
        ApnsReason::ALL
            .into_iter()
            .find(|reason| reason.label() == word && *reason != ApnsReason::Success)
            .unwrap_or(ApnsReason::Other)
    }

    /// Apple's own word, or `other`: the label in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            ApnsReason::Success => "Success",
            ApnsReason::BadCollapseId => "BadCollapseId",
            ApnsReason::BadDeviceToken => "BadDeviceToken",
            ApnsReason::BadExpirationDate => "BadExpirationDate",
            ApnsReason::BadMessageId => "BadMessageId",
            ApnsReason::BadPriority => "BadPriority",
            ApnsReason::BadTopic => "BadTopic",
            ApnsReason::DeviceTokenNotForTopic => "DeviceTokenNotForTopic",
            ApnsReason::DuplicateHeaders => "DuplicateHeaders",
            ApnsReason::IdleTimeout => "IdleTimeout",
            ApnsReason::InvalidPushType => "InvalidPushType",
            ApnsReason::MissingDeviceToken => "MissingDeviceToken",
            ApnsReason::MissingTopic => "MissingTopic",
            ApnsReason::PayloadEmpty => "PayloadEmpty",
            ApnsReason::TopicDisallowed => "TopicDisallowed",
            ApnsReason::BadCertificate => "BadCertificate",
            ApnsReason::BadCertificateEnvironment => "BadCertificateEnvironment",
            ApnsReason::BadEnvironmentKeyIdInToken => "BadEnvironmentKeyIdInToken",
            ApnsReason::ExpiredProviderToken => "ExpiredProviderToken",
            ApnsReason::Forbidden => "Forbidden",
            ApnsReason::InvalidProviderToken => "InvalidProviderToken",
            ApnsReason::MissingProviderToken => "MissingProviderToken",
            ApnsReason::UnrelatedKeyIdInToken => "UnrelatedKeyIdInToken",
            ApnsReason::BadPath => "BadPath",
            ApnsReason::MethodNotAllowed => "MethodNotAllowed",
            ApnsReason::ExpiredToken => "ExpiredToken",
            ApnsReason::Unregistered => "Unregistered",
            ApnsReason::PayloadTooLarge => "PayloadTooLarge",
            ApnsReason::TooManyProviderTokenUpdates => "TooManyProviderTokenUpdates",
            ApnsReason::TooManyRequests => "TooManyRequests",
            ApnsReason::InternalServerError => "InternalServerError",
            ApnsReason::ServiceUnavailable => "ServiceUnavailable",
            ApnsReason::Shutdown => "Shutdown",
            ApnsReason::Other => "other",
        }
    }

    /// Who must act, and what to do, for whoever asks what became of a push.
    pub fn note(self) -> &'static str {
        match self {
            ApnsReason::Success => "nobody: Apple has it",
            ApnsReason::BadDeviceToken => {
                "the operator: the token is of the other environment (production, sandbox) or damaged by the sender"
            }
            ApnsReason::DeviceTokenNotForTopic => {
                "the operator: the token belongs to another app; set this app's topic to the bundle id that made it"
            }
            ApnsReason::BadTopic | ApnsReason::MissingTopic => {
                "the operator: set the app's topic to its bundle id"
            }
            ApnsReason::TopicDisallowed => {
                "the operator: the key or certificate may not push to this topic; only the app's own team can"
            }
            ApnsReason::InvalidPushType => {
                "the operator: the topic does not take this push type (a .voip topic takes only voip)"
            }
            ApnsReason::BadCollapseId
            | ApnsReason::BadExpirationDate
            | ApnsReason::BadMessageId
            | ApnsReason::BadPriority
            | ApnsReason::DuplicateHeaders
            | ApnsReason::MissingDeviceToken
            | ApnsReason::PayloadEmpty
            | ApnsReason::BadPath
            | ApnsReason::MethodNotAllowed => {
                "the developers: this request should never have been sent; please report it with the Call-ID"
            }
            ApnsReason::IdleTimeout => {
                "nobody: the connection had idled too long; sent again on another"
            }
            ApnsReason::BadCertificate => {
                "the operator: Apple does not take the client certificate; is it this app's, and not revoked?"
            }
            ApnsReason::BadCertificateEnvironment => {
                "the operator: the client certificate is for the other environment (production, sandbox)"
            }
            ApnsReason::BadEnvironmentKeyIdInToken => {
                "the operator: the .p8 key is for the other environment (production, sandbox)"
            }
            ApnsReason::ExpiredProviderToken => {
                "nobody at first: the provider token is minted anew; if it stays, check this host's clock"
            }
            ApnsReason::InvalidProviderToken => {
                "the operator: key file, key id and team id do not belong together, or the key is revoked"
            }
            ApnsReason::MissingProviderToken => {
                "the operator: Apple saw no credential; configure a key or a certificate for this app"
            }
            ApnsReason::UnrelatedKeyIdInToken => {
                "the operator: the key id is of another team, or the key does not cover this topic"
            }
            ApnsReason::Forbidden => {
                "the operator: Apple forbids this to the configured credential"
            }
            ApnsReason::ExpiredToken | ApnsReason::Unregistered => {
                "the sender: the app was removed or its token replaced; forget this token"
            }
            ApnsReason::PayloadTooLarge => {
                "the sender: custom data is too large for 4096 bytes; the text was shortened already"
            }
            ApnsReason::TooManyProviderTokenUpdates => {
                "the operator: another program mints tokens with the same key; nothing is minted for 20 minutes"
            }
            ApnsReason::TooManyRequests => {
                "the sender: too many pushes to this device; tried again later"
            }
            ApnsReason::InternalServerError
            | ApnsReason::ServiceUnavailable
            | ApnsReason::Shutdown => "nobody: Apple's trouble; tried again later",
            ApnsReason::Other => {
                "the operator: a reason that this version does not know; see the status"
            }
        }
    }

    /// `None` where only the status can tell.
    fn verdict(self) -> Option<Verdict> {
        let deferred = |scope| Verdict::Deferred {
            scope,
            retry_after: None,
        };
        Some(match self {
            ApnsReason::Success => Verdict::Accepted,
            ApnsReason::TooManyRequests => deferred(Scope::Device),
            ApnsReason::BadCertificate
            | ApnsReason::BadCertificateEnvironment
            | ApnsReason::BadEnvironmentKeyIdInToken
            | ApnsReason::ExpiredProviderToken
            | ApnsReason::Forbidden
            | ApnsReason::InvalidProviderToken
            | ApnsReason::MissingProviderToken
            | ApnsReason::UnrelatedKeyIdInToken => deferred(Scope::App),
            ApnsReason::TooManyProviderTokenUpdates => Verdict::Deferred {
                scope: Scope::App,
                retry_after: Some(TOKEN_UPDATE_FLOOR),
            },
            ApnsReason::IdleTimeout
            | ApnsReason::InternalServerError
            | ApnsReason::ServiceUnavailable
            | ApnsReason::Shutdown => deferred(Scope::Provider),
            ApnsReason::ExpiredToken | ApnsReason::Unregistered => Verdict::Gone { since: None },
            ApnsReason::BadDeviceToken | ApnsReason::DeviceTokenNotForTopic => {
                Verdict::Refused(RefusedReason::Device)
            }
            ApnsReason::BadTopic
            | ApnsReason::MissingTopic
            | ApnsReason::TopicDisallowed
            | ApnsReason::InvalidPushType => Verdict::Refused(RefusedReason::App),
            ApnsReason::BadCollapseId
            | ApnsReason::BadExpirationDate
            | ApnsReason::BadMessageId
            | ApnsReason::BadPriority
            | ApnsReason::DuplicateHeaders
            | ApnsReason::MissingDeviceToken
            | ApnsReason::PayloadEmpty
            | ApnsReason::BadPath
            | ApnsReason::MethodNotAllowed
            | ApnsReason::PayloadTooLarge => Verdict::Refused(RefusedReason::Notification),
            ApnsReason::Other => return None,
        })
    }
}

/// Apple: a provider token is renewed "no more than once every 20 minutes".
const TOKEN_UPDATE_FLOOR: Duration = Duration::from_secs(20 * 60);

fn by_status(status: u16, timestamp: Option<SystemTime>) -> Verdict {
    let deferred = |scope| Verdict::Deferred {
        scope,
        retry_after: None,
    };
    match status {
        // Apple's word for this status: "The device token is no longer active for the topic."
        410 => Verdict::Gone { since: timestamp },
        401 | 403 => deferred(Scope::App),
        413 => Verdict::Refused(RefusedReason::Notification),
        429 => deferred(Scope::Device),
        500..=599 => deferred(Scope::Provider),
        _ => Verdict::Refused(RefusedReason::Other),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn deferred(scope: Scope) -> Verdict {
        Verdict::Deferred {
            scope,
            retry_after: None,
        }
    }

    #[test]
    fn every_row_of_apples_table_has_its_verdict() {
        let since = Some(UNIX_EPOCH + Duration::from_millis(1_700_000_000_123));
        let device = Verdict::Refused(RefusedReason::Device);
        let app = Verdict::Refused(RefusedReason::App);
        let notification = Verdict::Refused(RefusedReason::Notification);
        let gone = Verdict::Gone { since };
        let rows = [
            (400, "BadCollapseId", notification),
            (400, "BadDeviceToken", device),
            (400, "BadExpirationDate", notification),
            (400, "BadMessageId", notification),
            (400, "BadPriority", notification),
            (400, "BadTopic", app),
            (400, "DeviceTokenNotForTopic", device),
            (400, "DuplicateHeaders", notification),
            (400, "IdleTimeout", deferred(Scope::Provider)),
            (400, "InvalidPushType", app),
            (400, "MissingDeviceToken", notification),
            (400, "MissingTopic", app),
            (400, "PayloadEmpty", notification),
            (400, "TopicDisallowed", app),
            (403, "BadCertificate", deferred(Scope::App)),
            (403, "BadCertificateEnvironment", deferred(Scope::App)),
            (403, "BadEnvironmentKeyIdInToken", deferred(Scope::App)),
            (403, "ExpiredProviderToken", deferred(Scope::App)),
            (403, "Forbidden", deferred(Scope::App)),
            (403, "InvalidProviderToken", deferred(Scope::App)),
            (403, "MissingProviderToken", deferred(Scope::App)),
            (403, "UnrelatedKeyIdInToken", deferred(Scope::App)),
            (404, "BadPath", notification),
            (405, "MethodNotAllowed", notification),
            (410, "ExpiredToken", gone),
            (410, "Unregistered", gone),
            (413, "PayloadTooLarge", notification),
            (429, "TooManyRequests", deferred(Scope::Device)),
            (500, "InternalServerError", deferred(Scope::Provider)),
            (503, "ServiceUnavailable", deferred(Scope::Provider)),
            (503, "Shutdown", deferred(Scope::Provider)),
        ];
        for (status, word, verdict) in rows {
            let got = outcome(status, Some(word), since);
            assert_eq!(got.verdict, verdict, "{status} {word}");
            assert_eq!(got.cause.label(), word);
            assert!(!got.ambiguous);
        }
        assert_eq!(
            outcome(429, Some("TooManyProviderTokenUpdates"), None).verdict,
            Verdict::Deferred {
                scope: Scope::App,
                retry_after: Some(Duration::from_secs(1200))
            }
        );
        // Success, Other and TooManyProviderTokenUpdates stand apart.
        assert_eq!(rows.len() + 3, ApnsReason::ALL.len());
    }

    #[test]
    fn two_hundred_is_accepted_whatever_the_body_says() {
        let got = outcome(200, Some("Unregistered"), None);
        assert_eq!(
            (got.verdict, got.cause),
            (Verdict::Accepted, Cause::Apns(ApnsReason::Success))
        );
    }

    #[test]
    fn a_body_cannot_claim_success() {
        let got = outcome(400, Some("Success"), None);
        assert_eq!(got.verdict, Verdict::Refused(RefusedReason::Other));
        assert_eq!(
            outcome(400, Some("other"), None).cause,
            Cause::Apns(ApnsReason::Other)
        );
    }

    #[test]
    fn an_unknown_reason_is_judged_by_the_status() {
        for reason in [None, Some("NewReason")] {
            let verdict = |status| outcome(status, reason, None).verdict;
            assert_eq!(verdict(400), Verdict::Refused(RefusedReason::Other));
            assert_eq!(verdict(403), deferred(Scope::App));
            assert_eq!(verdict(404), Verdict::Refused(RefusedReason::Other));
            assert_eq!(verdict(410), Verdict::Gone { since: None });
            assert_eq!(verdict(413), Verdict::Refused(RefusedReason::Notification));
            assert_eq!(verdict(429), deferred(Scope::Device));
            assert_eq!(verdict(500), deferred(Scope::Provider));
            assert_eq!(verdict(599), deferred(Scope::Provider));
            assert_eq!(verdict(204), Verdict::Refused(RefusedReason::Other));
        }
    }

    /// A token declared dead after an outage cannot be won back: one word in a 503 must not do it.
    #[test]
    fn a_device_is_gone_only_where_the_status_says_so_too() {
        assert_eq!(
            outcome(503, Some("Unregistered"), None).verdict,
            deferred(Scope::Provider)
        );
        assert_eq!(
            outcome(400, Some("ExpiredToken"), None).verdict,
            Verdict::Refused(RefusedReason::Other)
        );
    }

    #[test]
    fn both_spellings_of_the_environment_key_are_one_reason() {
        assert_eq!(
            ApnsReason::parse("BadEnvironmentKeyInToken"),
            ApnsReason::parse("BadEnvironmentKeyIdInToken")
        );
    }

    #[test]
    fn labels_are_unique_and_read_back() {
        for (at, one) in ApnsReason::ALL.into_iter().enumerate() {
            assert!(
                ApnsReason::ALL[..at]
                    .iter()
                    .all(|other| other.label() != one.label())
            );
            assert!(one.note().len() > 10);
            if one != ApnsReason::Success {
                assert_eq!(ApnsReason::parse(one.label()), one);
            }
        }
    }
}
