//! The laws: of one answer, of one question to a provider, and of the whole story when it is over.

use std::time::{Duration, SystemTime};

use pushrelay_push::retry::Patience;
use pushrelay_push::{Outcome, Scope, Service as Provider, Verdict};
use uuid::Uuid;

use super::ledger::{Attempt, Ledger, Push, State, floor, is_failure};
use super::plan::{Plan, Weather};
use crate::waiting::place;

/// What the sender may be told, and by when: silence never happens.
pub(super) fn answer(plan: &Plan, state: &mut State, message: usize, status: u16, now: SystemTime) {
    if ![200, 410, 488, 503].contains(&status) {
        state.fault(format!("message {message} is answered {status}"));
    }
    let sent = &state.messages[message];
    let since = sent.at.last().copied().unwrap_or(now);
    let took = now.duration_since(since).unwrap_or_default();
    // Two appends, one after a shed, each behind a sync that has begun.
    if took > plan.reply_within + 6 * plan.sync + Duration::from_millis(10) {
        state.fault(format!("message {message} is answered after {took:?}"));
    }
}

/// May the relay ask a provider for this push, now?
pub(super) fn ask(plan: &Plan, state: &mut State, provider: Provider, id: Uuid, now: SystemTime) {
    let Some(push) = state.pushes.get(&id) else {
        return state.fault(format!("{id} was sent by nobody"));
    };
    let (message, sent) = (&plan.messages[push.message], &state.messages[push.message]);
    let last_sent = sent.at.last().copied().unwrap_or(now);
    let mut broken = Vec::new();
    if message.is_test {
        broken.push("a test is never forwarded".to_owned());
    }
    if let Some(ttl) = message.ttl.filter(|ttl| !ttl.is_zero())
        && seconds(now) >= seconds(last_sent + ttl)
    {
        broken.push("it has expired".to_owned());
    }
    if let Some(last) = push.attempts.last() {
        broken.extend(again(state, last, last_sent, now));
    }
    broken.extend(too_often(state, push));
    if let Some(told) = state.told_gone.get(&push.device).copied()
        && now > told + SETTLING
        && !state.died_since(told)
        && state.ways[place(provider)].lost < WAVE
    {
        broken.push("its device is gone".to_owned());
    }
    // What comes with its MESSAGE is asked for in the same instant; the backlog comes out of the spool, which takes a sync.
    if now > last_sent {
        broken.extend(stampede(plan, state, provider, now));
        state.ways[place(provider)].backlog.insert(id);
    }
    broken.extend(hammering(state, provider, now));
    for what in broken {
        state.fault(format!(
            "{id} is pushed to {}, but {what}",
            provider.label()
        ));
    }
}

/// Whether an attempt may follow the one before. A MESSAGE that came again after it begins anew, and what a process has not
/// written down before it was killed is forgotten.
fn again(state: &State, last: &Attempt, last_sent: SystemTime, now: SystemTime) -> Option<String> {
    let until = last.told.map_or(now, |(told, _)| told + SETTLING);
    let forgotten = state.deaths.iter().any(|d| (last.at..=until).contains(d));
    if forgotten || last_sent > last.at {
        return None;
    }
    match last.told {
        None => Some("it is under way already".to_owned()),
        Some((told, outcome)) => early(told, &outcome, now),
    }
}

fn early(told: SystemTime, outcome: &Outcome, now: SystemTime) -> Option<String> {
    if !matches!(outcome.verdict, Verdict::Deferred { .. }) {
        return Some(format!("it has ended: {}", outcome.cause.label()));
    }
    let wait = floor(outcome, told);
    // The spool counts milliseconds.
    let until = told + wait - Duration::from_millis(1).min(wait);
    (now < until).then(|| format!("{} asked for {wait:?}", outcome.cause.label()))
}

fn too_often(state: &State, push: &Push) -> Option<String> {
    let deferred = deferrals(push);
    // Each death may have forgotten one.
    (deferred >= most_deferrals() + state.deaths.len())
        .then(|| format!("its device has deferred it {deferred} times"))
}

/// How often the device itself has deferred a push.
fn deferrals(push: &Push) -> usize {
    let by_device = |attempt: &&Attempt| {
        attempt.told.is_some_and(|(_, outcome)| {
            let scope = Scope::Device;
            matches!(outcome.verdict, Verdict::Deferred { scope: by, .. } if by == scope)
        })
    };
    push.attempts.iter().filter(by_device).count()
}

/// After so many a push is given up.
fn most_deferrals() -> usize {
    Patience::default().attempts as usize
}

/// After an outage the backlog ramps: never more under way than the provider has shown to carry.
fn stampede(plan: &Plan, state: &State, provider: Provider, now: SystemTime) -> Option<String> {
    let way = &state.ways[place(provider)];
    let under_way = way.backlog.len() + 1;
    let mut limit = 4.min(plan.in_flight);
    for (at, carried) in &way.carried {
        if *carried {
            limit = (limit + 1).min(plan.in_flight);
        } else if now > *at + SETTLING {
            limit = (limit / 2).max(1);
        }
    }
    (under_way > limit.max(1))
        .then(|| format!("{under_way} of the backlog are under way, expected {limit}"))
}

/// A provider that is dead is asked now and then, not by everybody.
fn hammering(state: &mut State, provider: Provider, now: SystemTime) -> Option<String> {
    let way = &mut state.ways[place(provider)];
    let since = way.dead_since?;
    way.asked_since += 1;
    let seconds = now.duration_since(since).unwrap_or_default().as_secs();
    // One at once, then after 1, 2, 4, 8, 16 s and every 30 s, or half of that where the dice want it so.
    let most = 8 + seconds / 14;
    let asked = u64::from(way.asked_since);
    (asked > most).then(|| format!("it is dead and was asked {asked} times in {seconds} s"))
}

/// What an outcome changes on the way.
pub(super) fn tell(state: &mut State, id: Uuid, outcome: Outcome, now: SystemTime) {
    let Some(push) = state.pushes.get(&id) else {
        return;
    };
    let bad = "BadDeviceToken";
    let way = &mut state.ways[place(push.device.0)];
    if matches!(outcome.verdict, Verdict::Gone { .. }) || outcome.cause.label() == bad {
        way.lost += 1;
    }
    if way.backlog.remove(&id) {
        let scope = Scope::Provider;
        let carried =
            !matches!(outcome.verdict, Verdict::Deferred { scope: by, .. } if by == scope);
        way.carried.push((now, carried));
    }
    if is_failure(&outcome) {
        way.failures += 1;
        if way.failures >= FAILURES {
            way.dead_since.get_or_insert(now);
        }
    } else {
        (way.failures, way.dead_since, way.asked_since) = (0, None, 0);
    }
}

/// When all is over: every promise was kept, and nothing was pushed twice without need.
pub(super) fn ended(ledger: &Ledger, now: SystemTime) {
    let mut state = ledger.lock();
    let mut broken = Vec::new();
    for (number, sent) in state.messages.iter().enumerate() {
        let message = &ledger.plan.messages[number];
        if sent.is_promised() && !message.is_test {
            for id in &sent.ids {
                if let Err(why) = kept(ledger, &state, *id, now) {
                    broken.push(format!("message {number}, {id}: answered 2xx, but {why}"));
                }
            }
        }
    }
    for (id, push) in &state.pushes {
        let taken: Vec<&Attempt> = push.attempts.iter().filter(|one| one.taken).collect();
        for pair in taken.windows(2) {
            let [first, second] = pair else { continue };
            let known = first.told.filter(|(_, outcome)| !outcome.ambiguous);
            // What took the fast path is remembered as long as the process: it may come again to the next one.
            let died = state
                .lives
                .iter()
                .any(|(_, end)| (first.at..=second.at).contains(end));
            if known.is_some() && !died {
                let tries = tries(&ledger.plan, &state, push);
                broken.push(format!("{id} was taken twice: {tries}"));
            }
        }
    }
    for what in broken {
        state.fault(what);
    }
}

/// Whether a promised target was delivered, or ended in a way that a sender must expect.
fn kept(ledger: &Ledger, state: &State, id: Uuid, now: SystemTime) -> Result<(), String> {
    let push = &state.pushes[&id];
    let message = &ledger.plan.messages[push.message];
    let sent = &state.messages[push.message];
    let final_word = |attempt: &Attempt| {
        attempt.told.is_some_and(|(_, outcome)| {
            matches!(outcome.verdict, Verdict::Gone { .. } | Verdict::Refused(_))
        })
    };
    if push.attempts.iter().any(|one| one.taken || final_word(one))
        || state.told_gone.contains_key(&push.device)
        || deferrals(push) >= most_deferrals()
    {
        return Ok(());
    }
    let (Some(first), Some(last)) = (sent.at.first(), sent.at.last()) else {
        return Err("it was never sent".to_owned());
    };
    let newer = |other: &Push| {
        let (theirs, at) = (
            &ledger.plan.messages[other.message],
            &state.messages[other.message].at,
        );
        other.device == push.device
            && other.message != push.message
            && theirs.collapse == message.collapse
            && at.iter().any(|at| at >= first)
    };
    if message.collapse.is_some() && state.pushes.values().any(newer) {
        return Ok(());
    }
    let ttl = message.ttl.unwrap_or(DEFAULT_TTL);
    let asked_for_more = |one: &Attempt| {
        let (told, outcome) = one.told?;
        Some(told + floor(&outcome, told) + LAST_CALL >= *first + ttl)
    };
    if push
        .attempts
        .iter()
        .any(|one| asked_for_more(one) == Some(true))
    {
        return Ok(()); // more patience than it had
    }
    if seconds(now) + 1 < seconds(*first + ttl) {
        return Err(format!(
            "it is nowhere: {}",
            tries(&ledger.plan, state, push)
        ));
    }
    if ttl.is_zero() || !was_worth_trying(ledger, state, push, *last, *first + ttl) {
        return Ok(());
    }
    Err(format!(
        "it has expired in fair weather: {}",
        tries(&ledger.plan, state, push)
    ))
}

/// When a push was sent, answered and tried, and when the process died.
fn tries(plan: &Plan, state: &State, push: &Push) -> String {
    let sent = &state.messages[push.message];
    let said = |one: &Attempt| one.told.map_or("nothing", |(_, told)| told.cause.label());
    let mut words: Vec<(SystemTime, String)> = Vec::new();
    words.extend(sent.at.iter().map(|at| (*at, "sent".to_owned())));
    words.extend(
        sent.answers
            .iter()
            .map(|(at, status, _)| (*at, status.to_string())),
    );
    words.extend(
        push.attempts
            .iter()
            .map(|one| (one.at, said(one).to_owned())),
    );
    words.extend(state.deaths.iter().map(|at| (*at, "killed".to_owned())));
    words.sort_by_key(|(at, _)| *at);
    let words = words.into_iter();
    let words = words.map(|(at, what)| format!("{} {what}", plan.clock(at).trim_start()));
    words.collect::<Vec<_>>().join(", ")
}

/// Whether a push could have been delivered all through its last minutes, and should have been tried in them.
fn was_worth_trying(
    ledger: &Ledger,
    state: &State,
    push: &Push,
    sent: SystemTime,
    expiry: SystemTime,
) -> bool {
    let last = push.attempts.last().and_then(|last| last.told);
    let next = match last {
        Some((told, outcome)) => {
            let device = matches!(
                outcome.verdict,
                Verdict::Deferred {
                    scope: Scope::Device,
                    ..
                }
            );
            told + floor(&outcome, told) + if device { 60 * MINUTE } else { 10 * MINUTE }
        }
        None => sent + MINUTE,
    };
    let from = next.max(expiry - PATIENCE.min(expiry.duration_since(sent).unwrap_or_default()));
    let Ok(span) = expiry.duration_since(from) else {
        return false;
    };
    let steps = span.as_secs() / 10;
    let fair = (0..=steps).all(|step| {
        let at = from + Duration::from_secs(10 * step);
        let weather = ledger.weather(push.device.0, at);
        matches!(weather, Weather::Clear | Weather::Slow | Weather::Fair)
    });
    let alive = state
        .lives
        .iter()
        .any(|(begin, end)| *begin <= from && *end >= expiry);
    span >= PATIENCE && fair && alive
}

fn seconds(moment: SystemTime) -> u64 {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

const MINUTE: Duration = Duration::from_secs(60);
/// What a body without `ttl` gets.
const DEFAULT_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest back-off of a provider, an open breaker and its probe, and the ramp.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// What a last attempt needs before the expiry, which is counted in whole seconds.
const LAST_CALL: Duration = Duration::from_secs(2);
/// How long an outcome may take to be written down.
const SETTLING: Duration = Duration::from_secs(3);
/// Failures in a row after which nobody waits for a provider.
const FAILURES: u32 = 8;
/// Lost devices that may be a wave, which nobody believes.
const WAVE: usize = 50;
