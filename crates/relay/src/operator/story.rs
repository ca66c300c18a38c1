//! What became of a MESSAGE or a push, told to a person: what happened, where it stands, who must act and what to do.
//!
//! Out of the trail, which forgets, and of the spool, which keeps what waits.

use std::time::SystemTime;

use pushrelay_push::record::{self, Record};
use pushrelay_push::{Cause, Device, Local, Outcome, Service as Provider, Target, Verdict};
use pushrelay_spool::Summary;
use uuid::Uuid;

use super::ask::{
    Contents, Digest, EntryLine, EntryStory, Explanation, Fault, MessageStory, Moment,
    ProviderName, PushStory, Refused, Standing, StepLine,
};
use super::desk::{Desk, line};
use crate::gone;
use crate::log::printable;
use crate::metrics::Ending;
use crate::service::Service;
use crate::trail::{Message, Step, Trail, What};

/// Of a Call-ID that more MESSAGEs have in common, the last ones are told of.
const MESSAGES: usize = 16;

/// What became of the MESSAGEs of a Call-ID, or of the push of this id: a Call-ID may look like one.
pub(super) async fn explain(
    desk: &Desk,
    text: &str,
    now: SystemTime,
) -> Result<Explanation, Refused> {
    let mut told = Explanation {
        messages: Vec::new(),
        pushes: Vec::new(),
        remembers_since: None,
    };
    let mut ids = Vec::new();
    if let Some(daemon) = &desk.daemon {
        let trail = &daemon.trail;
        told.remembers_since = trail.reaches_back_to().map(Moment);
        let mut messages = trail.messages_of_call(text.as_bytes());
        messages.drain(..messages.len().saturating_sub(MESSAGES));
        ids = trail.pushes_of(&messages);
        let stories = messages.iter().map(|found| message(daemon, found));
        told.messages.extend(stories);
    }
    if let Ok(id) = Uuid::parse_str(text)
        && !ids.contains(&id)
    {
        let story = push(desk, id, now).await?;
        if story.entry.is_some() || !story.steps.is_empty() {
            told.messages.extend(message_of(desk, id));
            told.pushes.push(story);
        }
    }
    for id in ids {
        told.pushes.push(push(desk, id, now).await?);
    }
    if told.messages.is_empty() && told.pushes.is_empty() {
        return Err(unknown(&told));
    }
    Ok(told)
}

/// One entry and all that is known of it.
pub(super) async fn entry(desk: &Desk, id: Uuid, now: SystemTime) -> Result<EntryStory, Refused> {
    let Some((summary, bytes)) = desk.spool()?.spool().show(id, now).await? else {
        return Err(Refused {
            kind: Fault::NotThere,
            error: format!("no entry {id} in the spool: delivered, dropped, or never there"),
        });
    };
    let (push, unreadable) = match record::decode(&bytes) {
        Ok(record) => (Some(contents(desk, &record)), None),
        Err(error) => (None, Some(error.to_string())),
    };
    Ok(EntryStory {
        story: tell(desk, id, Some(&summary)),
        entry: line(summary),
        push,
        unreadable,
    })
}

fn unknown(told: &Explanation) -> Refused {
    let error = match told.remembers_since {
        Some(since) => format!(
            "no such Call-ID or apns-id in the spool, nor among the MESSAGEs since {}",
            seconds(since.0)
        ),
        None => "no such Call-ID or apns-id in the spool, and nothing else is remembered".into(),
    };
    Refused {
        kind: Fault::NotThere,
        error,
    }
}

/// The MESSAGE that a push came with, where both are remembered.
fn message_of(desk: &Desk, push: Uuid) -> Option<MessageStory> {
    let daemon = desk.daemon.as_ref()?;
    let steps = daemon.trail.steps(push);
    let number = steps.iter().find_map(|step| match step.what {
        What::Target { message, .. } => Some(message),
        _ => None,
    })?;
    let found = daemon.trail.message(number)?;
    Some(message(daemon, &found))
}

fn message(daemon: &Service, message: &Message) -> MessageStory {
    let answered = message.answered;
    let refusal = answered.and_then(|answered| answered.refusal);
    let mut call_id = printable(message.call_id.kept()).into_owned();
    if !message.call_id.is_whole() {
        call_id.push('…');
    }
    let advice = match (refusal, message.repeats, answered) {
        (Some(refusal), _, _) => Some(refusal.note()),
        (None, true, _) => Some("nobody: the same MESSAGE has come before and is pushed once"),
        (None, false, None) => Some("nobody: it is not answered yet"),
        (None, false, Some(_)) => None,
    };
    MessageStory {
        call_id,
        cseq: message.cseq,
        partner: message
            .account
            .and_then(|number| daemon.accounts.name(number as usize))
            .map(String::from),
        received: Moment(daemon.trail.moment(message.received)),
        repeats: message.repeats,
        status: answered.map(|answered| answered.status),
        answered_after_us: answered.map(|answered| micros(answered.took)),
        refusal: refusal.map(|refusal| refusal.label().to_owned()),
        advice: advice.map(str::to_owned),
    }
}

async fn push(desk: &Desk, id: Uuid, now: SystemTime) -> Result<PushStory, Refused> {
    let found = match &desk.waiting {
        Some(waiting) => waiting.spool().show(id, now).await?,
        None => None,
    };
    Ok(tell(desk, id, found.as_ref().map(|(summary, _)| summary)))
}

/// What is known of a push, with what the spool says of it.
fn tell(desk: &Desk, id: Uuid, summary: Option<&Summary>) -> PushStory {
    let trail = desk.daemon.as_ref().map(|daemon| &daemon.trail);
    let steps = trail.map_or_else(Vec::new, |trail| trail.steps(id));
    let entry = summary.cloned().map(line);
    let named = steps.iter().find_map(|step| match step.what {
        What::Target { service, .. } => Some(service.into()),
        _ => None,
    });
    let service = named.or(entry.as_ref().and_then(|entry| entry.service));
    let (now, advice) = where_it_stands(&steps, entry.as_ref(), service);
    PushStory {
        id,
        service,
        steps: trail.map_or_else(Vec::new, |trail| {
            steps.iter().map(|step| step_line(trail, step)).collect()
        }),
        entry,
        now,
        advice: advice.to_owned(),
    }
}

/// Where a push stands, and who must act.
fn where_it_stands(
    steps: &[Step],
    entry: Option<&EntryLine>,
    service: Option<ProviderName>,
) -> (String, &'static str) {
    let heard = steps.iter().rev().find_map(|step| match &step.what {
        What::Attempt { outcome, .. } => Some(*outcome),
        _ => None,
    });
    let said = entry.and_then(|entry| {
        let word = entry.said.as_deref()?;
        // A grave says "refused: BadDeviceToken".
        let word = word.rsplit(": ").next()?;
        Cause::parse(Provider::from(service?), word)
    });
    let cause = heard.map(|outcome| outcome.cause).or(said);
    let note = |otherwise: &'static str| cause.map_or(otherwise, Cause::note);
    if let Some(entry) = entry {
        return match entry.state {
            Standing::Waiting if entry.under_way => {
                let advice = note("nobody: it is being tried for the first time");
                ("it is being tried just now".into(), advice)
            }
            Standing::Waiting => {
                let due = entry.due.map(|due| seconds(due.0)).unwrap_or_default();
                let advice = note("nobody: it has not been tried yet, or no answer has come yet");
                (
                    format!("it waits on disk and is tried next at {due}"),
                    advice,
                )
            }
            Standing::Buried => (
                "it was given up and is kept on disk".into(),
                note(
                    "the operator: look at what was said; `spool retry` tries again, `spool drop` removes it",
                ),
            ),
            Standing::Parked => (
                "it was set aside, because it cannot be read or nobody survives it".into(),
                "the developers: please report what was said of it; `spool retry` tries again, `spool drop` removes it",
            ),
        };
    }
    let ending = steps.iter().rev().find_map(|step| match step.what {
        What::Ended(ending) => Some(ending),
        _ => None,
    });
    if let Some(ending) = ending {
        return (
            format!("it is over: {}", ending.label()),
            ended(ending, &note),
        );
    }
    match heard {
        Some(Outcome {
            verdict: Verdict::Deferred { .. },
            ..
        }) => (
            "it is not kept here: the sender was told to come again, or is about to hear".into(),
            note(""),
        ),
        Some(outcome) => (format!("it is over: {}", outcome.verdict.label()), note("")),
        None if steps.is_empty() => ("nothing is remembered of it".into(), note("nobody")),
        None => (
            "it is under way: no verdict yet".into(),
            "nobody: the provider has not answered yet",
        ),
    }
}

fn ended(ending: Ending, note: &impl Fn(&'static str) -> &'static str) -> &'static str {
    match ending {
        Ending::Superseded => "nobody: a newer one of the same collapse id has taken its place",
        Ending::Repeated => "nobody: it was on disk, or had been settled, already",
        Ending::Shed => {
            "the operator: it had expired and made room in a full spool; see why the spool is full"
        }
        Ending::Dropped => "nobody: an operator has dropped it",
        Ending::Expired => Local::Expired.note(),
        Ending::Parked => "the developers: it could not be read; please report it",
        Ending::Accepted | Ending::Gone | Ending::Refused | Ending::Unsettled => {
            note("nobody: it is over")
        }
    }
}

fn step_line(trail: &Trail, step: &Step) -> StepLine {
    let mut told = StepLine {
        at: Moment(trail.moment(step.at)),
        step: String::new(),
        text: String::new(),
        verdict: None,
        cause: None,
        app: None,
        took_us: None,
        due: None,
    };
    let (word, text) = match &step.what {
        What::Target { index, service, .. } => (
            "target",
            format!("target {} of its MESSAGE, {}", index + 1, service.label()),
        ),
        What::Attempt { app, outcome, took } => {
            told.verdict = Some(outcome.verdict.label().to_owned());
            told.cause = Some(outcome.cause.label().to_owned());
            told.app = app.as_deref().map(str::to_owned);
            told.took_us = took.map(micros);
            ("attempt", attempt(app.as_deref(), outcome, told.took_us))
        }
        What::Kept { due } => {
            told.due = Some(Moment(*due));
            ("kept", format!("on disk, due {}", seconds(*due)))
        }
        What::Leased { deferred } => (
            "dispatched",
            format!("taken up from disk, deferred {deferred} times before"),
        ),
        What::Deferred { until } => {
            told.due = Some(Moment(*until));
            ("deferred", format!("waits on, due {}", seconds(*until)))
        }
        What::Ended(ending) => ("ended", format!("over: {}", ending.label())),
        What::Retried => ("retried", "an operator has made it due at once".to_owned()),
    };
    told.step = word.to_owned();
    told.text = text;
    told
}

fn attempt(app: Option<&str>, outcome: &Outcome, took_us: Option<u64>) -> String {
    let (verdict, cause) = (outcome.verdict.label(), outcome.cause.label());
    let mut text = match (took_us, app) {
        (None, _) => format!("not sent: {verdict}, {cause}"),
        (Some(us), Some(app)) => format!("sent for {app}: {verdict}, {cause}, after {}", ms(us)),
        (Some(us), None) => format!("sent: {verdict}, {cause}, after {}", ms(us)),
    };
    if let Verdict::Deferred {
        retry_after: Some(wait),
        ..
    } = outcome.verdict
    {
        text.push_str(&format!(", not again within {} s", wait.as_secs()));
    }
    if outcome.ambiguous {
        text.push_str(", perhaps it has arrived all the same");
    }
    text
}

fn contents(desk: &Desk, record: &Record) -> Contents {
    let (origin, notification) = (&record.origin, record.notification());
    let target = notification.targets.first();
    Contents {
        call_id: origin.call_id.escape_debug().to_string(),
        received: Moment(origin.received),
        target: record.index(),
        event: notification.event.name().to_owned(),
        device: target
            .map(|target| device(&target.device))
            .unwrap_or_default(),
        app: target.and_then(|target| target.app.as_deref().map(str::to_owned)),
        digest: target.and_then(|target| digest(desk, target)),
        collapses: notification.collapse.is_some(),
    }
}

/// As in every log: nobody can push to what is shown.
fn device(device: &Device) -> String {
    match device {
        Device::Apple(token) => format!("{token:?}"),
        Device::WindowsPhone(channel) => format!("{channel:?}"),
    }
}

/// As the table of gone devices knows it, which goes by the app that the configuration has.
fn digest(desk: &Desk, target: &Target) -> Option<Digest> {
    let fingerprint = match (&target.device, target.app.as_deref(), &desk.daemon) {
        (Device::WindowsPhone(_), _, _) => gone::fingerprint(target, ""),
        (Device::Apple(_), app, Some(daemon)) => {
            let rules = daemon.rules.load();
            let app = rules.apple.as_ref()?.find(app, target.environment)?;
            gone::fingerprint(target, &app.id)
        }
        (Device::Apple(_), Some(app), None) => gone::fingerprint(target, app),
        (Device::Apple(_), None, None) => return None,
    };
    Some(Digest(fingerprint))
}

fn seconds(moment: SystemTime) -> String {
    humantime::format_rfc3339_seconds(moment).to_string()
}

fn ms(us: u64) -> String {
    format!("{}.{} ms", us / 1000, us % 1000 / 100)
}

fn micros(took: std::time::Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}
