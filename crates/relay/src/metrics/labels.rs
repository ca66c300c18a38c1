//! The labels that series have: closed enums, so that every series stands at 0 from the start.

use pushrelay_push::{Outcome, RefusedReason, Verdict};

/// What became of an attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionResult {
    /// A partner's connection.
    Partner,
    /// A good chain, but nobody's name.
    Stranger,
    /// TLS failed: the peer's certificate, or none.
    BadCertificate,
    /// TLS failed: a list says that the peer's certificate, or one of its issuers, is revoked.
    Revoked,
    /// TLS failed: the list that would say so is overdue.
    OverdueCrl,
    /// TLS failed otherwise.
    HandshakeFailed,
    /// TLS took too long.
    HandshakeTimeout,
    /// Over the cap on all connections.
    OverLimit,
    /// From a TLS terminator: no PROXY header that can be read.
    ProxyBadHeader,
    /// From a TLS terminator: its own health check.
    ProxyHealthCheck,
    /// From a TLS terminator: its client has shown no certificate.
    ProxyNoCertificate,
    /// From a TLS terminator: its client's certificate is not good.
    ProxyUnverified,
    /// Over the cap on one address's connections.
    OverAddress,
    /// Over the cap on handshakes, all of them or one address's.
    OverHandshakes,
    /// Over the cap on a partner's connections.
    OverPartner,
    /// Over the cap on strangers' connections.
    OverStrangers,
    /// The service stops, and who it is was not known yet.
    Draining,
}

impl ConnectionResult {
    pub(super) const ALL: [ConnectionResult; 17] = [
        ConnectionResult::Partner,
        ConnectionResult::Stranger,
        ConnectionResult::BadCertificate,
        ConnectionResult::Revoked,
        ConnectionResult::OverdueCrl,
        ConnectionResult::HandshakeFailed,
        ConnectionResult::HandshakeTimeout,
        ConnectionResult::OverLimit,
        ConnectionResult::ProxyBadHeader,
        ConnectionResult::ProxyHealthCheck,
        ConnectionResult::ProxyNoCertificate,
        ConnectionResult::ProxyUnverified,
        ConnectionResult::OverAddress,
        ConnectionResult::OverHandshakes,
        ConnectionResult::OverPartner,
        ConnectionResult::OverStrangers,
        ConnectionResult::Draining,
    ];

    /// The label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            ConnectionResult::Partner => "partner",
            ConnectionResult::Stranger => "stranger",
            ConnectionResult::BadCertificate => "bad_certificate",
            ConnectionResult::Revoked => "revoked",
            ConnectionResult::OverdueCrl => "overdue_crl",
            ConnectionResult::HandshakeFailed => "handshake_failed",
            ConnectionResult::HandshakeTimeout => "handshake_timeout",
            ConnectionResult::OverLimit => "over_limit",
            ConnectionResult::ProxyBadHeader => "proxy_bad_header",
            ConnectionResult::ProxyHealthCheck => "proxy_health_check",
            ConnectionResult::ProxyNoCertificate => "proxy_no_certificate",
            ConnectionResult::ProxyUnverified => "proxy_unverified",
            ConnectionResult::OverAddress => "over_address",
            ConnectionResult::OverHandshakes => "over_handshakes",
            ConnectionResult::OverPartner => "over_partner",
            ConnectionResult::OverStrangers => "over_strangers",
            ConnectionResult::Draining => "draining",
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The peer has closed it.
    Peer,
    /// It broke.
    Failed,
    /// Nothing came for `idle_timeout`.
    Idle,
    /// A message did not become whole within `message_timeout`.
    MessageTimeout,
    /// The peer has not taken its answers for `write_timeout`, or until the drain's end.
    WriteTimeout,
    /// Where the next message begins was not known any more.
    Framing,
    /// A stranger has been told enough.
    Stranger,
    /// The service stops.
    Draining,
}

impl Ended {
    pub(super) const ALL: [Ended; 8] = [
        Ended::Peer,
        Ended::Failed,
        Ended::Idle,
        Ended::MessageTimeout,
        Ended::WriteTimeout,
        Ended::Framing,
        Ended::Stranger,
        Ended::Draining,
    ];

    /// The label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Ended::Peer => "peer",
            Ended::Failed => "failed",
            Ended::Idle => "idle",
            Ended::MessageTimeout => "message_timeout",
            Ended::WriteTimeout => "write_timeout",
            Ended::Framing => "framing",
            Ended::Stranger => "stranger",
            Ended::Draining => "draining",
        }
    }
}

/// What came of reading the configuration again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReloadResult {
    /// It is in force.
    Applied,
    /// It has a problem; the one before stays in force.
    Refused,
}

impl ReloadResult {
    pub(super) const ALL: [ReloadResult; 2] = [ReloadResult::Applied, ReloadResult::Refused];

    /// The label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            ReloadResult::Applied => "applied",
            ReloadResult::Refused => "refused",
        }
    }
}

/// Why a request was refused at the door, before any provider was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Framing was lost: the connection closes.
    Framing,
    /// The message is malformed, or asks what this server does not do.
    Fault,
    /// The peer is no partner.
    Stranger,
    /// The peer may not speak for the From domain.
    ForeignFrom,
    /// The peer may not speak for a domain of P-Asserted-Identity.
    ForeignIdentity,
    /// DNS has not said whether the peer may speak for the domain.
    Unverified,
    /// The Request-URI is not ours.
    ForeignUri,
    /// The partner sends faster than it may.
    OverRate,
    /// No decoder knows the body.
    NotUnderstood,
    /// The body is malformed.
    Malformed,
    /// The sender's own time for it is over.
    Expired,
    /// The service stops.
    Draining,
}

impl Refusal {
    pub(super) const ALL: [Refusal; 12] = [
        Refusal::Framing,
        Refusal::Fault,
        Refusal::Stranger,
        Refusal::ForeignFrom,
        Refusal::ForeignIdentity,
        Refusal::Unverified,
        Refusal::ForeignUri,
        Refusal::OverRate,
        Refusal::NotUnderstood,
        Refusal::Malformed,
        Refusal::Expired,
        Refusal::Draining,
    ];

    /// The label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Refusal::Framing => "framing",
            Refusal::Fault => "fault",
            Refusal::Stranger => "stranger",
            Refusal::ForeignFrom => "foreign_from",
            Refusal::ForeignIdentity => "foreign_identity",
            Refusal::Unverified => "unverified",
            Refusal::ForeignUri => "foreign_uri",
            Refusal::OverRate => "over_rate",
            Refusal::NotUnderstood => "not_understood",
            Refusal::Malformed => "malformed",
            Refusal::Expired => "expired",
            Refusal::Draining => "draining",
        }
    }

    /// Who must act, and what to do, for whoever asks what became of a MESSAGE.
    pub(crate) fn note(self) -> &'static str {
        match self {
            Refusal::Framing => {
                "the sender: its messages cannot be told apart; is what connects an Access Edge?"
            }
            Refusal::Fault => {
                "the sender: the request is malformed; its diagnostics line says where"
            }
            Refusal::Stranger => {
                "the operator: no partner has an Edge of this certificate's name; add it to `[[partners]] edges`"
            }
            Refusal::ForeignFrom => {
                "the operator: this partner may not send for the domain of From; add it to `[[partners]] domains`"
            }
            Refusal::ForeignIdentity => {
                "the operator: this partner may not send for the domain of P-Asserted-Identity; add it to `[[partners]] domains`"
            }
            Refusal::Unverified => {
                "the operator: DNS does not say which hosts the domain publishes; look at `[sip] dns`"
            }
            Refusal::ForeignUri => {
                "the sender: the push went to a SIP URI that is none of `[sip] addresses`; compare PushNotificationProxyUri"
            }
            Refusal::NotUnderstood => {
                "the operator: no decoder reads a body of this type; the answer's Accept lists those that are read"
            }
            Refusal::Malformed => {
                "the sender: the body is malformed; its diagnostics line says where"
            }
            Refusal::OverRate => {
                "the sender: it sends faster than `[[partners]] rate` allows; the operator may raise that"
            }
            Refusal::Draining => "nobody: the relay was stopping; the sender comes again",
            Refusal::Expired => {
                "nobody: its own Expires had passed when it came; compare the clocks if that stays"
            }
        }
    }
}

/// What became of a request that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CaptureResult {
    /// It is a file.
    Kept,
    /// The writer was too slow.
    Dropped,
    /// The disk would not take it.
    Failed,
}

impl CaptureResult {
    pub(super) const LABELS: [&str; 3] = ["kept", "dropped", "failed"];
}

/// How a target ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The provider has it.
    Accepted,
    /// The device is no longer there.
    Gone,
    /// The provider, or we, will never take it.
    Refused,
    /// Its time has passed.
    Expired,
    /// The sender was told to come again.
    Unsettled,
    /// A newer notification of the same collapse id has taken its place in the spool.
    Superseded,
    /// It was in the spool already.
    Repeated,
    /// It made room when the spool was full.
    Shed,
    /// An operator has dropped it.
    Dropped,
    /// It cannot be read, or whoever worked on it died of it.
    Parked,
}

impl Ending {
    /// All, in the order of the metrics.
    pub(crate) const ALL: [Ending; 10] = [
        Ending::Accepted,
        Ending::Gone,
        Ending::Refused,
        Ending::Expired,
        Ending::Unsettled,
        Ending::Superseded,
        Ending::Repeated,
        Ending::Shed,
        Ending::Dropped,
        Ending::Parked,
    ];

    /// The label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Ending::Accepted => "accepted",
            Ending::Gone => "gone",
            Ending::Refused => "refused",
            Ending::Expired => "expired",
            Ending::Unsettled => "unsettled",
            Ending::Superseded => "superseded",
            Ending::Repeated => "repeated",
            Ending::Shed => "shed",
            Ending::Dropped => "dropped",
            Ending::Parked => "parked",
        }
    }

    /// How a target ends that is not kept in the spool.
    pub(crate) fn of(outcome: &Outcome) -> Ending {
        match outcome.verdict {
            Verdict::Accepted => Ending::Accepted,
            Verdict::Deferred { .. } => Ending::Unsettled,
            Verdict::Gone { .. } => Ending::Gone,
            Verdict::Refused(RefusedReason::Expired) => Ending::Expired,
            Verdict::Refused(_) => Ending::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_says_who_must_act() {
        for refusal in Refusal::ALL {
            let (who, what) = refusal
                .note()
                .split_once(": ")
                .expect("who, and what to do");
            assert!(
                ["nobody", "the operator", "the sender"].contains(&who),
                "{refusal:?}: {who}"
            );
            assert!(
                what.len() > 10 && !what.ends_with('.'),
                "{refusal:?}: {what}"
            );
        }
    }
}
