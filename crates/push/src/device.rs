//! Who is pushed to.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::channel::ChannelUri;

/// The provider that reaches a device; also the name of its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// Apple Push Notification service.
    Apns,
    /// Microsoft Push Notification Service, or what speaks its protocol.
    Mpns,
}

impl Service {
    /// Both, in the order of the metrics.
    pub const ALL: [Service; 2] = [Service::Apns, Service::Mpns];

    /// `apns` or `mpns`: the label in metrics and logs and the word in the JSON body.
    pub fn label(self) -> &'static str {
        match self {
            Service::Apns => "apns",
            Service::Mpns => "mpns",
        }
    }

    /// What an administrator calls it.
    pub fn display_name(self) -> &'static str {
        match self {
            Service::Apns => "Apple",
            Service::Mpns => "Windows Phone",
        }
    }
}

/// Which of Apple's two worlds a device token belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// `api.push.apple.com`
    Production,
    /// `api.sandbox.push.apple.com`
    Sandbox,
}

/// One device: where a push goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// An iPhone or iPad by its APNs device token.
    Apple(DeviceToken),
    /// A Windows Phone by its MPNS channel URI.
    WindowsPhone(ChannelUri),
}

impl Device {
    /// The provider that reaches this device.
    pub fn service(&self) -> Service {
        match self {
            Device::Apple(_) => Service::Apns,
            Device::WindowsPhone(_) => Service::Mpns,
        }
    }
}

/// An APNs device token: opaque, lower-case hexadecimal, 8 to 200 digits, an even number of them.
///
/// Apple: "APNs device tokens are of variable length. Do not hard-code their size."
/// Its `Debug` shows only the first four digits and the length.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DeviceToken(Box<str>);

/// Why a text is no device token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceTokenError {
    /// Fewer than 8 or more than 200 digits.
    #[error("expected 8 to 200 hexadecimal digits, got {0}")]
    Length(usize),
    /// Half a byte is left over.
    #[error("expected an even number of hexadecimal digits, got {0}")]
    Odd(usize),
    /// Something that is no hexadecimal digit, at this byte.
    #[error("expected hexadecimal digits, got another character at position {0}")]
    Digit(usize),
}

impl DeviceToken {
    /// Reads a token; upper-case digits become lower-case.
    pub fn parse(text: &str) -> Result<Self, DeviceTokenError> {
        // No early end: so the compiler looks at many bytes at once.
        let is_digit = |all, byte: u8| all & byte.is_ascii_hexdigit();
        if !text.bytes().fold(true, is_digit)
            && let Some(at) = text.bytes().position(|byte| !byte.is_ascii_hexdigit())
        {
            return Err(DeviceTokenError::Digit(at));
        }
        if !(8..=200).contains(&text.len()) {
            return Err(DeviceTokenError::Length(text.len()));
        }
        if !text.len().is_multiple_of(2) {
            return Err(DeviceTokenError::Odd(text.len()));
        }
        Ok(DeviceToken(text.to_ascii_lowercase().into_boxed_str()))
    }

    /// The digits, for `:path` only: never log them.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DeviceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceToken({}…, {} digits)", &self.0[..4], self.0.len())
    }
}
