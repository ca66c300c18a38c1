//! A fake Apple Push Notification service: HTTP/2 over TLS, every rule asserted, every fault scriptable.
//!
//! Not here: devices. An accepted push goes nowhere but into the record.

mod connection;
mod record;
mod rules;
mod script;
mod wire;

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use rustls::RootCertStore;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub use record::{ApnsCounts, ApnsIdCounts, ApnsReceived, Recording};
pub use script::{ApnsAnswer, ApnsFault, ApnsSeen, GoAway, LastStream, Then};

use crate::pki::{ApnsKey, Authority, Issued, Leaf};
use crate::tls;
use connection::Command;
use record::{Counters, Record, VIOLATIONS_KEPT, add};
use rules::Rules;
use script::Scripts;
use wire::WireControl;

/// How a fake Apple is to be.
#[derive(Clone)]
pub struct ApnsOptions {
    /// Where to listen; `127.0.0.1:0`.
    pub listen: SocketAddr,
    /// Certificate and key, with the root to trust; `None` makes a throw-away one for `localhost` and 127.0.0.1.
    pub identity: Option<(Issued, String)>,
    /// Roots of client certificates, PEM: with them a client certificate is demanded and no token expected.
    pub client_roots_pem: Option<String>,
    /// Whose provider tokens are good. With none, every bearer token is.
    pub keys: Vec<ApnsKey>,
    /// SETTINGS_MAX_CONCURRENT_STREAMS; 1000.
    pub max_concurrent_streams: u32,
    /// The same until the first good token has come; Apple says one.
    pub first_max_concurrent_streams: u32,
    /// How much to remember.
    pub recording: Recording,
}

impl Default for ApnsOptions {
    fn default() -> ApnsOptions {
        ApnsOptions {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            identity: None,
            client_roots_pem: None,
            keys: Vec::new(),
            max_concurrent_streams: 1000,
            first_max_concurrent_streams: 1,
            recording: Recording::Everything,
        }
    }
}

/// A running fake Apple. It ends when this value is dropped.
pub struct FakeApns {
    shared: Arc<Shared>,
    address: SocketAddr,
    root_pem: String,
    listener: Mutex<Option<JoinHandle<()>>>,
}

impl FakeApns {
    /// Begins to listen.
    pub async fn start(options: ApnsOptions) -> io::Result<FakeApns> {
        let (identity, root_pem) = options.identity.unwrap_or_else(|| {
            let authority = Authority::new("Fake Apple CA");
            let identity = authority.issue(&Leaf::server("localhost"));
            (identity, authority.root_pem().to_owned())
        });
        let client_roots = match &options.client_roots_pem {
            Some(pem) => Some(tls::roots(pem)?),
            None => None,
        };
        let certificate = client_roots.is_some();
        let config = tls::server(&identity, client_roots, &[b"h2"])?;
        let first_limit = if certificate {
            options.max_concurrent_streams
        } else {
            options.first_max_concurrent_streams
        };
        let shared = Arc::new(Shared {
            acceptor: TlsAcceptor::from(config),
            rules: Rules::new(&options.keys, certificate),
            recording: options.recording,
            counters: Counters::default(),
            news: Notify::new(),
            scripted: AtomicBool::new(false),
            scripts: Mutex::default(),
            record: Mutex::default(),
            bearers: Mutex::default(),
            tuning: Mutex::new(Tuning {
                limit: options.max_concurrent_streams,
                first_limit,
                handshake_delay: Duration::ZERO,
            }),
            connections: Mutex::default(),
        });
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let fake = FakeApns {
            listener: Mutex::new(Some(tokio::spawn(accept(Arc::clone(&shared), listener)))),
            shared,
            address,
            root_pem,
        };
        Ok(fake)
    }

    /// `https://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The root certificate to trust.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The root certificate to trust, as a store.
    pub fn roots(&self) -> Arc<RootCertStore> {
        tls::roots(&self.root_pem).expect("a root that was just served")
    }

    /// The answers to requests for this token, in turn; the last one stays. An empty list falls back to the default.
    pub fn script(&self, token: &str, answers: impl IntoIterator<Item = ApnsAnswer>) {
        let answers = answers.into_iter().collect();
        self.shared.scripts().set_token(token, answers);
        self.shared.scripted.store(true, Ordering::Release);
    }

    /// The answers to all other requests, in turn; the last one stays. Without any: 200.
    pub fn script_default(&self, answers: impl IntoIterator<Item = ApnsAnswer>) {
        let answers = answers.into_iter().collect();
        self.shared.scripts().set_default(answers);
        self.shared.scripted.store(true, Ordering::Release);
    }

    /// A closure that decides what no token's script does: by count, by connection, by its own dice. `None` leaves the
    /// request to the default.
    pub fn decide(
        &self,
        decide: impl Fn(ApnsSeen<'_>) -> Option<ApnsAnswer> + Send + Sync + 'static,
    ) {
        self.shared.scripts().set_decide(Arc::new(decide));
        self.shared.scripted.store(true, Ordering::Release);
    }

    /// Forgets every script: 200 for all.
    pub fn script_nothing(&self) {
        self.shared.scripts().clear();
        self.shared.scripted.store(false, Ordering::Release);
    }

    /// Every provider token that has come so far has expired from now on: 403 ExpiredProviderToken.
    pub fn expire_tokens(&self) {
        let mut bearers = self.shared.bearers();
        bearers.good = None;
        let seen = std::mem::take(&mut bearers.seen);
        bearers.expired.extend(seen);
    }

    /// Says GOAWAY on every open connection. `LastStream::This` is the newest stream that each has carried.
    pub fn go_away(&self, go_away: &GoAway) {
        self.command(|| Command::GoAway(go_away.clone()));
    }

    /// Ends every open connection at once, without GOAWAY or close_notify.
    pub fn drop_connections(&self) {
        self.command(|| Command::Drop);
    }

    /// Changes SETTINGS_MAX_CONCURRENT_STREAMS: now on open connections, and for new ones.
    pub fn set_max_concurrent_streams(&self, limit: u32) {
        {
            let mut tuning = self.shared.tuning();
            tuning.limit = limit;
        }
        for connection in self.shared.connections().values() {
            connection.control.limit_streams(limit);
        }
    }

    /// Lets every open connection fall silent, or speak again. Not even a PING is answered while it is silent.
    pub fn stall_connections(&self, stalled: bool) {
        for connection in self.shared.connections().values() {
            connection.control.freeze(stalled);
        }
    }

    /// Waits this long before each TLS handshake.
    pub fn set_handshake_delay(&self, delay: Duration) {
        self.shared.tuning().handshake_delay = delay;
    }

    /// Closes the listening socket: connects are refused by the kernel. Open connections stay.
    pub async fn refuse_connects(&self) {
        let task = lock(&self.listener).take();
        if let Some(task) = task {
            task.abort();
            let _ = task.await; // cancelled, as was asked
        }
    }

    /// Listens again on the same port.
    pub async fn accept_connects(&self) -> io::Result<()> {
        if lock(&self.listener).is_some() {
            return Ok(());
        }
        let listener = TcpListener::bind(self.address).await?;
        let task = tokio::spawn(accept(Arc::clone(&self.shared), listener));
        *lock(&self.listener) = Some(task);
        Ok(())
    }

    /// Everything received so far, in the order in which it was processed ([`Recording::Everything`]).
    pub fn received(&self) -> Vec<ApnsReceived> {
        self.shared.record().received.clone()
    }

    /// The same, and forgets them: the next call gives only what is newer.
    pub fn take_received(&self) -> Vec<ApnsReceived> {
        std::mem::take(&mut self.shared.record().received)
    }

    /// How often each apns-id came and was accepted (not under [`Recording::Counts`] and below).
    pub fn ids(&self) -> HashMap<String, ApnsIdCounts> {
        self.shared.record().ids.clone()
    }

    /// How often this one apns-id came and was accepted.
    pub fn id(&self, apns_id: &str) -> ApnsIdCounts {
        let record = self.shared.record();
        record.ids.get(apns_id).copied().unwrap_or_default()
    }

    /// Pushes that were accepted once more after they had been accepted: what a device would have shown twice.
    pub fn duplicates(&self) -> u64 {
        let record = self.shared.record();
        let again = |counts: &ApnsIdCounts| u64::from(counts.accepted.saturating_sub(1));
        record.ids.values().map(again).sum()
    }

    /// Exact counts since the start.
    pub fn counts(&self) -> ApnsCounts {
        self.shared.counters.snapshot()
    }

    /// Which of Apple's rules were broken, one sentence each, at most 1000.
    pub fn violations(&self) -> Vec<String> {
        self.shared.record().violations.clone()
    }

    /// Waits until `count` requests were processed (answered or taken by a fault).
    pub async fn wait_for(&self, count: usize, within: Duration) -> io::Result<()> {
        let count = count as u64;
        let processed = |counts: &ApnsCounts| counts.accepted + counts.refused + counts.faulted;
        self.wait_until(within, |counts| processed(counts) >= count)
            .await
    }

    /// Waits until the counts satisfy `condition`.
    pub async fn wait_until(
        &self,
        within: Duration,
        condition: impl Fn(&ApnsCounts) -> bool,
    ) -> io::Result<()> {
        let deadline = Instant::now() + within;
        loop {
            let news = self.shared.news.notified();
            if condition(&self.counts()) {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let counts = self.counts();
                let what = format!("fake Apple: not within {within:?}; counts: {counts:?}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            // Not every count brings news, so look again soon.
            let _ = tokio::time::timeout(left.min(LOOK_AGAIN), news).await;
        }
    }

    fn command(&self, command: impl Fn() -> Command) {
        for connection in self.shared.connections().values() {
            let _ = connection.commands.send(command()); // it has just ended: nothing to do
        }
    }
}

impl Drop for FakeApns {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.listener).take() {
            task.abort();
        }
        let tasks = self.shared.connections();
        let tasks: Vec<_> = tasks.values().map(|open| open.task.clone()).collect();
        tasks.iter().for_each(tokio::task::AbortHandle::abort);
    }
}

/// What all connections of a fake share.
pub(crate) struct Shared {
    acceptor: TlsAcceptor,
    rules: Rules,
    recording: Recording,
    counters: Counters,
    news: Notify,
    scripted: AtomicBool,
    scripts: Mutex<Scripts>,
    record: Mutex<Record>,
    bearers: Mutex<Bearers>,
    tuning: Mutex<Tuning>,
    connections: Mutex<HashMap<u64, OpenConnection>>,
}

/// The `authorization` values that have come.
#[derive(Default)]
struct Bearers {
    /// The newest good one, and when it was last looked at.
    good: Option<(Vec<u8>, Instant)>,
    seen: HashSet<Vec<u8>>,
    expired: HashSet<Vec<u8>>,
}

struct Tuning {
    limit: u32,
    first_limit: u32,
    handshake_delay: Duration,
}

struct OpenConnection {
    control: Arc<WireControl>,
    commands: mpsc::UnboundedSender<Command>,
    task: tokio::task::AbortHandle,
}

impl Shared {
    fn limit(&self) -> u32 {
        self.tuning().limit
    }

    fn first_limit(&self) -> u32 {
        let tuning = self.tuning();
        tuning.first_limit.min(tuning.limit)
    }

    fn handshake_delay(&self) -> Duration {
        self.tuning().handshake_delay
    }

    fn violation(&self, id: &str, what: &str) {
        add(&self.counters.violations);
        let mut record = self.record();
        if record.violations.len() < VIOLATIONS_KEPT {
            record.violations.push(if id.is_empty() {
                what.to_owned()
            } else {
                format!("{id}: {what}")
            });
        }
    }

    fn count_received(&self, headers: &HeaderMap) {
        if matches!(self.recording, Recording::Everything | Recording::Ids) {
            let mut record = self.record();
            record.ids.entry(id_of(headers)).or_default().received += 1;
        }
    }

    fn count_id(&self, headers: &HeaderMap, accepted: bool) {
        let mut record = self.record();
        let counts = record.ids.entry(id_of(headers)).or_default();
        counts.received += 1;
        counts.accepted += u32::from(accepted);
    }

    fn keep(&self, received: ApnsReceived) {
        self.record().received.push(received);
    }

    fn scripts(&self) -> MutexGuard<'_, Scripts> {
        lock(&self.scripts)
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }

    fn bearers(&self) -> MutexGuard<'_, Bearers> {
        lock(&self.bearers)
    }

    fn tuning(&self) -> MutexGuard<'_, Tuning> {
        lock(&self.tuning)
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<u64, OpenConnection>> {
        lock(&self.connections)
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(LOOK_AGAIN).await; // out of descriptors: give others time to close some
            continue;
        };
        let number = add(&shared.counters.connections);
        add(&shared.counters.open_connections);
        let control = Arc::new(WireControl::default());
        let (commands, orders) = mpsc::unbounded_channel();
        let mut connections = shared.connections();
        let task = tokio::spawn({
            let shared = Arc::clone(&shared);
            let control = Arc::clone(&control);
            let closing = Closing(Arc::clone(&shared), number);
            async move {
                let _closing = closing;
                if let Err(error) = connection::serve(shared, socket, number, control, orders).await
                {
                    tracing::debug!(connection = number, %error, "fake Apple: connection ended");
                }
            }
        });
        connections.insert(
            number,
            OpenConnection {
                control,
                commands,
                task: task.abort_handle(),
            },
        );
    }
}

/// Strikes a connection off the list when its task ends, however it ends.
struct Closing(Arc<Shared>, u64);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.connections().remove(&self.1);
        self.0
            .counters
            .open_connections
            .fetch_sub(1, Ordering::SeqCst);
        self.0.news.notify_waiters();
    }
}

fn id_of(headers: &HeaderMap) -> String {
    let id = headers.get("apns-id").map(|value| value.as_bytes());
    String::from_utf8_lossy(id.unwrap_or_default()).into_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const LOOK_AGAIN: Duration = Duration::from_millis(20);
