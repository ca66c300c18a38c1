//! The books of a proof: what the sender was told and what Apple got, MESSAGE by MESSAGE, life by life of the daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context, ensure};
use pushrelay_peers::FakeApns;

use crate::generator::Tally;
use crate::message;

/// The books.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Answered 200.
    promised: BTreeSet<u64>,
    /// Sent, and not answered 200 yet.
    open: BTreeSet<u64>,
    /// Sent at any time.
    sent: BTreeSet<u64>,
    pushes: BTreeMap<u64, Pushes>,
    /// For each life that has ended, what was unanswered then.
    ends: Vec<BTreeSet<u64>>,
}

/// What Apple got for one MESSAGE.
#[derive(Debug, Default)]
struct Pushes {
    ids: BTreeSet<String>,
    /// The life of the daemon in which each push was accepted.
    accepted: Vec<usize>,
}

/// What the books say when all is well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// MESSAGEs that were answered 200.
    pub promised: u64,
    /// MESSAGEs that were sent.
    pub sent: u64,
    /// Pushes that Apple accepted once more after it had accepted them.
    pub duplicates: u64,
    /// Of these, the ones whose MESSAGE was unanswered when the daemon was killed: the sender has sent it again.
    pub resent: u64,
    /// Of these, the ones between which nobody was killed: Apple's answer never came.
    pub ambiguous: u64,
    /// MESSAGEs that were unanswered at a kill.
    pub unanswered: u64,
}

/// No push was ambiguous.
pub(super) const NOTHING: BTreeSet<String> = BTreeSet::new();

impl Ledger {
    /// Notes what the sender has heard.
    pub(super) fn hear(&mut self, tally: &Tally) {
        for heard in &tally.heard {
            self.sent.insert(heard.number);
            if heard.status == 200 {
                self.open.remove(&heard.number);
                self.promised.insert(heard.number);
            } else {
                self.open.insert(heard.number);
            }
        }
        self.sent.extend(&tally.unanswered);
        self.open.extend(&tally.unanswered);
    }

    /// What a sender would send again.
    pub(super) fn open(&self) -> Vec<u64> {
        self.open.iter().copied().collect()
    }

    /// Takes over what Apple has got in this life of the daemon.
    pub(super) fn take(&mut self, apple: &FakeApns) -> anyhow::Result<()> {
        let life = self.ends.len();
        for push in apple.take_received() {
            let number = message::number_of_token(&push.token)
                .with_context(|| format!("a push to {}, which no MESSAGE names", push.token))?;
            ensure!(
                self.sent.contains(&number),
                "number {number} was pushed and never sent"
            );
            let pushes = self.pushes.entry(number).or_default();
            pushes.ids.insert(push.id.unwrap_or_default());
            if push.accepted {
                pushes.accepted.push(life);
            }
        }
        Ok(())
    }

    /// The daemon was killed: what is open now was in flight.
    pub(super) fn end_life(&mut self) {
        self.ends.push(self.open.clone());
    }

    /// Whether Apple has accepted the push of a MESSAGE.
    pub(super) fn is_pushed(&self, number: u64) -> bool {
        self.pushes
            .get(&number)
            .is_some_and(|pushes| !pushes.accepted.is_empty())
    }

    /// Holds the promises against what Apple got. Every 2xx was pushed, each push under one apns-id only; and what was
    /// pushed twice was in flight at the kill between: its MESSAGE was unanswered, or it was one of at most `dispatched`
    /// that the dispatcher may have under way at once. Where nobody was killed between, its answer was lost on the way, and
    /// the relay has called it `ambiguous`.
    pub(super) fn balance(
        &self,
        dispatched: usize,
        ambiguous: &BTreeSet<String>,
    ) -> anyhow::Result<Balance> {
        let lost: Vec<_> = (self.promised.iter())
            .filter(|number| !self.is_pushed(**number))
            .collect();
        ensure!(lost.is_empty(), "answered 200 and lost: {lost:?}");
        let mut balance = Balance {
            promised: self.promised.len() as u64,
            sent: self.sent.len() as u64,
            unanswered: self.ends.iter().map(|open| open.len() as u64).sum(),
            ..Balance::default()
        };
        let mut dispatched_again = vec![0; self.ends.len()];
        for (number, pushes) in &self.pushes {
            ensure!(
                pushes.ids.len() == 1,
                "number {number} was pushed under more than one apns-id: {:?}",
                pushes.ids
            );
            for pair in pushes.accepted.windows(2) {
                let life = pair[0];
                balance.duplicates += 1;
                if pair[1] == life {
                    ensure!(
                        pushes.ids.is_subset(ambiguous),
                        "number {number} was accepted twice in one life, and not for a lost answer"
                    );
                    balance.ambiguous += 1;
                } else if self.ends[life].contains(number) {
                    balance.resent += 1;
                } else {
                    dispatched_again[life] += 1;
                }
            }
        }
        for (life, again) in dispatched_again.into_iter().enumerate() {
            ensure!(
                again <= dispatched,
                "{again} pushes were dispatched again after the end of life {life}; at most {dispatched} were under way"
            );
        }
        Ok(balance)
    }
}

impl Balance {
    /// Adds another balance to this one.
    pub(super) fn add(&mut self, other: Balance) {
        self.promised += other.promised;
        self.sent += other.sent;
        self.duplicates += other.duplicates;
        self.resent += other.resent;
        self.ambiguous += other.ambiguous;
        self.unanswered += other.unanswered;
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} MESSAGEs, {} answered 200, 0 of them lost; {} unanswered at a kill; {} pushed again, always under the same \
             apns-id: {} because the sender sent them again, {} because Apple's answer was lost, {} that the dispatcher had \
             under way at a kill",
            self.sent,
            self.promised,
            self.unanswered,
            self.duplicates,
            self.resent,
            self.ambiguous,
            self.duplicates - self.resent - self.ambiguous,
        )
    }
}
