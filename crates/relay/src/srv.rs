//! Which hosts a SIP domain publishes for federation: the targets of its `_sipfederationtls._tcp` record.
//!
//! Each domain has a task that asks ahead of time and again when the answer has run out, so that no request waits for DNS.
//! Not here: who is believed for it (`partners`).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tracing::{info, warn};

use crate::domain::DomainName;
use crate::metrics::Metrics;

/// Domains that may be asked for; the configuration refuses more.
pub(crate) const DOMAINS: usize = 1000;

/// Hosts of one domain that are looked at; the record names those to be tried first in no order, and sites have few.
const HOSTS: usize = 32;

/// Questions that are under way at once.
const AT_ONCE: usize = 8;

/// An answer is kept as long as it says, but not shorter and not longer than this.
const KEPT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(24 * 3600));

/// The same for the answer that there is no record: a site that has just published one does not want to wait.
const NOTHING_KEPT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(600));

/// After a question that nobody has answered: twice as long each time.
const ASKED_AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));

/// How long after it has run out an answer is still good, while no server answers.
const OUTAGE: Duration = Duration::from_secs(24 * 3600);

/// What one domain publishes.
#[derive(Debug)]
pub(crate) struct Published {
    domain: DomainName,
    /// `None` until somebody has answered, and after an outage that was too long.
    hosts: ArcSwapOption<Vec<DomainName>>,
}

/// What DNS says of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listed {
    /// The domain names it.
    Yes,
    /// The domain names others, or none.
    No,
    /// There is no answer.
    Unknown,
}

impl Published {
    fn new(domain: DomainName) -> Published {
        Published {
            domain,
            hosts: ArcSwapOption::empty(),
        }
    }

    /// Whether the domain names one of these hosts.
    pub(crate) fn lists(&self, names: &[DomainName]) -> Listed {
        match &*self.hosts.load() {
            None => Listed::Unknown,
            Some(hosts) if hosts.iter().any(|host| names.contains(host)) => Listed::Yes,
            Some(_) => Listed::No,
        }
    }

    /// Takes up the hosts of an answer; gives back how many were left out because they are not the domain's own, or too many.
    fn take_up(&self, targets: Vec<DomainName>) -> usize {
        let all = targets.len();
        // An Edge refuses an SRV record that leads out of its domain (error 1009), and whoever forges an answer could else name
        // a host of his own.
        let mut hosts: Vec<DomainName> = targets
            .into_iter()
            .filter(|target| target.is_within(&self.domain))
            .collect();
        hosts.truncate(HOSTS);
        hosts.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        let left_out = all - hosts.len();
        if self.hosts.load().as_deref() != Some(&hosts) {
            let names: Vec<&str> = hosts.iter().map(DomainName::as_str).collect();
            info!(domain = self.domain.as_str(), hosts = ?names, left_out, "the domain publishes other hosts");
            self.hosts.store(Some(Arc::new(hosts)));
        }
        left_out
    }
}

/// The DNS servers that are asked.
#[derive(Clone)]
pub(crate) struct Dns {
    servers: Vec<SocketAddr>,
    resolver: TokioResolver,
}

impl Dns {
    /// These; none where nobody is to be asked.
    pub(crate) fn new(servers: Vec<SocketAddr>) -> Result<Dns, NetError> {
        let resolver = resolver(&servers)?;
        Ok(Dns { servers, resolver })
    }
}

/// Everything that is published by the domains of partners that are known by it.
pub(crate) struct SrvBook {
    entries: Mutex<Entries>,
    turns: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Entries {
    servers: Vec<SocketAddr>,
    by_domain: HashMap<DomainName, Entry>,
}

struct Entry {
    published: Arc<Published>,
    task: AbortHandle,
}

impl SrvBook {
    /// An empty one.
    pub(crate) fn new(metrics: Arc<Metrics>) -> SrvBook {
        SrvBook {
            entries: Mutex::default(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            metrics,
        }
    }

    /// Asks `dns` for these domains from now on, and for no others; what is known of them stays. Needs a tokio runtime.
    pub(crate) fn follow<'a>(&self, dns: &Dns, domains: impl Iterator<Item = &'a DomainName>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut entries.by_domain);
        let same_servers = entries.servers == dns.servers;
        entries.servers.clone_from(&dns.servers);
        for domain in domains {
            let entry = match before.remove(domain) {
                Some(entry) if same_servers => entry,
                Some(entry) => {
                    entry.task.abort();
                    self.entry(entry.published, dns)
                }
                None => self.entry(Arc::new(Published::new(domain.clone())), dns),
            };
            entries.by_domain.insert(domain.clone(), entry);
        }
        for entry in before.into_values() {
            entry.task.abort();
        }
    }

    /// What `domain` publishes; `None` where nobody follows it.
    pub(crate) fn of(&self, domain: &DomainName) -> Option<Arc<Published>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .by_domain
            .get(domain)
            .map(|entry| entry.published.clone())
    }

    fn entry(&self, published: Arc<Published>, dns: &Dns) -> Entry {
        let keep = keep(
            published.clone(),
            dns.resolver.clone(),
            self.turns.clone(),
            self.metrics.clone(),
        );
        Entry {
            published,
            task: tokio::spawn(keep).abort_handle(),
        }
    }
}

impl Drop for SrvBook {
    fn drop(&mut self) {
        let entries = self
            .entries
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        for entry in entries.by_domain.values() {
            entry.task.abort();
        }
    }
}

/// Keeps what is known of one domain fresh.
async fn keep(
    published: Arc<Published>,
    resolver: TokioResolver,
    turns: Arc<Semaphore>,
    metrics: Arc<Metrics>,
) {
    let mut failures = 0;
    let mut good_until = Instant::now();
    loop {
        let answer = {
            // The semaphore is never closed.
            let _turn = turns.acquire().await;
            ask(&resolver, &published.domain).await
        };
        let kept = match answer {
            Ok(Answer::Hosts(targets, ttl)) => {
                metrics.srv_answer(SrvAnswer::Hosts);
                let left_out = published.take_up(targets);
                metrics.srv_left_out.inc_by(left_out as u64);
                ttl.clamp(KEPT.0, KEPT.1)
            }
            Ok(Answer::Nothing(ttl)) => {
                metrics.srv_answer(SrvAnswer::Nothing);
                published.take_up(Vec::new());
                ttl.clamp(NOTHING_KEPT.0, NOTHING_KEPT.1)
            }
            Err(error) => {
                metrics.srv_answer(SrvAnswer::Failed);
                if failures == 0 {
                    warn!(domain = published.domain.as_str(), %error, "no DNS server says which hosts the domain publishes");
                }
                if good_until.elapsed() > OUTAGE {
                    published.hosts.store(None);
                }
                let wait = ASKED_AGAIN.0.saturating_mul(1 << failures.min(16));
                failures += 1;
                tokio::time::sleep(wait.min(ASKED_AGAIN.1)).await;
                continue;
            }
        };
        failures = 0;
        good_until = Instant::now() + kept;
        tokio::time::sleep(kept).await;
    }
}

/// What DNS said when it was asked which hosts a domain publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SrvAnswer {
    /// These.
    Hosts,
    /// There is no such record.
    Nothing,
    /// No server answered, or it could not.
    Failed,
}

impl SrvAnswer {
    /// All, in the order of their numbers.
    pub(crate) const ALL: [SrvAnswer; 3] =
        [SrvAnswer::Hosts, SrvAnswer::Nothing, SrvAnswer::Failed];

    /// What the metrics call it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            SrvAnswer::Hosts => "hosts",
            SrvAnswer::Nothing => "nothing",
            SrvAnswer::Failed => "failed",
        }
    }
}

enum Answer {
    Hosts(Vec<DomainName>, Duration),
    /// There is no such record.
    Nothing(Duration),
}

async fn ask(resolver: &TokioResolver, domain: &DomainName) -> Result<Answer, NetError> {
    let name = Name::from_ascii(format!("_sipfederationtls._tcp.{}.", domain.as_str()))?;
    let lookup = match resolver.lookup(name, RecordType::SRV).await {
        Ok(lookup) => lookup,
        Err(NetError::Dns(DnsError::NoRecordsFound(nothing))) => {
            let ttl = nothing.negative_ttl.unwrap_or_default();
            return Ok(Answer::Nothing(Duration::from_secs(ttl.into())));
        }
        Err(error) => return Err(error),
    };
    let ttl = lookup
        .valid_until()
        .saturating_duration_since(Instant::now());
    let targets = lookup
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            // A target of "." says that there is no such service (RFC 2782); it is no name of a host.
            RData::SRV(srv) => DomainName::parse(srv.target.to_ascii().trim_end_matches('.')),
            _ => None,
        });
    Ok(Answer::Hosts(targets.collect(), ttl))
}

/// A stub resolver: no search list, no hosts file, no cache of its own, TCP where UDP does not do.
fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let connection = |port, protocol| {
        let mut connection = ConnectionConfig::new(protocol);
        connection.port = port;
        connection
    };
    let servers = servers.iter().map(|server| {
        let connections = vec![
            connection(server.port(), ProtocolConfig::Udp),
            connection(server.port(), ProtocolConfig::Tcp),
        ];
        NameServerConfig::new(server.ip(), true, connections)
    });
    let config = ResolverConfig::from_name_servers(servers.collect());
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.case_randomization = true;
    options.timeout = Duration::from_secs(5);
    options.attempts = 2;
    builder.build()
}
