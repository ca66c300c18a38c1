//! A seeded simulation: the relay's own code between an Edge and two providers that are played, with power cuts.
//!
//! From the bytes of SIP to the composed request everything is the daemon's, over the real spool in a real file; time stands still
//! while anything can go on, and jumps where everybody waits. Not here: TLS and TCP, the providers' connections
//! (`pushrelay_providers` has its own random tests over sockets), and what a bad disk does to a file (`pushrelay_spool` has).
//!
//! ```text
//! cargo test -p pushrelay simulation                            # 100 seeds
//! SEEDS=10000 cargo test --release -p pushrelay simulation      # as many
//! SEED=7 cargo test -p pushrelay simulation                     # this one
//! ```
#![allow(clippy::unwrap_used)]

mod edge;
mod laws;
mod ledger;
mod life;
mod plan;
mod provider;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pushrelay_push::body::{Body, Decoders};
use pushrelay_push::{ChannelPolicy, RequestIdentity, push_id};
use uuid::Uuid;

use ledger::Ledger;
use life::Stage;
use plan::{Dice, Plan};
pub(crate) use provider::Script;

/// How many seeds are played where nobody says how many.
const SEEDS: u64 = 100;

#[test]
fn whatever_happens_every_promise_is_kept_and_the_books_balance() {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    };
    let stage = Stage::new();
    let next = AtomicU64::new(seeds.start);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || -> Result<(), String> {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return Ok(());
            }
            if let Err(why) = story(&stage, seed) {
                // The others need not go on.
                next.store(seeds.end, Ordering::Relaxed);
                return Err(format!("{why}\n\nSEED={seed} plays this again"));
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            if let Err(why) = worker.join().unwrap() {
                panic!("{why}");
            }
        }
    });
}

#[test]
fn a_seed_tells_the_same_story_every_time() {
    let stage = Stage::new();
    let digests = |_| (0..10).map(|seed| story(&stage, seed).unwrap()).collect();
    let [first, second]: [Vec<u64>; 2] = [0, 1].map(digests);
    assert_eq!(first, second);
    assert!(first.windows(2).all(|pair| pair[0] != pair[1]));
}

/// Plays one seed to its end; a digest of all that has happened.
fn story(stage: &Stage, seed: u64) -> Result<u64, String> {
    let plan = Plan::of(seed);
    stage.set(seed, &plan);
    let ids = ids(&plan);
    let ledger = Arc::new(Ledger::new(plan, ids, Dice::new(!seed)));
    let mut wall = ledger.plan.begin;
    let mut next = 0;
    let lives = ledger.plan.lives.iter().copied().map(Some).chain([None]);
    for life in lives {
        wall = life::live(stage, &ledger, seed, life, wall, &mut next);
        if let Some(why) = ledger.verdict() {
            return Err(why);
        }
        wall += life.map_or_else(Default::default, |life| life.pause);
    }
    laws::ended(&ledger, wall);
    stage.clear(seed);
    ledger.verdict().map_or_else(|| Ok(ledger.digest()), Err)
}

/// Under which id each target of each message will be known.
fn ids(plan: &Plan) -> Vec<Vec<Uuid>> {
    let decoders = Decoders::new(ChannelPolicy {
        hosts: vec!["127.0.0.1".to_owned()],
        ..ChannelPolicy::default()
    });
    let of = |message: &plan::Message| {
        let body = Body {
            content_type: Some("application/vnd.pushrelay+json; v=1"),
            bytes: message.body.as_bytes(),
        };
        let notification = decoders.decode(body).unwrap();
        let identity = RequestIdentity {
            call_id: message.call_id.as_bytes(),
            cseq: 1,
            from_tag: b"kim",
        };
        let targets = 0..notification.targets.len();
        targets
            .map(|target| push_id(&notification, target, identity))
            .collect()
    };
    plan.messages.iter().map(of).collect()
}
