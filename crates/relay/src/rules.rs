//! What requests are judged by and where their pushes go: one immutable value, replaced whole by a reload.
//!
//! Loaded once for each request. Not here: what lives as long as the process (`service`), what is known of a partner (`accounts`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use pushrelay_push::Service as Provider;
use rustls::ServerConfig;

use crate::address::Addresses;
use crate::apple::{AppleApp, AppleApps};
use crate::breaker::Passage;
use crate::config::{Bodies, Config, ConfiguredCertificate, Presentation};
use crate::partners::Partners;
use crate::route::Route;
use crate::srv::Dns;
use crate::windows_phone::WindowsPhoneApps;

/// The rules of the moment.
pub(crate) struct Rules {
    /// What a new connection's handshake goes by.
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) partners: Partners,
    /// Who is asked which hosts a domain publishes.
    pub(crate) dns: Dns,
    pub(crate) addresses: Addresses,
    pub(crate) accepted_status: u16,
    pub(crate) bodies: Bodies,
    pub(crate) reply_within: Duration,
    pub(crate) default_ttl: Duration,
    pub(crate) max_ttl: Duration,
    pub(crate) drain_grace: Duration,
    /// `None` while the platform is switched off.
    pub(crate) apple: Option<AppleApps>,
    /// `None` while the platform is switched off.
    pub(crate) windows_phone: Option<WindowsPhoneApps>,
    /// How notifications look.
    pub(crate) presentation: Presentation,
    /// Every certificate that ends one day.
    pub(crate) certificates: Vec<ConfiguredCertificate>,
}

impl Rules {
    /// Makes rules of a resolved configuration. Needs a tokio runtime; opens no connection yet. Clients that were the same `before` go
    /// on; the others end by themselves when nothing is in flight on them any more.
    pub(crate) fn new(config: Config, before: Option<&Rules>) -> anyhow::Result<Rules> {
        let apple = match config.apple {
            Some(apps) => {
                let before = before.and_then(|before| before.apple.as_ref());
                Some(AppleApps::new(apps, before)?)
            }
            None => None,
        };
        let windows_phone = match config.windows_phone {
            Some(apps) => {
                let before = before.and_then(|before| before.windows_phone.as_ref());
                Some(WindowsPhoneApps::new(apps, before)?)
            }
            None => None,
        };
        Ok(Rules {
            tls: config.tls,
            partners: config.partners,
            dns: Dns::new(config.dns_servers)?,
            addresses: config.addresses,
            accepted_status: config.accepted_status,
            bodies: config.bodies,
            reply_within: config.reply_within,
            default_ttl: config.default_ttl,
            max_ttl: config.max_ttl,
            drain_grace: config.drain_grace,
            apple,
            windows_phone,
            presentation: config.presentation,
            certificates: config.certificates,
        })
    }

    /// How many apps have the client that they had before.
    pub(crate) fn kept_apps(&self, before: &Rules) -> usize {
        let kept = |app: &&Arc<AppleApp>| before.apple_apps().iter().any(|b| Arc::ptr_eq(app, b));
        self.apple_apps().iter().filter(kept).count()
    }

    /// Every way to a provider, with its app.
    pub(crate) fn routes(&self) -> impl Iterator<Item = (Provider, &str, &Route)> {
        let apple = self
            .apple_apps()
            .iter()
            .map(|app| (Provider::Apns, &*app.id, &app.route));
        let phones = self.windows_phone.iter().flat_map(WindowsPhoneApps::list);
        apple.chain(phones.map(|app| (Provider::Mpns, &*app.id, &app.route)))
    }

    /// What a push to a provider would be told on the best way there; free where there is none, so that it is told so.
    pub(crate) fn passage(&self, provider: Provider, now: Instant) -> Passage {
        let ways = self.routes().filter(|(of, _, _)| *of == provider);
        let passages = ways.map(|(_, _, route)| route.breaker.look(now));
        passages.min().unwrap_or(Passage::Free)
    }

    /// All of Apple's apps, none while the platform is switched off.
    pub(crate) fn apple_apps(&self) -> &[Arc<AppleApp>] {
        self.apple.as_ref().map_or(&[], AppleApps::list)
    }
}
