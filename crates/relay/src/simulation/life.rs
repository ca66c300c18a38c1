//! One life of the relay's process over a spool that outlives it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use pushrelay_peers::Samples;
use pushrelay_peers::books;
use pushrelay_peers::world::{self, Addresses, Certificates};
use pushrelay_push::Service as Provider;
use pushrelay_spool::Turns;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::edge::Edge;
use super::ledger::{Event, Ledger};
use super::plan::{End, Life, Plan};
use super::provider::Script;
use crate::metrics::Ending;
use crate::partners::Presented;
use crate::service::Service;
use crate::{clock, config, dispatch};

/// Where stories are played: certificates, configurations and spools.
pub(super) struct Stage {
    folder: TempDir,
    presented: Presented,
}

impl Stage {
    pub(super) fn new() -> Stage {
        // Without a real disk a sync costs nothing, and the simulation has its own idea of how long it takes.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        let folder = folder.unwrap();
        let (certificates, _) = Certificates::new();
        certificates.write(folder.path()).unwrap();
        let edge = CertificateDer::from_pem_slice(certificates.edge.chain_pem.as_bytes());
        Stage {
            presented: Presented::of_certificate(&edge.unwrap()),
            folder,
        }
    }

    fn file(&self, seed: u64, suffix: &str) -> PathBuf {
        self.folder.path().join(format!("{seed}.{suffix}"))
    }

    /// Writes the configuration of a story.
    pub(super) fn set(&self, seed: u64, plan: &Plan) {
        let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 80));
        let text = world::configuration(&Addresses {
            sip: nowhere,
            admin: nowhere,
            apple: nowhere,
            windows_phone: nowhere,
        });
        let mut table: toml::Table = text.parse().unwrap();
        let milliseconds = plan.reply_within.as_millis();
        table.insert("reply_within".into(), format!("{milliseconds}ms").into());
        let spool = table["spool"].as_table_mut().unwrap();
        let path = self.file(seed, "sqlite");
        spool.insert("path".into(), path.to_str().unwrap().into());
        spool.insert("in_flight".into(), (plan.in_flight as i64).into());
        spool.insert("entries".into(), plan.lane_entries.cast_signed().into());
        std::fs::write(self.file(seed, "toml"), table.to_string()).unwrap();
    }

    /// Forgets a story.
    pub(super) fn clear(&self, seed: u64) {
        for suffix in ["toml", "sqlite", "sqlite-wal", "sqlite-journal"] {
            // Not all of them are always there.
            let _ = std::fs::remove_file(self.file(seed, suffix));
        }
    }
}

/// The process of the moment, for whoever looks at its books.
type Books = Arc<Mutex<Option<Arc<Service>>>>;

/// Lives from `wall` on, `life` long, or until nothing waits. Says what time it is in the end.
pub(super) fn live(
    stage: &Stage,
    ledger: &Arc<Ledger>,
    seed: u64,
    life: Option<Life>,
    wall: SystemTime,
    next: &mut usize,
) -> SystemTime {
    let books = Books::default();
    let runtime = {
        let (books, ledger) = (books.clone(), ledger.clone());
        Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            // Whenever everybody waits: after every step of anybody.
            .on_thread_park(move || look(&books, &ledger))
            .build()
            .unwrap()
    };
    // When it is dropped everything ends where it stands: that is what a killed process is to its disk.
    runtime.block_on(async {
        clock::simulate(wall);
        ledger.lives();
        let cut = Arc::new(Notify::new());
        tokio::select! {
            biased;
            () = cut.notified() => ledger.ends(Event::Killed),
            () = lead(stage, ledger, seed, life, next, &books, &cut) => {}
        }
        clock::wall()
    })
}

async fn lead(
    stage: &Stage,
    ledger: &Arc<Ledger>,
    seed: u64,
    life: Option<Life>,
    next: &mut usize,
    books: &Books,
    cut: &Arc<Notify>,
) {
    let loaded = config::load(&stage.file(seed, "toml"), SystemTime::now());
    let Some(mut config) = loaded.config else {
        panic!("the configuration of a simulation: {:?}", loaded.problems);
    };
    let spool = config.spool.take().expect("it is configured");
    let (spool, turns) = Turns::open(spool.path, spool.options).unwrap();
    let syncs = match life.map(|life| life.end) {
        Some(End::KilledAfterSync(syncs)) => Some(syncs),
        _ => None,
    };
    tokio::spawn(disk(turns, ledger.clone(), syncs, cut.clone()));
    let dice = ledger.lock().roll();
    let service = Arc::new(Service::over(Some(spool), config, dice).await.unwrap());
    play(&service, ledger);
    *lock(books) = Some(service.clone());

    let (drain, draining) = watch::channel(false);
    let mut dispatchers = JoinSet::new();
    for provider in Provider::ALL {
        dispatchers.spawn(dispatch::run(service.clone(), provider, draining.clone()));
    }
    let mut edge = Edge::new(ledger, &service, &stage.presented, &draining);
    match life {
        Some(life) => {
            let whole = async {
                edge.run(next).await;
                std::future::pending::<()>().await;
            };
            // It never ends by itself.
            let _ = timeout(life.length, whole).await;
            if life.end != End::Drained {
                return ledger.ends(Event::Killed);
            }
        }
        None => {
            edge.run(next).await;
            all_settled(&service, ledger).await;
        }
    }
    // The receivers live as long as the sessions do.
    let _ = drain.send(true);
    let drained = async {
        while edge.sessions.join_next().await.is_some() {}
        while dispatchers.join_next().await.is_some() {}
        service.afterwork_done().await;
    };
    if timeout(GRACE, drained).await.is_err() {
        ledger.fault("the drain does not end".to_owned());
    }
    if let Err(imbalance) = read_metrics(&service).await {
        ledger.fault(imbalance);
    }
    *lock(books) = None;
    service.close().await;
    ledger.ends(Event::Drained);
}

/// The provider's clients let the script speak.
fn play(service: &Service, ledger: &Arc<Ledger>) {
    let script = |provider| Script {
        ledger: ledger.clone(),
        provider,
    };
    let rules = service.rules.load();
    for app in rules.apple_apps() {
        app.client.play(script(Provider::Apns));
    }
    for phone in rules.windows_phone.iter().flat_map(|apps| apps.list()) {
        phone.client.play(script(Provider::Mpns));
    }
}

/// The disk: each turn takes its time, and after one of them the power may go.
async fn disk(mut turns: Turns, ledger: Arc<Ledger>, kill_after: Option<u64>, cut: Arc<Notify>) {
    let mut syncs = 0;
    let most = ledger.plan.sync;
    loop {
        let takes = ledger.between(Duration::from_millis(1), most);
        let Some(turn) = turns.next(sleep(takes)).await else {
            return;
        };
        syncs += 1;
        ledger.note(Event::Synced);
        if Some(syncs) == kill_after {
            cut.notify_one();
            // Nobody hears of this turn.
            std::future::pending::<()>().await;
        }
        turn.tell();
        if ledger.chance(5) {
            turns.tidy();
        }
    }
}

/// Waits until nothing is under way and nothing waits.
async fn all_settled(service: &Service, ledger: &Ledger) {
    let busy = || {
        Provider::ALL.into_iter().any(|provider| {
            let books = service.metrics.service(provider);
            books.waiting.get() != 0 || books.in_flight.get() != 0
        })
    };
    let begin = clock::wall();
    while busy() {
        if clock::wall() > begin + LONGEST {
            return ledger.fault("something waits for ever".to_owned());
        }
        sleep(Duration::from_secs(10)).await;
    }
}

async fn read_metrics(service: &Service) -> Result<(), String> {
    let text = service.metrics.encode(service).await;
    let samples = Samples::parse(&text.map_err(|error| error.to_string())?)?;
    books::conservation(&samples)
        .and_then(|()| books::waiting_is_on_disk(&samples))
        .map_err(|imbalance| imbalance.to_string())
}

/// Whether the books balance at this moment, as [`books::conservation`] has it, without writing them out.
fn look(books: &Books, ledger: &Ledger) {
    let books = lock(books);
    let Some(service) = books.as_ref() else {
        return;
    };
    let metrics = &service.metrics;
    let answered: u64 = metrics.messages_answered().map(|(_, count)| count).sum();
    let open = metrics.messages_in_flight.get();
    if metrics.messages_received().cast_signed() != answered.cast_signed() + open {
        ledger.fault(format!("MESSAGEs: {answered} answered, {open} in flight"));
    }
    for provider in Provider::ALL {
        let books = metrics.service(provider);
        let ended: u64 = Ending::ALL
            .into_iter()
            .map(|ending| books.ended(ending))
            .sum();
        let begun = books.targets.get() + books.taken_over.get();
        let (waiting, in_flight) = (books.waiting.get(), books.in_flight.get());
        if begun.cast_signed() != ended.cast_signed() + waiting + in_flight
            || waiting < 0
            || in_flight < 0
        {
            ledger.fault(format!(
                "{}: {begun} begun, {ended} ended, {waiting} waiting, {in_flight} in flight",
                provider.label()
            ));
        }
    }
}

fn lock(books: &Books) -> std::sync::MutexGuard<'_, Option<Arc<Service>>> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the configuration gives a drain.
const GRACE: Duration = Duration::from_secs(20);

/// Two days of the longest time to live, and some.
const LONGEST: Duration = Duration::from_secs(60 * 3600);
