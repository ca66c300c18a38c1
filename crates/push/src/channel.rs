//! The address of a Windows Phone's channel, which comes from the wire and is therefore held to an allow-list.

use std::fmt;

/// What a channel URI may look like. The default is Microsoft's own service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelPolicy {
    /// Host suffixes, each with its leading dot, or whole host names without one; lower case.
    pub hosts: Vec<String>,
    /// Ports; 80 and 443.
    pub ports: Vec<u16>,
    /// Path prefixes.
    pub path_prefixes: Vec<String>,
}

/// A channel URI that the policy allows: absolute, `http` or `https`, no userinfo, no fragment.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ChannelUri {
    text: Box<str>,
}

/// Why a text is no channel URI, or none that is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelUriError {
    /// To come.
    #[error("not allowed")]
    Malformed,
}

impl ChannelUri {
    /// Reads a URI and holds it to `policy`.
    pub fn parse(_text: &str, _policy: &ChannelPolicy) -> Result<Self, ChannelUriError> {
        Err(ChannelUriError::Malformed)
    }

    /// `true` for `https`.
    pub fn is_https(&self) -> bool {
        self.text.starts_with("https:")
    }

    /// The host: lower case, an IPv6 literal without brackets.
    pub fn host(&self) -> &str {
        ""
    }

    /// The port, the scheme's own where the URI names none.
    pub fn port(&self) -> u16 {
        0
    }

    /// Path and query: what the request line carries.
    pub fn path_and_query(&self) -> &str {
        "/"
    }

    /// The whole URI: never log it, it is the device's secret.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for ChannelUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelUri({}…)", self.host())
    }
}
