//! The other side of every wire of the push relay: a fake Access Edge, a fake Apple, a fake Windows Phone service, a fake
//! DNS server, throw-away certificates, and the real daemon as a process.
//!
//! Not here: any code of the relay itself. The fakes speak the real protocols over real sockets, hold what they receive to
//! every rule that Apple and Microsoft prescribe, count exactly, and misbehave as a script tells them.

pub mod apns;
pub mod books;
pub mod daemon;
pub mod dns;
pub mod edge;
pub mod mpns;
pub mod pki;
mod samples;
mod tls;
pub mod world;

pub use apns::{ApnsAnswer, ApnsOptions, FakeApns};
pub use daemon::Daemon;
pub use dns::{DnsAnswer, FakeDns};
pub use edge::{FakeEdge, Push, SipAnswer, SipRequest};
pub use mpns::{FakeMpns, MpnsAnswer, MpnsOptions};
pub use samples::{Sample, Samples};
pub use world::{World, WorldOptions};
