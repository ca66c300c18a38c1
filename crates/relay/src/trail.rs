//! What became of the MESSAGEs of late, step by step, in a ring in memory: what `pushrelay explain` asks.
//!
//! Written on the hot path, so a step is a value of fixed size that goes into its place under one short lock of one of sixteen
//! shards: nothing is formatted, allocated or looked up. The oldest makes room. Not here: what the steps mean to a person
//! (`operator::story`).

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use pushrelay_push::{Outcome, Service as Provider};
use uuid::Uuid;

use crate::metrics::{Ending, Refusal};

const SHARDS: usize = 16;

/// A MESSAGE to one device makes two steps, and one that waits some six.
const STEPS_PER_MESSAGE: usize = 4;

/// The most that one MESSAGE may cost in memory, with its steps: 32768 of them cost at most 18 MiB.
const MESSAGE_BYTES: usize = 160 + STEPS_PER_MESSAGE * 104;

const _: () =
    assert!(size_of::<Message>() + STEPS_PER_MESSAGE * size_of::<Step>() <= MESSAGE_BYTES);

/// Of the MESSAGEs that were over their partner's rate one in so many places is kept at most: a flood shall not drive out all others.
const REFUSED_PART: usize = 8;

/// So many places are read under one lock, so that a question holds nobody up for long: some 100 kB.
const LOOK: usize = 1024;

/// All that is remembered.
pub(crate) struct Trail {
    /// When it began, by both clocks: a step's moment is taken from the one that is at hand.
    began: (Instant, SystemTime),
    next: AtomicU64,
    messages: [Mutex<Messages>; SHARDS],
    steps: [Mutex<Ring<Step>>; SHARDS],
}

/// Where a MESSAGE is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    number: u64,
    /// Where in its shard.
    index: usize,
    /// When it came.
    at: Instant,
}

/// A MESSAGE as it came, and how it was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    number: u64,
    /// When its last byte came.
    pub(crate) received: Instant,
    /// Its Call-ID.
    pub(crate) call_id: CallId,
    /// The number of its CSeq.
    pub(crate) cseq: u32,
    /// The account of its partner; `None` for a stranger.
    pub(crate) account: Option<u32>,
    /// The same MESSAGE had come before: it made no pushes of its own.
    pub(crate) repeats: bool,
    /// What the sender was told.
    pub(crate) answered: Option<Answered>,
}

/// What a sender was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    /// The SIP status.
    pub(crate) status: u16,
    /// Why it was refused at the door, where it was.
    pub(crate) refusal: Option<Refusal>,
    /// How long it took.
    pub(crate) took: Duration,
}

/// A Call-ID; of a longer one, its first bytes and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallId {
    length: u32,
    bytes: [u8; CallId::BYTES],
}

impl CallId {
    /// Lync's are 32 bytes, most others below 64.
    const BYTES: usize = 68;

    /// Of a Call-ID as it came.
    pub(crate) fn new(text: &[u8]) -> CallId {
        let mut bytes = [0; CallId::BYTES];
        let kept = text.len().min(CallId::BYTES);
        bytes[..kept].copy_from_slice(&text[..kept]);
        CallId {
            length: u32::try_from(text.len()).unwrap_or(u32::MAX),
            bytes,
        }
    }

    /// As far as it is kept.
    pub(crate) fn kept(&self) -> &[u8] {
        &self.bytes[..CallId::BYTES.min(self.length as usize)]
    }

    /// Whether that is all of it.
    pub(crate) fn is_whole(&self) -> bool {
        self.length as usize <= CallId::BYTES
    }
}

/// Something that happened to a push.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Whose step it is: the id at the provider.
    pub(crate) push: Uuid,
    /// When.
    pub(crate) at: Instant,
    /// What.
    pub(crate) what: What,
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// It is a target of a MESSAGE.
    Target {
        /// The number of which.
        message: u64,
        /// Its place in the body, from 0.
        index: u8,
        /// The provider that reaches it.
        service: Provider,
    },
    /// The provider was asked, or something was decided instead.
    Attempt {
        /// The app that it went to, where there is one of that name.
        app: Option<Arc<str>>,
        /// What was said or happened.
        outcome: Outcome,
        /// How long the provider took; `None` where it was not asked.
        took: Option<Duration>,
    },
    /// It is on disk.
    Kept {
        /// Not to be tried before.
        due: SystemTime,
    },
    /// The dispatcher has taken it up.
    Leased {
        /// How often it was deferred before.
        deferred: u32,
    },
    /// It goes on waiting on disk.
    Deferred {
        /// Not to be tried before.
        until: SystemTime,
    },
    /// It is over.
    Ended(Ending),
    /// An operator has made it due at once.
    Retried,
}

impl Trail {
    /// Of the last `messages`; of none where that is 0.
    pub(crate) fn new(messages: usize, now: (Instant, SystemTime)) -> Trail {
        let places = messages.div_ceil(SHARDS);
        Trail {
            began: now,
            next: AtomicU64::new(0),
            messages: std::array::from_fn(|_| {
                Mutex::new(Messages {
                    ring: Ring::new(places),
                    refused: VecDeque::new(),
                })
            }),
            steps: std::array::from_fn(|_| Mutex::new(Ring::new(places * STEPS_PER_MESSAGE))),
        }
    }

    /// A MESSAGE has come.
    pub(crate) fn received(
        &self,
        call_id: &[u8],
        cseq: u32,
        account: Option<usize>,
        at: Instant,
    ) -> Place {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let message = Message {
            number,
            received: at,
            call_id: CallId::new(call_id),
            cseq,
            account: account.and_then(|number| u32::try_from(number).ok()),
            repeats: false,
            answered: None,
        };
        let index = lock(&self.messages[shard_of(number)]).put(message);
        Place { number, index, at }
    }

    /// A MESSAGE makes a push.
    pub(crate) fn target(&self, place: Place, target: usize, push: Uuid, service: Provider) {
        let what = What::Target {
            message: place.number,
            // A body names 16 at most.
            index: u8::try_from(target).unwrap_or(u8::MAX),
            service,
        };
        self.step(push, place.at, what);
    }

    /// It has come before.
    pub(crate) fn repeats(&self, place: Place) {
        self.amend(place, |_, message| message.repeats = true);
    }

    /// Its sender was told.
    pub(crate) fn answered(&self, place: Place, answered: Answered) {
        self.amend(place, |refused, message| {
            message.answered = Some(answered);
            if answered.refusal == Some(Refusal::OverRate) {
                refused.push_back(place);
            }
        });
    }

    /// Something has happened to a push.
    pub(crate) fn step(&self, push: Uuid, at: Instant, what: What) {
        lock(&self.steps[shard_of_push(push)]).put(Step { push, at, what });
    }

    /// The MESSAGEs of a Call-ID, oldest first.
    pub(crate) fn messages_of_call(&self, call_id: &[u8]) -> Vec<Message> {
        let wanted = CallId::new(call_id);
        let mut found = Vec::new();
        for shard in &self.messages {
            look(
                shard,
                |shard| &shard.ring.list,
                |message| {
                    if message.call_id == wanted {
                        found.push(*message);
                    }
                },
            );
        }
        found.sort_by_key(|message| message.number);
        found
    }

    /// One MESSAGE, where it is still remembered.
    pub(crate) fn message(&self, number: u64) -> Option<Message> {
        let mut found = None;
        look(
            &self.messages[shard_of(number)],
            |shard| &shard.ring.list,
            |message| {
                if message.number == number {
                    found = Some(*message);
                }
            },
        );
        found
    }

    /// The pushes of MESSAGEs, in the order of the bodies.
    pub(crate) fn pushes_of(&self, messages: &[Message]) -> Vec<Uuid> {
        let numbers: Vec<u64> = messages.iter().map(|message| message.number).collect();
        let mut found = BTreeSet::new();
        for shard in &self.steps {
            look(
                shard,
                |shard| &shard.list,
                |step| {
                    if let What::Target { message, index, .. } = step.what
                        && numbers.contains(&message)
                    {
                        found.insert((message, index, step.push));
                    }
                },
            );
        }
        found.into_iter().map(|(_, _, push)| push).collect()
    }

    /// The steps of one push, oldest first.
    pub(crate) fn steps(&self, push: Uuid) -> Vec<Step> {
        let mut found = Vec::new();
        look(
            &self.steps[shard_of_push(push)],
            |shard| &shard.list,
            |step| {
                if step.push == push {
                    found.push(step.clone());
                }
            },
        );
        // Whoever notes a step last need not have seen it last.
        found.sort_by_key(|step| step.at);
        found
    }

    /// The moment of a step by the clock on the wall.
    pub(crate) fn moment(&self, at: Instant) -> SystemTime {
        let (instant, moment) = self.began;
        moment + at.saturating_duration_since(instant)
    }

    /// The oldest MESSAGE that is remembered.
    pub(crate) fn reaches_back_to(&self) -> Option<SystemTime> {
        let mut oldest = None;
        for shard in &self.messages {
            look(
                shard,
                |shard| &shard.ring.list,
                |message| {
                    oldest = Some(
                        oldest.map_or(message.received, |at: Instant| at.min(message.received)),
                    );
                },
            );
        }
        oldest.map(|at| self.moment(at))
    }

    fn amend(&self, place: Place, change: impl FnOnce(&mut VecDeque<Place>, &mut Message)) {
        let mut shard = lock(&self.messages[shard_of(place.number)]);
        let Messages { ring, refused } = &mut *shard;
        let message = ring.list.get_mut(place.index);
        if let Some(message) = message.filter(|message| message.number == place.number) {
            change(refused, message);
        }
    }
}

impl Place {
    /// Of what is no MESSAGE.
    pub(crate) fn nowhere(at: Instant) -> Place {
        Place {
            number: u64::MAX,
            index: usize::MAX,
            at,
        }
    }
}

/// One shard's MESSAGEs.
struct Messages {
    ring: Ring<Message>,
    /// Those that were over their partner's rate, the oldest first; some may have been overwritten.
    refused: VecDeque<Place>,
}

impl Messages {
    /// Says at which index.
    fn put(&mut self, message: Message) -> usize {
        while self.refused.len() > self.ring.places / REFUSED_PART {
            let oldest = self.refused.pop_front();
            if let Some(Place { number, index, .. }) = oldest
                && let Some(place) = self.ring.list.get_mut(index)
                && place.number == number
            {
                *place = message;
                return index;
            }
        }
        self.ring.put(message)
    }
}

/// What came last, the oldest overwritten first.
struct Ring<T> {
    list: Vec<T>,
    places: usize,
    next: usize,
}

impl<T> Ring<T> {
    fn new(places: usize) -> Ring<T> {
        Ring {
            // Untouched memory costs nothing yet.
            list: Vec::with_capacity(places),
            places,
            next: 0,
        }
    }

    /// Says at which index.
    fn put(&mut self, value: T) -> usize {
        let index = self.next;
        if self.list.len() < self.places {
            self.list.push(value);
        } else if let Some(oldest) = self.list.get_mut(index) {
            *oldest = value;
        }
        self.next = (index + 1).checked_rem(self.places).unwrap_or(0);
        index
    }
}

fn shard_of(number: u64) -> usize {
    // The remainder is below the number of shards.
    (number % SHARDS as u64) as usize
}

fn shard_of_push(push: Uuid) -> usize {
    // The last byte is evenly distributed: of a digest or drawn.
    usize::from(push.as_bytes()[15]) % SHARDS
}

/// Shows everything in a list, not all of it under one lock; what is written meanwhile may be seen or not.
fn look<L, T>(list: &Mutex<L>, of: impl Fn(&L) -> &Vec<T>, mut visit: impl FnMut(&T)) {
    let mut seen = 0;
    loop {
        let guard = lock(list);
        let Some(rest) = of(&guard).get(seen..).filter(|rest| !rest.is_empty()) else {
            return;
        };
        rest.iter().take(LOOK).for_each(&mut visit);
        seen += LOOK;
    }
}

fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing below the lock can panic; a poisoned one would still hold sound values.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pushrelay_push::Local;

    fn trail(messages: usize) -> Trail {
        Trail::new(messages, (Instant::now(), SystemTime::UNIX_EPOCH))
    }

    fn push(number: u64) -> Uuid {
        Uuid::from_u64_pair(7, number)
    }

    #[test]
    fn a_message_is_found_by_its_call_id_and_leads_to_its_pushes() {
        let (trail, now) = (trail(100), Instant::now());
        let one = trail.received(b"one", 1, Some(3), now);
        let other = trail.received(b"other", 1, None, now);
        trail.target(one, 1, push(1), Provider::Apns);
        trail.target(one, 0, push(2), Provider::Mpns);
        trail.target(other, 0, push(3), Provider::Apns);
        trail.answered(
            one,
            Answered {
                status: 200,
                refusal: None,
                took: Duration::from_millis(5),
            },
        );
        let found = trail.messages_of_call(b"one");
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].number, found[0].account), (one.number, Some(3)));
        assert_eq!(found[0].answered.map(|answered| answered.status), Some(200));
        assert_eq!(
            trail.pushes_of(&found),
            [push(2), push(1)],
            "in the order of the body"
        );
        assert!(trail.messages_of_call(b"on").is_empty());
        assert_eq!(
            trail.message(other.number).map(|message| message.account),
            Some(None)
        );
    }

    #[test]
    fn long_call_ids_that_begin_alike_are_told_apart_by_their_length() {
        let (trail, now) = (trail(100), Instant::now());
        let long = [b'x'; 100];
        trail.received(&long, 1, None, now);
        assert_eq!(trail.messages_of_call(&long).len(), 1);
        assert!(trail.messages_of_call(&long[..99]).is_empty());
        let message = trail.messages_of_call(&long)[0];
        assert_eq!(
            (message.call_id.kept().len(), message.call_id.is_whole()),
            (68, false)
        );
    }

    #[test]
    fn steps_come_out_in_the_order_of_their_moments() {
        let (trail, now) = (trail(100), Instant::now());
        let later = now + Duration::from_secs(1);
        trail.step(push(1), later, What::Ended(Ending::Accepted));
        let outcome = Local::BreakerOpen.outcome();
        let attempt = What::Attempt {
            app: None,
            outcome,
            took: None,
        };
        trail.step(push(1), now, attempt);
        let moments: Vec<Instant> = trail.steps(push(1)).iter().map(|step| step.at).collect();
        assert_eq!(moments, [now, later]);
        assert!(trail.moment(later) > SystemTime::UNIX_EPOCH);
    }

    #[test]
    fn the_oldest_make_room_and_memory_is_bounded() {
        let (trail, now) = (trail(1000), Instant::now());
        for number in 0..10_000_u64 {
            let place = trail.received(&number.to_be_bytes(), 1, None, now);
            for index in 0..8 {
                trail.target(
                    place,
                    index,
                    push(number * 8 + index as u64),
                    Provider::Apns,
                );
            }
        }
        let kept: usize = trail
            .messages
            .iter()
            .map(|shard| lock(shard).ring.list.len())
            .sum();
        assert_eq!(kept, 1008, "the next multiple of the shards");
        let steps: usize = trail.steps.iter().map(|shard| lock(shard).list.len()).sum();
        assert_eq!(steps, 1008 * STEPS_PER_MESSAGE);
        assert!(trail.messages_of_call(&1_u64.to_be_bytes()).is_empty());
        let last = trail.messages_of_call(&9_999_u64.to_be_bytes());
        assert_eq!(trail.pushes_of(&last).len(), 8);
        assert!(trail.message(1).is_none(), "its place is another's now");
    }

    #[test]
    fn a_flood_over_its_rate_drives_out_an_eighth_of_the_others_at_most() {
        let (trail, now) = (trail(1600), Instant::now());
        let refused = Answered {
            status: 503,
            refusal: Some(Refusal::OverRate),
            took: Duration::ZERO,
        };
        let name = |number: u64| number.to_be_bytes();
        for number in 0..1600 {
            trail.received(&name(number), 1, None, now);
        }
        for number in 1600..50_000 {
            let place = trail.received(&name(number), 1, None, now);
            trail.answered(place, refused);
        }
        let is_kept = |number: &u64| !trail.messages_of_call(&name(*number)).is_empty();
        let others = (0..1600).filter(is_kept).count();
        assert!(others >= 1600 - 1600 / 8 - SHARDS, "{others} of 1600");
        assert!((49_900..50_000).all(|number| is_kept(&number)));
        // When it is over, the others have their places again.
        for number in 60_000..61_600 {
            trail.received(&name(number), 1, None, now);
        }
        let others = (60_000..61_600).filter(is_kept).count();
        assert!(others >= 1600 - SHARDS, "{others} of 1600");
    }

    #[test]
    fn with_no_places_nothing_is_remembered() {
        let (trail, now) = (trail(0), Instant::now());
        let place = trail.received(b"one", 1, None, now);
        trail.target(place, 0, push(1), Provider::Apns);
        trail.repeats(place);
        assert!(trail.messages_of_call(b"one").is_empty() && trail.steps(push(1)).is_empty());
        assert_eq!(trail.reaches_back_to(), None);
    }
}
