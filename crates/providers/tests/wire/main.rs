//! The clients over real sockets, against the fakes of Apple's and Microsoft's services.
#![allow(clippy::unwrap_used)]

mod apns_connections;
mod apns_exchange;
mod support;
