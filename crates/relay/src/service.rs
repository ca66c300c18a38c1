//! What lives as long as the process: the counters, what waits, what is remembered, and the rules of the moment.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use pushrelay_push::retry::Patience;
use pushrelay_spool::Spool;
use tokio::sync::watch;

use crate::accounts::Accounts;
use crate::capture::Captures;
use crate::clock;
use crate::config::{Config, Limits};
use crate::gone::GoneDevices;
use crate::metrics::Metrics;
use crate::recent::Recent;
use crate::rules::Rules;
use crate::srv::SrvBook;
use crate::trail::Trail;
use crate::waiting::{self, Waiting};

/// One running relay.
pub(crate) struct Service {
    pub(crate) metrics: Arc<Metrics>,
    /// What requests are judged by; a reload replaces it.
    pub(crate) rules: ArcSwap<Rules>,
    /// What is known of each partner.
    pub(crate) accounts: Accounts,
    pub(crate) limits: Limits,
    /// What waits; `None` where no spool is configured.
    pub(crate) waiting: Option<Arc<Waiting>>,
    /// What the domains of partners publish.
    pub(crate) srv: SrvBook,
    /// What became of the MESSAGEs of late, for operators.
    pub(crate) trail: Arc<Trail>,
    /// The MESSAGEs of the last half minute.
    pub(crate) recent: Recent,
    /// Requests that are kept for the operator.
    pub(crate) captures: Captures,
    /// Devices that are refused at the door.
    pub(crate) gone: GoneDevices,
    /// How patient the dispatcher is.
    pub(crate) patience: Patience,
    /// How many pushes of the backlog may be under way, for each provider.
    pub(crate) dispatch_in_flight: usize,
    /// Until then everything goes through the spool, because the sender may repeat what an earlier life has taken.
    absorbs_until: Option<Instant>,
    /// Held by every task that goes on after its MESSAGE was answered.
    afterwork: watch::Sender<()>,
    /// Turns true when a drain has had all the time that it may take.
    grace_over: watch::Sender<bool>,
    dice: AtomicU64,
}

/// After a start that took entries over: a sender repeats a MESSAGE for 32 s (RFC 3261 17.1.2.2), and some more for its
/// reconnect.
const ABSORB: Duration = Duration::from_secs(64);

impl Service {
    /// Assembles the service from a resolved configuration. Needs a tokio runtime; opens no connection yet.
    pub(crate) async fn assemble(mut config: Config) -> anyhow::Result<Service> {
        let spool = match config.spool.take() {
            Some(spool) => Some(waiting::open(spool).await?),
            None => None,
        };
        Service::over(spool, config, RandomState::new().hash_one(0)).await
    }

    /// The same over a spool that is open, and with these dice.
    pub(crate) async fn over(
        spool: Option<Spool>,
        config: Config,
        dice: u64,
    ) -> anyhow::Result<Service> {
        let metrics = Arc::new(Metrics::new());
        let trail = Arc::new(Trail::new(config.trail, (clock::now(), clock::wall())));
        let gone = GoneDevices::new(config.gone_devices, config.gone_for);
        let (waiting, absorbs) = match spool {
            Some(spool) => {
                let (waiting, absorbs) =
                    Waiting::take_over(spool, metrics.clone(), trail.clone(), &gone).await?;
                (Some(Arc::new(waiting)), absorbs)
            }
            None => (None, false),
        };
        let (limits, dispatch_in_flight) = (config.limits.clone(), config.dispatch_in_flight);
        let accounts = Accounts::new(&metrics, limits.connections_per_partner);
        let captures = Captures::start(metrics.clone())?;
        let service = Service {
            srv: SrvBook::new(metrics.clone()),
            metrics,
            captures,
            rules: ArcSwap::from_pointee(Rules::new(config, None)?),
            accounts,
            limits,
            waiting,
            trail,
            recent: Recent::new(),
            gone,
            patience: Patience::default(),
            dispatch_in_flight,
            absorbs_until: absorbs.then(|| clock::now() + ABSORB),
            afterwork: watch::Sender::new(()),
            grace_over: watch::Sender::new(false),
            dice: AtomicU64::new(dice),
        };
        service.prepare(&service.rules.load());
        Ok(service)
    }

    /// Puts other rules into force: for every request that is read from now on.
    pub(crate) fn replace(&self, rules: Rules) {
        self.prepare(&rules);
        self.rules.store(Arc::new(rules));
    }

    /// Makes ready what rules bring with them: every partner has an account before it says anything, so that its series stand at 0, captures keep to
    /// their bounds, and DNS is asked for what they need to know.
    fn prepare(&self, rules: &Rules) {
        self.srv.follow(&rules.dns, rules.partners.srv_domains());
        for partner in rules.partners.iter() {
            self.accounts.of(&partner.name);
        }
        if let Some(capture) = &rules.bodies.capture {
            self.captures.prune(capture);
        }
    }

    /// Whether targets go to the spool before anybody is asked.
    pub(crate) fn spools_first(&self, rules: &Rules) -> bool {
        self.waiting.is_some()
            && (rules.reply_within.is_zero()
                || self.absorbs_until.is_some_and(|until| clock::now() < until))
    }

    /// A number for jitter: evenly distributed, of no use for secrets (SplitMix64).
    pub(crate) fn dice(&self) -> u64 {
        let mut z = self
            .dice
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Runs what goes on after its MESSAGE was answered; the drain waits for it.
    pub(crate) fn afterwards(&self, work: impl Future<Output = ()> + Send + 'static) {
        let held = self.afterwork.subscribe();
        tokio::spawn(async move {
            work.await;
            drop(held);
        });
    }

    /// Waits until nothing of that kind runs any more.
    pub(crate) async fn afterwork_done(&self) {
        self.afterwork.closed().await;
    }

    /// Says to every connection that the drain has had all the time that it may take: whoever holds it up is cut off.
    pub(crate) fn end_grace(&self) {
        self.grace_over.send_replace(true);
    }

    /// Waits until that is said.
    pub(crate) fn grace_over(&self) -> impl Future<Output = ()> + use<> {
        let mut over = self.grace_over.subscribe();
        async move {
            // The sender lives as long as this; if it were gone, ending would be right as well.
            let _ = over.wait_for(|over| *over).await;
        }
    }

    /// Ends the connections to the providers and closes the spool; what is in flight has been awaited.
    pub(crate) async fn close(self: Arc<Self>) {
        let spool = async {
            if let Some(waiting) = &self.waiting {
                waiting.spool().close().await;
            }
        };
        let providers = async {
            for app in self.rules.load_full().apple_apps() {
                app.client.close().await;
            }
        };
        tokio::join!(spool, providers);
    }
}
