//! `[[sip.offload]]`: where TLS terminators on this machine hand connections over.

use std::net::SocketAddr;

use super::{Resolver, file};
use crate::proxy_header::Trust;

/// One listener without TLS, for one terminator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offload {
    /// A loopback address.
    pub(crate) listen: SocketAddr,
    /// What the terminator is believed.
    pub(crate) trust: Trust,
}

/// The types that PROXY protocol version 2 leaves to its users, PP2_TYPE_MIN_CUSTOM to PP2_TYPE_MAX_CUSTOM.
const CUSTOM_TYPES: std::ops::RangeInclusive<u8> = 0xe0..=0xef;

impl Resolver {
    pub(super) fn offload(&mut self, files: &[file::Offload]) -> Vec<Offload> {
        for (index, offload) in files.iter().enumerate() {
            let key = format!("sip.offload[{index}]");
            if !offload.listen.ip().is_loopback() {
                self.problem(
                    format!("{key}.listen"),
                    format!(
                        "got {}, expected a loopback address such as 127.0.0.1:5062: who can connect there may say that it is any partner",
                        offload.listen
                    ),
                );
            }
            if let Some(kind) = offload
                .certificate_type
                .filter(|kind| !CUSTOM_TYPES.contains(kind))
            {
                self.problem(
                    format!("{key}.certificate_type"),
                    format!("got {kind:#04X}, expected 0xE0 to 0xEF, as in HAProxy's set-proxy-v2-tlv-fmt"),
                );
            }
        }
        let resolved = |offload: &file::Offload| Offload {
            listen: offload.listen,
            trust: Trust {
                any_purpose: offload.accept_any_purpose,
                certificate_type: offload.certificate_type,
            },
        };
        files.iter().map(resolved).collect()
    }
}
