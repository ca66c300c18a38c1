//! Every series of the relay: one table of families from which the code and the manual come.
//!
//! Labels are closed enums or names from the configuration, so that every series stands at 0 from the start and none
//! can be made by the wire. The hot path holds its counters; it never looks one up.

mod labels;

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};
use pushrelay_push::body::Damage;
use pushrelay_push::{Cause, Outcome, Service};
use pushrelay_spool::{Bound, SpoolError, State, Stats};

pub(crate) use self::labels::{
    CaptureResult, ConnectionResult, Ended, Ending, Refusal, ReloadResult,
};
use crate::clock;
use crate::rules::Rules;
use crate::srv::SrvAnswer;

/// One family: what it is called, what it is, and which labels it has.
pub(crate) struct Family {
    /// The name, with its unit.
    pub(crate) name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub(crate) kind: &'static str,
    /// The labels, in order.
    pub(crate) labels: &'static [&'static str],
    /// One sentence.
    pub(crate) help: &'static str,
}

macro_rules! families {
    ($($constant:ident = $kind:literal $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(const $constant: Family = Family { name: $name, kind: $kind, labels: &[$($label),*], help: $help };)*
        /// All families, in the order of the manual.
        pub(crate) const FAMILIES: &[&Family] = &[$(&$constant),*];
    };
}

families! {
    BUILD = "gauge" "pushrelay_build_info" ["version"] "Always 1; the version that runs.";
    READY = "gauge" "pushrelay_ready" [] "1 while new MESSAGEs are accepted, 0 during start and drain.";
    CONNECTIONS = "gauge" "pushrelay_connections" [] "SIP connections that are open, handshake done.";
    CONNECTIONS_TOTAL = "counter" "pushrelay_connections_total" ["result"] "SIP connections by what became of the attempt.";
    CONNECTIONS_ENDED = "counter" "pushrelay_connections_ended_total" ["reason"] "SIP connections that were open, by why they ended.";
    ACCEPT_FAILURES = "counter" "pushrelay_accept_failures_total" [] "Times that the system gave no connection, for want of file descriptors or memory; accepting pauses then.";
    REQUESTS = "counter" "pushrelay_requests_total" ["method"] "SIP requests that were read, retransmissions left out.";
    RETRANSMISSIONS = "counter" "pushrelay_retransmissions_total" [] "SIP requests that repeated an earlier one and got its answer.";
    MESSAGES_RECEIVED = "counter" "pushrelay_messages_received_total" ["partner"] "MESSAGE requests that were read; partner is \"-\" for a peer that is none.";
    MESSAGES_OVER_RATE = "counter" "pushrelay_messages_over_rate_total" ["partner"] "MESSAGE requests that came faster than the partner's rate allows and were answered 503.";
    MESSAGES_ANSWERED = "counter" "pushrelay_messages_answered_total" ["status"] "MESSAGE requests by the SIP status of their answer.";
    MESSAGES_IN_FLIGHT = "gauge" "pushrelay_messages_in_flight" [] "MESSAGE requests that were read and are not yet answered.";
    MESSAGE_SECONDS = "histogram" "pushrelay_message_seconds" [] "Time from a MESSAGE's last byte to its answer.";
    REFUSALS = "counter" "pushrelay_refusals_total" ["reason"] "Requests that were refused at the door, by reason.";
    BODIES_DAMAGED = "counter" "pushrelay_bodies_damaged_total" ["kind"] "Bodies that an IM URL filter at the sender has changed: links (an underscore in front of them) or text_in_front; repaired where that is certain.";
    CAPTURES = "counter" "pushrelay_captures_total" ["result"] "Requests to be kept for the operator: kept, dropped because the writer was too slow, failed because the disk would not take them.";
    SRV_LOOKUPS = "counter" "pushrelay_srv_lookups_total" ["answer"] "Questions to DNS for the hosts that a partner's domain publishes, by the answer.";
    SRV_LEFT_OUT = "counter" "pushrelay_srv_hosts_left_out_total" [] "Hosts in such answers that were left out: outside the domain, or past the first 32.";
    TARGETS = "counter" "pushrelay_targets_total" ["service"] "Devices named by the MESSAGEs that were decoded.";
    TARGETS_SETTLED = "counter" "pushrelay_targets_settled_total" ["service", "ending"] "Targets by how they ended; unsettled ones were answered 503.";
    TARGETS_WAITING = "gauge" "pushrelay_targets_waiting" ["service"] "Targets that wait in the spool, those being tried included.";
    TARGETS_TAKEN_OVER = "counter" "pushrelay_targets_taken_over_total" ["service"] "Targets that were in the spool at the start, or were brought back by an operator.";
    TARGETS_IN_FLIGHT = "gauge" "pushrelay_targets_in_flight" ["service"] "Targets that have no verdict yet.";
    OUTCOMES = "counter" "pushrelay_outcomes_total" ["service", "cause"] "Attempts by what the provider said, or what happened instead; a target that waits may have several.";
    AMBIGUOUS = "counter" "pushrelay_ambiguous_total" ["service"] "Pushes whose request may have reached the provider although no answer came.";
    PROVIDER_SECONDS = "histogram" "pushrelay_provider_seconds" ["service"] "Time from handing a push to a provider's client to its verdict.";
    APNS_CONNECTIONS = "gauge" "pushrelay_apns_connections" ["app"] "HTTP/2 connections to Apple that are open.";
    APNS_STREAMS = "gauge" "pushrelay_apns_streams_in_flight" ["app"] "Pushes in flight on HTTP/2 streams.";
    APNS_STREAM_LIMIT = "gauge" "pushrelay_apns_stream_limit" ["app"] "Streams that Apple allows now, over all connections.";
    APNS_EVENTS = "gauge" "pushrelay_apns_connection_events" ["app", "event"] "Count since start of what happened on connections to Apple.";
    BREAKER_OPEN = "gauge" "pushrelay_breaker_open" ["service", "app"] "1 while nobody waits for this provider, because it has failed too often in a row.";
    INVALIDATION_WAVE = "gauge" "pushrelay_invalidation_wave" ["service", "app"] "1 while so many devices are called gone or bad that none is believed: look at the app's environment and topic.";
    GONE_DEVICES = "gauge" "pushrelay_gone_devices" [] "Devices that are refused at the door.";
    SPOOL_ENTRIES = "gauge" "pushrelay_spool_entries" ["service", "state"] "Entries on disk: waiting, buried by a verdict, parked because they cannot be read.";
    SPOOL_BYTES = "gauge" "pushrelay_spool_bytes" ["service", "state"] "Bytes of these entries.";
    SPOOL_TROUBLE = "gauge" "pushrelay_spool_trouble" ["kind"] "1 for the reason why the spool takes nothing now.";
    SPOOL_REFUSALS = "counter" "pushrelay_spool_refusals_total" ["kind"] "MESSAGEs that were answered 503 because the spool could not take a target.";
    SPOOL_COMMITS = "gauge" "pushrelay_spool_commits" [] "Count since start of transactions that were synced to disk.";
    LOG_DROPPED = "counter" "pushrelay_log_lines_dropped_total" [] "Log lines below WARN that were lost because whoever reads the log was too slow.";
    RELOADS = "counter" "pushrelay_reloads_total" ["result"] "Times that the configuration was read again, by what came of it; a refused one has changed nothing.";
    RELOAD_FAILED = "gauge" "pushrelay_reload_failed" [] "1 while the configuration in force is not the last one that was read, because that was refused.";
    RELOAD_SUCCESS = "gauge" "pushrelay_reload_success_timestamp_seconds" [] "When the configuration in force was taken up.";
    CERTIFICATE_EXPIRY = "gauge" "pushrelay_certificate_expiry_timestamp_seconds" ["use", "name"] "When a configured certificate ends, or a revocation list (use crl) must be replaced.";
    OPERATOR_REQUESTS = "counter" "pushrelay_operator_requests_total" ["result"] "Questions on the admin socket: answered, refused because they cannot be, failed because of the spool.";
}

/// Counts for the log, which stands before everything else and belongs to the process.
pub(crate) static LOG_LINES_DROPPED: LazyLock<IntCounter> = LazyLock::new(|| {
    IntCounter::with_opts(LOG_DROPPED.opts()).expect("the family table is well-formed")
});

impl Family {
    fn opts(&self) -> Opts {
        Opts::new(self.name, self.help)
    }

    fn counters(&self, registry: &Registry) -> IntCounterVec {
        let vec =
            IntCounterVec::new(self.opts(), self.labels).expect("the family table is well-formed");
        register(registry, vec.clone());
        vec
    }

    fn int_gauges(&self, registry: &Registry) -> IntGaugeVec {
        let vec =
            IntGaugeVec::new(self.opts(), self.labels).expect("the family table is well-formed");
        register(registry, vec.clone());
        vec
    }

    fn gauges(&self, registry: &Registry) -> GaugeVec {
        let vec = GaugeVec::new(self.opts(), self.labels).expect("the family table is well-formed");
        register(registry, vec.clone());
        vec
    }

    fn histograms(&self, registry: &Registry) -> HistogramVec {
        let opts = HistogramOpts::from(self.opts()).buckets(SECONDS.to_vec());
        let vec = HistogramVec::new(opts, self.labels).expect("the family table is well-formed");
        register(registry, vec.clone());
        vec
    }
}

fn register(registry: &Registry, collector: impl Collector + 'static) {
    registry
        .register(Box::new(collector))
        .expect("a family is registered once");
}

/// Upper bounds of the latency histograms: half a millisecond to the 10 s of a provider exchange.
const SECONDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 10.0,
];

/// Every SIP status that this program answers a MESSAGE with.
const STATUSES: [u16; 17] = [
    200, 202, 400, 403, 404, 405, 410, 413, 415, 416, 420, 481, 488, 500, 503, 505, 513,
];

/// What became of a question on the admin socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperatorResult {
    /// Answered; also that there is nothing of that name.
    Answered,
    /// It cannot be read, or asks what this relay does not have.
    Refused,
    /// The spool was in trouble.
    Failed,
}

impl OperatorResult {
    const ALL: [OperatorResult; 3] = [
        OperatorResult::Answered,
        OperatorResult::Refused,
        OperatorResult::Failed,
    ];

    /// The label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            OperatorResult::Answered => "answered",
            OperatorResult::Refused => "refused",
            OperatorResult::Failed => "failed",
        }
    }
}

/// The children of one service.
pub(crate) struct ServiceMetrics {
    pub(crate) targets: IntCounter,
    pub(crate) taken_over: IntCounter,
    pub(crate) in_flight: IntGauge,
    pub(crate) waiting: IntGauge,
    pub(crate) seconds: Histogram,
    ambiguous: IntCounter,
    endings: [IntCounter; 10],
    outcomes: Vec<(Cause, IntCounter)>,
}

impl ServiceMetrics {
    /// Counts one attempt's outcome.
    pub(crate) fn outcome(&self, outcome: &Outcome) {
        if outcome.ambiguous {
            self.ambiguous.inc();
        }
        if let Some((_, counter)) = self
            .outcomes
            .iter()
            .find(|(cause, _)| *cause == outcome.cause)
        {
            counter.inc();
        }
    }

    /// Counts a target's end.
    pub(crate) fn end(&self, ending: Ending) {
        self.endings[ending as usize].inc();
    }

    /// Counts the end of several targets.
    pub(crate) fn end_many(&self, ending: Ending, targets: usize) {
        self.endings[ending as usize].inc_by(targets as u64);
    }

    /// How many targets ended so.
    pub(crate) fn ended(&self, ending: Ending) -> u64 {
        self.endings[ending as usize].get()
    }
}

/// All counters, gauges and histograms, each child looked up once.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) ready: IntGauge,
    pub(crate) connections: IntGauge,
    connection_results: [IntCounter; 17],
    connections_ended: [IntCounter; 8],
    pub(crate) requests_message: IntCounter,
    pub(crate) requests_options: IntCounter,
    pub(crate) requests_other: IntCounter,
    pub(crate) retransmissions: IntCounter,
    /// By partner: an account counts for each.
    pub(crate) messages_received: IntCounterVec,
    /// By partner, the same.
    pub(crate) messages_over_rate: IntCounterVec,
    /// The system gave no connection.
    pub(crate) accept_failures: IntCounter,
    /// Those of peers that are no partner.
    pub(crate) messages_of_strangers: IntCounter,
    messages_answered: [IntCounter; 17],
    pub(crate) messages_in_flight: IntGauge,
    pub(crate) message_seconds: Histogram,
    refusals: [IntCounter; 12],
    srv_answers: [IntCounter; 3],
    pub(crate) srv_left_out: IntCounter,
    damaged_links: IntCounter,
    damaged_text_in_front: IntCounter,
    captures: [IntCounter; 3],
    services: [ServiceMetrics; 2],
    apns_connections: GaugeVec,
    apns_streams: GaugeVec,
    apns_stream_limit: GaugeVec,
    apns_events: GaugeVec,
    breaker_open: GaugeVec,
    invalidation_wave: GaugeVec,
    gone_devices: IntGauge,
    spool_entries: GaugeVec,
    spool_bytes: GaugeVec,
    spool_trouble: Vec<(&'static str, IntGauge)>,
    spool_refusals: Vec<(&'static str, IntCounter)>,
    spool_commits: IntGauge,
    operator: [IntCounter; 3],
    reloads: [IntCounter; 2],
    reload_failed: IntGauge,
    reload_success: IntGauge,
    certificate_expiry: GaugeVec,
    /// Held while the series that the configuration names are made anew.
    exposition: Mutex<()>,
}

impl Metrics {
    /// Registers every family, and every series but those that the configuration names.
    pub(crate) fn new() -> Metrics {
        let registry = Registry::new();
        let process = prometheus::process_collector::ProcessCollector::for_self();
        register(&registry, process);
        register(&registry, LOG_LINES_DROPPED.clone());
        BUILD
            .int_gauges(&registry)
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        let results = CONNECTIONS_TOTAL.counters(&registry);
        let ended = CONNECTIONS_ENDED.counters(&registry);
        let requests = REQUESTS.counters(&registry);
        let received = MESSAGES_RECEIVED.counters(&registry);
        let answered = MESSAGES_ANSWERED.counters(&registry);
        let refusals = REFUSALS.counters(&registry);
        let damaged = BODIES_DAMAGED.counters(&registry);
        let captures = CAPTURES.counters(&registry);
        let srv = SRV_LOOKUPS.counters(&registry);
        let services = Services::new(&registry);
        let operator = OPERATOR_REQUESTS.counters(&registry);
        let reloads = RELOADS.counters(&registry);
        let reload_success = RELOAD_SUCCESS
            .int_gauges(&registry)
            .with_label_values::<&str>(&[]);
        reload_success.set(unix_seconds());
        let trouble = SPOOL_TROUBLE.int_gauges(&registry);
        let refused = SPOOL_REFUSALS.counters(&registry);
        let (kinds, kinds_again) = (spool_kinds(), spool_kinds());
        Metrics {
            ready: READY.int_gauges(&registry).with_label_values::<&str>(&[]),
            connections: CONNECTIONS
                .int_gauges(&registry)
                .with_label_values::<&str>(&[]),
            connection_results: ConnectionResult::ALL
                .map(|result| results.with_label_values(&[result.label()])),
            connections_ended: Ended::ALL.map(|why| ended.with_label_values(&[why.label()])),
            requests_message: requests.with_label_values(&["MESSAGE"]),
            requests_options: requests.with_label_values(&["OPTIONS"]),
            requests_other: requests.with_label_values(&["other"]),
            retransmissions: RETRANSMISSIONS
                .counters(&registry)
                .with_label_values::<&str>(&[]),
            messages_of_strangers: received.with_label_values(&["-"]),
            messages_received: received,
            messages_over_rate: MESSAGES_OVER_RATE.counters(&registry),
            accept_failures: ACCEPT_FAILURES
                .counters(&registry)
                .with_label_values::<&str>(&[]),
            messages_answered: STATUSES
                .map(|status| answered.with_label_values(&[&status.to_string()])),
            messages_in_flight: MESSAGES_IN_FLIGHT
                .int_gauges(&registry)
                .with_label_values::<&str>(&[]),
            message_seconds: MESSAGE_SECONDS
                .histograms(&registry)
                .with_label_values::<&str>(&[]),
            srv_answers: SrvAnswer::ALL.map(|answer| srv.with_label_values(&[answer.label()])),
            srv_left_out: SRV_LEFT_OUT
                .counters(&registry)
                .with_label_values::<&str>(&[]),
            refusals: Refusal::ALL.map(|refusal| refusals.with_label_values(&[refusal.label()])),
            damaged_links: damaged.with_label_values(&["links"]),
            damaged_text_in_front: damaged.with_label_values(&["text_in_front"]),
            captures: CaptureResult::LABELS.map(|label| captures.with_label_values(&[label])),
            services: Service::ALL.map(|service| services.of(service)),
            apns_connections: APNS_CONNECTIONS.gauges(&registry),
            apns_streams: APNS_STREAMS.gauges(&registry),
            apns_stream_limit: APNS_STREAM_LIMIT.gauges(&registry),
            apns_events: APNS_EVENTS.gauges(&registry),
            breaker_open: BREAKER_OPEN.gauges(&registry),
            invalidation_wave: INVALIDATION_WAVE.gauges(&registry),
            gone_devices: GONE_DEVICES
                .int_gauges(&registry)
                .with_label_values::<&str>(&[]),
            spool_entries: SPOOL_ENTRIES.gauges(&registry),
            spool_bytes: SPOOL_BYTES.gauges(&registry),
            spool_trouble: kinds
                .map(|kind| (kind, trouble.with_label_values(&[kind])))
                .collect(),
            spool_refusals: kinds_again
                .map(|kind| (kind, refused.with_label_values(&[kind])))
                .collect(),
            spool_commits: SPOOL_COMMITS
                .int_gauges(&registry)
                .with_label_values::<&str>(&[]),
            operator: OperatorResult::ALL
                .map(|result| operator.with_label_values(&[result.label()])),
            reloads: ReloadResult::ALL.map(|result| reloads.with_label_values(&[result.label()])),
            reload_failed: RELOAD_FAILED
                .int_gauges(&registry)
                .with_label_values::<&str>(&[]),
            reload_success,
            certificate_expiry: CERTIFICATE_EXPIRY.gauges(&registry),
            exposition: Mutex::default(),
            registry,
        }
    }

    /// Counts an attempt to connect.
    pub(crate) fn connection(&self, result: ConnectionResult) {
        self.connection_results[result as usize].inc();
    }

    /// Counts the end of a connection that was open.
    pub(crate) fn connection_ended(&self, why: Ended) {
        self.connections_ended[why as usize].inc();
    }

    /// Counts a MESSAGE's answer.
    pub(crate) fn message_answered(&self, status: u16) {
        self.messages_in_flight.dec();
        // A status that the table lacks is our bug; it is counted as 500 so that conservation holds.
        let index = STATUSES
            .iter()
            .position(|known| *known == status)
            .unwrap_or(13);
        self.messages_answered[index].inc();
    }

    /// How many MESSAGEs were read, over all partners.
    pub(crate) fn messages_received(&self) -> u64 {
        let families = self.messages_received.collect();
        let series = families.iter().flat_map(MetricFamily::get_metric);
        // A counter that is counted in ones stays exact up to 2^53.
        series
            .map(|series| series.get_counter().get_value() as u64)
            .sum()
    }

    /// How many MESSAGEs were answered with each status, those with none left out.
    pub(crate) fn messages_answered(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        STATUSES
            .iter()
            .zip(&self.messages_answered)
            .map(|(status, counter)| (*status, counter.get()))
            .filter(|(_, n)| *n > 0)
    }

    /// Counts a question on the admin socket.
    pub(crate) fn operator(&self, result: OperatorResult) {
        self.operator[result as usize].inc();
    }

    /// Counts a request that was refused at the door.
    pub(crate) fn refusal(&self, refusal: Refusal) {
        self.refusals[refusal as usize].inc();
    }

    /// Counts what a URL filter has done to a body.
    pub(crate) fn damage(&self, damage: Damage) {
        if damage.links() {
            self.damaged_links.inc();
        }
        if damage.text_in_front() {
            self.damaged_text_in_front.inc();
        }
    }

    /// Counts a request that was to be kept.
    pub(crate) fn capture(&self, result: CaptureResult) {
        self.captures[result as usize].inc();
    }

    /// How often that has happened.
    #[cfg(test)]
    pub(crate) fn captured(&self, result: CaptureResult) -> u64 {
        self.captures[result as usize].get()
    }

    /// Counts what DNS said of a domain.
    pub(crate) fn srv_answer(&self, answer: SrvAnswer) {
        self.srv_answers[answer as usize].inc();
    }

    /// The counters of one service.
    pub(crate) fn service(&self, service: Service) -> &ServiceMetrics {
        match service {
            Service::Apns => &self.services[0],
            Service::Mpns => &self.services[1],
        }
    }

    /// Counts a reload.
    pub(crate) fn reloaded(&self, result: ReloadResult) {
        self.reloads[result as usize].inc();
        match result {
            ReloadResult::Applied => {
                self.reload_failed.set(0);
                self.reload_success.set(unix_seconds());
            }
            ReloadResult::Refused => self.reload_failed.set(1),
        }
    }

    /// Counts a MESSAGE that the spool did not take.
    pub(crate) fn spool_refused(&self, error: SpoolError) {
        if let Some((_, counter)) = self
            .spool_refusals
            .iter()
            .find(|(kind, _)| *kind == error.label())
        {
            counter.inc();
        }
    }

    /// The exposition text. What others know better than a counter is asked now: the clients, the breakers, the spool.
    pub(crate) async fn encode(
        &self,
        service: &crate::service::Service,
    ) -> Result<String, prometheus::Error> {
        self.gone_devices
            .set(i64::try_from(service.gone.len()).unwrap_or(i64::MAX));
        self.ask_spool(service).await;
        let exposition = self.exposition.lock();
        let _alone = exposition.unwrap_or_else(PoisonError::into_inner);
        self.ask_rules(&service.rules.load());
        let families: Vec<MetricFamily> = self.registry.gather();
        TextEncoder::new().encode_to_string(&families)
    }

    /// Makes the series anew that the configuration names: after a reload they may be others.
    fn ask_rules(&self, rules: &Rules) {
        for family in [
            &self.apns_connections,
            &self.apns_streams,
            &self.apns_stream_limit,
            &self.apns_events,
            &self.breaker_open,
            &self.invalidation_wave,
            &self.certificate_expiry,
        ] {
            family.reset();
        }
        for app in rules.apple_apps() {
            let stats = app.client.stats();
            let name = app.id.as_ref();
            set(&self.apns_connections, &[name], stats.connections);
            set(&self.apns_streams, &[name], stats.streams_in_flight);
            set(&self.apns_stream_limit, &[name], stats.stream_limit);
            for (event, count) in stats.events() {
                set(&self.apns_events, &[name, event], count);
            }
        }
        let now = clock::now();
        for (provider, app, route) in rules.routes() {
            let labels = [provider.label(), app];
            let open = u64::from(route.breaker.is_open());
            set(&self.breaker_open, &labels, open);
            let high = u64::from(route.wave.is_high(now));
            set(&self.invalidation_wave, &labels, high);
        }
        for certificate in &rules.certificates {
            let labels = [certificate.usage, &certificate.name];
            set(&self.certificate_expiry, &labels, certificate.not_after);
        }
    }

    async fn ask_spool(&self, service: &crate::service::Service) {
        let waiting = service.waiting.as_ref();
        let health = waiting
            .map(|waiting| waiting.spool().health())
            .unwrap_or_default();
        self.spool_commits
            .set(i64::try_from(health.commits).unwrap_or(i64::MAX));
        let trouble = health.trouble.map(SpoolError::label);
        for (kind, gauge) in &self.spool_trouble {
            gauge.set(i64::from(trouble == Some(kind)));
        }
        let stats = match waiting {
            Some(waiting) => {
                let asked = waiting.spool().stats(clock::wall());
                match tokio::time::timeout(SPOOL_PATIENCE, asked).await {
                    Ok(Ok(stats)) => stats,
                    // The trouble gauge says why; the entries keep their last values.
                    Ok(Err(_)) | Err(_) => return,
                }
            }
            None => Stats::default(),
        };
        for provider in Service::ALL {
            for state in State::ALL {
                let count = stats.count(crate::waiting::lane(provider), state);
                set(
                    &self.spool_entries,
                    &[provider.label(), state.label()],
                    count.entries,
                );
                set(
                    &self.spool_bytes,
                    &[provider.label(), state.label()],
                    count.bytes,
                );
            }
        }
    }
}

/// How long a scrape waits for the spool.
const SPOOL_PATIENCE: Duration = Duration::from_secs(2);

fn spool_kinds() -> impl Iterator<Item = &'static str> {
    let bounds = Bound::ALL.iter().map(|bound| bound.label());
    bounds.chain(["too_large", "read_only", "io", "damaged", "closed"])
}

fn set(vec: &GaugeVec, labels: &[&str], value: u64) {
    let gauge: Gauge = vec.with_label_values(labels);
    // Counts and UNIX seconds are far below 2^53, where f64 stops being exact.
    gauge.set(value as f64);
}

fn unix_seconds() -> i64 {
    let now = clock::wall().duration_since(UNIX_EPOCH);
    i64::try_from(now.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

struct Services {
    targets: IntCounterVec,
    taken_over: IntCounterVec,
    waiting: IntGaugeVec,
    endings: IntCounterVec,
    in_flight: IntGaugeVec,
    outcomes: IntCounterVec,
    ambiguous: IntCounterVec,
    seconds: HistogramVec,
}

impl Services {
    fn new(registry: &Registry) -> Services {
        Services {
            targets: TARGETS.counters(registry),
            taken_over: TARGETS_TAKEN_OVER.counters(registry),
            waiting: TARGETS_WAITING.int_gauges(registry),
            endings: TARGETS_SETTLED.counters(registry),
            in_flight: TARGETS_IN_FLIGHT.int_gauges(registry),
            outcomes: OUTCOMES.counters(registry),
            ambiguous: AMBIGUOUS.counters(registry),
            seconds: PROVIDER_SECONDS.histograms(registry),
        }
    }

    fn of(&self, service: Service) -> ServiceMetrics {
        let name = service.label();
        let causes = Cause::all(service).map(|cause| {
            (
                cause,
                self.outcomes.with_label_values(&[name, cause.label()]),
            )
        });
        ServiceMetrics {
            targets: self.targets.with_label_values(&[name]),
            in_flight: self.in_flight.with_label_values(&[name]),
            ambiguous: self.ambiguous.with_label_values(&[name]),
            seconds: self.seconds.with_label_values(&[name]),
            taken_over: self.taken_over.with_label_values(&[name]),
            waiting: self.waiting.with_label_values(&[name]),
            endings: Ending::ALL
                .map(|ending| self.endings.with_label_values(&[name, ending.label()])),
            outcomes: causes.collect(),
        }
    }
}

/// The table of families as Markdown: what `deploy/README.md` holds.
pub(crate) fn markdown() -> String {
    let mut table =
        String::from("| name | kind | labels | what it counts |\n| --- | --- | --- | --- |\n");
    for family in FAMILIES {
        let labels = family.labels.join(", ");
        table.push_str(&format!(
            "| `{}` | {} | {labels} | {} |\n",
            family.name, family.kind, family.help
        ));
    }
    table
}
