//! What the sender is told: the verdicts of all targets, made one SIP answer.
//!
//! The rules, in this order: something that is neither settled nor on disk, nothing can be promised: 503. All accepted, or on
//! disk: 200. Some accepted: 200 with a
//! Warning. None accepted: 410 when all are gone, 403 when the platform is switched off, else 488 with the first reason.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use pushrelay_push::{Cause, Local, Outcome, RefusedReason, Service as Provider, Target, Verdict};
use pushrelay_sip::Answer;

/// What is known of every target, in the order of the body.
#[derive(Clone, Debug)]
pub(crate) struct Verdicts {
    list: Vec<Known>,
    /// The first app that is not configured, as the sender names it.
    unknown_app: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    outcome: Option<(Provider, Outcome)>,
    fate: Fate,
}

/// Whether a target's story is over for the sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fate {
    /// Not yet.
    #[default]
    Open,
    /// By its outcome.
    Closed,
    /// It is on disk and will be tried until its expiry.
    Kept,
}

impl Verdicts {
    /// `targets` of which nothing is known.
    pub(crate) fn new(targets: usize) -> Verdicts {
        Verdicts {
            list: vec![Known::default(); targets],
            unknown_app: None,
        }
    }

    /// Notes what was said of a target.
    pub(crate) fn note(&mut self, target: usize, provider: Provider, outcome: Outcome) {
        self.list[target].outcome = Some((provider, outcome));
    }

    /// Notes what was said of a target, and the first app that is not configured, for the reason.
    pub(crate) fn hear(&mut self, number: usize, target: &Target, outcome: Outcome) {
        self.note(number, target.device.service(), outcome);
        if outcome.cause == Cause::Local(Local::UnknownApp) {
            self.miss_app(target.app.as_deref());
        }
    }

    fn miss_app(&mut self, named: Option<&str>) {
        let named = named.unwrap_or_default();
        let shown = named
            .chars()
            .take(UNKNOWN_APP_CHARACTERS)
            .collect::<String>();
        self.unknown_app.get_or_insert_with(|| shown.into());
    }

    /// A target ends by its outcome.
    pub(crate) fn close(&mut self, target: usize) {
        self.list[target].fate = Fate::Closed;
    }

    /// A target is on disk.
    pub(crate) fn keep(&mut self, target: usize) {
        self.list[target].fate = Fate::Kept;
    }

    /// Whether any target is neither closed nor kept.
    pub(crate) fn is_open(&self) -> bool {
        self.list.iter().any(|known| known.fate == Fate::Open)
    }

    /// The targets that are neither closed nor kept.
    pub(crate) fn open(&self) -> Vec<usize> {
        (0..self.list.len())
            .filter(|target| self.list[*target].fate == Fate::Open)
            .collect()
    }

    /// What was said last of a target.
    pub(crate) fn outcome(&self, target: usize) -> Option<&Outcome> {
        self.list[target]
            .outcome
            .as_ref()
            .map(|(_, outcome)| outcome)
    }

    fn closed(&self) -> impl Iterator<Item = &(Provider, Outcome)> {
        self.list
            .iter()
            .filter(|known| known.fate == Fate::Closed)
            .filter_map(|known| known.outcome.as_ref())
    }

    fn count(&self, which: impl Fn(&Outcome) -> bool) -> usize {
        self.closed().filter(|(_, outcome)| which(outcome)).count()
    }

    fn kept(&self) -> usize {
        self.list
            .iter()
            .filter(|known| known.fate == Fate::Kept)
            .count()
    }
}

/// So much of an unknown app's id is told back.
const UNKNOWN_APP_CHARACTERS: usize = 64;

/// `apns:accepted:Success`, one word a target, for the log.
impl fmt::Display for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, known) in self.list.iter().enumerate() {
            let verdict = match (known.fate, known.outcome) {
                (Fate::Kept, _) => "waiting",
                (_, Some((_, outcome))) => outcome.verdict.label(),
                (_, None) => "open",
            };
            let (provider, cause) = match known.outcome {
                Some((provider, outcome)) => (provider.label(), outcome.cause.label()),
                None => ("-", "-"),
            };
            let space = if index == 0 { "" } else { " " };
            for part in [space, provider, ":", verdict, ":", cause] {
                f.write_str(part)?;
            }
        }
        Ok(())
    }
}

/// How long a sender is asked to wait where no provider names a time.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// The answer, with `accepted_status` for success and `host` as the agent of a Warning. `dice` is any number, evenly distributed.
pub(crate) fn answer(verdicts: &Verdicts, accepted_status: u16, host: &str, dice: u64) -> Answer {
    let all = verdicts.list.len();
    // What is on disk is as good as accepted: it will be tried until its expiry.
    let accepted = verdicts.kept() + verdicts.count(|outcome| outcome.verdict == Verdict::Accepted);
    if accepted == all {
        return Answer::new(accepted_status);
    }
    let deferred = verdicts.count(|outcome| matches!(outcome.verdict, Verdict::Deferred { .. }));
    if deferred > 0 {
        return unavailable(verdicts, deferred, all, dice);
    }
    if accepted > 0 {
        let first = first_reason(verdicts);
        let text = format!(
            "{} of {all} targets were not accepted; the first: {first}",
            all - accepted
        );
        return Answer::new(accepted_status).warning(host.to_owned(), text);
    }
    if verdicts.count(|outcome| matches!(outcome.verdict, Verdict::Gone { .. })) == all {
        return Answer::new(410).reason(first_reason(verdicts));
    }
    if verdicts.count(|outcome| outcome.cause == Cause::Local(Local::PlatformOff)) == all {
        return Answer::new(403).reason(first_reason(verdicts));
    }
    Answer::new(488).reason(first_reason(verdicts))
}

fn unavailable(verdicts: &Verdicts, deferred: usize, all: usize, dice: u64) -> Answer {
    let first = verdicts
        .closed()
        .find(|(_, outcome)| matches!(outcome.verdict, Verdict::Deferred { .. }));
    let first = first
        .map(|(provider, outcome)| verdicts.describe(*provider, outcome))
        .unwrap_or_default();
    Answer::new(503)
        .reason(format!(
            "{deferred} of {all} targets could not be settled in time; the first: {first}"
        ))
        .retry_after(retry_after(verdicts, dice))
}

/// The longest wait that a provider asks for and up to half of it more, in seconds: those who are sent away together do not come
/// back together.
fn retry_after(verdicts: &Verdicts, dice: u64) -> u32 {
    let waits = verdicts
        .closed()
        .filter_map(|(_, outcome)| match outcome.verdict {
            Verdict::Deferred { retry_after, .. } => retry_after,
            _ => None,
        });
    let longest = waits.max().unwrap_or(RETRY_AFTER).as_secs();
    let more = dice % (longest / 2 + 1);
    u32::try_from(longest.saturating_add(more)).unwrap_or(u32::MAX)
}

fn first_reason(verdicts: &Verdicts) -> String {
    let first = verdicts
        .closed()
        .find(|(_, outcome)| outcome.verdict != Verdict::Accepted);
    first
        .map(|(provider, outcome)| verdicts.describe(*provider, outcome))
        .unwrap_or_default()
}

impl Verdicts {
    /// Which service, and why.
    fn describe(&self, provider: Provider, outcome: &Outcome) -> String {
        let unknown = outcome.cause == Cause::Local(Local::UnknownApp);
        match self.unknown_app.as_deref().filter(|_| unknown) {
            Some("") => format!(
                "{}: the body names no app, and none is the default one here",
                provider.display_name()
            ),
            Some(app) => format!(
                "{}: no app {:?} of that environment is configured here",
                provider.display_name(),
                app
            ),
            None => describe(provider, outcome),
        }
    }
}

fn describe(provider: Provider, outcome: &Outcome) -> String {
    let name = provider.display_name();
    match (outcome.verdict, outcome.cause) {
        (Verdict::Gone { since: Some(since) }, cause) => {
            let seconds = since
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs();
            format!(
                "{name}: the device is gone since UNIX time {seconds} ({})",
                cause.label()
            )
        }
        (_, Cause::Local(local)) => format!("{name}: {}", say(local)),
        (Verdict::Gone { since: None }, cause) => {
            format!("{name}: the device is gone ({})", cause.label())
        }
        (Verdict::Refused(RefusedReason::Expired), cause) => {
            format!(
                "{name}: not taken within its time to live: {}",
                cause.label()
            )
        }
        (Verdict::Refused(_), cause) => format!("{name} refused it: {}", cause.label()),
        (Verdict::Deferred { .. }, Cause::Transport(transport)) => {
            format!("{name} could not be asked: {}", transport.label())
        }
        (_, cause) => format!("{name}: {}", cause.label()),
    }
}

/// Why something was decided without a provider.
pub(crate) fn say(local: Local) -> &'static str {
    match local {
        Local::Test => "a test, not forwarded",
        Local::PlatformOff => "this platform is switched off here",
        Local::UnknownApp => "no app of that id and environment is configured here",
        Local::TooLarge => "the notification is too large for this service",
        Local::Expired => "its time to live had passed",
        Local::PrivateAddress => "the channel's host has no public address",
        Local::Deadline => "no answer yet",
        Local::KnownGone => "the device is known to be gone",
        Local::BreakerOpen => "the service has failed too often in a row",
        Local::SpoolFull => "the queue of waiting pushes is full",
        Local::SpoolTrouble => "the disk for waiting pushes is in trouble",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pushrelay_push::{Scope, Transport};

    fn verdicts(outcomes: &[Outcome]) -> Verdicts {
        let mut verdicts = Verdicts::new(outcomes.len());
        for (target, outcome) in outcomes.iter().enumerate() {
            verdicts.note(target, Provider::Apns, *outcome);
            verdicts.close(target);
        }
        verdicts
    }

    const ACCEPTED: Outcome = Outcome {
        verdict: Verdict::Accepted,
        cause: Cause::Local(Local::Test),
        ambiguous: false,
    };
    const GONE: Outcome = Outcome {
        verdict: Verdict::Gone { since: None },
        cause: Cause::Local(Local::Test),
        ambiguous: false,
    };

    fn status(outcomes: &[Outcome]) -> u16 {
        answer(&verdicts(outcomes), 200, "push.example.org", 0).status()
    }

    #[test]
    fn every_mixture_has_its_status() {
        let deferred = Outcome::from(Transport::Connect);
        let off = Local::PlatformOff.outcome();
        let refused = Local::UnknownApp.outcome();
        assert_eq!(status(&[ACCEPTED, ACCEPTED]), 200);
        assert_eq!(status(&[ACCEPTED, GONE]), 200);
        assert_eq!(status(&[ACCEPTED, refused]), 200);
        assert_eq!(status(&[ACCEPTED, deferred]), 503);
        assert_eq!(status(&[GONE, deferred]), 503);
        assert_eq!(status(&[GONE, GONE]), 410);
        assert_eq!(status(&[GONE, refused]), 488);
        assert_eq!(status(&[off]), 403);
        assert_eq!(status(&[off, refused]), 488);
    }

    #[test]
    fn what_is_on_disk_counts_as_accepted() {
        let mut kept = verdicts(&[ACCEPTED, GONE]);
        kept.keep(1);
        assert_eq!(answer(&kept, 200, "push.example.org", 0).status(), 200);
        kept.keep(0);
        assert_eq!(answer(&kept, 202, "push.example.org", 0).status(), 202);
    }

    #[test]
    fn the_longest_wait_is_the_one_that_is_told_and_up_to_half_of_it_more() {
        let wait = |seconds| Outcome {
            verdict: Verdict::Deferred {
                scope: Scope::Device,
                retry_after: Some(Duration::from_secs(seconds)),
            },
            cause: Cause::Transport(Transport::Timeout),
            ambiguous: false,
        };
        for (outcomes, floor) in [
            (&[wait(60), wait(3600), wait(5)][..], 3600),
            (&[Outcome::from(Transport::Connect)], 30),
        ] {
            let verdicts = verdicts(outcomes);
            let told = |dice| retry_after(&verdicts, dice);
            assert_eq!(told(0), floor);
            assert_eq!(told(u64::from(floor / 2)), floor + floor / 2);
            assert_eq!(told(u64::from(floor / 2 + 1)), floor);
        }
    }
}
