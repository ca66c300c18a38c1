//! Where a proof takes place: the real daemon as a process, the fakes in this one, and a spool that outlives them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use pushrelay_peers::daemon::DaemonOptions;
use pushrelay_peers::world::RELAY_NAME;
use pushrelay_peers::{ApnsAnswer, Daemon, Samples, World, WorldOptions};
use pushrelay_spool::{Cursor, Filter, Options, Spool, State};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use toml::Table;

use super::dice::Dice;
use super::ledger::Ledger;
use crate::generator::{Generator, Pace, Plan};
use crate::message::Template;

/// The ground.
pub(super) struct Ground {
    /// Certificates, fakes, configuration.
    pub(super) world: World,
    binary: PathBuf,
    template: Template,
    /// How the Call-IDs begin.
    run: u64,
    next: u64,
    spools: u32,
}

/// Everything that a proof waits for comes within this, or never.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Octets in the body of a MESSAGE.
pub(super) const BODY: usize = 600;

/// What the dispatcher may have under way: small, so that the bound of a proof is sharp.
pub(super) const DISPATCHED: usize = 16;

impl Ground {
    /// Makes certificates and starts the fakes.
    pub(super) async fn lay(binary: &Path, options: WorldOptions) -> anyhow::Result<Ground> {
        ensure!(
            binary.is_file(),
            "there is no {}: build it with the same profile, `cargo build -p pushrelay`",
            binary.display()
        );
        let world = World::start_with(options).await?;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let run = u64::try_from(since_1970.as_nanos())?;
        let mut ground = Ground {
            world,
            binary: binary.to_owned(),
            template: Template::new(BODY, run),
            run,
            next: 0,
            spools: 0,
        };
        ground.set("spool", "in_flight", i64::try_from(DISPATCHED)?)?;
        // Where it listens, and no line for each MESSAGE.
        let level = "warn,pushrelay::listener=info,pushrelay::run=info";
        ground.set("log", "level", level)?;
        Ok(ground)
    }

    /// Sets a key in a table of the configuration, for the next start.
    pub(super) fn set(
        &mut self,
        table: &str,
        key: &str,
        value: impl Into<toml::Value>,
    ) -> anyhow::Result<()> {
        let table = self
            .world
            .config
            .entry(table)
            .or_insert(Table::new().into());
        let table = table.as_table_mut().context("a table")?;
        table.insert(key.to_owned(), value.into());
        Ok(())
    }

    /// Sets how long a MESSAGE may wait for its verdict; `0s` puts everything into the spool first.
    pub(super) fn reply_within(&mut self, within: &str) {
        let within = within.to_owned();
        self.world
            .config
            .insert("reply_within".to_owned(), within.into());
    }

    /// The next start begins with an empty spool.
    pub(super) fn new_spool(&mut self) -> anyhow::Result<()> {
        self.spools += 1;
        let path = format!("spool-{}.sqlite", self.spools);
        self.set("spool", "path", path)
    }

    /// The file of the spool.
    pub(super) fn spool(&self) -> PathBuf {
        self.world
            .dir
            .path()
            .join(format!("spool-{}.sqlite", self.spools))
    }

    /// Apple takes so long at most for an answer, and is now and then not available.
    pub(super) fn slow_apple(&self, seed: u64, slowest: Duration) {
        let dice = Mutex::new(Dice::new(Some(seed)));
        self.world.apple.decide(move |_| {
            let mut dice = dice.lock().ok()?;
            let answer = if dice.once_in(100) {
                ApnsAnswer::error(503, "ServiceUnavailable")
            } else {
                ApnsAnswer::ok()
            };
            Some(answer.after(dice.shorter_than(slowest)))
        });
    }

    /// Starts the daemon and waits until it is ready.
    pub(super) async fn start(&self) -> anyhow::Result<Daemon> {
        let mut daemon = self.launch(&[], &[])?;
        daemon.ready().await?;
        Ok(daemon)
    }

    /// Starts the daemon as what becomes of another program, with more variables in its environment.
    pub(super) fn launch(
        &self,
        behind: &[OsString],
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Daemon> {
        let environment = environment.iter();
        let options = DaemonOptions {
            environment: environment
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            behind: behind.to_vec(),
            ..DaemonOptions::default()
        };
        Ok(self.world.launch(&self.binary, options)?)
    }

    /// Connects to the daemon as the partner's Edge.
    pub(super) async fn connect(
        &self,
        address: SocketAddr,
        connections: usize,
    ) -> anyhow::Result<Generator> {
        let tls = self.world.edge_tls()?;
        let template = self.template.clone();
        Generator::connect(address, tls, RELAY_NAME, connections, template, self.next).await
    }

    /// The same with MESSAGEs to Windows Phones.
    pub(super) async fn connect_windows_phone(
        &self,
        address: SocketAddr,
        connections: usize,
    ) -> anyhow::Result<Generator> {
        let tls = self.world.edge_tls()?;
        let channel = self.world.windows_phone.url_for("phone-");
        let template = Template::to_windows_phone(&channel, BODY, self.run ^ 1);
        Generator::connect(address, tls, RELAY_NAME, connections, template, 0).await
    }

    /// Sends what a ledger has open once more, then new MESSAGEs, until all is sent or the daemon ends.
    pub(super) async fn send(
        &mut self,
        mut generator: Generator,
        ledger: &mut Ledger,
        load: Load,
    ) -> anyhow::Result<()> {
        let open = ledger.open();
        if !open.is_empty() {
            let tally = generator.repeat(open, load.window).await?;
            ledger.hear(&tally);
            if !tally.broken.is_empty() {
                return Ok(());
            }
        }
        let plan = Plan {
            pace: Pace::Window(load.window),
            messages: load.messages,
            at_most: PATIENCE,
        };
        let tally = generator.drive(plan).await?;
        self.went_to(&generator);
        ledger.hear(&tally);
        Ok(())
    }

    /// Sends enough, one after the other, for the log of the spool to be folded in a first time.
    pub(super) async fn fill_log(
        &mut self,
        address: SocketAddr,
        ledger: &mut Ledger,
    ) -> anyhow::Result<()> {
        let generator = self.connect(address, 1).await?;
        let enough = Load {
            connections: 1,
            window: 1,
            messages: 50,
        };
        self.send(generator, ledger, enough).await
    }

    /// Starts the daemon once more, with nobody to kill it: what is open is sent again until it is answered 200, what waits
    /// is delivered, the books of the daemon balance, and it ends by itself.
    pub(super) async fn aftermath(&mut self, ledger: &mut Ledger) -> anyhow::Result<Samples> {
        self.sound_spool().await?;
        let mut daemon = self.start().await?;
        let nothing_new = Load {
            connections: 1,
            window: 8,
            messages: 0,
        };
        let generator = self.connect(daemon.sip_addr(), 1).await?;
        self.send(generator, ledger, nothing_new).await?;
        let open = ledger.open();
        ensure!(open.is_empty(), "sent again and not answered 200: {open:?}");
        let samples = settled(&daemon).await?;
        let status = daemon.terminate().await?;
        ensure!(
            status.success(),
            "{status} after SIGTERM: {:#?}",
            daemon.logs()
        );
        self.take(ledger).await?;
        let violations = self.world.apple.violations();
        ensure!(violations.is_empty(), "{violations:?}");
        Ok(samples)
    }

    /// Notes what Apple has got from a daemon that has ended.
    pub(super) async fn take(&self, ledger: &mut Ledger) -> anyhow::Result<()> {
        let apple = &self.world.apple;
        apple
            .wait_until(PATIENCE, |counts| counts.open_connections == 0)
            .await?;
        ledger.take(apple)
    }

    /// Opens a copy of what a dead daemon has left, as its next life would, and lets the spool judge itself.
    pub(super) async fn sound_spool(&self) -> anyhow::Result<()> {
        let Some((spool, _copy)) = self.copy_of_spool()? else {
            return Ok(()); // killed before there was one
        };
        let faults = spool.check().await?;
        spool.close().await;
        ensure!(faults.is_empty(), "the spool is damaged: {faults:?}");
        Ok(())
    }

    /// The numbers of the MESSAGEs that lie in the spool of a dead daemon.
    pub(super) async fn waiting(&self) -> anyhow::Result<BTreeSet<u64>> {
        let mut numbers = BTreeSet::new();
        let Some((spool, _copy)) = self.copy_of_spool()? else {
            return Ok(numbers);
        };
        let now = SystemTime::now();
        let mut next = Some(Cursor::default());
        while let Some(after) = next {
            let page = spool.list(Filter::default(), after, 1000, now).await?;
            for entry in page.list {
                if let Some((_, bytes)) = spool.show(entry.id, now).await? {
                    numbers.extend(self.template.numbers_in(&bytes));
                }
            }
            next = page.next;
        }
        spool.close().await;
        Ok(numbers)
    }

    fn copy_of_spool(&self) -> anyhow::Result<Option<(Spool, TempDir)>> {
        let copy = tempfile::tempdir()?;
        let (from, to) = (self.spool(), copy.path().join("spool.sqlite"));
        if !from.exists() {
            return Ok(None);
        }
        for suffix in ["", "-wal"] {
            let with_suffix = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
            if with_suffix(&from).exists() {
                std::fs::copy(with_suffix(&from), with_suffix(&to))?;
            }
        }
        Ok(Some((Spool::open(&to, Options::default())?, copy)))
    }

    /// How many entries wait in the spool of a dead daemon.
    pub(super) async fn waiting_count(&self) -> anyhow::Result<u64> {
        let Some((spool, _copy)) = self.copy_of_spool()? else {
            return Ok(0);
        };
        let stats = spool.stats(SystemTime::now()).await?;
        spool.close().await;
        let waiting = stats.counts.iter();
        let waiting = waiting.filter(|(_, state, _, _)| *state == State::Waiting);
        Ok(waiting.map(|(_, _, _, count)| count.entries).sum())
    }

    /// Goes on with the numbers where a generator has come to.
    pub(super) fn went_to(&mut self, generator: &Generator) {
        self.next = generator.next();
    }

    /// The MESSAGE that is sent.
    pub(super) fn template(&self) -> &Template {
        &self.template
    }
}

/// Sends MESSAGEs until the breaker of an Apple that is down is open; how many were answered 200.
pub(super) async fn breaker_opens(
    daemon: &Daemon,
    generator: &mut Generator,
) -> anyhow::Result<u64> {
    let some = Plan {
        pace: Pace::Window(8),
        messages: 16,
        at_most: PATIENCE,
    };
    let (mut promised, deadline) = (0, Instant::now() + PATIENCE);
    while daemon
        .metrics()
        .await?
        .sum("pushrelay_breaker_open", &[("service", "apns")])
        == 0.0
    {
        ensure!(Instant::now() < deadline, "the breaker does not open");
        let tally = generator.drive(some).await?.unbroken()?;
        ensure!(tally.accepted() == tally.sent, "{:?}", tally.statuses());
        promised += tally.accepted();
    }
    Ok(promised)
}

/// SIGTERM at this very moment: the books of a daemon under load are never still.
pub(super) fn ask_to_end(daemon: &Daemon) -> anyhow::Result<()> {
    let process = daemon.pid().and_then(|id| Pid::from_raw(id.cast_signed()));
    kill_process(process.context("a daemon that runs")?, Signal::TERM)?;
    Ok(())
}

/// Waits until nothing is in flight and nothing waits, as long as less and less does.
pub(super) async fn settled(daemon: &Daemon) -> anyhow::Result<Samples> {
    let open = |samples: &Samples| {
        samples.sum("pushrelay_targets_in_flight", &[])
            + samples.sum("pushrelay_targets_waiting", &[])
    };
    let mut least = f64::INFINITY;
    loop {
        let samples = daemon.wait_metrics(PATIENCE, |samples| open(samples) < least);
        let samples = samples.await?;
        least = open(&samples);
        if least == 0.0 {
            return Ok(samples);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// How much is sent at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// SIP connections.
    pub(super) connections: usize,
    /// Unanswered on each.
    pub(super) window: u64,
    /// At most, over all connections.
    pub(super) messages: u64,
}
