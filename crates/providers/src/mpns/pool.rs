//! Connections to the hosts of channels: at most so many at once, in all and for each host, and used again while they are open.
//!
//! Not here: what goes over them. The pool is our own rather than hyper-util's because that one has no bound on connections and does
//! not tell whether a request that failed had been written.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use pushrelay_push::{ChannelUri, Local, Outcome, Transport, is_public};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::stats::{Counters, count};
use super::{MpnsError, MpnsOptions, MpnsStats};
use crate::dial::{DialError, dial};
use crate::{backoff, tls};

/// A connection that is ready for a request.
pub(crate) type Sender = SendRequest<Full<Bytes>>;

/// All connections of one client.
pub(crate) struct Pool {
    options: MpnsOptions,
    tls: TlsConnector,
    http: http1::Builder,
    all: Arc<Semaphore>,
    hosts: Mutex<HashMap<Key, Arc<Host>>>,
    pub(crate) counters: Counters,
}

/// Whom a connection reaches.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    https: bool,
    host: Box<str>,
    port: u16,
}

struct Host {
    exchanges: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
    trouble: Mutex<Option<Trouble>>,
}

/// Connects to a host that have failed in a row.
struct Trouble {
    failures: u32,
    /// Until when no connect is tried.
    until: Instant,
    why: Transport,
}

struct Idle {
    sender: Sender,
    since: Instant,
}

/// The right to one exchange with one host.
pub(crate) struct Turn {
    host: Arc<Host>,
    _of_host: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    Private,
    Transport(Transport),
}

impl Refusal {
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Refusal::Private => Local::PrivateAddress.outcome(),
            Refusal::Transport(transport) => transport.into(),
        }
    }
}

impl Pool {
    pub(crate) fn new(options: MpnsOptions) -> Result<Pool, MpnsError> {
        let config = tls::client_config(
            options.roots.clone(),
            options.identity.as_ref(),
            b"http/1.1",
        )?;
        let bytes = options.response_bytes.max(LEAST_RESPONSE_BYTES);
        let mut http = http1::Builder::new();
        http.title_case_headers(true)
            .max_headers(RESPONSE_HEADERS)
            .max_header_size(bytes)
            .max_buf_size(bytes);
        Ok(Pool {
            tls: TlsConnector::from(Arc::new(config)),
            http,
            all: Arc::new(Semaphore::new(options.max_exchanges.max(1))),
            hosts: Mutex::default(),
            counters: Counters::default(),
            options,
        })
    }

    pub(crate) fn options(&self) -> &MpnsOptions {
        &self.options
    }

    /// Waits until another exchange with the channel's host may begin.
    pub(crate) async fn turn(&self, channel: &ChannelUri) -> Turn {
        let host = self.host(channel);
        let open = "nobody closes these semaphores";
        let of_host = host.exchanges.clone().acquire_owned().await.expect(open);
        let of_all = self.all.clone().acquire_owned().await.expect(open);
        Turn {
            host,
            _of_host: of_host,
            _of_all: of_all,
        }
    }

    /// A connection to the turn's host that is open unused.
    pub(crate) fn reuse(&self, turn: &Turn) -> Option<Sender> {
        let mut idle = lock(&turn.host.idle);
        self.sweep(&mut idle);
        let taken = idle.pop()?;
        self.left(1);
        count(&self.counters.reused);
        Some(taken.sender)
    }

    /// What the client has done and holds; lets go of connections that the peer has closed or that have been unused too long.
    pub(crate) fn stats(&self) -> MpnsStats {
        for host in lock(&self.hosts).values() {
            self.sweep(&mut lock(&host.idle));
        }
        self.counters.snapshot()
    }

    fn sweep(&self, idle: &mut Vec<Idle>) {
        let before = idle.len();
        let oldest = Instant::now().checked_sub(self.options.idle_timeout);
        idle.retain(|idle| {
            oldest.is_none_or(|oldest| idle.since > oldest) && idle.sender.is_ready()
        });
        self.left((before - idle.len()) as u64);
    }

    /// Keeps a connection whose answer has been read to its end.
    pub(crate) fn keep(&self, turn: &Turn, sender: Sender) {
        let idle = &self.counters.idle;
        if idle.load(Ordering::Relaxed) < self.options.max_idle as u64 {
            count(idle);
            lock(&turn.host.idle).push(Idle {
                sender,
                since: Instant::now(),
            });
        }
    }

    /// Opens a connection to an address of the channel's host that is allowed; the name is resolved once, here. Where the last
    /// connects have failed it fails at once, until the pause is over.
    pub(crate) async fn connect(
        &self,
        turn: &Turn,
        channel: &ChannelUri,
    ) -> Result<Sender, Refusal> {
        if let Some(trouble) = &*lock(&turn.host.trouble)
            && Instant::now() < trouble.until
        {
            count(&self.counters.failed_fast);
            return Err(Refusal::Transport(trouble.why));
        }
        let result = self.open(channel).await;
        match &result {
            Ok(_) => {
                count(&self.counters.connects);
                *lock(&turn.host.trouble) = None;
            }
            Err(Refusal::Private) => count(&self.counters.private_addresses),
            Err(Refusal::Transport(why)) => {
                count(&self.counters.connect_failures);
                self.pause(&mut lock(&turn.host.trouble), *why);
            }
        }
        result
    }

    fn pause(&self, trouble: &mut Option<Trouble>, why: Transport) {
        let now = Instant::now();
        let failures = match trouble {
            // One of several connects that had begun together: they fail for one reason and count as one.
            Some(trouble) if now < trouble.until => return,
            Some(trouble) => trouble.failures.saturating_add(1),
            None => 0,
        };
        let options = &self.options;
        let pause = backoff::pause(options.backoff_first, options.backoff_longest, failures);
        *trouble = Some(Trouble {
            failures,
            until: now + pause,
            why,
        });
    }

    async fn open(&self, channel: &ChannelUri) -> Result<Sender, Refusal> {
        let deadline = Instant::now() + self.options.connect_timeout;
        let allowed = |address: IpAddr| self.options.allow_private_addresses || is_public(address);
        let tcp = match dial(channel.host(), channel.port(), allowed, deadline).await {
            Ok(tcp) => tcp,
            Err(error) => {
                tracing::info!(host = channel.host(), %error, "no connection to the Windows Phone service");
                return Err(match error {
                    DialError::Forbidden => Refusal::Private,
                    error => Refusal::Transport(error.transport()),
                });
            }
        };
        if !channel.is_https() {
            return self.speak(tcp).await;
        }
        let name = ServerName::try_from(channel.host().to_owned())
            .map_err(|_| Refusal::Transport(Transport::Tls))?;
        match timeout_at(deadline, self.tls.connect(name, tcp)).await {
            Ok(Ok(tls)) => self.speak(tls).await,
            Ok(Err(error)) => {
                tracing::info!(host = channel.host(), %error, "no TLS with the Windows Phone service");
                Err(Refusal::Transport(Transport::Tls))
            }
            Err(_) => Err(Refusal::Transport(Transport::Tls)),
        }
    }

    async fn speak<S>(&self, stream: S) -> Result<Sender, Refusal>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = self
            .http
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Refusal::Transport(Transport::Closed))?;
        // Ends when the sender is dropped or the peer closes; its error is the exchange's, which has it already.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }

    fn host(&self, channel: &ChannelUri) -> Arc<Host> {
        let key = Key {
            https: channel.is_https(),
            host: channel.host().into(),
            port: channel.port(),
        };
        let mut hosts = lock(&self.hosts);
        if let Some(host) = hosts.get(&key) {
            return host.clone();
        }
        if hosts.len() >= HOSTS {
            // Those that nobody uses now; there are never more in use than exchanges.
            hosts.retain(|_, host| {
                let used = Arc::strong_count(host) > 1;
                if !used {
                    self.left(lock(&host.idle).len() as u64);
                }
                used
            });
        }
        let host = Arc::new(Host {
            exchanges: Arc::new(Semaphore::new(self.options.max_exchanges_per_host.max(1))),
            idle: Mutex::default(),
            trouble: Mutex::default(),
        });
        hosts.insert(key, host.clone());
        host
    }

    /// So many connections are no longer kept.
    fn left(&self, connections: u64) {
        self.counters.idle.fetch_sub(connections, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hosts that are remembered; Microsoft had a few dozen.
const HOSTS: usize = 256;

/// Header fields of an answer at most.
const RESPONSE_HEADERS: usize = 128;

/// hyper's own least.
const LEAST_RESPONSE_BYTES: usize = 8 * 1024;
