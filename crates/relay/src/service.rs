//! What every session shares: the configuration that requests are judged by, the providers' clients, the counters.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pushrelay_providers::mpns::MpnsClient;
use pushrelay_push::Service as Provider;
use pushrelay_push::body::Decoders;
use pushrelay_push::retry::Patience;
use pushrelay_sip as sip;

use tokio::sync::watch;

use crate::address::Addresses;
use crate::apple::{AppleApp, AppleApps};
use crate::config::{Config, Limits};
use crate::gone::GoneDevices;
use crate::metrics::Metrics;
use crate::partners::Partners;
use crate::recent::Recent;
use crate::route::Route;
use crate::waiting::Waiting;

/// One running relay.
pub(crate) struct Service {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) partners: Partners,
    pub(crate) addresses: Addresses,
    pub(crate) accepted_status: u16,
    pub(crate) decoders: Decoders,
    pub(crate) reply_within: Duration,
    pub(crate) default_ttl: Duration,
    pub(crate) max_ttl: Duration,
    pub(crate) limits: Limits,
    /// `None` while the platform is switched off.
    pub(crate) apple: Option<AppleApps>,
    /// `None` while the platform is switched off.
    pub(crate) windows_phone: Option<Arc<WindowsPhone>>,
    /// What waits; `None` where no spool is configured.
    pub(crate) waiting: Option<Arc<Waiting>>,
    /// The MESSAGEs of the last half minute.
    pub(crate) recent: Recent,
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
    dice: AtomicU64,
}

/// The Windows Phone service and the way to it.
pub(crate) struct WindowsPhone {
    /// Its client.
    pub(crate) client: MpnsClient,
    /// The way.
    pub(crate) route: Route,
}

/// After a start that took entries over: a sender repeats a MESSAGE for 32 s (RFC 3261 17.1.2.2), and some more for its
/// reconnect.
const ABSORB: Duration = Duration::from_secs(64);

impl Service {
    /// Assembles the service from a resolved configuration. Needs a tokio runtime; opens no connection yet.
    pub(crate) async fn assemble(config: Config) -> anyhow::Result<Service> {
        let metrics = Arc::new(Metrics::new(
            config.partners.iter().map(|partner| &*partner.name),
        ));
        for certificate in &config.certificates {
            metrics.certificate(certificate.usage, &certificate.name, certificate.not_after);
        }
        let apple = match config.apple {
            Some(apps) => Some(AppleApps::new(apps)?),
            None => None,
        };
        let windows_phone = match config.windows_phone {
            Some(options) => Some(Arc::new(WindowsPhone {
                client: MpnsClient::new(options)?,
                route: Route::default(),
            })),
            None => None,
        };
        let gone = GoneDevices::new(config.gone_devices, config.gone_for);
        let (waiting, absorbs) = match config.spool {
            Some(spool) => {
                let (waiting, absorbs) = Waiting::open(spool, metrics.clone(), &gone).await?;
                (Some(Arc::new(waiting)), absorbs)
            }
            None => (None, false),
        };
        Ok(Service {
            metrics,
            partners: config.partners,
            addresses: config.addresses,
            accepted_status: config.accepted_status,
            decoders: Decoders::new(config.channels),
            reply_within: config.reply_within,
            default_ttl: config.default_ttl,
            max_ttl: config.max_ttl,
            limits: config.limits,
            apple,
            windows_phone,
            waiting,
            recent: Recent::new(),
            gone,
            patience: Patience::default(),
            dispatch_in_flight: config.dispatch_in_flight,
            absorbs_until: absorbs.then(|| Instant::now() + ABSORB),
            afterwork: watch::Sender::new(()),
            dice: AtomicU64::new(RandomState::new().hash_one(0)),
        })
    }

    /// Whether targets go to the spool before anybody is asked.
    pub(crate) fn spools_first(&self) -> bool {
        self.waiting.is_some()
            && (self.reply_within.is_zero()
                || self
                    .absorbs_until
                    .is_some_and(|until| Instant::now() < until))
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

    /// Every way to a provider, with its app; Windows Phone has none.
    pub(crate) fn routes(&self) -> impl Iterator<Item = (Provider, &str, &Route)> {
        let apple = self
            .apple_apps()
            .iter()
            .map(|app| (Provider::Apns, &*app.id, &app.route));
        apple.chain(
            self.windows_phone
                .iter()
                .map(|phone| (Provider::Mpns, "", &phone.route)),
        )
    }

    /// All of Apple's apps, none while the platform is switched off.
    pub(crate) fn apple_apps(&self) -> &[Arc<AppleApp>] {
        self.apple.as_ref().map_or(&[], AppleApps::list)
    }

    /// What a SIP connection may cost.
    pub(crate) fn sip_limits(&self) -> sip::Limits {
        sip::Limits {
            head_bytes: self.limits.head_bytes,
            head_lines: self.limits.head_lines,
            body_bytes: self.limits.body_bytes,
            ..sip::Limits::default()
        }
    }

    /// Ends the connections to the providers and closes the spool; what is in flight has been awaited.
    pub(crate) async fn close(self: Arc<Self>) {
        for app in self.apple_apps() {
            app.client.close().await;
        }
        if let Some(waiting) = &self.waiting {
            waiting.spool().close().await;
        }
    }
}
