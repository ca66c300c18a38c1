//! What the process knows of its partners, by their names: it outlives every reload of the rules.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::{IntCounter, IntCounterVec};
use tokio::sync::Semaphore;

use crate::clock;
use crate::metrics::Metrics;
use crate::rate::Bucket;

/// One partner's account.
#[derive(Debug)]
pub(crate) struct Account {
    /// A number that no other account of this process has.
    pub(crate) number: usize,
    /// Its MESSAGEs.
    pub(crate) received: IntCounter,
    /// Those of them that came faster than it may send.
    pub(crate) over_rate: IntCounter,
    /// What is left of its rate.
    pub(crate) bucket: Bucket,
    /// A permit for each connection that it may have.
    pub(crate) connections: Arc<Semaphore>,
}

/// All accounts. One whose partner was removed is kept, so that counters never fall; there are no more than the operator has had names.
pub(crate) struct Accounts {
    received: IntCounterVec,
    over_rate: IntCounterVec,
    connections: usize,
    by_name: Mutex<HashMap<Box<str>, Arc<Account>>>,
}

impl Accounts {
    /// None yet; each will count in `metrics` and may have this many connections.
    pub(crate) fn new(metrics: &Metrics, connections: usize) -> Accounts {
        Accounts {
            received: metrics.messages_received.clone(),
            over_rate: metrics.messages_over_rate.clone(),
            connections,
            by_name: Mutex::default(),
        }
    }

    /// Whose account has this number.
    pub(crate) fn name(&self, number: usize) -> Option<Box<str>> {
        let by_name = self.lock();
        let mut accounts = by_name.iter();
        let found = accounts.find(|(_, account)| account.number == number);
        found.map(|(name, _)| name.clone())
    }

    /// The account of the partner of this name, opened when there is none.
    pub(crate) fn of(&self, name: &str) -> Arc<Account> {
        let mut by_name = self.lock();
        if let Some(account) = by_name.get(name) {
            return account.clone();
        }
        let account = Arc::new(Account {
            number: by_name.len(),
            received: self.received.with_label_values(&[name]),
            over_rate: self.over_rate.with_label_values(&[name]),
            bucket: Bucket::new(clock::now()),
            connections: Arc::new(Semaphore::new(self.connections)),
        });
        by_name.insert(name.into(), account.clone());
        account
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<Account>>> {
        // Nothing below the lock can panic; a poisoned one would still hold sound values.
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
