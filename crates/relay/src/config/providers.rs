//! `[apple]` and `[windows_phone]`: who takes pushes, and what we show them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::slice::from_ref;
use std::sync::Arc;

use pushrelay_providers::Identity;
use pushrelay_providers::apns::{ApnsApp, Credential, Endpoint, ProviderKey, ProviderTokens};
use pushrelay_providers::mpns::MpnsOptions;
use pushrelay_push::Environment;

use super::{App, AppName, PhoneApp, Resolver, Source, file};

/// The longest id of an app: what a body can name.
const APP_ID_BYTES: usize = 256;

impl Resolver {
    pub(super) fn apps(&mut self, files: Vec<file::App>) -> Vec<App> {
        if files.is_empty() {
            self.problem(
                "apple.apps",
                "apple.enabled is true, expected at least one [[apple.apps]]",
            );
        }
        self.one_default("apple.apps", files.iter().map(|app| app.default));
        // One token per team and key, however many apps share it.
        let mut tokens: Vec<(Source, Arc<ProviderTokens>)> = Vec::new();
        let mut apps: Vec<App> = Vec::new();
        for (index, app) in files.into_iter().enumerate() {
            let key = format!("apple.apps[{index}]");
            let environment = app.environment.map(|environment| match environment {
                file::AppEnvironment::Production => Environment::Production,
                file::AppEnvironment::Sandbox => Environment::Sandbox,
            });
            if apps
                .iter()
                .any(|other| *other.id == *app.id && other.environment == environment)
            {
                self.problem(
                    format!("{key}.id"),
                    format!("{:?} stands twice for the same environment", app.id),
                );
            }
            if !(1..=APP_ID_BYTES).contains(&app.id.len()) {
                self.problem(
                    format!("{key}.id"),
                    format!(
                        "got {:?}, expected 1 to {APP_ID_BYTES} bytes: bodies name it",
                        app.id
                    ),
                );
            }
            let topic = match &app.topic {
                None if app.id.contains('*') => {
                    if app.default {
                        self.problem(
                            format!("{key}.default"),
                            "expected a `topic` beside it: a pattern has no topic for what names no app",
                        );
                    }
                    Ok(ApnsApp::named_by_sender())
                }
                topic => ApnsApp::new(topic.as_ref().unwrap_or(&app.id)),
            };
            let topic = topic.map_err(|error| self.problem(format!("{key}.topic"), error));
            self.begin_source(&app);
            let endpoint = self.endpoint(&key, &app, environment);
            let credential = self.credential(&key, &app, &mut tokens);
            if let (Ok(topic), Some(endpoint), Some((credential, token))) =
                (topic, endpoint, credential)
            {
                apps.push(App {
                    source: self.source(),
                    token,
                    name: AppName::new(&app.id, app.default),
                    id: app.id.into_boxed_str(),
                    app: topic,
                    environment,
                    endpoint,
                    credential,
                    connections: app.connections,
                    hide_content: app.hide_content,
                });
            }
        }
        apps
    }

    fn endpoint(
        &mut self,
        key: &str,
        app: &file::App,
        environment: Option<Environment>,
    ) -> Option<Endpoint> {
        let roots = self.roots(&format!("{key}.roots"), from_ref(&app.roots))?;
        let endpoint = match (&app.url, environment) {
            (Some(url), _) => match Endpoint::parse(url, roots) {
                Ok(endpoint) => endpoint,
                Err(error) => {
                    self.problem(format!("{key}.url"), error);
                    return None;
                }
            },
            (None, Some(Environment::Sandbox)) => Endpoint::sandbox(roots),
            (None, Some(Environment::Production) | None) => Endpoint::production(roots),
        };
        match app.port {
            Some(port) => Some(endpoint.with_port(port)),
            None => Some(endpoint),
        }
    }

    fn credential(
        &mut self,
        key: &str,
        app: &file::App,
        tokens: &mut Vec<(Source, Arc<ProviderTokens>)>,
    ) -> Option<(Credential, Option<Source>)> {
        match (&app.token, &app.certificate) {
            (Some(token), None) => {
                let pem = self.read(&format!("{key}.token.key"), &token.key)?;
                let mut source = DefaultHasher::new();
                (&token.team_id, &token.key_id, &pem).hash(&mut source);
                let source = Source(source.finish());
                if let Some((_, known)) = tokens.iter().find(|(known, _)| *known == source) {
                    return Some((Credential::Token(known.clone()), Some(source)));
                }
                match ProviderKey::from_pem(&pem, &token.key_id, &token.team_id) {
                    Ok(parsed) => {
                        let shared = Arc::new(ProviderTokens::new(parsed));
                        tokens.push((source, shared.clone()));
                        Some((Credential::Token(shared), Some(source)))
                    }
                    Err(error) => {
                        self.problem(format!("{key}.token"), error);
                        None
                    }
                }
            }
            (None, Some(certificate)) => self
                .identity(&format!("{key}.certificate"), "apple", &app.id, certificate)
                .map(|identity| (Credential::Certificate(identity), None)),
            _ => {
                self.problem(
                    key,
                    "expected either `token` (Apple's .p8 key) or `certificate`",
                );
                None
            }
        }
    }

    fn identity(
        &mut self,
        key: &str,
        usage: &'static str,
        name: &str,
        files: &file::AppCertificate,
    ) -> Option<Identity> {
        let identity = match files {
            file::AppCertificate {
                chain: Some(chain),
                key: Some(private),
                pkcs12: None,
                password_file: None,
            } => {
                let chain = self.read(&format!("{key}.chain"), chain);
                let private = self.read(&format!("{key}.key"), private);
                Identity::from_pem(&chain?, &private?)
            }
            file::AppCertificate {
                chain: None,
                key: None,
                pkcs12: Some(pkcs12),
                password_file,
            } => {
                let bytes = self.read(&format!("{key}.pkcs12"), pkcs12)?;
                let password = match password_file {
                    Some(file) => {
                        String::from_utf8(self.read(&format!("{key}.password_file"), file)?)
                            .unwrap_or_default()
                            .trim_end_matches(['\r', '\n'])
                            .to_owned()
                    }
                    None => String::new(),
                };
                Identity::from_pkcs12(&bytes, &password)
            }
            _ => {
                self.problem(
                    key,
                    "expected `chain` and `key` (PEM), or `pkcs12` and perhaps `password_file`",
                );
                return None;
            }
        };
        match identity {
            Ok(identity) => {
                self.judge_expiry(key, usage, name, identity.not_after());
                Some(identity)
            }
            Err(error) => {
                self.problem(key, error);
                None
            }
        }
    }

    pub(super) fn windows_phone(&mut self, file: file::WindowsPhone) -> Option<Vec<PhoneApp>> {
        for (index, host) in file.hosts.iter().enumerate() {
            if host.is_empty()
                || host == "."
                || host.contains(['/', ':', '*', ' ']) && host.parse::<std::net::IpAddr>().is_err()
            {
                self.problem(
                    format!("windows_phone.hosts[{index}]"),
                    format!("got {host:?}, expected a suffix such as \".notify.live.net\" or a host name"),
                );
            }
        }
        for (key, is_empty) in [
            ("hosts", file.hosts.is_empty()),
            ("ports", file.ports.is_empty()),
            ("path_prefixes", file.path_prefixes.is_empty()),
        ] {
            if is_empty {
                self.problem(
                    format!("windows_phone.{key}"),
                    "got an empty list: no channel could ever be reached",
                );
            }
        }
        for (index, prefix) in file.path_prefixes.iter().enumerate() {
            if !prefix.starts_with('/') {
                self.problem(
                    format!("windows_phone.path_prefixes[{index}]"),
                    format!("got {prefix:?}, expected the beginning of a path, with its /"),
                );
            }
        }
        if file.allow_private_addresses {
            self.warn(
                "windows_phone.allow_private_addresses",
                "senders can make this host talk to addresses of your own network: for tests only",
            );
        }
        if file.apps.is_empty() {
            let app = self.phone_app("windows_phone", &file, None)?;
            return Some(vec![app]);
        }
        let mut apps = Vec::new();
        for (index, app) in file.apps.iter().enumerate() {
            let key = format!("windows_phone.apps[{index}]");
            if file.apps[..index].iter().any(|other| other.id == app.id) {
                self.problem(format!("{key}.id"), format!("{:?} stands twice", app.id));
            }
            apps.extend(self.phone_app(&key, &file, Some(app)));
        }
        self.one_default(
            "windows_phone.apps",
            file.apps.iter().map(|app| app.default),
        );
        Some(apps)
    }

    /// One app; without a certificate of its own it has that of the service.
    fn phone_app(
        &mut self,
        key: &str,
        file: &file::WindowsPhone,
        app: Option<&file::PhoneApp>,
    ) -> Option<PhoneApp> {
        self.begin_source(&(file.allow_private_addresses, app));
        let roots = self.roots("windows_phone.roots", from_ref(&file.roots))?;
        let own = app.and_then(|app| app.certificate.as_ref());
        let (key, files) = match own {
            Some(files) => (key, Some(files)),
            None => ("windows_phone", file.certificate.as_ref()),
        };
        let label = app.map_or("mpns", |app| &app.id);
        let identity = match files {
            Some(files) => {
                Some(self.identity(&format!("{key}.certificate"), "windows_phone", label, files)?)
            }
            None => None,
        };
        Some(PhoneApp {
            source: self.source(),
            name: app.map_or_else(AppName::everybody, |app| AppName::new(&app.id, app.default)),
            hide_content: file.hide_content || app.is_some_and(|app| app.hide_content),
            options: MpnsOptions {
                allow_private_addresses: file.allow_private_addresses,
                roots,
                identity,
                ..MpnsOptions::default()
            },
        })
    }

    fn one_default(&mut self, key: &str, defaults: impl Iterator<Item = bool>) {
        if defaults.filter(|default| *default).count() > 1 {
            self.problem(key, "more than one has `default = true`, expected one");
        }
    }
}
