//! Numbers and times of the configuration that the daemon could not live with.

use std::time::Duration;

use super::{MOST_TRAIL, Resolver, file};

/// The most that a connection limit may be: far more than one process can have open.
const CONNECTIONS: usize = 1_000_000;

/// The most requests of one connection that may wait.
const REQUESTS: usize = 100_000;

/// The most that a head or a body may be: 16 MiB, a thousand times what a push needs.
const MESSAGE_BYTES: usize = 16 * 1024 * 1024;

impl Resolver {
    pub(super) fn bounds(&mut self, file: &file::File) {
        let limits = &file.limits;
        for (key, value, least, most) in [
            ("limits.connections", limits.connections, 1, CONNECTIONS),
            (
                "limits.connections_per_partner",
                limits.connections_per_partner,
                1,
                CONNECTIONS,
            ),
            (
                "limits.connections_per_address",
                limits.connections_per_address,
                1,
                CONNECTIONS,
            ),
            ("limits.handshakes", limits.handshakes, 1, CONNECTIONS),
            (
                "limits.handshakes_per_address",
                limits.handshakes_per_address,
                1,
                CONNECTIONS,
            ),
            (
                "limits.stranger_connections",
                limits.stranger_connections,
                0,
                CONNECTIONS,
            ),
            (
                "limits.requests_in_flight",
                limits.requests_in_flight,
                1,
                REQUESTS,
            ),
            ("limits.head_bytes", limits.head_bytes, 1024, MESSAGE_BYTES),
            ("limits.head_lines", limits.head_lines, 16, MESSAGE_BYTES),
            ("limits.body_bytes", limits.body_bytes, 1024, MESSAGE_BYTES),
        ] {
            if !(least..=most).contains(&value) {
                self.problem(key, format!("got {value}, expected {least} to {most}"));
            }
        }
        for (key, value) in [
            ("limits.handshake_timeout", limits.handshake_timeout),
            ("limits.idle_timeout", limits.idle_timeout),
            ("limits.write_timeout", limits.write_timeout),
            ("default_ttl", file.default_ttl),
        ] {
            if value.is_zero() {
                self.problem(key, "got 0s, expected some time");
            }
        }
        if file.reply_within > Duration::from_secs(30) {
            // Timer F ends the sender's transaction after 32 s (RFC 3261 17.1.2.2).
            let got = humantime::format_duration(file.reply_within);
            self.problem(
                "reply_within",
                format!("got {got}, expected at most 30s: the sender gives up after 32 s"),
            );
        }
        if !matches!(file.sip.accepted_status, 200 | 202) {
            self.problem(
                "sip.accepted_status",
                format!("got {}, expected 200 or 202", file.sip.accepted_status),
            );
        }
        if file.sip.listen.is_empty() {
            self.problem(
                "sip.listen",
                "got an empty list, expected at least one address such as \"[::]:5061\"",
            );
        }
        for (index, address) in file.sip.listen.iter().enumerate() {
            if address.port() != 0 && file.sip.listen[..index].contains(address) {
                self.problem(
                    format!("sip.listen[{index}]"),
                    format!("{address} stands twice"),
                );
            }
        }
        if file.admin.trail > MOST_TRAIL {
            self.problem(
                "admin.trail",
                format!("got {}, expected at most {MOST_TRAIL}", file.admin.trail),
            );
        }
        if file.default_ttl > file.max_ttl {
            let [got, most] = [file.default_ttl, file.max_ttl].map(humantime::format_duration);
            self.problem(
                "default_ttl",
                format!("got {got}, expected at most max_ttl, which is {most}"),
            );
        }
    }
}
