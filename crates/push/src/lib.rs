//! What a push is, how a body becomes one, and what a provider's answer means.
//!
//! Not here: sockets, clocks, randomness, async. Time comes in as an argument.
//! A value of a type of this crate is valid: it is parsed at the door and not checked twice.

pub mod apns;
pub mod body;
mod channel;
mod device;
mod event;
mod expiry;
#[cfg(test)]
mod fixture;
mod id;
pub mod mpns;
mod notification;
pub mod present;
pub mod record;
pub mod retry;
mod verdict;

pub use channel::{ChannelPolicy, ChannelUri, ChannelUriError, is_public};
pub use device::{Device, DeviceToken, DeviceTokenError, Environment, Service};
pub use event::Event;
pub use expiry::Expiry;
pub use id::{RequestIdentity, push_id};
pub use notification::{Alert, Delay, MpnsKind, Notification, Sender, Target, Tile, WindowsPhone};
pub use verdict::{Cause, Local, Outcome, RefusedReason, Scope, Transport, Verdict};
