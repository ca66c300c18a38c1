//! Every series of the relay: one table of families from which the code and the manual come.
//!
//! Labels are closed enums or names from the configuration, so that every series stands at 0 from the start and none
//! can be made by the wire. The hot path holds its counters; it never looks one up.

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};
use pushrelay_push::apns::ApnsReason;
use pushrelay_push::mpns::MpnsReason;
use pushrelay_push::{Cause, Local, Outcome, Service, Transport, Verdict};

use crate::apple::AppleApp;

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
    REQUESTS = "counter" "pushrelay_requests_total" ["method"] "SIP requests that were read, retransmissions left out.";
    RETRANSMISSIONS = "counter" "pushrelay_retransmissions_total" [] "SIP requests that repeated an earlier one and got its answer.";
    MESSAGES_RECEIVED = "counter" "pushrelay_messages_received_total" ["partner"] "MESSAGE requests that were read; partner is \"-\" for a peer that is none.";
    MESSAGES_ANSWERED = "counter" "pushrelay_messages_answered_total" ["status"] "MESSAGE requests by the SIP status of their answer.";
    MESSAGES_IN_FLIGHT = "gauge" "pushrelay_messages_in_flight" [] "MESSAGE requests that were read and are not yet answered.";
    MESSAGE_SECONDS = "histogram" "pushrelay_message_seconds" [] "Time from a MESSAGE's last byte to its answer.";
    REFUSALS = "counter" "pushrelay_refusals_total" ["reason"] "Requests that were refused at the door, by reason.";
    TARGETS = "counter" "pushrelay_targets_total" ["service"] "Devices named by the MESSAGEs that were decoded.";
    TARGETS_SETTLED = "counter" "pushrelay_targets_settled_total" ["service", "verdict"] "Targets by verdict; deferred ones were answered 503.";
    TARGETS_IN_FLIGHT = "gauge" "pushrelay_targets_in_flight" ["service"] "Targets that have no verdict yet.";
    OUTCOMES = "counter" "pushrelay_outcomes_total" ["service", "cause"] "Targets by what the provider said, or what happened instead.";
    AMBIGUOUS = "counter" "pushrelay_ambiguous_total" ["service"] "Pushes whose request may have reached the provider although no answer came.";
    PROVIDER_SECONDS = "histogram" "pushrelay_provider_seconds" ["service"] "Time from handing a push to a provider's client to its verdict.";
    APNS_CONNECTIONS = "gauge" "pushrelay_apns_connections" ["app"] "HTTP/2 connections to Apple that are open.";
    APNS_STREAMS = "gauge" "pushrelay_apns_streams_in_flight" ["app"] "Pushes in flight on HTTP/2 streams.";
    APNS_STREAM_LIMIT = "gauge" "pushrelay_apns_stream_limit" ["app"] "Streams that Apple allows now, over all connections.";
    APNS_EVENTS = "gauge" "pushrelay_apns_connection_events" ["app", "event"] "Count since start of what happened on connections to Apple.";
    CERTIFICATE_EXPIRY = "gauge" "pushrelay_certificate_expiry_timestamp_seconds" ["use", "name"] "When a configured certificate ends.";
}

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

/// What became of an attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionResult {
    /// A partner's connection.
    Partner,
    /// A good chain, but nobody's name.
    Stranger,
    /// TLS failed: the peer's certificate, or none.
    BadCertificate,
    /// TLS failed otherwise.
    HandshakeFailed,
    /// TLS took too long.
    HandshakeTimeout,
    /// Over a cap.
    OverLimit,
}

impl ConnectionResult {
    const ALL: [ConnectionResult; 6] = [
        ConnectionResult::Partner,
        ConnectionResult::Stranger,
        ConnectionResult::BadCertificate,
        ConnectionResult::HandshakeFailed,
        ConnectionResult::HandshakeTimeout,
        ConnectionResult::OverLimit,
    ];

    /// The label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            ConnectionResult::Partner => "partner",
            ConnectionResult::Stranger => "stranger",
            ConnectionResult::BadCertificate => "bad_certificate",
            ConnectionResult::HandshakeFailed => "handshake_failed",
            ConnectionResult::HandshakeTimeout => "handshake_timeout",
            ConnectionResult::OverLimit => "over_limit",
        }
    }
}

/// Why a request was refused at the door, before any provider was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Framing was lost: the connection closes.
    Framing,
    /// The message is malformed, or asks what this server does not do.
    Fault,
    /// The peer is no partner.
    Stranger,
    /// The peer may not speak for the From domain.
    ForeignFrom,
    /// The Request-URI is not ours.
    ForeignUri,
    /// No decoder knows the body.
    NotUnderstood,
    /// The body is malformed.
    Malformed,
    /// The service stops.
    Draining,
}

impl Refusal {
    const ALL: [Refusal; 8] = [
        Refusal::Framing,
        Refusal::Fault,
        Refusal::Stranger,
        Refusal::ForeignFrom,
        Refusal::ForeignUri,
        Refusal::NotUnderstood,
        Refusal::Malformed,
        Refusal::Draining,
    ];

    /// The label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Refusal::Framing => "framing",
            Refusal::Fault => "fault",
            Refusal::Stranger => "stranger",
            Refusal::ForeignFrom => "foreign_from",
            Refusal::ForeignUri => "foreign_uri",
            Refusal::NotUnderstood => "not_understood",
            Refusal::Malformed => "malformed",
            Refusal::Draining => "draining",
        }
    }
}

/// Every SIP status that this program answers a MESSAGE with.
const STATUSES: [u16; 17] = [
    200, 202, 400, 403, 404, 405, 410, 413, 415, 416, 420, 481, 488, 500, 503, 505, 513,
];

const VERDICTS: [&str; 4] = ["accepted", "deferred", "gone", "refused"];

/// A histogram's and a counter's children for one service.
pub(crate) struct ServiceMetrics {
    pub(crate) targets: IntCounter,
    pub(crate) in_flight: IntGauge,
    pub(crate) ambiguous: IntCounter,
    pub(crate) seconds: Histogram,
    settled: [IntCounter; 4],
    outcomes: Vec<(Cause, IntCounter)>,
}

impl ServiceMetrics {
    /// Counts a target's end.
    pub(crate) fn settle(&self, outcome: &Outcome) {
        let verdict = match outcome.verdict {
            Verdict::Accepted => 0,
            Verdict::Deferred { .. } => 1,
            Verdict::Gone { .. } => 2,
            Verdict::Refused(_) => 3,
        };
        self.settled[verdict].inc();
        self.in_flight.dec();
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

    /// How many targets ended so, in the order accepted, deferred, gone, refused.
    pub(crate) fn settled(&self) -> [u64; 4] {
        self.settled.each_ref().map(IntCounter::get)
    }
}

/// All counters, gauges and histograms, each child looked up once.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) ready: IntGauge,
    pub(crate) connections: IntGauge,
    connection_results: [IntCounter; 6],
    pub(crate) requests_message: IntCounter,
    pub(crate) requests_options: IntCounter,
    pub(crate) requests_other: IntCounter,
    pub(crate) retransmissions: IntCounter,
    messages_received: Vec<IntCounter>,
    messages_answered: [IntCounter; 17],
    pub(crate) messages_in_flight: IntGauge,
    pub(crate) message_seconds: Histogram,
    refusals: [IntCounter; 8],
    services: [ServiceMetrics; 2],
    apns_connections: GaugeVec,
    apns_streams: GaugeVec,
    apns_stream_limit: GaugeVec,
    apns_events: GaugeVec,
    certificate_expiry: GaugeVec,
}

impl Metrics {
    /// Registers every family and every series; `partners` are the configured names.
    pub(crate) fn new<'a>(partners: impl Iterator<Item = &'a str>) -> Metrics {
        let registry = Registry::new();
        let process = prometheus::process_collector::ProcessCollector::for_self();
        register(&registry, process);
        BUILD
            .int_gauges(&registry)
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        let results = CONNECTIONS_TOTAL.counters(&registry);
        let requests = REQUESTS.counters(&registry);
        let received = MESSAGES_RECEIVED.counters(&registry);
        let answered = MESSAGES_ANSWERED.counters(&registry);
        let refusals = REFUSALS.counters(&registry);
        let services = Services::new(&registry);
        let mut messages_received = vec![received.with_label_values(&["-"])];
        messages_received.extend(partners.map(|name| received.with_label_values(&[name])));
        Metrics {
            ready: READY.int_gauges(&registry).with_label_values::<&str>(&[]),
            connections: CONNECTIONS
                .int_gauges(&registry)
                .with_label_values::<&str>(&[]),
            connection_results: ConnectionResult::ALL
                .map(|result| results.with_label_values(&[result.label()])),
            requests_message: requests.with_label_values(&["MESSAGE"]),
            requests_options: requests.with_label_values(&["OPTIONS"]),
            requests_other: requests.with_label_values(&["other"]),
            retransmissions: RETRANSMISSIONS
                .counters(&registry)
                .with_label_values::<&str>(&[]),
            messages_received,
            messages_answered: STATUSES
                .map(|status| answered.with_label_values(&[&status.to_string()])),
            messages_in_flight: MESSAGES_IN_FLIGHT
                .int_gauges(&registry)
                .with_label_values::<&str>(&[]),
            message_seconds: MESSAGE_SECONDS
                .histograms(&registry)
                .with_label_values::<&str>(&[]),
            refusals: Refusal::ALL.map(|refusal| refusals.with_label_values(&[refusal.label()])),
            services: Service::ALL.map(|service| services.of(service)),
            apns_connections: APNS_CONNECTIONS.gauges(&registry),
            apns_streams: APNS_STREAMS.gauges(&registry),
            apns_stream_limit: APNS_STREAM_LIMIT.gauges(&registry),
            apns_events: APNS_EVENTS.gauges(&registry),
            certificate_expiry: CERTIFICATE_EXPIRY.gauges(&registry),
            registry,
        }
    }

    /// Counts an attempt to connect.
    pub(crate) fn connection(&self, result: ConnectionResult) {
        self.connection_results[result as usize].inc();
    }

    /// Counts a MESSAGE that was read; `partner` is its index in the configuration.
    pub(crate) fn message_received(&self, partner: Option<usize>) {
        let index = partner.map_or(0, |index| index + 1);
        if let Some(counter) = self.messages_received.get(index) {
            counter.inc();
        }
        self.messages_in_flight.inc();
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
        self.messages_received.iter().map(IntCounter::get).sum()
    }

    /// How many MESSAGEs were answered with each status, those with none left out.
    pub(crate) fn messages_answered(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        STATUSES
            .iter()
            .zip(&self.messages_answered)
            .map(|(status, counter)| (*status, counter.get()))
            .filter(|(_, n)| *n > 0)
    }

    /// Counts a request that was refused at the door.
    pub(crate) fn refusal(&self, refusal: Refusal) {
        self.refusals[refusal as usize].inc();
    }

    /// The counters of one service.
    pub(crate) fn service(&self, service: Service) -> &ServiceMetrics {
        match service {
            Service::Apns => &self.services[0],
            Service::Mpns => &self.services[1],
        }
    }

    /// States when a configured certificate ends, in UNIX seconds.
    pub(crate) fn certificate(&self, usage: &str, name: &str, not_after: u64) {
        // UNIX seconds are far below 2^53, where f64 stops being exact.
        self.certificate_expiry
            .with_label_values(&[usage, name])
            .set(not_after as f64);
    }

    /// The exposition text; `apple` is asked for the state of its connections.
    pub(crate) fn encode(&self, apple: &[AppleApp]) -> Result<String, prometheus::Error> {
        for app in apple {
            let stats = app.client.stats();
            let name = app.id.as_ref();
            set(&self.apns_connections, &[name], stats.connections);
            set(&self.apns_streams, &[name], stats.streams_in_flight);
            set(&self.apns_stream_limit, &[name], stats.stream_limit);
            for (event, count) in stats.events() {
                set(&self.apns_events, &[name, event], count);
            }
        }
        let families: Vec<MetricFamily> = self.registry.gather();
        TextEncoder::new().encode_to_string(&families)
    }
}

fn set(vec: &GaugeVec, labels: &[&str], value: u64) {
    let gauge: Gauge = vec.with_label_values(labels);
    gauge.set(value as f64);
}

struct Services {
    targets: IntCounterVec,
    settled: IntCounterVec,
    in_flight: IntGaugeVec,
    outcomes: IntCounterVec,
    ambiguous: IntCounterVec,
    seconds: HistogramVec,
}

impl Services {
    fn new(registry: &Registry) -> Services {
        Services {
            targets: TARGETS.counters(registry),
            settled: TARGETS_SETTLED.counters(registry),
            in_flight: TARGETS_IN_FLIGHT.int_gauges(registry),
            outcomes: OUTCOMES.counters(registry),
            ambiguous: AMBIGUOUS.counters(registry),
            seconds: PROVIDER_SECONDS.histograms(registry),
        }
    }

    fn of(&self, service: Service) -> ServiceMetrics {
        let name = service.label();
        let causes = causes(service).map(|cause| {
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
            settled: VERDICTS.map(|verdict| self.settled.with_label_values(&[name, verdict])),
            outcomes: causes.collect(),
        }
    }
}

fn causes(service: Service) -> impl Iterator<Item = Cause> {
    let provider: Vec<Cause> = match service {
        Service::Apns => ApnsReason::ALL.iter().copied().map(Cause::Apns).collect(),
        Service::Mpns => MpnsReason::ALL.iter().copied().map(Cause::Mpns).collect(),
    };
    let transport = Transport::ALL.iter().copied().map(Cause::Transport);
    let local = Local::ALL.iter().copied().map(Cause::Local);
    provider.into_iter().chain(transport).chain(local)
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
