//! From a host name to a TCP connection: resolve, look at each address, connect to those that are allowed.
//!
//! Not here: TLS, and which addresses are allowed. The addresses that were looked at are the ones that are connected to: the
//! name is not resolved a second time in between.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use pushrelay_push::Transport;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

/// Why there is no TCP connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// The name did not resolve.
    #[error("the name does not resolve: {0}")]
    Resolve(io::Error),
    /// It resolved only to addresses that are not allowed.
    #[error("the name resolves to no address that is allowed")]
    Forbidden,
    /// No address took the connection; the last error.
    #[error("no TCP connection: {0}")]
    Connect(io::Error),
}

impl DialError {
    /// What this means for the push that needed the connection.
    pub(crate) fn transport(&self) -> Transport {
        match self {
            DialError::Resolve(_) | DialError::Forbidden => Transport::Resolve,
            DialError::Connect(_) => Transport::Connect,
        }
    }
}

/// Resolves `host` (asking anew each time) and connects to the first of its `allowed` addresses that answers.
///
/// When one address has not answered after [`STAGGER`] the next is tried beside it (RFC 8305).
pub(crate) async fn dial(
    host: &str,
    port: u16,
    allowed: impl Fn(IpAddr) -> bool,
    deadline: Instant,
) -> Result<TcpStream, DialError> {
    let mut addresses = resolve(host, port, deadline).await?;
    addresses.retain(|address| allowed(address.ip()));
    if addresses.is_empty() {
        return Err(DialError::Forbidden);
    }
    addresses.truncate(ADDRESSES);
    match timeout_at(deadline, race(addresses)).await {
        Ok(result) => result.map_err(DialError::Connect),
        Err(_) => Err(DialError::Connect(io::ErrorKind::TimedOut.into())),
    }
}

async fn resolve(host: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, DialError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    match timeout_at(deadline, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(addresses)) => {
            let addresses: Vec<_> = addresses.collect();
            if addresses.is_empty() {
                return Err(DialError::Resolve(io::ErrorKind::NotFound.into()));
            }
            Ok(addresses)
        }
        Ok(Err(error)) => Err(DialError::Resolve(error)),
        Err(_) => Err(DialError::Resolve(io::ErrorKind::TimedOut.into())),
    }
}

async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(TcpStream::connect(address));
        } else if attempts.is_empty() {
            return Err(last);
        }
        tokio::select! {
            Some(result) = attempts.next() => match result {
                Ok(stream) => {
                    // Without it a push waits for the acknowledgement of the one before (44 ms measured).
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            },
            () = sleep(STAGGER), if waiting.len() > 0 => {}
        }
    }
}

/// How long one address may be silent before the next is tried beside it (RFC 8305, 8: 250 ms).
const STAGGER: Duration = Duration::from_millis(250);

/// Addresses of one name that are tried; those beyond are left out.
const ADDRESSES: usize = 8;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_address_that_refuses_costs_nothing_where_another_answers() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead = gone.local_addr().unwrap();
        drop(gone);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let live = listener.local_addr().unwrap();
        let begin = Instant::now();
        let stream = race(vec![dead, dead, live]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), live);
        assert!(stream.nodelay().unwrap());
        assert!(begin.elapsed() < STAGGER);
        let error = race(vec![dead, dead]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn only_addresses_that_are_allowed_are_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let deadline = Instant::now() + Duration::from_secs(10);
        for host in ["127.0.0.1", "localhost", "::ffff:127.0.0.1"] {
            let refused = dial(host, port, |_| false, deadline).await;
            assert!(matches!(refused, Err(DialError::Forbidden)), "{host}");
        }
        dial("localhost", port, |address| address.is_loopback(), deadline)
            .await
            .unwrap();
    }
}
