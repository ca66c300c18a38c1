//! What the fake Windows Phone service is to answer, and how it is to fail.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;

/// The answer to one request.
#[derive(Clone, Debug)]
pub struct MpnsAnswer {
    /// The status.
    pub status: u16,
    /// `X-NotificationStatus`
    pub notification: Option<Cow<'static, str>>,
    /// `X-DeviceConnectionStatus`
    pub device: Option<Cow<'static, str>>,
    /// `X-SubscriptionStatus`
    pub subscription: Option<Cow<'static, str>>,
    /// `Location`
    pub location: Option<String>,
    /// `Retry-After`, seconds.
    pub retry_after: Option<u32>,
    /// How long to wait before anything of the above.
    pub delay: Duration,
    /// What goes wrong instead of, or along with, the answer.
    pub fault: Option<MpnsFault>,
}

/// What can go wrong with a request.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MpnsFault {
    /// The request is read and never answered.
    Stall,
    /// The head of the answer comes, the body begins and never ends.
    StallBody,
    /// A body without an end, as fast as the peer takes it.
    EndlessBody,
    /// This many header fields of 100 octets each before the answer.
    HeaderFlood(usize),
    /// The connection ends without an answer.
    Drop,
}

impl MpnsAnswer {
    /// A bare status without any of the three status headers.
    pub fn status(status: u16) -> MpnsAnswer {
        MpnsAnswer {
            status,
            notification: None,
            device: None,
            subscription: None,
            location: None,
            retry_after: None,
            delay: Duration::ZERO,
            fault: None,
        }
    }

    fn row(
        status: u16,
        notification: &'static str,
        device: &'static str,
        subscription: &'static str,
    ) -> MpnsAnswer {
        MpnsAnswer {
            notification: Some(Cow::Borrowed(notification)),
            device: Some(Cow::Borrowed(device)),
            subscription: Some(Cow::Borrowed(subscription)),
            ..MpnsAnswer::status(status)
        }
    }

    /// 200: received, device connected.
    pub fn received() -> MpnsAnswer {
        MpnsAnswer::row(200, "Received", "Connected", "Active")
    }

    /// 200: received, device away for a while.
    pub fn temporarily_disconnected() -> MpnsAnswer {
        MpnsAnswer::row(200, "Received", "Temporarily Disconnected", "Active")
    }

    /// 200: the device's queue is full, try again in minutes.
    pub fn queue_full() -> MpnsAnswer {
        MpnsAnswer::row(200, "QueueFull", "Connected", "Active")
    }

    /// 200: the device does not want this class.
    pub fn suppressed() -> MpnsAnswer {
        MpnsAnswer::row(200, "Suppressed", "Connected", "Active")
    }

    /// 404: the channel is dead for good.
    pub fn expired() -> MpnsAnswer {
        MpnsAnswer::row(404, "Dropped", "Connected", "Expired")
    }

    /// 406: the day's quota of an unauthenticated channel is used up.
    pub fn quota() -> MpnsAnswer {
        MpnsAnswer::row(406, "Dropped", "Connected", "Active")
    }

    /// 412: the device is inactive; at most one attempt an hour.
    pub fn inactive() -> MpnsAnswer {
        MpnsAnswer {
            subscription: None,
            ..MpnsAnswer::row(412, "Dropped", "Inactive", "")
        }
    }

    /// 302 to this place, which nobody may follow.
    pub fn redirect(location: &str) -> MpnsAnswer {
        MpnsAnswer {
            location: Some(location.to_owned()),
            ..MpnsAnswer::status(302)
        }
    }

    /// A fault: where it sends an answer at all, that is 503.
    pub fn fault(fault: MpnsFault) -> MpnsAnswer {
        MpnsAnswer {
            fault: Some(fault),
            ..MpnsAnswer::status(503)
        }
    }

    /// The same after a wait.
    pub fn after(self, delay: Duration) -> MpnsAnswer {
        MpnsAnswer { delay, ..self }
    }
}

/// All scripts of a fake.
#[derive(Default)]
pub(crate) struct Scripts {
    by_token: HashMap<String, Sequence>,
    default: Sequence,
}

/// Answers in turn; the last one stays.
#[derive(Default)]
struct Sequence {
    answers: Vec<MpnsAnswer>,
    next: usize,
}

impl Scripts {
    pub(crate) fn set_token(&mut self, token: &str, answers: Vec<MpnsAnswer>) {
        let sequence = Sequence { answers, next: 0 };
        self.by_token.insert(token.to_owned(), sequence);
    }

    pub(crate) fn set_default(&mut self, answers: Vec<MpnsAnswer>) {
        self.default = Sequence { answers, next: 0 };
    }

    pub(crate) fn answer(&mut self, token: &str) -> MpnsAnswer {
        (self.by_token.get_mut(token))
            .and_then(Sequence::next)
            .or_else(|| self.default.next())
            .unwrap_or_else(MpnsAnswer::received)
    }
}

impl Sequence {
    fn next(&mut self) -> Option<MpnsAnswer> {
        let answer = self.answers.get(self.next).or(self.answers.last())?;
        self.next += 1;
        Some(answer.clone())
    }
}
