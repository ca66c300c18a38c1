//! What has really happened, and what may never happen: the laws are looked at with every event.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use pushrelay_push::mpns::MpnsReason;
use pushrelay_push::{Cause, Outcome, Scope, Service as Provider, Verdict};
use uuid::Uuid;

use super::laws;
use super::plan::{Dice, Plan, Weather};
use super::provider::{self, Answer};
use crate::clock;
use crate::waiting::place;

/// The book of one story, shared by everybody in it.
pub(super) struct Ledger {
    pub(super) plan: Plan,
    state: Mutex<State>,
}

/// What has happened so far.
pub(super) struct State {
    dice: Dice,
    pub(super) messages: Vec<Sent>,
    by_call_id: HashMap<String, usize>,
    pub(super) pushes: HashMap<Uuid, Push>,
    /// Devices that are gone for good.
    gone: HashSet<(Provider, u64)>,
    /// When the relay was told first that a device is gone, true or not.
    pub(super) told_gone: HashMap<(Provider, u64), SystemTime>,
    pub(super) ways: [Way; 2],
    /// When the process died without a word.
    pub(super) deaths: Vec<SystemTime>,
    /// When there was a process: from, until.
    pub(super) lives: Vec<(SystemTime, SystemTime)>,
    history: Vec<(SystemTime, Event)>,
    faults: Vec<String>,
}

/// A MESSAGE as its sender knows it.
#[derive(Default)]
pub(super) struct Sent {
    pub(super) ids: Vec<Uuid>,
    pub(super) at: Vec<SystemTime>,
    /// The answers, with the targets that a Warning counts as lost.
    pub(super) answers: Vec<(SystemTime, u16, usize)>,
    /// Sent and not answered, on connections that live.
    pub(super) open: usize,
}

impl Sent {
    pub(super) fn is_promised(&self) -> bool {
        self.answers.iter().any(|(_, status, _)| *status < 300)
    }
}

/// A target on its way.
pub(super) struct Push {
    pub(super) message: usize,
    pub(super) device: (Provider, u64),
    pub(super) attempts: Vec<Attempt>,
}

/// One time that a provider was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) at: SystemTime,
    pub(super) taken: bool,
    pub(super) told: Option<(SystemTime, Outcome)>,
}

/// The way to one provider in this life.
#[derive(Default)]
pub(super) struct Way {
    /// Pushes out of the spool under way.
    pub(super) backlog: HashSet<Uuid>,
    /// What came of those, in order; whether the provider carried it.
    pub(super) carried: Vec<(SystemTime, bool)>,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Since when there were enough of them for anybody to give up.
    pub(super) dead_since: Option<SystemTime>,
    /// How often it was asked since.
    pub(super) asked_since: u32,
    /// Devices that were called gone or bad, ever.
    pub(super) lost: usize,
}

/// A line of the history.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) enum Event {
    Life,
    Killed,
    Drained,
    Synced,
    Sent(usize),
    Answered(usize, u16),
    Asked(Provider, Uuid),
    Told(Uuid, &'static str),
}

impl Ledger {
    /// An empty book. `ids` are those of each message's targets.
    pub(super) fn new(plan: Plan, ids: Vec<Vec<Uuid>>, dice: Dice) -> Ledger {
        let mut pushes = HashMap::new();
        let mut messages = Vec::new();
        let mut by_call_id = HashMap::new();
        for (index, (message, ids)) in plan.messages.iter().zip(ids).enumerate() {
            by_call_id.insert(message.call_id.clone(), index);
            for (id, device) in ids.iter().zip(&message.devices) {
                let push = Push {
                    message: index,
                    device: *device,
                    attempts: Vec::new(),
                };
                pushes.insert(*id, push);
            }
            messages.push(Sent {
                ids,
                ..Sent::default()
            });
        }
        let state = State {
            dice,
            messages,
            by_call_id,
            pushes,
            gone: HashSet::new(),
            told_gone: HashMap::new(),
            ways: Default::default(),
            deaths: Vec::new(),
            lives: Vec::new(),
            history: Vec::new(),
            faults: Vec::new(),
        };
        Ledger {
            plan,
            state: Mutex::new(state),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A law is broken.
    pub(super) fn fault(&self, what: String) {
        self.lock().fault(what);
    }

    /// Everything that was broken so far, with what led to it; `None` where nothing was.
    pub(super) fn verdict(&self) -> Option<String> {
        let state = self.lock();
        let first = state.faults.first()?;
        let told = |(_, event): &&(SystemTime, Event)| !matches!(event, Event::Synced);
        let history: Vec<_> = state.history.iter().filter(told).collect();
        let from = history.len().saturating_sub(HISTORY);
        let history: Vec<String> = history[from..]
            .iter()
            .map(|(at, event)| format!("{} {event:?}", self.plan.clock(*at)))
            .collect();
        Some(format!("{}\n{first}", history.join("\n")))
    }

    /// A digest of all that has happened.
    pub(super) fn digest(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        self.lock().history.hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn note(&self, event: Event) {
        self.lock().note(event);
    }

    /// A number for whatever the plan leaves open.
    pub(super) fn between(&self, least: Duration, most: Duration) -> Duration {
        self.lock().dice.between(least, most)
    }

    pub(super) fn chance(&self, percent: u64) -> bool {
        self.lock().dice.chance(percent)
    }

    pub(super) fn sent(&self, message: usize) {
        let mut state = self.lock();
        state.note(Event::Sent(message));
        state.messages[message].at.push(clock::wall());
        state.messages[message].open += 1;
    }

    /// The head of an answer has come.
    pub(super) fn answered(&self, head: &str) {
        let mut state = self.lock();
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        let status = field("SIP/2.0 ").and_then(|line| line.get(..3)?.parse::<u16>().ok());
        let message = field("Call-ID: ").and_then(|id| state.by_call_id.get(id).copied());
        let (Some(status), Some(message)) = (status, message) else {
            return state.fault(format!("an answer to nothing: {head}"));
        };
        let lost = field("Warning: 399 ").and_then(|text| {
            let (_, text) = text.split_once('"')?;
            text.split(' ').next()?.parse().ok()
        });
        let now = clock::wall();
        state.note(Event::Answered(message, status));
        laws::answer(&self.plan, &mut state, message, status, now);
        let sent = &mut state.messages[message];
        sent.open = sent.open.saturating_sub(1);
        sent.answers.push((now, status, lost.unwrap_or(0)));
    }

    /// Those that wait for an answer.
    pub(super) fn open(&self) -> usize {
        self.lock().messages.iter().map(|sent| sent.open).sum()
    }

    /// The relay asks a provider to take a push.
    pub(super) fn asked(&self, provider: Provider, id: Uuid) -> Answer {
        let mut state = self.lock();
        let now = clock::wall();
        state.note(Event::Asked(provider, id));
        laws::ask(&self.plan, &mut state, provider, id, now);
        let weather = self.weather(provider, now);
        let state = &mut *state;
        let mut answer = provider::answer(&mut state.dice, provider, weather);
        if let Some(push) = state.pushes.get_mut(&id) {
            let is_up = !matches!(
                weather,
                Weather::Refusing | Weather::Silent | Weather::Unavailable | Weather::Credential
            );
            if is_up && state.gone.contains(&push.device) {
                (answer.outcome, answer.taken) = (provider::gone(provider), false);
            }
            if answer.gone {
                state.gone.insert(push.device);
            }
            push.attempts.push(Attempt {
                at: now,
                taken: answer.taken,
                told: None,
            });
        }
        answer
    }

    /// The relay hears what became of it.
    pub(super) fn told(&self, id: Uuid, outcome: Outcome) {
        let mut state = self.lock();
        let now = clock::wall();
        state.note(Event::Told(id, outcome.cause.label()));
        laws::tell(&mut state, id, outcome, now);
        let state = &mut *state;
        let Some(push) = state.pushes.get_mut(&id) else {
            return;
        };
        if let Some(last) = push.attempts.last_mut() {
            last.told = Some((now, outcome));
        }
        if matches!(outcome.verdict, Verdict::Gone { .. }) {
            state.told_gone.entry(push.device).or_insert(now);
        }
    }

    /// A process begins.
    pub(super) fn lives(&self) {
        let mut state = self.lock();
        let now = clock::wall();
        state.note(Event::Life);
        state.lives.push((now, SystemTime::UNIX_EPOCH));
        // Breakers and ramps begin anew; what was lost is remembered by the table of gone devices.
        for way in &mut state.ways {
            *way = Way {
                lost: way.lost,
                ..Way::default()
            };
        }
    }

    /// A process ends, with or without a word. What was open then is open for ever: its connection is gone.
    pub(super) fn ends(&self, event: Event) {
        let mut state = self.lock();
        let now = clock::wall();
        state.note(event);
        if let Some(life) = state.lives.last_mut() {
            life.1 = now;
        }
        if matches!(event, Event::Killed) {
            state.deaths.push(now);
        }
        for sent in &mut state.messages {
            sent.open = 0;
        }
    }

    /// What it is like at a provider.
    pub(super) fn weather(&self, provider: Provider, now: SystemTime) -> Weather {
        let since = now.duration_since(self.plan.begin).unwrap_or_default();
        let list = &self.plan.weather[place(provider)];
        let found = list.iter().find(|(until, _)| since < *until);
        found.map_or(Weather::Clear, |(_, weather)| *weather)
    }
}

impl State {
    pub(super) fn fault(&mut self, what: String) {
        self.faults.push(what);
    }

    fn note(&mut self, event: Event) {
        self.history.push((clock::wall(), event));
    }

    /// A number for the dice of the relay.
    pub(super) fn roll(&mut self) -> u64 {
        self.dice.next()
    }

    /// Whether the process has died without a word since.
    pub(super) fn died_since(&self, moment: SystemTime) -> bool {
        self.deaths.iter().any(|death| *death >= moment)
    }
}

/// The least that a push has to wait after this, whatever else.
pub(super) fn floor(outcome: &Outcome, told: SystemTime) -> Duration {
    let Verdict::Deferred { retry_after, .. } = outcome.verdict else {
        return Duration::ZERO;
    };
    let asked = retry_after.unwrap_or_default();
    let day = Duration::from_secs(86_400);
    if outcome.cause != Cause::Mpns(MpnsReason::DayQuota) {
        return asked.min(day);
    }
    let since_epoch = told.duration_since(SystemTime::UNIX_EPOCH);
    let since_epoch = since_epoch.unwrap_or_default();
    let days = since_epoch.as_secs() / 86_400;
    asked.max(Duration::from_secs((days + 1) * 86_400) - since_epoch)
}

/// Whether an outcome says that the provider or the app is in trouble.
pub(super) fn is_failure(outcome: &Outcome) -> bool {
    matches!(
        outcome.verdict,
        Verdict::Deferred {
            scope: Scope::Provider | Scope::App,
            ..
        }
    )
}

/// How much of the history a broken law shows.
const HISTORY: usize = 60;
