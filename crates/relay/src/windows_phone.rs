//! The configured apps on Windows Phones, each with the client that reaches it.

use std::sync::Arc;

use pushrelay_providers::mpns::{MpnsClient, MpnsError};

use crate::carrier::Carrier;
use crate::config::{AppName, PhoneApp, Source};
use crate::route::Route;

/// One app, those of a pattern, or all of them.
pub(crate) struct WindowsPhoneApp {
    /// What it was made of.
    source: Source,
    /// What metrics call it: its id, or nothing where it is everybody's.
    pub(crate) id: Box<str>,
    name: AppName,
    /// Whether words are kept off its screens.
    pub(crate) hide_content: bool,
    /// Its client.
    pub(crate) client: Carrier<MpnsClient>,
    /// The way.
    pub(crate) route: Route,
}

/// All apps, in the order of the file.
pub(crate) struct WindowsPhoneApps {
    list: Vec<Arc<WindowsPhoneApp>>,
}

impl WindowsPhoneApps {
    /// Makes a client for each app; one that is as it was `before` goes on.
    pub(crate) fn new(
        apps: Vec<PhoneApp>,
        before: Option<&WindowsPhoneApps>,
    ) -> Result<WindowsPhoneApps, MpnsError> {
        let before = before.map_or(&[] as &[_], WindowsPhoneApps::list);
        let apps = apps.into_iter().map(|app| {
            match before.iter().find(|known| known.source == app.source) {
                Some(known) => Ok(known.clone()),
                None => Ok(Arc::new(WindowsPhoneApp {
                    source: app.source,
                    id: app.name.label().into(),
                    name: app.name,
                    hide_content: app.hide_content,
                    client: Carrier::new(MpnsClient::new(app.options)?),
                    route: Route::default(),
                })),
            }
        });
        Ok(WindowsPhoneApps {
            list: apps.collect::<Result<_, MpnsError>>()?,
        })
    }

    /// The app that a sender means.
    pub(crate) fn find(&self, id: Option<&str>) -> Option<&Arc<WindowsPhoneApp>> {
        AppName::find(&self.list, |app| &app.name, |_| true, id)
    }

    /// All.
    pub(crate) fn list(&self) -> &[Arc<WindowsPhoneApp>] {
        &self.list
    }
}
