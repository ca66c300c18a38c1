//! What Apple prescribes of a request, as a list of breaches.
//!
//! Source: Apple, "Sending notification requests to APNs", "Establishing a token-based connection to APNs",
//! "Generating a remote notification".

use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, Method};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::pki::ApnsKey;

/// Holds one request to the rules.
pub(crate) struct Rules {
    keys: Vec<KnownKey>,
    /// Certificate authentication: no `authorization` is expected.
    certificate: bool,
}

struct KnownKey {
    key_id: String,
    team_id: String,
    public: DecodingKey,
}

/// What the rules say of a request's credential.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    Good,
    /// Apple's status and reason.
    Bad(u16, &'static str),
}

impl Rules {
    pub(crate) fn new(keys: &[ApnsKey], certificate: bool) -> Rules {
        let keys = keys.iter().map(|key| KnownKey {
            key_id: key.key_id.clone(),
            team_id: key.team_id.clone(),
            public: DecodingKey::from_ec_pem(key.public_pem.as_bytes())
                .expect("the public half of a generated key"),
        });
        Rules {
            keys: keys.collect(),
            certificate,
        }
    }

    /// Adds a sentence to `breaches` for each rule that the head of a request breaks.
    pub(crate) fn check_head(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        breaches: &mut Vec<String>,
    ) {
        let mut breach = |what: String| breaches.push(what);
        if method != Method::POST {
            breach(format!(":method is {method}, expected POST"));
        }
        match path.strip_prefix("/3/device/") {
            None => breach(":path does not begin with /3/device/".to_owned()),
            Some(token) if !is_token(token) => {
                breach(":path has no device token of lower-case hexadecimal digits".to_owned());
            }
            Some(_) => {}
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let twice = headers.len() > headers.keys_len();
        for name in SINGLE.iter().filter(|_| twice) {
            if headers.get_all(*name).iter().count() > 1 {
                breach(format!("{name} stands more than once"));
            }
        }
        let push_type = text("apns-push-type");
        match push_type {
            None => breach("apns-push-type is missing".to_owned()),
            Some(kind) if !PUSH_TYPES.contains(&kind) => {
                breach(format!(
                    "apns-push-type is {kind:?}, which Apple does not know"
                ));
            }
            Some(_) => {}
        }
        match text("apns-topic") {
            None if !self.certificate => breach("apns-topic is missing".to_owned()),
            Some("") => breach("apns-topic is empty".to_owned()),
            Some(topic) if push_type == Some("voip") && !topic.ends_with(".voip") => {
                breach("apns-topic of a voip push does not end in .voip".to_owned());
            }
            _ => {}
        }
        match text("apns-priority") {
            Some("10" | "5" | "1") | None => {}
            Some(other) => breach(format!("apns-priority is {other:?}, expected 10, 5 or 1")),
        }
        if push_type == Some("background") && text("apns-priority") != Some("5") {
            breach("a background push needs apns-priority 5".to_owned());
        }
        if let Some(value) = headers.get("apns-expiration") {
            let digits = value.as_bytes();
            if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                breach("apns-expiration is no number of UNIX seconds".to_owned());
            }
        }
        if let Some(value) = headers.get("apns-id")
            && !is_lower_case_uuid(value.as_bytes())
        {
            breach("apns-id is no lower-case canonical UUID".to_owned());
        }
        if let Some(value) = headers.get("apns-collapse-id")
            && (value.is_empty() || value.len() > 64)
        {
            let length = value.len();
            breach(format!(
                "apns-collapse-id has {length} octets, expected 1 to 64"
            ));
        }
        if self.certificate && headers.contains_key("authorization") {
            breach("authorization on a connection with a client certificate".to_owned());
        }
    }

    /// Adds a sentence to `breaches` for each rule that the body breaks.
    pub(crate) fn check_body(&self, headers: &HeaderMap, body: &[u8], breaches: &mut Vec<String>) {
        let push_type = headers.get("apns-push-type").map(|value| value.as_bytes());
        let limit = size_limit(push_type);
        if body.len() > limit {
            let length = body.len();
            breaches.push(format!(
                "the payload has {length} octets, expected at most {limit}"
            ));
        }
        if let Some(length) = headers.get("content-length")
            && length.to_str().ok().and_then(|l| l.parse().ok()) != Some(body.len())
        {
            breaches.push("content-length differs from the payload".to_owned());
        }
        let payload: Payload = match serde_json::from_slice(body) {
            Ok(payload) => payload,
            Err(_) => {
                breaches.push("the payload is no JSON object with an aps object".to_owned());
                return;
            }
        };
        let aps = payload.aps;
        let visible = aps.alert.is_some() || aps.badge.is_some() || aps.sound.is_some();
        match push_type {
            Some(b"background") if aps.content_available != Some(1) => {
                breaches.push("a background push needs content-available 1".to_owned());
            }
            Some(b"background") if visible => {
                breaches.push("a background push has no alert, badge or sound".to_owned());
            }
            Some(b"alert") if !visible => {
                breaches.push("an alert push needs an alert, badge or sound".to_owned());
            }
            _ => {}
        }
    }

    /// Whether a bearer token is a good one now; adds what is wrong with its making to `breaches`.
    pub(crate) fn check_bearer(
        &self,
        authorization: Option<&[u8]>,
        now: SystemTime,
        breaches: &mut Vec<String>,
    ) -> Credential {
        let Some(authorization) = authorization else {
            if !self.certificate {
                breaches.push("authorization is missing".to_owned());
                return Credential::Bad(403, "MissingProviderToken");
            }
            return Credential::Good;
        };
        let Some(token) = (std::str::from_utf8(authorization).ok()).and_then(after_bearer) else {
            breaches.push("authorization is not `bearer` and a token".to_owned());
            return Credential::Bad(403, "InvalidProviderToken");
        };
        if self.keys.is_empty() {
            return Credential::Good;
        }
        let mut invalid = |what: &str| {
            breaches.push(format!("provider token: {what}"));
            Credential::Bad(403, "InvalidProviderToken")
        };
        let Ok(header) = jsonwebtoken::decode_header(token) else {
            return invalid("no JWT");
        };
        if header.alg != Algorithm::ES256 {
            return invalid("alg is not ES256");
        }
        let Some(key) = (self.keys.iter()).find(|key| Some(&key.key_id) == header.kid.as_ref())
        else {
            return invalid("kid is unknown");
        };
        let mut validation = Validation::new(Algorithm::ES256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        let Ok(token) = jsonwebtoken::decode::<Claims>(token, &key.public, &validation) else {
            return invalid("bad signature, or iss or iat is missing");
        };
        if token.claims.iss != key.team_id {
            return invalid("iss is not the team of the key");
        }
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if token.claims.iat > now + CLOCK_TOLERANCE {
            return invalid("iat lies in the future");
        }
        if now > token.claims.iat + TOKEN_LIFE {
            breaches.push("provider token: older than one hour".to_owned());
            return Credential::Bad(403, "ExpiredProviderToken");
        }
        Credential::Good
    }
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    iat: u64,
}

#[derive(Deserialize)]
struct Payload {
    aps: Aps,
}

#[derive(Deserialize)]
struct Aps {
    alert: Option<IgnoredAny>,
    badge: Option<u32>,
    sound: Option<IgnoredAny>,
    #[serde(rename = "content-available")]
    content_available: Option<u8>,
}

/// The most that Apple takes as a payload of this push type.
pub(crate) fn size_limit(push_type: Option<&[u8]>) -> usize {
    if push_type == Some(b"voip") {
        5120
    } else {
        4096
    }
}

fn after_bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

fn is_token(token: &str) -> bool {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (8..=200).contains(&token.len()) && token.bytes().all(hex)
}

fn is_lower_case_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => *b == b'-',
            _ => b.is_ascii_digit() || (b'a'..=b'f').contains(b),
        })
}

const SINGLE: [&str; 7] = [
    "apns-id",
    "apns-topic",
    "apns-push-type",
    "apns-priority",
    "apns-expiration",
    "apns-collapse-id",
    "authorization",
];

const PUSH_TYPES: [&str; 10] = [
    "alert",
    "background",
    "voip",
    "complication",
    "controls",
    "fileprovider",
    "liveactivity",
    "location",
    "mdm",
    "pushtotalk",
];

/// Seconds: "The server will reject tokens older than one hour".
const TOKEN_LIFE: u64 = 3600;
/// Seconds that the client's clock may be ahead.
const CLOCK_TOLERANCE: u64 = 60;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    const PATH: &str = "/3/device/00112233445566778899aabbccddeeff";
    const ALERT: &[u8] = br#"{"aps":{"alert":"hello"}}"#;

    fn good() -> Vec<(&'static str, &'static str)> {
        vec![
            ("apns-topic", "com.example.chat"),
            ("apns-push-type", "alert"),
            ("apns-priority", "10"),
            ("apns-expiration", "1900000000"),
            ("apns-id", "6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55"),
            ("apns-collapse-id", "conv-42"),
        ]
    }

    fn breaches(fields: &[(&'static str, &str)], path: &str, body: &[u8]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let value = HeaderValue::from_str(value).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        let rules = Rules::new(&[], false);
        let mut breaches = Vec::new();
        rules.check_head(&Method::POST, path, &headers, &mut breaches);
        rules.check_body(&headers, body, &mut breaches);
        breaches
    }

    #[test]
    fn a_request_by_the_book_breaks_nothing() {
        assert_eq!(breaches(&good(), PATH, ALERT), [""; 0]);
    }

    #[test]
    fn each_header_rule_is_seen_when_it_is_broken() {
        let long = "c".repeat(65);
        for (name, value) in [
            ("apns-topic", ""),
            ("apns-push-type", "alarm"),
            ("apns-priority", "7"),
            ("apns-expiration", "soon"),
            ("apns-expiration", "-1"),
            ("apns-expiration", ""),
            ("apns-id", "6F0C1F2E-9D0C-4F4B-8F0A-1D7C0B7F3A55"),
            ("apns-id", "6f0c1f2e9d0c4f4b8f0a1d7c0b7f3a55"),
            ("apns-collapse-id", &long),
            ("apns-collapse-id", ""),
        ] {
            let mut fields: Vec<(&'static str, &str)> = good();
            fields.retain(|(n, _)| *n != name);
            fields.push((name, value));
            let found = breaches(&fields, PATH, ALERT);
            assert_eq!(found.len(), 1, "{name}: {value:?}: {found:?}");
            assert!(found[0].starts_with(name), "{name}: {value:?}: {found:?}");
        }
    }

    #[test]
    fn a_missing_topic_or_push_type_is_seen() {
        for name in ["apns-topic", "apns-push-type"] {
            let mut fields = good();
            fields.retain(|(n, _)| *n != name);
            assert_eq!(
                breaches(&fields, PATH, ALERT),
                [format!("{name} is missing")]
            );
        }
    }

    #[test]
    fn a_header_that_stands_twice_is_seen() {
        let mut fields = good();
        fields.push(("apns-priority", "10"));
        assert_eq!(
            breaches(&fields, PATH, ALERT),
            ["apns-priority stands more than once"]
        );
    }

    #[test]
    fn a_path_without_a_token_is_seen() {
        for path in [
            "/3/device/",
            "/3/device/AABBCCDD",
            "/3/device/xyz",
            "/4/device/00112233",
            "/",
        ] {
            assert_eq!(breaches(&good(), path, ALERT).len(), 1, "{path}");
        }
    }

    #[test]
    fn a_background_push_is_quiet_and_of_priority_5() {
        let mut fields = good();
        fields.retain(|(name, _)| !matches!(*name, "apns-push-type" | "apns-priority"));
        fields.push(("apns-push-type", "background"));
        let quiet = br#"{"aps":{"content-available":1}}"#;
        assert_eq!(breaches(&fields, PATH, quiet).len(), 1); // the priority is 10 without the field
        fields.push(("apns-priority", "5"));
        assert_eq!(breaches(&fields, PATH, quiet), [""; 0]);
        assert_eq!(breaches(&fields, PATH, ALERT).len(), 1);
        let loud = br#"{"aps":{"content-available":1,"sound":"default"}}"#;
        assert_eq!(breaches(&fields, PATH, loud).len(), 1);
    }

    #[test]
    fn a_payload_is_held_to_its_size_and_shape() {
        let sized = |length: usize| {
            let empty = br#"{"aps":{"alert":""}}"#.len();
            format!(r#"{{"aps":{{"alert":"{}"}}}}"#, "a".repeat(length - empty)).into_bytes()
        };
        assert_eq!(breaches(&good(), PATH, &sized(4096)), [""; 0]);
        assert_eq!(breaches(&good(), PATH, &sized(4097)).len(), 1);
        let mut voip = good();
        voip.retain(|(name, _)| !matches!(*name, "apns-push-type" | "apns-topic"));
        voip.extend([
            ("apns-push-type", "voip"),
            ("apns-topic", "com.example.chat.voip"),
        ]);
        assert_eq!(breaches(&voip, PATH, &sized(5120)), [""; 0]);
        assert_eq!(breaches(&voip, PATH, &sized(5121)).len(), 1);
        for body in [
            "",
            "{}",
            "[]",
            r#"{"aps":1}"#,
            r#"{"aps":{}}"#,
            r#"{"aps":{"badge":"3"}}"#,
        ] {
            assert_eq!(breaches(&good(), PATH, body.as_bytes()).len(), 1, "{body}");
        }
    }
}
