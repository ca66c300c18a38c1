//! What became of one target, and why.

use std::time::{Duration, SystemTime};

use crate::apns::ApnsReason;
use crate::device::Service;
use crate::mpns::MpnsReason;

/// What a provider's answer, or its silence, means for one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The provider has it.
    Accepted,
    /// Not now; trying again can help.
    Deferred {
        /// Who must wait.
        scope: Scope,
        /// The least time to wait, where the provider or its documentation names one.
        retry_after: Option<Duration>,
    },
    /// This device is no longer there.
    Gone {
        /// Since when, where the provider says so (APNs 410 `timestamp`).
        since: Option<SystemTime>,
    },
    /// This notification, never.
    Refused(RefusedReason),
}

impl Verdict {
    /// The label in metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Verdict::Accepted => "accepted",
            Verdict::Deferred { .. } => "deferred",
            Verdict::Gone { .. } => "gone",
            Verdict::Refused(_) => "refused",
        }
    }
}

/// Who must wait after a deferral. A wide scope needs wide evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// This device only.
    Device,
    /// Everything under this app's credential: ours to mend.
    App,
    /// Everything that goes to this provider.
    Provider,
}

/// Why a notification will never be taken: whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusedReason {
    /// The token or channel URI is none, or is of another environment or app.
    Device,
    /// App id, topic or push type are wrong: configuration.
    App,
    /// The notification itself: too large, or something the provider does not allow.
    Notification,
    /// The platform is switched off here.
    PlatformOff,
    /// Its time has passed.
    Expired,
    /// What this program does not know.
    Other,
}

/// A verdict with what caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it means.
    pub verdict: Verdict,
    /// What was said or happened.
    pub cause: Cause,
    /// The request may have reached the provider although no answer was seen.
    pub ambiguous: bool,
}

/// What was said or happened, as a closed set: the `reason` label of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Apple's answer.
    Apns(ApnsReason),
    /// The Windows Phone service's answer.
    Mpns(MpnsReason),
    /// No answer at all.
    Transport(Transport),
    /// Decided here, nothing was sent.
    Local(Local),
}

impl Cause {
    /// The label in metrics, logs and SIP reasons.
    pub fn label(self) -> &'static str {
        match self {
            Cause::Apns(reason) => reason.label(),
            Cause::Mpns(reason) => reason.label(),
            Cause::Transport(transport) => transport.label(),
            Cause::Local(local) => local.label(),
        }
    }

    /// Who must act, and what to do, for whoever asks what became of a push.
    pub fn note(self) -> &'static str {
        match self {
            Cause::Apns(reason) => reason.note(),
            Cause::Mpns(reason) => reason.note(),
            Cause::Transport(transport) => transport.note(),
            Cause::Local(local) => local.note(),
        }
    }

    /// All that can happen to a push of a service, in the order of the metrics.
    pub fn all(service: Service) -> impl Iterator<Item = Cause> {
        let (apns, mpns): (&[ApnsReason], &[MpnsReason]) = match service {
            Service::Apns => (&ApnsReason::ALL, &[]),
            Service::Mpns => (&[], &MpnsReason::ALL),
        };
        let provider = apns.iter().copied().map(Cause::Apns);
        let provider = provider.chain(mpns.iter().copied().map(Cause::Mpns));
        let transport = Transport::ALL.into_iter().map(Cause::Transport);
        provider
            .chain(transport)
            .chain(Local::ALL.into_iter().map(Cause::Local))
    }

    /// The cause of this label, at this service.
    pub fn parse(service: Service, label: &str) -> Option<Cause> {
        Cause::all(service).find(|cause| cause.label() == label)
    }
}

/// Why no answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// The name did not resolve, or to nothing that is allowed.
    Resolve,
    /// No TCP connection.
    Connect,
    /// No TLS.
    Tls,
    /// The connection ended before the answer.
    Closed,
    /// The exchange took too long.
    Timeout,
    /// The peer broke HTTP.
    Protocol,
}

impl Transport {
    /// All, in the order of the metrics.
    pub const ALL: [Transport; 6] = [
        Transport::Resolve,
        Transport::Connect,
        Transport::Tls,
        Transport::Closed,
        Transport::Timeout,
        Transport::Protocol,
    ];

    /// The label in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Transport::Resolve => "resolve",
            Transport::Connect => "connect",
            Transport::Tls => "tls",
            Transport::Closed => "closed",
            Transport::Timeout => "timeout",
            Transport::Protocol => "protocol",
        }
    }

    /// Who must act, and what to do, for whoever asks what became of a push.
    pub fn note(self) -> &'static str {
        match self {
            Transport::Resolve => {
                "the operator: the provider's name does not resolve here; check this host's DNS"
            }
            Transport::Connect => {
                "the operator: no TCP connection to the provider; check the route and the firewall (443, or 2197 for Apple)"
            }
            Transport::Tls => {
                "the operator: no TLS with the provider; is something in between, and are the roots and the clock of this host right?"
            }
            Transport::Closed => {
                "nobody at first: the connection ended before the answer; if it stays, look for a firewall that cuts idle connections"
            }
            Transport::Timeout => {
                "nobody at first: the provider took too long; if it stays, look at the route, then at the provider's status page"
            }
            Transport::Protocol => {
                "the operator: what answers does not speak the provider's protocol; is a proxy in between?"
            }
        }
    }

    /// The verdict on a push that got no answer: the provider must wait.
    pub fn verdict(self) -> Verdict {
        Verdict::Deferred {
            scope: Scope::Provider,
            retry_after: None,
        }
    }
}

/// Why nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Local {
    /// `event = test`: accepted and never forwarded.
    Test,
    /// The platform is switched off.
    PlatformOff,
    /// No app of that name is configured.
    UnknownApp,
    /// It cannot be made small enough for the provider.
    TooLarge,
    /// Its time has passed.
    Expired,
    /// The channel's host is, or resolves to, an address that is not public.
    PrivateAddress,
    /// Not settled within `reply_within`.
    Deadline,
    /// A provider has said before that this device is gone.
    KnownGone,
    /// The provider has failed too often in a row: nobody waits for it.
    BreakerOpen,
    /// The place for what must wait is full.
    SpoolFull,
    /// The disk for what must wait is in trouble.
    SpoolTrouble,
}

impl Local {
    /// All, in the order of the metrics.
    pub const ALL: [Local; 11] = [
        Local::Test,
        Local::PlatformOff,
        Local::UnknownApp,
        Local::TooLarge,
        Local::Expired,
        Local::PrivateAddress,
        Local::Deadline,
        Local::KnownGone,
        Local::BreakerOpen,
        Local::SpoolFull,
        Local::SpoolTrouble,
    ];

    /// The label in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Local::Test => "test",
            Local::PlatformOff => "platform_off",
            Local::UnknownApp => "unknown_app",
            Local::TooLarge => "too_large",
            Local::Expired => "expired",
            Local::PrivateAddress => "private_address",
            Local::Deadline => "deadline",
            Local::KnownGone => "known_gone",
            Local::BreakerOpen => "breaker_open",
            Local::SpoolFull => "spool_full",
            Local::SpoolTrouble => "spool_trouble",
        }
    }

    /// Who must act, and what to do, for whoever asks what became of a push.
    pub fn note(self) -> &'static str {
        match self {
            Local::Test => "nobody: a test is accepted and never forwarded",
            Local::PlatformOff => {
                "the operator: this platform is switched off in the configuration"
            }
            Local::UnknownApp => {
                "the operator: no app of this id and environment is configured; add it, or have the sender name another"
            }
            Local::TooLarge => {
                "the sender: it cannot be made small enough for the provider; send less custom data"
            }
            Local::Expired => {
                "nobody: its time has passed before a provider took it; a longer `ttl`, or `default_ttl` here, gives it more"
            }
            Local::PrivateAddress => {
                "the operator: the channel leads to an address that is not public; if the service is yours, list it in the configuration"
            }
            Local::Deadline => {
                "the operator: the provider was not done in time and there is no spool to wait in; configure one"
            }
            Local::KnownGone => {
                "the sender: a provider has said before that this device is gone; forget it, or send its new registration time"
            }
            Local::BreakerOpen => {
                "nobody: the provider has failed too often in a row; tried again as soon as it answers"
            }
            Local::SpoolFull => {
                "the operator: the spool is full; mend what keeps the provider from taking pushes, drop what nobody needs, or raise the limit"
            }
            Local::SpoolTrouble => {
                "the operator: the spool's disk is in trouble; look at pushrelay_spool_trouble and the log"
            }
        }
    }

    /// The outcome when nothing was sent for this cause.
    pub fn outcome(self) -> Outcome {
        let verdict = match self {
            Local::Test => Verdict::Accepted,
            Local::PlatformOff => Verdict::Refused(RefusedReason::PlatformOff),
            Local::UnknownApp => Verdict::Refused(RefusedReason::App),
            Local::TooLarge => Verdict::Refused(RefusedReason::Notification),
            Local::Expired => Verdict::Refused(RefusedReason::Expired),
            Local::PrivateAddress => Verdict::Refused(RefusedReason::Device),
            Local::KnownGone => Verdict::Gone { since: None },
            Local::Deadline | Local::BreakerOpen | Local::SpoolFull | Local::SpoolTrouble => {
                Verdict::Deferred {
                    scope: Scope::Provider,
                    retry_after: None,
                }
            }
        };
        Outcome {
            verdict,
            cause: Cause::Local(self),
            ambiguous: false,
        }
    }
}

impl From<Transport> for Outcome {
    fn from(transport: Transport) -> Outcome {
        Outcome {
            verdict: transport.verdict(),
            cause: Cause::Transport(transport),
            ambiguous: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_cause_says_who_must_act_and_is_found_by_its_label() {
        for service in Service::ALL {
            let mut labels = HashSet::new();
            for cause in Cause::all(service) {
                let (who, what) = cause.note().split_once(": ").expect("who, and what to do");
                let who = who.strip_suffix(" at first").unwrap_or(who);
                let known = [
                    "nobody",
                    "the operator",
                    "the sender",
                    "the user",
                    "the developers",
                ];
                assert!(known.contains(&who), "{cause:?}: {who}");
                assert!(what.len() > 10 && !what.ends_with('.'), "{cause:?}: {what}");
                assert!(
                    labels.insert(cause.label()),
                    "{cause:?} has another's label"
                );
                assert_eq!(Cause::parse(service, cause.label()), Some(cause));
            }
            assert_eq!(Cause::parse(service, "NoSuchCause"), None);
        }
    }
}
