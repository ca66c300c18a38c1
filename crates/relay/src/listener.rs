//! Accepting: TCP, the handshake inside its deadline and caps, and whose connection it is.
//!
//! Where a TLS terminator on this machine has done the handshake, its PROXY header takes the handshake's place.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, info, warn};

use crate::metrics::ConnectionResult;
use crate::partners::Presented;
use crate::places::{Place, Places};
use crate::proxy_header::{self, Distrust, Trust};
use crate::service::Service;
use crate::session::{self, Peer, Sender};

/// After an accept that failed (no file descriptors, mostly): how long to leave it alone. Doubled by each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The caps that all listeners share.
pub(crate) struct Gate {
    service: Arc<Service>,
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    connections_by_address: Arc<Places>,
    handshakes_by_address: Arc<Places>,
    strangers: Arc<Semaphore>,
    draining: watch::Receiver<bool>,
}

impl Gate {
    /// The gate of `service`; it closes when `draining` turns true.
    pub(crate) fn new(service: Arc<Service>, draining: watch::Receiver<bool>) -> Gate {
        let limits = &service.limits;
        Gate {
            connections: Arc::new(Semaphore::new(limits.connections)),
            handshakes: Arc::new(Semaphore::new(limits.handshakes)),
            connections_by_address: Places::new(limits.connections_per_address),
            handshakes_by_address: Places::new(limits.handshakes_per_address),
            strangers: Arc::new(Semaphore::new(limits.stranger_connections)),
            service,
            draining,
        }
    }
}

/// How connections begin at a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entrance {
    /// With a TLS handshake.
    Tls,
    /// With the PROXY header of a TLS terminator on this machine, which is believed so far.
    Terminator(Trust),
}

/// Binds `address` and says so in the log, under this name.
pub(crate) async fn bind(name: &'static str, address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await?;
    info!(listener = name, address = %listener.local_addr()?, "listening");
    Ok(listener)
}

/// Accepts until the drain begins; then waits for the connections that it has accepted.
pub(crate) async fn accept(listener: TcpListener, entrance: Entrance, gate: Arc<Gate>) {
    let mut connections = JoinSet::new();
    let mut draining = gate.draining.clone();
    let mut pauses = Pauses::default();
    loop {
        let pause = pauses.until;
        tokio::select! {
            () = drained(&mut draining) => break,
            accepted = accept_after(&listener, pause) => match accepted {
                Ok((stream, address)) => {
                    pauses.end();
                    if let Some(permits) = gate.enter(entrance, address) {
                        connections.spawn(serve(gate.clone(), entrance, stream, address, permits));
                    }
                }
                Err(error) => {
                    gate.service.metrics.accept_failures.inc();
                    pauses.begin(&error, Instant::now());
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept_after(
    listener: &TcpListener,
    pause: Option<Instant>,
) -> io::Result<(TcpStream, SocketAddr)> {
    if let Some(until) = pause {
        tokio::time::sleep_until(until.into()).await;
    }
    listener.accept().await
}

/// How long to leave a listener alone that gives nothing.
#[derive(Default)]
struct Pauses {
    until: Option<Instant>,
    last: Duration,
}

impl Pauses {
    fn begin(&mut self, error: &io::Error, now: Instant) {
        if self.until.is_none() {
            warn!(%error, "accept failed: pausing, again and again, until it works");
        }
        self.last = (self.last * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.until = Some(now + self.last);
    }

    fn end(&mut self) {
        if self.until.is_some() {
            info!("accepting again");
            *self = Pauses::default();
        }
    }
}

/// Waits until the drain begins.
pub(crate) async fn drained(draining: &mut watch::Receiver<bool>) {
    // The sender lives as long as the process; if it were gone, ending would be right as well.
    let _ = draining.wait_for(|draining| *draining).await;
}

struct Permits {
    connection: OwnedSemaphorePermit,
    handshake: (OwnedSemaphorePermit, Option<Place>),
    /// Its address's; `None` while only a terminator's is known.
    place: Option<Place>,
}

impl Gate {
    fn enter(&self, entrance: Entrance, address: SocketAddr) -> Option<Permits> {
        let address_known = match entrance {
            Entrance::Tls => Some(address.ip()),
            Entrance::Terminator(_) => None,
        };
        match self.permits(address_known) {
            Ok(permits) => Some(permits),
            Err(over) => {
                self.turned_away(address, over);
                None
            }
        }
    }

    fn permits(&self, address: Option<IpAddr>) -> Result<Permits, ConnectionResult> {
        use ConnectionResult::{OverAddress, OverHandshakes, OverLimit};
        let permit = |all: &Arc<Semaphore>| all.clone().try_acquire_owned().ok();
        let place = |of: &Arc<Places>, over| {
            let place = address.map(|address| of.take(address).ok_or(over));
            place.transpose()
        };
        Ok(Permits {
            place: place(&self.connections_by_address, OverAddress)?,
            connection: permit(&self.connections).ok_or(OverLimit)?,
            handshake: (
                permit(&self.handshakes).ok_or(OverHandshakes)?,
                place(&self.handshakes_by_address, OverHandshakes)?,
            ),
        })
    }

    fn turned_away(&self, address: SocketAddr, over: ConnectionResult) {
        self.service.metrics.connection(over);
        info!(peer = %address, result = over.label(), "over a connection limit, closing");
    }
}

async fn serve(
    gate: Arc<Gate>,
    entrance: Entrance,
    mut stream: TcpStream,
    address: SocketAddr,
    mut permits: Permits,
) {
    // Answers are small and somebody waits for them; if the socket refuses the option it still works.
    let _ = stream.set_nodelay(true);
    match entrance {
        Entrance::Tls => {
            let handshake = gate.handshake(stream, address);
            if let Some((stream, presented)) = gate.unless_drained(address, handshake).await {
                let peer = Peer { address, presented };
                gate.converse(stream, peer, permits).await;
            }
        }
        Entrance::Terminator(trust) => {
            let introduction = gate.introduction(&mut stream, trust);
            if let Some(peer) = gate.unless_drained(address, introduction).await {
                permits.place = gate.connections_by_address.take(peer.address.ip());
                if permits.place.is_none() {
                    return gate.turned_away(peer.address, ConnectionResult::OverAddress);
                }
                gate.converse(stream, peer, permits).await;
            }
        }
    }
}

impl Gate {
    /// Whoever has not said who it is when the drain begins is nobody's to wait for.
    async fn unless_drained<T>(
        &self,
        address: SocketAddr,
        arrival: impl Future<Output = Option<T>>,
    ) -> Option<T> {
        let mut draining = self.draining.clone();
        tokio::select! {
            arrived = arrival => arrived,
            () = drained(&mut draining) => {
                self.service.metrics.connection(ConnectionResult::Draining);
                debug!(peer = %address, "stopping before the handshake is done, closing");
                None
            }
        }
    }

    async fn handshake(
        &self,
        stream: TcpStream,
        address: SocketAddr,
    ) -> Option<(TlsStream<TcpStream>, Presented)> {
        let metrics = &self.service.metrics;
        let tls = TlsAcceptor::from(self.service.rules.load().tls.clone());
        let deadline = self.service.limits.handshake_timeout;
        match tokio::time::timeout(deadline, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                let chain = stream.get_ref().1.peer_certificates();
                let presented = Presented::of_certificate(chain?.first()?);
                Some((stream, presented))
            }
            Ok(Err(error)) => {
                let result = failure(&error);
                metrics.connection(result);
                info!(peer = %address, result = result.label(), %error, "handshake failed");
                None
            }
            Err(_) => {
                metrics.connection(ConnectionResult::HandshakeTimeout);
                info!(peer = %address, "handshake took too long");
                None
            }
        }
    }

    /// The client that a terminator vouches for.
    async fn introduction(&self, stream: &mut TcpStream, trust: Trust) -> Option<Peer> {
        let metrics = &self.service.metrics;
        let deadline = self.service.limits.handshake_timeout;
        match tokio::time::timeout(deadline, read_header(stream, trust)).await {
            Ok(Ok(peer)) => Some(peer),
            Ok(Err(distrust)) => {
                metrics.connection(match distrust {
                    Distrust::Malformed(_) => ConnectionResult::ProxyBadHeader,
                    Distrust::HealthCheck => ConnectionResult::ProxyHealthCheck,
                    Distrust::NoCertificate { .. } => ConnectionResult::ProxyNoCertificate,
                    Distrust::Unverified { .. } => ConnectionResult::ProxyUnverified,
                });
                info!(reason = %distrust, "closing on what a TLS terminator hands over");
                None
            }
            Err(_) => {
                metrics.connection(ConnectionResult::HandshakeTimeout);
                info!("the PROXY header of the TLS terminator took too long");
                None
            }
        }
    }

    async fn converse<S>(&self, stream: S, peer: Peer, permits: Permits)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(permit) = self.admit(&peer) else {
            return;
        };
        drop(permits.handshake);
        let address = peer.address;
        self.service.metrics.connections.inc();
        // A To tag must be unlike those of other connections (RFC 3261 19.3): the process' random state gives each a seed.
        let seed = RandomState::new().hash_one(address);
        let draining = self.draining.clone();
        session::run(self.service.clone(), stream, peer, seed, draining).await;
        self.service.metrics.connections.dec();
        drop((permit, permits.connection, permits.place));
        debug!(peer = %address, "connection ended");
    }

    fn admit(&self, peer: &Peer) -> Option<OwnedSemaphorePermit> {
        let Peer { address, presented } = peer;
        let sender = Sender::identify(&self.service, &self.service.rules.load(), presented);
        let (semaphore, result, over) = match &sender {
            Some(Sender {
                partner, account, ..
            }) => {
                debug!(peer = %address, partner = &*partner.name, "a partner has connected");
                let result = ConnectionResult::Partner;
                (&account.connections, result, ConnectionResult::OverPartner)
            }
            None => {
                let names = presented.shown();
                warn!(peer = %address, ?names, "the certificate names no partner; its requests get 403");
                let result = ConnectionResult::Stranger;
                (&self.strangers, result, ConnectionResult::OverStrangers)
            }
        };
        match semaphore.clone().try_acquire_owned() {
            Ok(permit) => {
                self.service.metrics.connection(result);
                Some(permit)
            }
            Err(_) => {
                self.turned_away(*address, over);
                None
            }
        }
    }
}

/// Reads a PROXY header and not a byte more.
async fn read_header(stream: &mut TcpStream, trust: Trust) -> Result<Peer, Distrust> {
    let ended = |_| Distrust::Malformed("the connection ended inside it");
    let mut fixed = [0; proxy_header::FIXED_BYTES];
    stream.read_exact(&mut fixed).await.map_err(ended)?;
    let mut rest = vec![0; proxy_header::rest(&fixed)?];
    stream.read_exact(&mut rest).await.map_err(ended)?;
    let client = trust.read(&fixed, &rest)?;
    Ok(Peer {
        address: client.address,
        presented: match client.certificate {
            Some(der) => Presented::of_certificate(&CertificateDer::from(&*der)),
            None => Presented::of_common_name(client.common_name.unwrap_or_default()),
        },
    })
}

fn failure(error: &io::Error) -> ConnectionResult {
    use rustls::{CertificateError as C, Error as E};
    match error.get_ref().and_then(|inner| inner.downcast_ref::<E>()) {
        Some(E::InvalidCertificate(C::Revoked)) => ConnectionResult::Revoked,
        Some(E::InvalidCertificate(C::ExpiredRevocationListContext { .. })) => {
            ConnectionResult::OverdueCrl
        }
        Some(E::InvalidCertificate(_) | E::NoCertificatesPresented) => {
            ConnectionResult::BadCertificate
        }
        _ => ConnectionResult::HandshakeFailed,
    }
}
