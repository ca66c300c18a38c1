//! How Apple knows us: a provider token that we sign, or a client certificate.
//!
//! Not here: sending either. Time is an argument of everything that decides by it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls::pki_types::pem::SectionKind;
use serde::Serialize;
use x509_parser::asn1_rs::{Integer, Sequence};
use x509_parser::prelude::FromDer;
use x509_parser::x509::AlgorithmIdentifier;

use crate::identity::Identity;
use crate::pem;

/// One of Apple's two ways to know a provider.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A token that we sign with a `.p8` key. Share one value between all clients of the same team and key.
    Token(Arc<ProviderTokens>),
    /// A client certificate of one app.
    Certificate(Identity),
}

/// Why a `.p8` file, a key id or a team id cannot sign provider tokens.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// Another kind of PEM file.
    #[error("expected a PEM file with one PRIVATE KEY section (Apple's AuthKey_….p8), got {0}")]
    Label(String),
    /// A key with a passphrase.
    #[error("expected a PRIVATE KEY without a passphrase, got an ENCRYPTED PRIVATE KEY")]
    Encrypted,
    /// A key of the SEC1 form.
    #[error(
        "expected a PKCS#8 PRIVATE KEY, got an EC PRIVATE KEY (convert it with openssl pkcs8 -topk8 -nocrypt)"
    )]
    Sec1,
    /// A key for another algorithm.
    #[error("expected a P-256 key, which ES256 needs, got {0}")]
    Algorithm(String),
    /// The section is there but no key is in it.
    #[error("expected a PKCS#8 private key, got bytes that are none")]
    Malformed,
    /// A key id that is none of Apple's.
    #[error("expected a key id of 10 letters and digits, got {0:?}")]
    KeyId(String),
    /// A team id that is none of Apple's.
    #[error("expected a team id of 10 letters and digits, got {0:?}")]
    TeamId(String),
}

/// A `.p8` key with the ids under which Apple knows it. `Debug` shows the ids only.
pub struct ProviderKey {
    key: EncodingKey,
    header: Header,
    team_id: Box<str>,
}

impl ProviderKey {
    /// Reads the `.p8` file that Apple's developer site gives out once: PEM, PKCS#8, P-256.
    pub fn from_pem(
        p8: &[u8],
        key_id: &str,
        team_id: &str,
    ) -> Result<ProviderKey, CredentialError> {
        if !is_apple_id(key_id) {
            return Err(CredentialError::KeyId(key_id.to_owned()));
        }
        if !is_apple_id(team_id) {
            return Err(CredentialError::TeamId(team_id.to_owned()));
        }
        let labels = pem::labels(p8);
        let der = match pem::section(p8, SectionKind::PrivateKey) {
            Some(der) => der,
            None if labels.contains("ENCRYPTED") => return Err(CredentialError::Encrypted),
            None if labels.contains("EC PRIVATE KEY") => return Err(CredentialError::Sec1),
            None if labels == "PRIVATE KEY" => return Err(CredentialError::Malformed),
            None => return Err(CredentialError::Label(labels)),
        };
        let algorithm = algorithm(&der).ok_or(CredentialError::Malformed)?;
        if algorithm != "P-256" {
            return Err(CredentialError::Algorithm(algorithm));
        }
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(key_id.to_owned());
        // Apple names alg and kid and nothing else.
        header.typ = None;
        let key = ProviderKey {
            key: EncodingKey::from_ec_der(&der),
            header,
            team_id: team_id.into(),
        };
        // What signs once signs always: the only proof that the bytes inside are a key.
        key.sign(0).map_err(|_| CredentialError::Malformed)?;
        Ok(key)
    }

    /// The key id: `kid`.
    pub fn key_id(&self) -> &str {
        self.header.kid.as_deref().unwrap_or_default()
    }

    /// The team id: `iss`.
    pub fn team_id(&self) -> &str {
        &self.team_id
    }

    fn sign(&self, issued_at: u64) -> jsonwebtoken::errors::Result<String> {
        let claims = Claims {
            iss: &self.team_id,
            iat: issued_at,
        };
        jsonwebtoken::encode(&self.header, &claims, &self.key)
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    iat: u64,
}

impl fmt::Debug for ProviderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderKey")
            .field("key_id", &self.key_id())
            .field("team_id", &self.team_id)
            .finish_non_exhaustive()
    }
}

/// The provider token of one team and key: signed once, used by all connections, renewed in time and never too often.
///
/// Apple wants a token renewed "no more than once every 20 minutes and no less than once every 60 minutes".
pub struct ProviderTokens {
    key: ProviderKey,
    lifetime: Duration,
    least_age: Duration,
    current: Mutex<Current>,
    minted: AtomicU64,
}

#[derive(Default)]
struct Current {
    token: Option<Token>,
    /// Apple has said TooManyProviderTokenUpdates: none before this.
    not_before: Option<Instant>,
}

struct Token {
    bearer: Bearer,
    minted: Instant,
    /// The same moment by the other clock, which goes on while the machine is suspended.
    minted_by_wall: SystemTime,
}

/// An `authorization` value and which token it carries.
#[derive(Clone)]
pub(crate) struct Bearer {
    pub(crate) value: HeaderValue,
    pub(crate) generation: u64,
}

impl ProviderTokens {
    /// Tokens that are renewed after 50 minutes.
    pub fn new(key: ProviderKey) -> ProviderTokens {
        ProviderTokens::with_times(key, LIFETIME, LEAST_AGE)
    }

    /// For services other than Apple's: tokens that are renewed after `lifetime`, and never before `least_age`.
    pub fn with_times(key: ProviderKey, lifetime: Duration, least_age: Duration) -> ProviderTokens {
        ProviderTokens {
            key,
            lifetime: lifetime.max(least_age),
            least_age,
            current: Mutex::default(),
            minted: AtomicU64::new(0),
        }
    }

    /// Whose tokens these are.
    pub fn key(&self) -> &ProviderKey {
        &self.key
    }

    /// Tokens that were signed.
    pub fn minted(&self) -> u64 {
        self.minted.load(Ordering::Relaxed)
    }

    /// The token to use now; signs one where there is none or it is old. Whoever comes meanwhile waits the 30 µs that signing
    /// takes, so there is never a second one.
    pub(crate) fn bearer(&self, now: Instant) -> Bearer {
        let mut current = self.lock();
        let may_mint = current.not_before.is_none_or(|at| now >= at);
        match &current.token {
            Some(token)
                if !may_mint || now.saturating_duration_since(token.minted) < self.lifetime =>
            {
                token.bearer.clone()
            }
            _ => self.mint(&mut current, now),
        }
    }

    /// Apple calls the token of `generation` expired: the one to use instead, or `None` where renewing would come too early.
    pub(crate) fn renew(&self, generation: u64, now: Instant) -> Option<Bearer> {
        let mut current = self.lock();
        let token = current.token.as_ref()?;
        if token.bearer.generation != generation {
            return Some(token.bearer.clone());
        }
        let age = now
            .saturating_duration_since(token.minted)
            .max(token.minted_by_wall.elapsed().unwrap_or_default());
        if age < self.least_age || current.not_before.is_some_and(|at| now < at) {
            return None;
        }
        Some(self.mint(&mut current, now))
    }

    /// Apple says TooManyProviderTokenUpdates: no further token for a while, the present one stays.
    pub(crate) fn hold(&self, now: Instant) {
        self.lock().not_before = Some(now + self.least_age);
    }

    fn mint(&self, current: &mut Current, now: Instant) -> Bearer {
        let wall = SystemTime::now();
        let issued_at = wall
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let token = self
            .key
            .sign(issued_at)
            .expect("a key that has signed when it was read signs again");
        let mut value = HeaderValue::try_from(format!("bearer {token}"))
            .expect("base64url and dots stand in a header");
        value.set_sensitive(true);
        let bearer = Bearer {
            value,
            generation: self.minted.fetch_add(1, Ordering::Relaxed),
        };
        tracing::info!(
            key_id = self.key.key_id(),
            team_id = self.key.team_id(),
            "provider token signed"
        );
        current.token = Some(Token {
            bearer: bearer.clone(),
            minted: now,
            minted_by_wall: wall,
        });
        bearer
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ProviderTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderTokens")
            .field("key", &self.key)
            .field("minted", &self.minted())
            .finish_non_exhaustive()
    }
}

/// After this a token is renewed: well inside Apple's 60 minutes.
const LIFETIME: Duration = Duration::from_secs(50 * 60);

/// No token is renewed before this, Apple's floor.
const LEAST_AGE: Duration = Duration::from_secs(20 * 60);

fn is_apple_id(id: &str) -> bool {
    id.len() == 10 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// What a PKCS#8 key is for, in words; `None` where it is no PKCS#8 key.
fn algorithm(der: &[u8]) -> Option<String> {
    let (_, key) = Sequence::from_der(der).ok()?;
    let (rest, _version) = Integer::from_der(&key.content).ok()?;
    let (_, identifier) = AlgorithmIdentifier::from_der(rest).ok()?;
    let parameter = identifier
        .parameters
        .as_ref()
        .and_then(|parameter| parameter.as_oid().ok())
        .map(|oid| oid.to_id_string());
    let name = match (
        identifier.algorithm.to_id_string().as_str(),
        parameter.as_deref(),
    ) {
        ("1.2.840.10045.2.1", Some("1.2.840.10045.3.1.7")) => "P-256",
        ("1.2.840.10045.2.1", Some("1.3.132.0.34")) => "a P-384 key",
        ("1.2.840.10045.2.1", Some("1.3.132.0.35")) => "a P-521 key",
        ("1.2.840.10045.2.1", _) => "a key on another curve",
        ("1.2.840.113549.1.1.1", _) => "an RSA key",
        ("1.3.101.112", _) => "an Ed25519 key",
        (other, _) => return Some(format!("a key of algorithm {other}")),
    };
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use pushrelay_peers::pki::ApnsKey;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn tokens() -> ProviderTokens {
        let key = ApnsKey::new("ABCDEFGHIJ", "TEAM123456");
        let key = ProviderKey::from_pem(key.p8_pem.as_bytes(), &key.key_id, &key.team_id);
        ProviderTokens::new(key.unwrap())
    }

    #[test]
    fn a_token_is_used_for_fifty_minutes() {
        let (tokens, start) = (tokens(), Instant::now());
        let first = tokens.bearer(start);
        assert!(first.value.is_sensitive());
        assert_eq!(tokens.bearer(start + 49 * MINUTE).value, first.value);
        assert_eq!(tokens.minted(), 1);
        assert_ne!(
            tokens.bearer(start + 50 * MINUTE).generation,
            first.generation
        );
        assert_eq!(tokens.minted(), 2);
    }

    #[test]
    fn a_renewal_that_apple_forces_comes_once_and_not_before_twenty_minutes() {
        let (tokens, start) = (tokens(), Instant::now());
        let first = tokens.bearer(start);
        assert!(
            tokens
                .renew(first.generation, start + 19 * MINUTE)
                .is_none()
        );
        let second = tokens.renew(first.generation, start + 20 * MINUTE).unwrap();
        assert_ne!(second.generation, first.generation);
        // Another push that had carried the first one.
        let again = tokens.renew(first.generation, start + 20 * MINUTE).unwrap();
        assert_eq!(again.generation, second.generation);
        assert!(
            tokens
                .renew(second.generation, start + 21 * MINUTE)
                .is_none()
        );
        assert_eq!(tokens.minted(), 2);
    }

    #[test]
    fn after_too_many_updates_the_old_token_stays_for_twenty_minutes() {
        let (tokens, start) = (tokens(), Instant::now());
        let first = tokens.bearer(start);
        let late = start + 45 * MINUTE;
        tokens.hold(late);
        assert_eq!(
            tokens.bearer(late + 10 * MINUTE).generation,
            first.generation
        );
        assert!(tokens.renew(first.generation, late + 10 * MINUTE).is_none());
        assert_ne!(
            tokens.bearer(late + 20 * MINUTE).generation,
            first.generation
        );
    }

    #[test]
    fn a_hundred_threads_sign_one_token() {
        let tokens = tokens();
        std::thread::scope(|scope| {
            for _ in 0..100 {
                scope.spawn(|| tokens.bearer(Instant::now()));
            }
        });
        assert_eq!(tokens.minted(), 1);
    }
}
