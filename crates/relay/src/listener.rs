//! Accepting: TCP, the handshake inside its deadline and caps, and whose connection it is.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, info, warn};

use crate::metrics::ConnectionResult;
use crate::partners::Presented;
use crate::service::Service;
use crate::session::{self, Peer, Sender};

/// After an accept that failed (no file descriptors, mostly): how long to leave it alone.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The caps that all listeners share.
pub(crate) struct Gate {
    service: Arc<Service>,
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
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
            strangers: Arc::new(Semaphore::new(limits.stranger_connections)),
            service,
            draining,
        }
    }
}

/// Binds `address` and says so in the log.
pub(crate) async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await?;
    info!(listener = "sip", address = %listener.local_addr()?, "listening");
    Ok(listener)
}

/// Accepts until the drain begins; then waits for the connections that it has accepted.
pub(crate) async fn accept(listener: TcpListener, gate: Arc<Gate>) {
    let mut connections = JoinSet::new();
    let mut draining = gate.draining.clone();
    loop {
        tokio::select! {
            () = drained(&mut draining) => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    if let Some(permits) = gate.enter() {
                        connections.spawn(serve(gate.clone(), stream, address, permits));
                    }
                }
                Err(error) => {
                    warn!(%error, "accept failed, pausing");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Waits until the drain begins.
pub(crate) async fn drained(draining: &mut watch::Receiver<bool>) {
    // The sender lives as long as the process; if it were gone, ending would be right as well.
    let _ = draining.wait_for(|draining| *draining).await;
}

struct Permits {
    connection: OwnedSemaphorePermit,
    handshake: OwnedSemaphorePermit,
}

impl Gate {
    fn enter(&self) -> Option<Permits> {
        let connection = self.connections.clone().try_acquire_owned();
        let handshake = self.handshakes.clone().try_acquire_owned();
        match (connection, handshake) {
            (Ok(connection), Ok(handshake)) => Some(Permits {
                connection,
                handshake,
            }),
            _ => {
                self.service.metrics.connection(ConnectionResult::OverLimit);
                debug!("over a connection limit, closing");
                None
            }
        }
    }
}

async fn serve(gate: Arc<Gate>, stream: TcpStream, address: SocketAddr, permits: Permits) {
    let metrics = &gate.service.metrics;
    // Answers are small and somebody waits for them; if the socket refuses the option it still works.
    let _ = stream.set_nodelay(true);
    let tls = TlsAcceptor::from(gate.service.rules.load().tls.clone());
    let handshake =
        tokio::time::timeout(gate.service.limits.handshake_timeout, tls.accept(stream)).await;
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            let result = failure(&error);
            metrics.connection(result);
            info!(peer = %address, result = result.label(), %error, "handshake failed");
            return;
        }
        Err(_) => {
            metrics.connection(ConnectionResult::HandshakeTimeout);
            info!(peer = %address, "handshake took too long");
            return;
        }
    };
    let Some((presented, permit)) = gate.admit(&stream, address) else {
        return;
    };
    drop(permits.handshake);
    metrics.connections.inc();
    // A To tag must be unlike those of other connections (RFC 3261 19.3): the process' random state gives each a seed.
    let seed = RandomState::new().hash_one(address);
    session::run(
        gate.service.clone(),
        stream,
        Peer { address, presented },
        seed,
        gate.draining.clone(),
    )
    .await;
    gate.service.metrics.connections.dec();
    drop((permit, permits.connection));
    debug!(peer = %address, "connection ended");
}

impl Gate {
    fn admit(
        &self,
        stream: &TlsStream<TcpStream>,
        address: SocketAddr,
    ) -> Option<(Presented, OwnedSemaphorePermit)> {
        let chain = stream.get_ref().1.peer_certificates();
        let presented = Presented::of_certificate(chain?.first()?);
        let sender = Sender::identify(&self.service, &self.service.rules.load(), &presented);
        let (semaphore, result) = match &sender {
            Some(Sender { partner, account }) => {
                debug!(peer = %address, partner = &*partner.name, "a partner has connected");
                (&account.connections, ConnectionResult::Partner)
            }
            None => {
                let names = presented.shown();
                warn!(peer = %address, ?names, "the certificate names no partner; its requests get 403");
                (&self.strangers, ConnectionResult::Stranger)
            }
        };
        match semaphore.clone().try_acquire_owned() {
            Ok(permit) => {
                self.service.metrics.connection(result);
                Some((presented, permit))
            }
            Err(_) => {
                self.service.metrics.connection(ConnectionResult::OverLimit);
                info!(peer = %address, "over a connection limit, closing");
                None
            }
        }
    }
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
