//! The configured apps on Apple's side, each with the client that reaches it.

use std::sync::Arc;

use pushrelay_providers::apns::{ApnsApp, ApnsClient, ApnsError, ApnsOptions};
use pushrelay_push::Environment;

use crate::config::App;
use crate::route::Route;

/// One app and the connections that carry its pushes.
pub(crate) struct AppleApp {
    /// The id that senders name it by.
    pub(crate) id: Arc<str>,
    /// Apple's world; `None` where a URL was given instead.
    environment: Option<Environment>,
    /// What its requests carry.
    pub(crate) app: ApnsApp,
    /// Whether words are kept off its screens.
    pub(crate) hide_content: bool,
    /// Its connections.
    pub(crate) client: ApnsClient,
    /// Whether they are any use now.
    pub(crate) route: Route,
}

/// All apps, in the order of the file.
pub(crate) struct AppleApps {
    list: Vec<Arc<AppleApp>>,
}

impl AppleApps {
    /// Makes a client for each app.
    pub(crate) fn new(apps: Vec<App>) -> Result<AppleApps, ApnsError> {
        let client = |app: App| {
            let options = ApnsOptions {
                max_connections: app.connections,
                ..ApnsOptions::default()
            };
            Ok(Arc::new(AppleApp {
                id: app.id.into(),
                environment: app.environment,
                hide_content: app.hide_content,
                app: app.app,
                client: ApnsClient::new(app.endpoint, app.credential, options)?,
                route: Route::default(),
            }))
        };
        Ok(AppleApps {
            list: apps
                .into_iter()
                .map(client)
                .collect::<Result<_, ApnsError>>()?,
        })
    }

    /// The app with this id, in this environment where one is named. Without an id it is the only app, if there is but one.
    pub(crate) fn find(
        &self,
        id: Option<&str>,
        environment: Option<Environment>,
    ) -> Option<&Arc<AppleApp>> {
        let fits = |app: &&Arc<AppleApp>| {
            environment.is_none() || app.environment.is_none() || app.environment == environment
        };
        match id {
            Some(id) => self.list.iter().filter(|app| *app.id == *id).find(fits),
            None if self.list.len() == 1 => self.list.iter().find(fits),
            None => None,
        }
    }

    /// All.
    pub(crate) fn list(&self) -> &[Arc<AppleApp>] {
        &self.list
    }
}
