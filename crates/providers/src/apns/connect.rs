//! From nothing to an HTTP/2 connection: resolve, TCP, TLS, preface.
//!
//! Not here: when to connect (`pool`) and what happens on the connection (`connection`).

use std::sync::Arc;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use pushrelay_push::Transport;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{ApnsError, ApnsOptions, Credential, Endpoint};
use crate::dial::dial;
use crate::tls;

/// Everything that a connect needs.
pub(crate) struct Connector {
    host: Box<str>,
    port: u16,
    server_name: ServerName<'static>,
    tls: TlsConnector,
    options: ApnsOptions,
}

/// A connection whose preface is out; the peer's SETTINGS may still be on their way.
pub(crate) struct Established {
    pub(crate) sender: SendRequest<Bytes>,
    pub(crate) connection: Connection<TlsStream<TcpStream>, Bytes>,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) struct ConnectError {
    pub(crate) transport: Transport,
    /// For the log: never a secret.
    pub(crate) text: String,
    /// It took so long that nobody should wait for another one.
    pub(crate) slow: bool,
}

impl Connector {
    pub(crate) fn new(
        endpoint: &Endpoint,
        credential: &Credential,
        options: &ApnsOptions,
    ) -> Result<Connector, ApnsError> {
        let identity = match credential {
            Credential::Certificate(identity) => Some(identity),
            Credential::Token(_) => None,
        };
        let config = tls::client_config(endpoint.roots(), identity, b"h2")?;
        Ok(Connector {
            host: endpoint.host().into(),
            port: endpoint.port(),
            server_name: endpoint.server_name()?,
            tls: TlsConnector::from(Arc::new(config)),
            options: options.clone(),
        })
    }

    /// `host:port`, for the log.
    pub(crate) fn peer(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Connects within [`ApnsOptions::connect_timeout`].
    pub(crate) async fn connect(&self) -> Result<Established, ConnectError> {
        let begin = Instant::now();
        let deadline = begin + self.options.connect_timeout;
        let result = self.connect_before(deadline).await;
        result.map_err(|(transport, text)| ConnectError {
            transport,
            text,
            slow: begin.elapsed() * 2 > self.options.connect_timeout,
        })
    }

    async fn connect_before(&self, deadline: Instant) -> Result<Established, (Transport, String)> {
        // Whoever configured the endpoint may point it wherever they like.
        let tcp = dial(&self.host, self.port, |_| true, deadline)
            .await
            .map_err(|error| (error.transport(), error.to_string()))?;
        let tls = self.tls.connect(self.server_name.clone(), tcp);
        let stream = match timeout_at(deadline, tls).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(tls_error(error.to_string())),
            Err(_) => return Err(tls_error("the handshake took too long".to_owned())),
        };
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(tls_error(
                "the peer does not speak HTTP/2 (ALPN h2)".to_owned(),
            ));
        }
        let handshake = builder().handshake(stream);
        match timeout_at(deadline, handshake).await {
            Ok(Ok((sender, connection))) => Ok(Established { sender, connection }),
            Ok(Err(error)) => Err((Transport::Protocol, error.to_string())),
            Err(_) => Err((
                Transport::Timeout,
                "the HTTP/2 preface could not be written".to_owned(),
            )),
        }
    }
}

fn tls_error(text: String) -> (Transport, String) {
    (Transport::Tls, text)
}

fn builder() -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        // One stream until the peer's SETTINGS say how many; h2 would assume 100.
        .initial_max_send_streams(1)
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .max_header_list_size(HEADER_LIST_BYTES);
    builder
}

/// What a peer may send on one stream before we read: more than the 4 KiB of an error body that are ever looked at.
const STREAM_WINDOW: u32 = 16 * 1024;

/// Header list of an answer; Apple's have a hundred bytes.
const HEADER_LIST_BYTES: u32 = 8 * 1024;
