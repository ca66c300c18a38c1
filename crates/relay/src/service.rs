//! What every session shares: the configuration that requests are judged by, the providers' clients, the counters.

use std::sync::Arc;
use std::time::Duration;

use pushrelay_providers::mpns::MpnsClient;
use pushrelay_push::Environment;
use pushrelay_push::body::Decoders;
use pushrelay_sip as sip;

use crate::address::Addresses;
use crate::apple::{AppleApp, AppleApps};
use crate::config::{Config, Limits};
use crate::metrics::Metrics;
use crate::partners::Partners;

/// One running relay.
pub(crate) struct Service {
    pub(crate) metrics: Metrics,
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
    pub(crate) windows_phone: Option<MpnsClient>,
}

impl Service {
    /// Assembles the service from a resolved configuration. Needs a tokio runtime; opens no connection yet.
    pub(crate) fn assemble(config: Config) -> anyhow::Result<Service> {
        let metrics = Metrics::new(config.partners.iter().map(|partner| &*partner.name));
        for certificate in &config.certificates {
            metrics.certificate(certificate.usage, &certificate.name, certificate.not_after);
        }
        let apple = match config.apple {
            Some(apps) => Some(AppleApps::new(apps)?),
            None => None,
        };
        let windows_phone = match config.windows_phone {
            Some(options) => Some(MpnsClient::new(options)?),
            None => None,
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
        })
    }

    /// The app that a target names.
    pub(crate) fn apple_app(
        &self,
        id: Option<&str>,
        environment: Option<Environment>,
    ) -> Option<&AppleApp> {
        self.apple.as_ref()?.find(id, environment)
    }

    /// All of Apple's apps, none while the platform is switched off.
    pub(crate) fn apple_apps(&self) -> &[AppleApp] {
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

    /// Ends the connections to the providers; what is in flight has been awaited.
    pub(crate) async fn close(self: Arc<Self>) {
        for app in self.apple_apps() {
            app.client.close().await;
        }
    }
}
