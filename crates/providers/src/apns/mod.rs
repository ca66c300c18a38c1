//! Apple Push Notification service: the HTTP/2 provider API.
//!
//! Not here: what an answer means (`pushrelay_push::apns`) and when to try again.
//!
//! [`compose`] makes a request of a push; [`ApnsClient::send`] makes an outcome of a request.

mod answer;
mod app;
mod client;
mod connect;
mod connection;
mod credential;
mod endpoint;
mod headers;
mod json;
mod options;
mod payload;
mod pool;
mod stats;

pub use app::{ApnsApp, ApnsRequest, compose};
pub use client::ApnsClient;
pub use credential::{Credential, CredentialError, ProviderKey, ProviderTokens};
pub use endpoint::Endpoint;
pub use options::ApnsOptions;
pub use stats::ApnsStats;

/// Why no client, endpoint or app can be made of what the configuration says.
#[derive(Debug, thiserror::Error)]
pub enum ApnsError {
    /// The URL of an endpoint is none that this client can speak to.
    #[error("expected https://host or https://host:port, got {got:?}: {why}")]
    Url {
        /// The URL as configured.
        got: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A topic that cannot stand in a header.
    #[error("expected a topic of 1 to 255 letters, digits, dots and hyphens, got {0:?}")]
    Topic(String),
    /// rustls cannot work with roots or certificate.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The provider token cannot be signed.
    #[error(transparent)]
    Credential(#[from] CredentialError),
}
