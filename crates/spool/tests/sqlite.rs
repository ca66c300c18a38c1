//! The embedded spool: the laws, and what is its own: the file, the restart, the disk.
#![allow(clippy::unwrap_used, missing_docs)]

mod contract;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use contract::{A, HOLD, Verbs, at, entry, hold_to, id, key};
use pushrelay_spool::{
    Appended, Bound, Changed, Cursor, Entry, Filter, Fingerprint, Gone, Lane, Lease, Leases,
    Options, Page, Selection, Settled, Settlement, Spool, SpoolError, State, Stats, Summary, Turns,
    Unsettled,
};
use tempfile::TempDir;
use uuid::Uuid;

hold_to!(Spool:
    what_is_appended_comes_out_when_it_is_due
    the_longest_due_comes_first_and_no_more_than_asked_for
    a_repeated_id_is_absorbed
    a_settled_id_is_absorbed_for_the_dedup_window
    a_newer_entry_takes_the_place_of_an_older_one_of_its_key
    what_came_earlier_supersedes_nothing_however_late_it_is_appended
    a_leased_entry_is_superseded_only_when_it_comes_back
    what_never_had_to_wait_supersedes_what_waits
    lanes_do_not_see_each_other
    a_lapsed_lease_frees_the_entry_and_the_newest_lease_wins
    a_lapsed_lease_still_settles_while_nobody_has_taken_over
    an_entry_whose_leases_lapse_thrice_is_parked_and_stops_nobody
    a_deferral_waits_and_is_counted
    what_was_deferred_before_it_came_counts
    what_nobody_has_leased_is_settled_by_its_id
    what_is_buried_is_kept_for_the_operator
    a_reason_is_cut_between_characters
    an_operators_retry_makes_due_at_once
    a_discarded_lease_is_stale
    an_append_beyond_a_bound_is_refused_whole
    a_full_lane_still_takes_what_supersedes
    bounds_of_owners_and_lanes_are_apart
    too_large_an_entry_is_refused
    no_more_is_leased_than_may_be_held
    only_what_is_worthless_is_shed
    stats_say_what_lies_where
    a_listing_goes_page_by_page_in_order
    a_listing_is_narrowed_by_age_and_by_what_is_inside
    devices_that_are_gone_are_remembered
    nothing_that_is_kept_shows_in_debug
);

fn open(dir: &Path, options: Options) -> Spool {
    Spool::open(dir.join("spool.db"), options).unwrap()
}

/// What a crash leaves behind, as a copy of the files while they are open.
fn crashed(dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["spool.db", "spool.db-wal"] {
        std::fs::copy(dir.join(name), copy.path().join(name)).unwrap();
    }
    copy
}

async fn clean(spool: &Spool) {
    assert_eq!(spool.check().await.unwrap(), [] as [String; 0]);
}

#[tokio::test]
async fn everything_is_there_after_a_crash_and_after_a_close() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), Options::default());
    let with_key = Entry {
        collapse: Some(key(1)),
        ..entry(1)
    };
    spool
        .append(vec![with_key, entry(2), entry(3), entry(4)], at(0))
        .await
        .unwrap();
    let mut leases = spool.lease(A, 9, HOLD, at(0)).await.unwrap().list;
    spool
        .settle(leases.remove(3), Settlement::Done, at(1))
        .await
        .unwrap();
    let reason = "x".to_owned();
    spool
        .settle(leases.remove(2), Settlement::Bury { reason }, at(1))
        .await
        .unwrap();
    let defer = Settlement::Defer {
        until: at(50),
        counts: true,
        said: "busy",
    };
    spool.settle(leases.remove(1), defer, at(1)).await.unwrap();
    let gone = Gone {
        device: key(9),
        lane: A,
        app: "app".into(),
        since: None,
        noted: at(1),
    };
    spool.note_gone(vec![gone.clone()]).await.unwrap();
    let before = spool.stats(at(100)).await.unwrap();
    let copy = crashed(dir.path());
    spool.close().await;
    assert_eq!(spool.stats(at(0)).await, Err(SpoolError::Closed));
    assert_eq!(
        std::fs::metadata(dir.path().join("spool.db-wal"))
            .unwrap()
            .len(),
        0
    );

    for dir in [copy.path(), dir.path()] {
        let spool = open(dir, Options::default());
        assert_eq!(spool.stats(at(100)).await.unwrap(), before);
        assert_eq!(spool.gone(key(9)).await.unwrap(), Some(gone.clone()));
        let again = spool
            .append(vec![entry(1), entry(2), entry(3), entry(4)], at(2))
            .await;
        assert_eq!(again.unwrap().repeated, 4, "settled and buried ones too");
        // Nobody works on it any more: the lease of the dead process is over at once.
        let leases = spool.lease(A, 9, HOLD, at(2)).await.unwrap();
        assert_eq!(leases.list.len(), 1);
        assert_eq!((leases.list[0].id, leases.next_due), (id(1), Some(at(50))));
        clean(&spool).await;
        spool.close().await;
    }
}

/// A power cut after the sync and before the answer.
#[tokio::test]
async fn what_a_turn_has_done_is_there_although_nobody_was_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.db");
    let (spool, mut turns) = Turns::open(&path, Options::default()).unwrap();
    let told = spool.append(vec![entry(1)], at(0));
    let turn = turns.next(async {});
    let (appended, ()) = tokio::join!(told, async { turn.await.unwrap().tell() });
    assert_eq!(appended.unwrap().stored, 1);
    let untold = tokio::spawn({
        let spool = spool.clone();
        async move { spool.append(vec![entry(2)], at(0)).await }
    });
    drop(turns.next(async {}).await.unwrap());
    assert_eq!(untold.await.unwrap(), Err(SpoolError::Closed));
    drop(turns);
    let spool = open(dir.path(), Options::default());
    let leases = spool.lease(A, 9, HOLD, at(0)).await.unwrap();
    assert_eq!(leases.list.len(), 2);
}

/// Found by a simulation: what a first attempt had to say ended the lease that followed in the same transaction.
#[tokio::test]
async fn a_lease_stands_though_the_same_transaction_has_settled_its_entry_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.db");
    let (spool, mut turns) = Turns::open(&path, Options::default()).unwrap();
    let told = spool.append(vec![entry(1)], at(0));
    let turn = async |turns: &mut Turns| turns.next(async {}).await.unwrap().tell();
    tokio::join!(told, turn(&mut turns)).0.unwrap();
    let defer = Settlement::Defer {
        until: at(5),
        counts: false,
        said: "timeout",
    };
    let said = spool.settle_unleased(id(1), defer, at(5));
    let leased = spool.lease(A, 9, HOLD, at(5));
    let (said, leased, ()) = tokio::join!(said, leased, turn(&mut turns));
    assert_eq!(said, Ok(Settled::Yes));
    assert_eq!(leased.unwrap().list.len(), 1);
    let again = spool.lease(A, 9, HOLD, at(5));
    let (again, ()) = tokio::join!(again, turn(&mut turns));
    assert!(again.unwrap().list.is_empty(), "somebody works on it");
}

#[tokio::test]
async fn a_second_process_is_kept_out() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), Options::default());
    let second = || {
        let this = std::env::current_exe().unwrap();
        let mut second = std::process::Command::new(this);
        second.args(["second_process", "--exact", "--ignored", "--nocapture"]);
        let output = second.env("SPOOL_DIR", dir.path()).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let locked = "spool.db is in use by another process";
    assert!(second().contains(locked), "while it is open");
    spool.close().await;
    let opened = second();
    assert!(opened.contains("it is mine"), "once it is closed: {opened}");
}

/// Not a test: what the second process does.
#[test]
#[ignore = "started by the test above"]
fn second_process() {
    let dir = std::env::var("SPOOL_DIR").unwrap();
    match Spool::open(Path::new(&dir).join("spool.db"), Options::default()) {
        Ok(_) => eprintln!("it is mine"),
        Err(error) => eprintln!("{error}"),
    }
}

/// The newest entries are gone: the numbers of later ones must not fall back behind the mark up to which all ids are on disk.
#[tokio::test]
async fn an_id_is_found_after_everything_before_it_has_gone() {
    let dir = tempfile::tempdir().unwrap();
    let few = || Options {
        recent_ids: 4,
        ..Options::default()
    };
    let spool = open(dir.path(), few());
    // Not in the order of their ids: so the rounds come to their ends.
    for number in 0..50 {
        let entry = entry(number * 37 % 50);
        spool.append(vec![entry], at(0)).await.unwrap();
    }
    let all = Selection::All(Filter::default(), Cursor::default());
    assert_eq!(spool.discard(all, at(0)).await.unwrap().list.len(), 50);
    spool.close().await;
    let spool = open(dir.path(), few());
    spool.append(vec![entry(60)], at(0)).await.unwrap();
    spool.close().await;
    let spool = open(dir.path(), few());
    assert!(spool.show(id(60), at(0)).await.unwrap().is_some());
    let again = spool.append(vec![entry(60)], at(0)).await.unwrap();
    assert_eq!(again.repeated, 1);
    clean(&spool).await;
}

/// The log is folded in beside the appends, and begun anew.
#[tokio::test]
async fn the_log_stays_short_while_it_is_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        log_pages: 60,
        fold_pages: 20,
        ..Options::default()
    };
    let spool = open(dir.path(), options);
    let mut longest = 0;
    for number in 0..500 {
        spool.append(vec![entry(number)], at(0)).await.unwrap();
        let log = std::fs::metadata(dir.path().join("spool.db-wal")).unwrap();
        longest = longest.max(log.len());
    }
    // What one turn of the checkpointer leaves may come on top, on a machine with much else to do.
    let pages = longest / 4096;
    assert!((60..1500).contains(&pages), "{pages} pages");
    let file = std::fs::metadata(dir.path().join("spool.db")).unwrap();
    assert!(file.len() > 100 * 500, "{} bytes folded in", file.len());
    clean(&spool).await;
    spool.close().await;
}

#[tokio::test]
async fn appends_that_wait_share_one_sync() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), Options::default());
    let before = spool.health().commits;
    let mut tasks = Vec::new();
    for number in 0..1000 {
        let spool = spool.clone();
        tasks.push(tokio::spawn(async move {
            spool.append(vec![entry(number)], at(0)).await
        }));
    }
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().stored, 1);
    }
    let commits = spool.health().commits - before;
    assert!(commits <= 200, "{commits} commits for 1000 appends");
    assert_eq!(
        spool
            .stats(at(0))
            .await
            .unwrap()
            .count(A, State::Waiting)
            .entries,
        1000
    );
    clean(&spool).await;
}

#[tokio::test]
async fn an_entry_whose_bytes_have_changed_is_parked_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), Options::default());
    spool
        .append((0..5).map(entry).collect(), at(0))
        .await
        .unwrap();
    spool.close().await;
    // One bit of the third entry's bytes.
    let path = dir.path().join("spool.db");
    let mut file = std::fs::read(&path).unwrap();
    let body = b"bytes of 2";
    let place = file
        .windows(body.len())
        .position(|window| window == body)
        .unwrap();
    file[place] ^= 1;
    std::fs::write(&path, file).unwrap();

    let spool = open(dir.path(), Options::default());
    let faults = spool.check().await.unwrap();
    assert_eq!(faults, [format!("the checksum of {} is wrong", id(2))]);
    let leases = spool.lease(A, 9, HOLD, at(0)).await.unwrap();
    assert_eq!((leases.list.len(), leases.parked), (4, vec![id(2)]));
    let (summary, _) = spool.show(id(2), at(0)).await.unwrap().unwrap();
    assert_eq!(
        (summary.state, summary.reason.as_deref()),
        (State::Parked, Some("checksum"))
    );
}

#[tokio::test]
async fn a_disk_with_too_little_room_refuses_appends_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), Options::default());
    spool.append(vec![entry(1)], at(0)).await.unwrap();
    assert_eq!(spool.health().trouble, None);
    spool.close().await;

    let options = Options {
        disk_reserve: u64::MAX,
        ..Options::default()
    };
    let spool = open(dir.path(), options);
    let full = SpoolError::Full(Bound::DiskReserve);
    assert_eq!(spool.append(vec![entry(2)], at(0)).await, Err(full));
    assert_eq!(spool.health().trouble, Some(full));
    let lease = spool.lease(A, 1, HOLD, at(0)).await.unwrap().list.remove(0);
    let settled = spool.settle(lease, Settlement::Done, at(0)).await;
    assert_eq!(settled.unwrap(), Settled::Yes);
}

#[tokio::test]
async fn what_is_remembered_is_bounded_and_aged() {
    let options = Options {
        seen_entries: 10,
        seen_for: Duration::from_secs(1000),
        gone_entries: 3,
        gone_for: Duration::from_secs(5000),
        grave_entries: 4,
        grave_for: Duration::from_secs(5000),
        ..Options::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), options);
    spool
        .remember((100..150).map(id).collect(), at(0))
        .await
        .unwrap();
    let gone = |number: u8| Gone {
        device: key(number),
        lane: A,
        app: "app".into(),
        since: None,
        noted: at(u64::from(number)),
    };
    spool.note_gone((0..9).map(gone).collect()).await.unwrap();
    spool
        .append((0..7).map(entry).collect(), at(0))
        .await
        .unwrap();
    for lease in spool.lease(A, 9, HOLD, at(0)).await.unwrap().list {
        let reason = "x".to_owned();
        spool
            .settle(lease, Settlement::Bury { reason }, at(1))
            .await
            .unwrap();
    }
    // The writer tidies of its own accord when it has nothing to do.
    let counts = async |now| {
        let stats = spool.stats(now).await.unwrap();
        (
            stats.seen,
            stats.gone,
            stats.count(A, State::Buried).entries,
        )
    };
    until(async || counts(at(10)).await == (10, 3, 4)).await;
    assert!(spool.is_seen(id(149), at(10)).await.unwrap());
    assert!(!spool.is_seen(id(100), at(10)).await.unwrap());
    assert_eq!(spool.gone(key(8)).await.unwrap(), Some(gone(8)));
    assert_eq!(spool.gone(key(5)).await.unwrap(), None);
    assert!(spool.show(id(6), at(10)).await.unwrap().is_some());

    until(async || counts(at(9000)).await == (0, 0, 0)).await;
    clean(&spool).await;
}

#[tokio::test]
async fn room_goes_back_to_the_file_system() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), Options::default());
    let large = |number| Entry {
        bytes: vec![7; 60_000],
        ..entry(number)
    };
    for round in 0..8 {
        let entries = (round * 100..(round + 1) * 100).map(large).collect();
        spool.append(entries, at(0)).await.unwrap();
    }
    let all = || Selection::All(Filter::default(), Cursor::default());
    assert_eq!(spool.discard(all(), at(0)).await.unwrap().list.len(), 800);
    let size = || {
        std::fs::metadata(dir.path().join("spool.db"))
            .unwrap()
            .len()
    };
    // 48 MB were there; 16 MiB of room stay for the next time.
    until(async || {
        spool.stats(at(1)).await.unwrap();
        size() < 24 << 20
    })
    .await;
    clean(&spool).await;
}

/// Nothing may be left for it on a disk that others go on filling.
#[tokio::test]
async fn on_a_disk_with_too_little_room_the_log_stays_short() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), Options::default());
    let entries = (0..300).map(entry).collect();
    spool.append(entries, at(0)).await.unwrap();
    spool.close().await;
    let options = Options {
        disk_reserve: u64::MAX,
        ..Options::default()
    };
    let spool = open(dir.path(), options);
    for lease in spool.lease(A, 300, HOLD, at(0)).await.unwrap().list {
        let settled = spool.settle(lease, Settlement::Done, at(0)).await;
        assert_eq!(settled.unwrap(), Settled::Yes);
    }
    let log = std::fs::metadata(dir.path().join("spool.db-wal")).unwrap();
    let pages = log.len() / 4096;
    assert!(pages < 300, "{pages} pages for 300 settlements");
}

/// Waits for a condition, up to a deadline.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(Instant::now() < deadline, "not within 20 s");
        tokio::task::yield_now().await;
    }
}

impl Verbs for Spool {
    type Place = TempDir;

    async fn open(options: Options) -> (Spool, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        (open(dir.path(), options), dir)
    }
    async fn append(&self, entries: Vec<Entry>, now: SystemTime) -> Result<Appended, SpoolError> {
        self.append(entries, now).await
    }
    async fn lease(
        &self,
        lane: Lane,
        limit: usize,
        hold_for: Duration,
        now: SystemTime,
    ) -> Result<Leases, SpoolError> {
        self.lease(lane, limit, hold_for, now).await
    }
    async fn settle(
        &self,
        lease: Lease,
        settlement: Settlement,
        now: SystemTime,
    ) -> Result<Settled, Box<Unsettled>> {
        self.settle(lease, settlement, now).await
    }
    async fn settle_unleased(
        &self,
        id: Uuid,
        settlement: Settlement,
        now: SystemTime,
    ) -> Result<Settled, SpoolError> {
        self.settle_unleased(id, settlement, now).await
    }
    async fn supersede(
        &self,
        lane: Lane,
        key: Fingerprint,
        came: SystemTime,
        now: SystemTime,
    ) -> Result<Vec<Uuid>, SpoolError> {
        self.supersede(lane, key, came, now).await
    }
    async fn shed(
        &self,
        lane: Lane,
        limit: usize,
        now: SystemTime,
    ) -> Result<Vec<Uuid>, SpoolError> {
        self.shed(lane, limit, now).await
    }
    async fn remember(&self, ids: Vec<Uuid>, now: SystemTime) -> Result<(), SpoolError> {
        self.remember(ids, now).await
    }
    async fn is_seen(&self, id: Uuid, now: SystemTime) -> Result<bool, SpoolError> {
        self.is_seen(id, now).await
    }
    async fn note_gone(&self, list: Vec<Gone>) -> Result<(), SpoolError> {
        self.note_gone(list).await
    }
    async fn gone(&self, device: Fingerprint) -> Result<Option<Gone>, SpoolError> {
        self.gone(device).await
    }
    async fn gone_page(
        &self,
        after: Option<Fingerprint>,
        limit: usize,
    ) -> Result<Vec<Gone>, SpoolError> {
        self.gone_page(after, limit).await
    }
    async fn forget_gone(&self, device: Fingerprint) -> Result<bool, SpoolError> {
        self.forget_gone(device).await
    }
    async fn list(
        &self,
        filter: Filter,
        after: Cursor,
        limit: usize,
        now: SystemTime,
    ) -> Result<Page, SpoolError> {
        self.list(filter, after, limit, now).await
    }
    async fn show(
        &self,
        id: Uuid,
        now: SystemTime,
    ) -> Result<Option<(Summary, Vec<u8>)>, SpoolError> {
        self.show(id, now).await
    }
    async fn retry(&self, selection: Selection, now: SystemTime) -> Result<Changed, SpoolError> {
        self.retry(selection, now).await
    }
    async fn discard(&self, selection: Selection, now: SystemTime) -> Result<Changed, SpoolError> {
        self.discard(selection, now).await
    }
    async fn stats(&self, now: SystemTime) -> Result<Stats, SpoolError> {
        self.stats(now).await
    }
    async fn check(&self) -> Result<Vec<String>, SpoolError> {
        self.check().await
    }
}
