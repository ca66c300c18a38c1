//! A provider's client, or in a simulation whoever plays the provider.
//!
//! In the daemon it is the client and nothing else.

use std::ops::Deref;
#[cfg(test)]
use std::sync::OnceLock;

use pushrelay_providers::apns::{ApnsClient, ApnsRequest};
use pushrelay_providers::mpns::{MpnsClient, MpnsRequest};
use pushrelay_push::Outcome;

#[cfg(test)]
use crate::simulation::Script;

/// Takes composed requests to a provider.
pub(crate) struct Carrier<C> {
    client: C,
    #[cfg(test)]
    script: OnceLock<Script>,
}

impl<C> Carrier<C> {
    pub(crate) fn new(client: C) -> Carrier<C> {
        Carrier {
            client,
            #[cfg(test)]
            script: OnceLock::new(),
        }
    }

    /// From now on nothing goes to the client.
    #[cfg(test)]
    pub(crate) fn play(&self, script: Script) {
        // The first one stays.
        let _ = self.script.set(script);
    }
}

impl Carrier<ApnsClient> {
    /// One push, and what became of it.
    pub(crate) async fn send(&self, request: ApnsRequest) -> Outcome {
        #[cfg(test)]
        if let Some(script) = self.script.get() {
            let id = request.headers().remove("apns-id");
            return script.play(id.as_ref().map(|id| id.as_bytes())).await;
        }
        self.client.send(request).await
    }
}

impl Carrier<MpnsClient> {
    /// One push, and what became of it.
    pub(crate) async fn send(&self, request: MpnsRequest) -> Outcome {
        #[cfg(test)]
        if let Some(script) = self.script.get() {
            let id = request.headers().find(|(name, _)| *name == "x-messageid");
            return script.play(id.map(|(_, id)| id)).await;
        }
        self.client.send(request).await
    }
}

impl<C> Deref for Carrier<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.client
    }
}
