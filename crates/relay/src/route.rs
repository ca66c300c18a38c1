//! The way to a provider for one app: whether it is open, and whether what comes back can be believed.

use crate::breaker::Breaker;
use crate::gone::Wave;

/// One way.
#[derive(Debug, Default)]
pub(crate) struct Route {
    /// Whether anybody waits for the provider.
    pub(crate) breaker: Breaker,
    /// Whether the devices that it calls gone are believed to be.
    pub(crate) wave: Wave,
}
