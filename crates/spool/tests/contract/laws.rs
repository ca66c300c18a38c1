//! The laws, one function each.

use std::time::Duration;

use pushrelay_spool::{
    Altered, Appended, Bound, Count, Cursor, Entry, Filter, Gone, Lane, Lease, Options, Selection,
    Settled, Settlement, SpoolError, State,
};
use uuid::Uuid;

use super::{A, B, HOLD, Verbs, at, entry, id, key};

async fn open<S: Verbs>() -> (S, S::Place) {
    S::open(Options::default()).await
}

async fn append<S: Verbs>(spool: &S, entries: impl IntoIterator<Item = Entry>) -> Appended {
    spool
        .append(entries.into_iter().collect(), at(0))
        .await
        .unwrap()
}

async fn lease<S: Verbs>(spool: &S, limit: usize, seconds: u64) -> Vec<Lease> {
    let leases = spool.lease(A, limit, HOLD, at(seconds)).await.unwrap();
    leases.list
}

async fn lease_one<S: Verbs>(spool: &S, seconds: u64) -> Lease {
    let mut list = lease(spool, 1, seconds).await;
    list.pop().expect("an entry that is due")
}

async fn settle<S: Verbs>(spool: &S, lease: Lease, settlement: Settlement) -> Settled {
    spool.settle(lease, settlement, at(1)).await.unwrap()
}

fn defer(seconds: u64, counts: bool) -> Settlement {
    Settlement::Defer {
        until: at(seconds),
        counts,
        said: "busy",
    }
}

fn altered(number: u64, was: State) -> Altered {
    Altered {
        id: id(number),
        lane: A,
        was,
    }
}

fn bury(reason: &str) -> Settlement {
    Settlement::Bury {
        reason: reason.to_owned(),
    }
}

fn ids(leases: &[Lease]) -> Vec<Uuid> {
    leases.iter().map(|lease| lease.id).collect()
}

async fn count<S: Verbs>(spool: &S, lane: Lane, state: State) -> u64 {
    spool.stats(at(2)).await.unwrap().count(lane, state).entries
}

pub(crate) async fn what_is_appended_comes_out_when_it_is_due<S: Verbs>() {
    let (spool, _place) = open::<S>().await;
    let later = Entry {
        due: at(10),
        expiry: Some(at(100)),
        ..entry(1)
    };
    let soon = Entry {
        due: at(5),
        ..entry(2)
    };
    append(&spool, [later.clone(), soon]).await;

    let leases = spool.lease(A, 10, HOLD, at(4)).await.unwrap();
    assert!(leases.list.is_empty());
    assert_eq!(leases.next_due, Some(at(5)));

    let leases = spool.lease(A, 10, HOLD, at(5)).await.unwrap();
    assert_eq!(ids(&leases.list), [id(2)]);
    assert_eq!(leases.next_due, Some(at(10)));

    let leases = spool.lease(A, 10, HOLD, at(10)).await.unwrap();
    assert_eq!(leases.next_due, None);
    let lease = &leases.list[0];
    assert_eq!((lease.id, lease.lane, &*lease.owner), (id(1), A, "contoso"));
    assert_eq!((lease.appended, lease.expiry), (at(0), Some(at(100))));
    assert_eq!((lease.counted, lease.deferred), (0, 0));
    assert_eq!(lease.bytes, later.bytes);
}

pub(crate) async fn the_longest_due_comes_first_and_no_more_than_asked_for<S: Verbs>() {
    let (spool, _place) = open::<S>().await;
    append(
        &spool,
        [3, 1, 2].map(|n| Entry {
            due: at(n),
            ..entry(n)
        }),
    )
    .await;
    assert_eq!(ids(&lease(&spool, 2, 9).await), [id(1), id(2)]);
    assert_eq!(ids(&lease(&spool, 2, 9).await), [id(3)]);
    assert!(lease(&spool, 0, 9).await.is_empty());
}

pub(crate) async fn a_repeated_id_is_absorbed<S: Verbs>() {
    let (spool, _place) = open::<S>().await;
    let appended = append(&spool, [entry(1), entry(2), entry(1)]).await;
    assert_eq!((appended.stored, appended.repeated), (2, 1));
    let other = Entry {
        bytes: b"other".to_vec(),
        ..entry(1)
    };
    let appended = append(&spool, [other, entry(3)]).await;
    assert_eq!((appended.stored, appended.repeated), (1, 1));
    let leases = lease(&spool, 9, 0).await;
    assert_eq!(leases.len(), 3);
    assert_eq!(leases[0].bytes, entry(1).bytes);
    // While it is leased and while it lies buried, too.
    let mut leases = leases.into_iter();
    settle(&spool, leases.next().unwrap(), bury("x")).await;
    assert_eq!(append(&spool, [entry(1), entry(2)]).await.repeated, 2);
}

pub(crate) async fn a_settled_id_is_absorbed_for_the_dedup_window<S: Verbs>() {
    let options = Options {
        seen_for: Duration::from_secs(100),
        ..Options::default()
    };
    let (spool, _place) = S::open(options).await;
    append(&spool, [entry(1)]).await;
    let done = lease_one(&spool, 0).await;
    assert!(!spool.is_seen(id(1), at(1)).await.unwrap());
    assert_eq!(settle(&spool, done, Settlement::Done).await, Settled::Yes);
    assert!(spool.is_seen(id(1), at(2)).await.unwrap());
    spool.remember(vec![id(2)], at(1)).await.unwrap();
    for (seconds, repeated) in [(100, 2), (101, 0)] {
        let appended = spool
            .append(vec![entry(1), entry(2)], at(seconds))
            .await
            .unwrap();
        assert_eq!(appended.repeated, repeated, "{seconds}");
    }
}

pub(crate) async fn a_newer_entry_takes_the_place_of_an_older_one_of_its_key<S: Verbs>() {
    let (spool, _place) = open::<S>().await;
    let with = |number, lane, name| Entry {
        lane,
        collapse: Some(key(name)),
        ..entry(number)
    };
    append(&spool, [with(1, A, 1), with(2, A, 2), with(3, B, 1)]).await;
    let appended = append(&spool, [with(4, A, 1)]).await;
    assert_eq!(appended.superseded, [id(1)]);
    assert_eq!(count(&spool, A, State::Waiting).await, 2);
    assert_eq!(count(&spool, B, State::Waiting).await, 1);
    // What was superseded is settled: it does not come back and displace the newer one.
    let appended = append(&spool, [with(1, A, 1)]).await;
    assert_eq!((appended.repeated, appended.superseded.len()), (1, 0));
    // A repeated id displaces nothing, its own key least of all.
    let appended = append(&spool, [with(4, A, 1)]).await;
    assert_eq!((appended.repeated, appended.superseded.len()), (1, 0));
}

pub(crate) async fn what_came_earlier_supersedes_nothing_however_late_it_is_appended<S: Verbs>() {
    let (spool, _place) = open::<S>().await;
    let with = |number, came| Entry {
        collapse: Some(key(1)),
        came: at(came),
        ..entry(number)
    };
    append(&spool, [with(2, 2)]).await;
    let appended = append(&spool, [with(1, 1)]).await;
    assert_eq!((appended.stored, appended.repeated), (0, 0));
    assert_eq!((appended.late, appended.superseded.len()), (vec![id(1)], 0));
    // It is settled, like one that was superseded.
    assert_eq!(append(&spool, [with(1, 1)]).await.repeated, 1);
    // Nor does one that is being worked on come back to make room for it.
    let newer = lease_one(&spool, 9).await;
    assert_eq!(append(&spool, [with(0, 0)]).await.late, [id(0)]);
    assert_eq!(settle(&spool, newer, defer(0, false)).await, Settled::Yes);
    assert_eq!(ids(&lease(&spool, 9, 9).await), [id(2)]);
}

pub(crate) async fn what_never_had_to_wait_supersedes_what_waits<S: Verbs>() {
    let (spool, _place) = open::<S>().await;
    let with = |number, lane, came| Entry {
        lane,
        collapse: Some(key(1)),
        came: at(came),
        ..entry(number)
    };
    append(&spool, [with(1, A, 1), with(2, B, 2), entry(3)]).await;
    let supersede = async |came| spool.supersede(A, key(1), at(came), at(9)).await.unwrap();
    assert!(supersede(0).await.is_empty(), "it came earlier");
    assert_eq!(supersede(5).await, [id(1)]);
    assert_eq!(append(&spool, [with(1, A, 1)]).await.repeated, 1);
    assert_eq!(count(&spool, A, State::Waiting).await, 1);
    assert_eq!(count(&spool, B, State::Waiting).await, 1);
    // What is worked on may succeed; only it does not come back.
    let lease = spool.lease(B, 9, HOLD, at(0)).await.unwrap().list.remove(0);
    let superseded = spool.supersede(B, key(1), at(5), at(9)).await.unwrap();
    assert_eq!((lease.id, superseded.len()), (id(2), 0));
    let settled = settle(&spool, lease, defer(0, false)).await;
    assert_eq!(settled, Settled::Superseded);
    assert_eq!(count(&spool, B, State::Waiting).await, 0);
}

pub(crate) async fn a_leased_entry_is_superseded_only_when_it_comes_back<S: Verbs>() {
    let (spool, _place) = open::<S>().await;
    let with = |number| Entry {
        collapse: Some(key(1)),
        ..entry(number)
    };
    append(&spool, [with(1)]).await;
    let older = lease_one(&spool, 0).await;
    assert_eq!(append(&spool, [with(2)]).await.superseded, [] as [Uuid; 0]);
    assert_eq!(
        settle(&spool, older, defer(5, true)).await,
        Settled::Superseded
    );
    let newer = lease_one(&spool, 9).await;
    assert_eq!(newer.id, id(2));
    assert_eq!(settle(&spool, newer, defer(9, true)).await, Settled::Yes);
    // Also when what is newer has been delivered by then.
    let older = lease_one(&spool, 9).await;
    assert_eq!(older.id, id(2));
    append(&spool, [with(3)]).await;
    let newer = lease_one(&spool, 9).await;
    assert_eq!(settle(&spool, newer, Settlement::Done).await, Settled::Yes);
    assert_eq!(
        settle(&spool, older, defer(5, true)).await,
        Settled::Superseded
    );
}

pub(crate) async fn lanes_do_not_see_each_other<S: Verbs>() {
    let (spool, _place) = open::<S>().await;
    let other = Entry {
        lane: B,
        due: at(50),
        ..entry(2)
    };
    append(&spool, [entry(1), other]).await;
    let leases = spool.lease(A, 9, HOLD, at(0)).await.unwrap();
    assert_eq!((leases.list.len(), leases.next_due), (1, None));
    let leases = spool.lease(B, 9, HOLD, at(0)).await.unwrap();
    assert_eq!((leases.list.len(), leases.next_due), (0, Some(at(50))));
}

pub(crate) async fn a_lapsed_lease_frees_the_entry_and_the_newest_lease_wins<S: Verbs>() {
    let (spool, _place) = open::<S>().await;
    append(&spool, [entry(1)]).await;
    let first = lease_one(&spool, 0).await;
    assert!(lease(&spool, 1, 59).await.is_empty());
    let second = lease_one(&spool, 60).await;
    assert_eq!(
        settle(&spool, first, Settlement::Done).await,
        Settled::Stale
    );
    assert_eq!(count(&spool, A, State::Waiting).await, 1);
    assert_eq!(settle(&spool, second, Settlement::Done).await, Settled::Yes);
    assert_eq!(count(&spool, A, State::Waiting).await, 0);
}

pub(crate) async fn a_lapsed_lease_still_settles_while_nobody_has_taken_over<S: Verbs>() {
    let (spool, _place) = open::<S>().await;
    append(&spool, [entry(1)]).await;
    let late = lease_one(&spool, 0).await;
    let settled = spool.settle(late, Settlement::Done, at(500)).await.unwrap();
    assert_eq!(settled, Settled::Yes);
    assert!(lease(&spool, 1, 500).await.is_empty());
}

pub(crate) async fn an_entry_whose_leases_lapse_thrice_is_parked_and_stops_nobody<S: Verbs>() {
    let (spool, _place) = open::<S>().await;
    append(&spool, [entry(1), entry(2)]).await;
    for round in 0..3 {
        let mut leases = lease(&spool, 9, round * 60).await;
        assert_eq!(ids(&leases), [id(1), id(2)], "{round}");
        // Whoever works on 1 dies of it. Settling in order makes 2 as good as new.
        let good = leases.pop().unwrap();
        settle(&spool, good, defer(0, false)).await;
    }
    let leases = spool.lease(A, 9, HOLD, at(180)).await.unwrap();
    assert_eq!(ids(&leases.list), [id(2)]);
    assert_eq!(leases.parked, [id(1)]);
    let (summary, bytes) = spool.show(id(1), at(180)).await.unwrap().unwrap();
    assert_eq!(summary.state, State::Parked);
    assert_eq!(summary.reason.as_deref(), Some("leases lapsed"));
    assert_eq!(bytes, entry(1).bytes);
    // An operator gives it three more.
    spool.retry(Selection::Id(id(1)), at(180)).await.unwrap();
    assert_eq!(ids(&lease(&spool, 9, 180).await), [id(1)]);
}

pub(crate) async fn a_deferral_waits_and_is_counted<S: Verbs>() {
    let (spool, _place) = open::<S>().await;
    append(&spool, [entry(1)]).await;
    let first = lease_one(&spool, 0).await;
    settle(&spool, first, defer(10, false)).await;
    assert!(lease(&spool, 1, 9).await.is_empty());
    let second = lease_one(&spool, 10).await;
    assert_eq!((second.counted, second.deferred), (0, 1));
    settle(&spool, second, defer(20, true)).await;
    let (summary, _) = spool.show(id(1), at(11)).await.unwrap().unwrap();
    assert_eq!(summary.reason.as_deref(), Some("busy"));
    let third = lease_one(&spool, 20).await;
    assert_eq!((third.counted, third.deferred), (1, 2));
    assert_eq!(third.bytes, entry(1).bytes);
}

pub(crate) async fn what_was_deferred_before_it_came_counts<S: Verbs>() {
    let (spool, _place) = open::<S>().await;
    let tried = Entry {
        counted: 1,
        deferred: 2,
        ..entry(1)
    };
    append(&spool, [tried]).await;
    let lease = lease_one(&spool, 0).await;
    assert_eq!((lease.counted, lease.deferred), (1, 2));
}

pub(crate) async fn what_nobody_has_leased_is_settled_by_its_id<S: Verbs>() {
    let (spool, _place) = open::<S>().await;
    append(&spool, [entry(1), entry(2), entry(3)]).await;
    let settle =
        |number, settlement, second| spool.settle_unleased(id(number), settlement, at(second));
    assert_eq!(settle(1, Settlement::Done, 0).await, Ok(Settled::Yes));
    assert!(spool.is_seen(id(1), at(0)).await.unwrap());
    assert_eq!(settle(2, defer(10, true), 0).await, Ok(Settled::Yes));
    let reason = "r".to_owned();
    let bury = Settlement::Bury { reason };
    assert_eq!(settle(3, bury, 0).await, Ok(Settled::Yes));
    assert_eq!(count(&spool, A, State::Buried).await, 1);
    for number in [1, 3, 4] {
        let settled = settle(number, Settlement::Done, 0).await;
        assert_eq!(settled, Ok(Settled::Stale), "{number}");
    }
    // Whoever has leased it decides, until the lease has lapsed.
    let lease = lease_one(&spool, 10).await;
    assert_eq!((lease.counted, lease.deferred), (1, 1));
    assert_eq!(settle(2, Settlement::Done, 69).await, Ok(Settled::Stale));
    assert_eq!(settle(2, Settlement::Done, 70).await, Ok(Settled::Yes));
    assert_eq!(
        spool.settle(lease, Settlement::Done, at(70)).await.unwrap(),
        Settled::Stale
    );
}

pub(crate) async fn what_is_buried_is_kept_for_the_operator<S: Verbs>() {
    let (spool, _place) = open::<S>().await;
    append(&spool, [entry(1), entry(2)]).await;
    for lease in lease(&spool, 9, 0).await {
        settle(&spool, lease, bury("BadDeviceToken")).await;
    }
    assert!(lease(&spool, 9, 9999).await.is_empty());
    assert_eq!(count(&spool, A, State::Buried).await, 2);
    let (summary, _) = spool.show(id(1), at(1)).await.unwrap().unwrap();
    assert_eq!(summary.reason.as_deref(), Some("BadDeviceToken"));
    assert_eq!(summary.buried, Some(at(1)));

    let changed = spool.retry(Selection::Id(id(1)), at(5)).await.unwrap();
    assert_eq!(changed.list, [altered(1, State::Buried)]);
    let again = lease_one(&spool, 5).await;
    assert_eq!((again.id, again.counted, again.deferred), (id(1), 0, 0));

    let all = Selection::All(Filter::default(), Cursor::default());
    let changed = spool.discard(all, at(6)).await.unwrap();
    assert_eq!(
        (changed.list, changed.leased, changed.next),
        (vec![altered(2, State::Buried)], 1, None),
        "the leased one stays"
    );
    assert!(spool.show(id(2), at(6)).await.unwrap().is_none());
    assert_eq!(
        append(&spool, [entry(2)]).await.stored,
        1,
        "it may be sent again"
    );
}

pub(crate) async fn a_reason_is_cut_between_characters<S: Verbs>() {
    let (spool, _place) = open::<S>().await;
    append(&spool, [entry(1)]).await;
    let lease = lease_one(&spool, 0).await;
    settle(&spool, lease, bury(&format!("x{}", "\u{e9}".repeat(200)))).await;
    let (summary, _) = spool.show(id(1), at(1)).await.unwrap().unwrap();
    assert_eq!(summary.reason.unwrap().len(), 199);
}

pub(crate) async fn an_operators_retry_makes_due_at_once<S: Verbs>() {
    let (spool, _place) = open::<S>().await;
    append(
        &spool,
        [1, 2].map(|n| Entry {
            due: at(1000),
            ..entry(n)
        }),
    )
    .await;
    let filter = Filter {
        state: Some(State::Waiting),
        ..Filter::default()
    };
    let all = Selection::All(filter, Cursor::default());
    assert_eq!(spool.retry(all, at(3)).await.unwrap().list.len(), 2);
    assert_eq!(lease(&spool, 9, 3).await.len(), 2);
    let nobody = spool.retry(Selection::Id(id(77)), at(3)).await.unwrap();
    assert!(nobody.list.is_empty());
}

pub(crate) async fn a_discarded_lease_is_stale<S: Verbs>() {
    let (spool, _place) = open::<S>().await;
    append(&spool, [entry(1)]).await;
    let lease = lease_one(&spool, 0).await;
    // It has lapsed, so the operator may take it away.
    let changed = spool.discard(Selection::Id(id(1)), at(100)).await.unwrap();
    assert_eq!(changed.list, [altered(1, State::Waiting)]);
    assert_eq!(settle(&spool, lease, defer(1, true)).await, Settled::Stale);
    assert_eq!(count(&spool, A, State::Waiting).await, 0);
}

pub(crate) async fn an_append_beyond_a_bound_is_refused_whole<S: Verbs>() {
    let bounds = [
        (
            Options {
                lane_entries: 2,
                ..Options::default()
            },
            Bound::LaneEntries,
        ),
        (
            Options {
                lane_bytes: 22,
                ..Options::default()
            },
            Bound::LaneBytes,
        ),
        (
            Options {
                owner_entries: 2,
                ..Options::default()
            },
            Bound::OwnerEntries,
        ),
        (
            Options {
                owner_bytes: 22,
                ..Options::default()
            },
            Bound::OwnerBytes,
        ),
    ];
    for (options, bound) in bounds {
        let (spool, _place) = S::open(options).await;
        append(&spool, [entry(1)]).await;
        let refused = spool.append(vec![entry(2), entry(3)], at(0)).await;
        assert_eq!(refused, Err(SpoolError::Full(bound)));
        assert_eq!(count(&spool, A, State::Waiting).await, 1);
        // What is absorbed or makes room itself needs none.
        assert_eq!(append(&spool, [entry(1), entry(2)]).await.stored, 1);
        assert_eq!(append(&spool, [entry(1), entry(2)]).await.repeated, 2);
        let refused = spool.append(vec![entry(3)], at(0)).await;
        assert_eq!(refused, Err(SpoolError::Full(bound)));
        // Graves are not in the way.
        let lease = lease_one(&spool, 0).await;
        settle(&spool, lease, bury("x")).await;
        assert_eq!(append(&spool, [entry(3)]).await.stored, 1);
    }
}

pub(crate) async fn a_full_lane_still_takes_what_supersedes<S: Verbs>() {
    let options = Options {
        lane_entries: 1,
        owner_entries: 1,
        ..Options::default()
    };
    let (spool, _place) = S::open(options).await;
    let with = |number| Entry {
        collapse: Some(key(1)),
        ..entry(number)
    };
    append(&spool, [with(1)]).await;
    assert_eq!(append(&spool, [with(2)]).await.superseded, [id(1)]);
    assert!(spool.append(vec![entry(3)], at(0)).await.is_err());
}

pub(crate) async fn bounds_of_owners_and_lanes_are_apart<S: Verbs>() {
    let options = Options {
        owner_entries: 1,
        lane_entries: 2,
        ..Options::default()
    };
    let (spool, _place) = S::open(options).await;
    let of = |number, lane, owner: &str| Entry {
        lane,
        owner: owner.into(),
        ..entry(number)
    };
    append(&spool, [of(1, A, "contoso"), of(2, A, "fabrikam")]).await;
    let refused = spool.append(vec![of(3, B, "contoso")], at(0)).await;
    assert_eq!(refused, Err(SpoolError::Full(Bound::OwnerEntries)));
    let refused = spool.append(vec![of(3, A, "tailspin")], at(0)).await;
    assert_eq!(refused, Err(SpoolError::Full(Bound::LaneEntries)));
    assert_eq!(append(&spool, [of(3, B, "tailspin")]).await.stored, 1);
}

pub(crate) async fn too_large_an_entry_is_refused<S: Verbs>() {
    let options = Options {
        entry_bytes: 10,
        ..Options::default()
    };
    let (spool, _place) = S::open(options).await;
    let of = |size| Entry {
        bytes: vec![0; size],
        ..entry(1)
    };
    let refused = spool.append(vec![of(11)], at(0)).await;
    assert_eq!(refused, Err(SpoolError::TooLarge { limit: 10, got: 11 }));
    assert_eq!(append(&spool, [of(10)]).await.stored, 1);
}

pub(crate) async fn no_more_is_leased_than_may_be_held<S: Verbs>() {
    let options = Options {
        leases: 2,
        ..Options::default()
    };
    let (spool, _place) = S::open(options).await;
    append(&spool, (0..5).map(entry)).await;
    let mut held = lease(&spool, 9, 0).await;
    assert_eq!(held.len(), 2);
    assert!(lease(&spool, 9, 0).await.is_empty());
    settle(&spool, held.pop().unwrap(), Settlement::Done).await;
    assert_eq!(lease(&spool, 9, 0).await.len(), 1);
}

pub(crate) async fn only_what_is_worthless_is_shed<S: Verbs>() {
    let (spool, _place) = open::<S>().await;
    let until = |number, expiry: Option<u64>| Entry {
        due: at(number),
        expiry: expiry.map(at),
        ..entry(number)
    };
    append(
        &spool,
        [
            until(0, Some(10)), // leased
            until(1, Some(10)),
            until(2, Some(100)),
            until(3, None),
            until(4, Some(9)),
            until(5, Some(5)),
        ],
    )
    .await;
    let held = spool.lease(A, 1, HOLD, at(0)).await.unwrap().list;
    assert!(spool.shed(B, 9, at(10)).await.unwrap().is_empty());
    assert_eq!(spool.shed(A, 2, at(10)).await.unwrap(), [id(1), id(4)]);
    assert_eq!(spool.shed(A, 9, at(10)).await.unwrap(), [id(5)]);
    assert!(spool.shed(A, 9, at(10)).await.unwrap().is_empty());
    assert_eq!(count(&spool, A, State::Waiting).await, 3);
    assert_eq!(ids(&held), [id(0)]);
}

pub(crate) async fn stats_say_what_lies_where<S: Verbs>() {
    let (spool, _place) = open::<S>().await;
    let of = |number, lane, owner: &str| Entry {
        lane,
        owner: owner.into(),
        ..entry(number)
    };
    append(
        &spool,
        [
            of(10, A, "contoso"),
            of(11, A, "contoso"),
            of(12, A, "fabrikam"),
            of(13, B, "contoso"),
        ],
    )
    .await;
    let mut held = lease(&spool, 9, 0).await;
    settle(&spool, held.remove(0), bury("x")).await;
    settle(&spool, held.remove(0), Settlement::Done).await;
    let stats = spool.stats(at(2)).await.unwrap();
    let one = |n: u64| Count {
        entries: n,
        bytes: 11 * n,
    };
    assert_eq!(
        stats.counts,
        [
            (A, State::Waiting, "fabrikam".into(), one(1)),
            (A, State::Buried, "contoso".into(), one(1)),
            (B, State::Waiting, "contoso".into(), one(1)),
        ]
    );
    assert_eq!((stats.leased(A), stats.leased(B)), (1, 0));
    assert_eq!((stats.gone, stats.seen), (0, 1));
    assert_eq!(spool.stats(at(500)).await.unwrap().leased(A), 0, "lapsed");
    assert_eq!(spool.check().await.unwrap(), [] as [String; 0]);
}

pub(crate) async fn a_listing_goes_page_by_page_in_order<S: Verbs>() {
    let (spool, _place) = open::<S>().await;
    for hundred in 0..12_u64 {
        let numbers = hundred * 1000..(hundred + 1) * 1000;
        append(
            &spool,
            numbers.map(|number| Entry {
                lane: if number % 100 == 0 { B } else { A },
                owner: if number % 3000 == 0 {
                    "rare"
                } else {
                    "contoso"
                }
                .into(),
                ..entry(number)
            }),
        )
        .await;
    }
    let walk = async |filter: Filter, limit| {
        let mut found = Vec::new();
        let mut cursor = Some(Cursor::default());
        while let Some(after) = cursor {
            let page = spool
                .list(filter.clone(), after, limit, at(0))
                .await
                .unwrap();
            assert!(page.list.len() <= limit);
            found.extend(page.list.into_iter().map(|summary| summary.id));
            cursor = page.next;
        }
        found
    };
    let expected = |keep: fn(u64) -> bool| -> Vec<Uuid> {
        (0..12_000).filter(|number| keep(*number)).map(id).collect()
    };
    assert_eq!(walk(Filter::default(), 700).await, expected(|_| true));
    let lane = Filter {
        lane: Some(B),
        ..Filter::default()
    };
    assert_eq!(walk(lane, 7).await, expected(|number| number % 100 == 0));
    let owner = Filter {
        owner: Some("rare".into()),
        state: Some(State::Waiting),
        ..Filter::default()
    };
    assert_eq!(walk(owner, 9).await, expected(|number| number % 3000 == 0));
    let stranger = Filter {
        owner: Some("nobody".into()),
        ..Filter::default()
    };
    assert!(walk(stranger, 9).await.is_empty());

    for lease in lease(&spool, 5, 0).await {
        settle(&spool, lease, bury("x")).await;
    }
    let buried = Filter {
        state: Some(State::Buried),
        ..Filter::default()
    };
    assert_eq!(walk(buried.clone(), 2).await.len(), 5);
    let parked = Filter {
        state: Some(State::Parked),
        ..Filter::default()
    };
    assert!(walk(parked, 2).await.is_empty());
    let retried = spool
        .retry(Selection::All(buried, Cursor::default()), at(0))
        .await
        .unwrap();
    assert_eq!(retried.list.len(), 5);
}

pub(crate) async fn a_listing_is_narrowed_by_age_and_by_what_is_inside<S: Verbs>() {
    let (spool, _place) = open::<S>().await;
    for number in 0..1200 {
        let said = (number == 7).then_some("down");
        let entries = vec![Entry {
            said,
            ..entry(number)
        }];
        spool.append(entries, at(number)).await.unwrap();
    }
    let walk = async |filter: Filter| {
        let mut found = Vec::new();
        let mut cursor = Some(Cursor::default());
        while let Some(after) = cursor {
            // As an operator does who writes the number down.
            let after = Cursor::from_number(after.number());
            let page = spool.list(filter.clone(), after, 1000, at(0)).await;
            let page = page.unwrap();
            found.extend(page.list);
            cursor = page.next;
        }
        found
    };
    let young = Filter {
        since: Some(at(7)),
        before: Some(at(9)),
        ..Filter::default()
    };
    let young = walk(young).await;
    assert_eq!([young[0].id, young[1].id], [id(7), id(8)]);
    assert_eq!(young.len(), 2);
    assert_eq!(young[0].reason.as_deref(), Some("down"));
    let inside = Filter {
        bytes: Some((*b"of 1199").into()),
        ..Filter::default()
    };
    let inside = walk(inside).await;
    assert_eq!(inside.len(), 1);
    assert_eq!(inside[0].id, id(1199));
}

pub(crate) async fn devices_that_are_gone_are_remembered<S: Verbs>() {
    let (spool, _place) = open::<S>().await;
    let gone = |number: u8, since: Option<u64>| Gone {
        device: key(number),
        lane: A,
        app: "com.example.chat".into(),
        since: since.map(at),
        noted: at(7),
    };
    spool
        .note_gone(vec![gone(1, None), gone(2, Some(3)), gone(9, None)])
        .await
        .unwrap();
    spool.note_gone(vec![gone(1, Some(5))]).await.unwrap();
    assert_eq!(spool.gone(key(1)).await.unwrap(), Some(gone(1, Some(5))));
    assert_eq!(spool.gone(key(3)).await.unwrap(), None);
    assert_eq!(spool.stats(at(7)).await.unwrap().gone, 3);
    let first = spool.gone_page(None, 2).await.unwrap();
    assert_eq!(first, [gone(1, Some(5)), gone(2, Some(3))]);
    assert_eq!(
        spool.gone_page(Some(key(2)), 2).await.unwrap(),
        [gone(9, None)]
    );
    assert!(spool.forget_gone(key(2)).await.unwrap());
    assert!(!spool.forget_gone(key(2)).await.unwrap());
    assert_eq!(spool.stats(at(7)).await.unwrap().gone, 2);
}

pub(crate) async fn nothing_that_is_kept_shows_in_debug<S: Verbs>() {
    let (spool, _place) = open::<S>().await;
    let secret = Entry {
        bytes: b"SECRET".to_vec(),
        collapse: Some(key(b'S')),
        ..entry(1)
    };
    let shown = format!("{secret:?}{:?}", key(b'S'));
    append(&spool, [secret]).await;
    let lease = lease_one(&spool, 0).await;
    let shown = format!("{shown}{lease:?}");
    for trace in ["SECRET", "83, 69, 67", "83, 83"] {
        assert!(!shown.contains(trace), "{shown}");
    }
}
