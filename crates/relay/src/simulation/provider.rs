//! Apple and the Windows Phone service, played: what they say to a push, how long it takes them, and what they have really done.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use pushrelay_push::mpns::StatusHeaders;
use pushrelay_push::{Outcome, Scope, Service as Provider, Transport, Verdict, apns, mpns};
use uuid::Uuid;

use super::ledger::Ledger;
use super::plan::{Dice, Weather};

/// Plays a provider to the relay.
#[derive(Clone)]
pub(crate) struct Script {
    pub(super) ledger: Arc<Ledger>,
    pub(super) provider: Provider,
}

impl Script {
    /// One push, by the id on the wire: seen by the provider at once, answered later.
    pub(crate) async fn play(&self, id: Option<&[u8]>) -> Outcome {
        let id = id.and_then(|id| Uuid::try_parse_ascii(id).ok());
        let id = id.unwrap_or_default();
        let answer = self.ledger.asked(self.provider, id);
        tokio::time::sleep(answer.after).await;
        self.ledger.told(id, answer.outcome);
        answer.outcome
    }
}

/// What a provider does with a push.
pub(super) struct Answer {
    pub(super) after: Duration,
    pub(super) outcome: Outcome,
    /// Whether it has taken it, whatever it says.
    pub(super) taken: bool,
    /// Whether the device is gone from now on.
    pub(super) gone: bool,
}

/// The longest that the real clients wait for an exchange.
const EXCHANGE: Duration = Duration::from_secs(10);

/// What it says to a device that is there.
pub(super) fn answer(dice: &mut Dice, provider: Provider, weather: Weather) -> Answer {
    let weather = match weather {
        Weather::Fair => match dice.roll(100) {
            0..86 => Weather::Clear,
            86..90 => Weather::Busy,
            90..94 => return odd(dice, provider),
            94..96 => Weather::Silent,
            96..98 => Weather::Unavailable,
            _ => Weather::Slow,
        },
        weather => weather,
    };
    let ms = Duration::from_millis;
    let outcome = match weather {
        Weather::Clear | Weather::Fair | Weather::Slow => said(provider, 200, "", "Received"),
        Weather::Refusing => Transport::Connect.into(),
        Weather::Silent => Outcome {
            ambiguous: true,
            ..Transport::Timeout.into()
        },
        Weather::Unavailable => {
            let asked = dice
                .chance(20)
                .then(|| Duration::from_secs(dice.roll(3600)));
            waiting(said(provider, 503, "ServiceUnavailable", ""), asked)
        }
        Weather::Credential => match provider {
            Provider::Apns => said(provider, 403, "InvalidProviderToken", ""),
            Provider::Mpns => said(provider, 401, "", ""),
        },
        Weather::Busy => match provider {
            Provider::Apns => said(provider, 429, "TooManyRequests", ""),
            Provider::Mpns => match dice.roll(3) {
                0 => said(provider, 200, "", "QueueFull"),
                1 => said(provider, 412, "", "Dropped"),
                _ => said(provider, 406, "", "Dropped"),
            },
        },
        Weather::Vanishing => gone(provider),
    };
    let after = match weather {
        Weather::Slow => dice.between(ms(800), ms(9500)),
        Weather::Refusing => dice.pick(&[ms(1), ms(3000)]),
        Weather::Silent => EXCHANGE,
        _ => dice.between(ms(5), ms(60)),
    };
    Answer {
        after,
        taken: outcome.verdict == Verdict::Accepted || outcome.ambiguous && dice.chance(40),
        outcome,
        gone: false,
    }
}

/// What it says to a device that has been gone for long.
pub(super) fn gone(provider: Provider) -> Outcome {
    match provider {
        Provider::Apns => {
            let since = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            apns::outcome(410, Some("Unregistered"), Some(since))
        }
        Provider::Mpns => {
            let expired = StatusHeaders {
                notification: Some("Dropped"),
                subscription: Some("Expired"),
                ..StatusHeaders::default()
            };
            mpns::outcome(404, expired)
        }
    }
}

/// What happens to single pushes on a fair day.
fn odd(dice: &mut Dice, provider: Provider) -> Answer {
    let (outcome, taken) = match dice.roll(4) {
        0 => (gone(provider), false),
        1 => (said(provider, 400, "BadDeviceToken", ""), false),
        2 => (Transport::Closed.into(), false),
        _ => {
            let lost = Outcome {
                ambiguous: true,
                ..Transport::Closed.into()
            };
            (lost, dice.chance(50))
        }
    };
    Answer {
        after: dice.between(Duration::from_millis(5), Duration::from_secs(3)),
        gone: matches!(outcome.verdict, Verdict::Gone { .. }),
        outcome,
        taken,
    }
}

fn said(provider: Provider, status: u16, reason: &str, notification: &str) -> Outcome {
    match provider {
        Provider::Apns => apns::outcome(status, Some(reason), None),
        Provider::Mpns => {
            let headers = StatusHeaders {
                notification: Some(notification),
                ..StatusHeaders::default()
            };
            mpns::outcome(status, headers)
        }
    }
}

/// The same with a `Retry-After` of the provider's own.
fn waiting(outcome: Outcome, asked: Option<Duration>) -> Outcome {
    match outcome.verdict {
        Verdict::Deferred {
            scope: scope @ Scope::Provider,
            retry_after,
        } => Outcome {
            verdict: Verdict::Deferred {
                scope,
                retry_after: retry_after.max(asked),
            },
            ..outcome
        },
        _ => outcome,
    }
}
