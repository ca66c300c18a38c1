//! Microsoft Push Notification Service, or what speaks its protocol: HTTP/1.1 POST to a device's channel URI.
//!
//! Not here: what an answer means (`pushrelay_push::mpns`), which channel URIs are allowed at all (`ChannelUri`), and when to try
//! again.
//!
//! [`compose`] makes a request of a push; [`MpnsClient::send`] makes an outcome of a request.

mod client;
mod options;
mod pool;
mod request;
mod stats;
mod xml;

pub use client::MpnsClient;
pub use options::MpnsOptions;
pub use request::{MpnsRequest, compose};
pub use stats::MpnsStats;

/// Why no client can be made of what the configuration says.
#[derive(Debug, thiserror::Error)]
pub enum MpnsError {
    /// rustls cannot work with roots or certificate.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}
