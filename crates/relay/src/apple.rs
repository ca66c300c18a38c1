//! The configured apps on Apple's side, each with the client that reaches it.

use std::sync::Arc;

use pushrelay_providers::apns::{
    ApnsApp, ApnsClient, ApnsError, ApnsOptions, Credential, ProviderTokens,
};
use pushrelay_push::Environment;

use crate::carrier::Carrier;
use crate::config::{App, AppName, Source};
use crate::route::Route;

/// One app and the connections that carry its pushes.
pub(crate) struct AppleApp {
    /// What it was made of.
    source: Source,
    /// Its provider tokens, and what they were made of.
    tokens: Option<(Source, Arc<ProviderTokens>)>,
    /// The id that senders name it by.
    pub(crate) id: Arc<str>,
    name: AppName,
    /// Apple's world; `None` where a URL was given instead.
    environment: Option<Environment>,
    /// What its requests carry.
    pub(crate) app: ApnsApp,
    /// Whether words are kept off its screens.
    pub(crate) hide_content: bool,
    /// Its connections.
    pub(crate) client: Carrier<ApnsClient>,
    /// Whether they are any use now.
    pub(crate) route: Route,
}

/// All apps, in the order of the file.
pub(crate) struct AppleApps {
    list: Vec<Arc<AppleApp>>,
}

impl AppleApp {
    fn new(app: App, before: &[Arc<AppleApp>]) -> Result<AppleApp, ApnsError> {
        let options = ApnsOptions {
            max_connections: app.connections,
            ..ApnsOptions::default()
        };
        let (credential, tokens) = match (app.credential, app.token) {
            (Credential::Token(fresh), Some(source)) => {
                let mut known = before.iter().filter_map(|app| app.tokens.as_ref());
                let known = known.find(|(known, _)| *known == source);
                let tokens = known.map_or(fresh, |(_, tokens)| tokens.clone());
                (Credential::Token(tokens.clone()), Some((source, tokens)))
            }
            (credential, _) => (credential, None),
        };
        Ok(AppleApp {
            source: app.source,
            tokens,
            id: app.id.into(),
            name: app.name,
            environment: app.environment,
            hide_content: app.hide_content,
            app: app.app,
            client: Carrier::new(ApnsClient::new(app.endpoint, credential, options)?),
            route: Route::default(),
        })
    }
}

impl AppleApps {
    /// Makes a client for each app. One that is as it was `before` goes on, with its connections and what is known of the way; one
    /// that has changed takes over the provider tokens, if their key has not, because Apple wants few of them.
    pub(crate) fn new(apps: Vec<App>, before: Option<&AppleApps>) -> Result<AppleApps, ApnsError> {
        let before = before.map_or(&[] as &[_], AppleApps::list);
        let apps = apps.into_iter().map(|app| {
            match before.iter().find(|known| known.source == app.source) {
                Some(known) => Ok(known.clone()),
                None => AppleApp::new(app, before).map(Arc::new),
            }
        });
        Ok(AppleApps {
            list: apps.collect::<Result<_, ApnsError>>()?,
        })
    }

    /// The app that a sender means, in this environment where one is named.
    pub(crate) fn find(
        &self,
        id: Option<&str>,
        environment: Option<Environment>,
    ) -> Option<&Arc<AppleApp>> {
        let fits = |app: &Arc<AppleApp>| {
            environment.is_none() || app.environment.is_none() || app.environment == environment
        };
        AppName::find(&self.list, |app| &app.name, fits, id)
    }

    /// All.
    pub(crate) fn list(&self) -> &[Arc<AppleApp>] {
        &self.list
    }
}
