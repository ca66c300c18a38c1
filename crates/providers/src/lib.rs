//! The clients of the two push providers: Apple's APNs over HTTP/2 and Microsoft's MPNS over HTTP/1.1.
//!
//! Not here: when to try again, what is kept meanwhile, and which app or platform is switched on. A client takes a composed
//! request, makes one exchange of it (with the few re-sends that HTTP/2 proves harmless) and hands back a verdict.
//!
//! What goes over the wire is made by pure functions, [`apns::compose`] and [`mpns::compose`]; the sockets stand beside them.
//! Nothing that this crate logs or prints holds a device token, a channel URI, a key or the text of a message.

use std::sync::Arc;

use pushrelay_push::present::Fields;
use pushrelay_push::{Expiry, Notification};
use uuid::Uuid;

pub mod apns;
mod backoff;
mod dial;
mod identity;
pub mod mpns;
mod pem;
mod retry_after;
mod shorten;
mod tls;

pub use identity::{Identity, IdentityError};

/// One target of a notification, ready to be sent.
#[derive(Clone, Debug)]
pub struct Push {
    /// What is to be told.
    pub notification: Arc<Notification>,
    /// Which of its targets: an index into [`Notification::targets`].
    pub target: usize,
    /// `apns-id` and `X-MessageID`: the same for every attempt, so that a provider can recognise a repetition.
    pub id: Uuid,
    /// Until when the provider should keep trying.
    pub expiry: Option<Expiry>,
}

impl Push {
    /// What its look is made of; `None` where there is no such target.
    pub fn fields(&self, hide_content: bool) -> Option<Fields<'_>> {
        Some(Fields {
            target: self.notification.targets.get(self.target)?,
            notification: &self.notification,
            hide_content,
        })
    }
}
