//! The clients over real sockets, against the fakes of Apple's and Microsoft's services.
#![allow(clippy::unwrap_used)]

mod apns_connections;
mod apns_credentials;
mod apns_exchange;
mod apns_payload;
mod golden;
mod identities;
mod mpns_exchange;
mod mpns_payload;
mod support;
