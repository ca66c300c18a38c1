//! Numbers and times of the configuration that the daemon could not live with.
//!
//! `config/README.md` names the bounds of each; a test holds the two equal.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use humantime::format_duration;

use super::{Resolver, file};

/// The most that a connection limit may be: far more than one process can have open.
const CONNECTIONS: usize = 1_000_000;

/// The most requests of one connection that may wait.
const REQUESTS: usize = 100_000;

/// The most that a head or a body may be: 16 MiB, a thousand times what a push needs.
const MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// The most connections to Apple for one app: a thousand streams each.
const APP_CONNECTIONS: usize = 64;

/// The most targets that may wait: some terabytes of disk.
const ENTRIES: u64 = 1_000_000_000;

/// The most bytes on a disk: a pebibyte.
const DISK_BYTES: u64 = 1 << 50;

/// The most pushes out of the spool at once: ten connections to Apple full of them.
const DISPATCHED: usize = 10_000;

/// The most devices to remember as gone: a gigabyte of memory.
const GONE_DEVICES: usize = 10_000_000;

/// The most MESSAGEs to remember for operators: half a gigabyte of memory.
const TRAIL: usize = 1_000_000;

/// The most captures to keep: what a folder can hold without becoming slow.
const CAPTURES: usize = 1_000_000;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// As humantime has it: 365.25 days.
const YEAR: Duration = Duration::from_secs(31_557_600);

/// The shortest time between two looks at the files: each look asks the disk for every one of them.
const LOOK: Duration = Duration::from_millis(50);

/// The sender's transaction ends after 32 s (Timer F, RFC 3261 17.1.2.2).
const REPLY: Duration = Duration::from_secs(30);

impl Resolver {
    pub(super) fn bounds(&mut self, file: &file::File) {
        self.numbers(file);
        self.times(file);
        self.rest(file);
    }

    fn numbers(&mut self, file: &file::File) {
        let (limits, spool, bodies) = (&file.limits, &file.spool, &file.bodies);
        for (key, value, least, most) in [
            ("connections", limits.connections, 1, CONNECTIONS),
            (
                "connections_per_partner",
                limits.connections_per_partner,
                1,
                CONNECTIONS,
            ),
            (
                "connections_per_address",
                limits.connections_per_address,
                1,
                CONNECTIONS,
            ),
            ("handshakes", limits.handshakes, 1, CONNECTIONS),
            (
                "handshakes_per_address",
                limits.handshakes_per_address,
                1,
                CONNECTIONS,
            ),
            (
                "stranger_connections",
                limits.stranger_connections,
                0,
                CONNECTIONS,
            ),
            ("requests_in_flight", limits.requests_in_flight, 1, REQUESTS),
            ("head_bytes", limits.head_bytes, 1024, MESSAGE_BYTES),
            ("head_lines", limits.head_lines, 16, MESSAGE_BYTES),
            ("body_bytes", limits.body_bytes, 1024, MESSAGE_BYTES),
        ] {
            self.number(format_args!("limits.{key}"), value, least..=most);
        }
        for (key, value, least, most) in [
            ("entries", spool.entries, 1, ENTRIES),
            ("bytes", spool.bytes, 1, DISK_BYTES),
            ("partner_entries", spool.partner_entries, 1, ENTRIES),
            ("partner_bytes", spool.partner_bytes, 1, DISK_BYTES),
            ("disk_reserve", spool.disk_reserve, 0, DISK_BYTES),
        ] {
            self.number(format_args!("spool.{key}"), value, least..=most);
        }
        for (key, value, least, most) in [
            ("spool.in_flight", spool.in_flight, 1, DISPATCHED),
            ("spool.gone_devices", spool.gone_devices, 0, GONE_DEVICES),
            ("bodies.capture_files", bodies.capture_files, 1, CAPTURES),
            ("admin.trail", file.admin.trail, 0, TRAIL),
        ] {
            self.number(key, value, least..=most);
        }
        self.number("bodies.capture_bytes", bodies.capture_bytes, 1..=DISK_BYTES);
        for (index, app) in file.apple.apps.iter().enumerate() {
            let key = format_args!("apple.apps[{index}].connections");
            self.number(key, app.connections, 1..=APP_CONNECTIONS);
        }
    }

    fn number<N: PartialOrd + fmt::Display>(
        &mut self,
        key: impl fmt::Display,
        value: N,
        bounds: RangeInclusive<N>,
    ) {
        if !bounds.contains(&value) {
            let (least, most) = bounds.into_inner();
            let text = format!("got {value}, expected {least} to {most}");
            self.problem(key.to_string(), text);
        }
    }

    fn times(&mut self, file: &file::File) {
        let limits = &file.limits;
        for (key, value, least, most) in [
            ("default_ttl", file.default_ttl, SECOND, YEAR),
            ("max_ttl", file.max_ttl, SECOND, YEAR),
            ("drain_grace", file.drain_grace, SECOND, HOUR),
            (
                "limits.handshake_timeout",
                limits.handshake_timeout,
                SECOND,
                5 * MINUTE,
            ),
            (
                "limits.message_timeout",
                limits.message_timeout,
                SECOND,
                HOUR,
            ),
            ("limits.idle_timeout", limits.idle_timeout, SECOND, 30 * DAY),
            ("limits.write_timeout", limits.write_timeout, SECOND, HOUR),
            ("bodies.capture_age", file.bodies.capture_age, MINUTE, YEAR),
            ("spool.gone_for", file.spool.gone_for, HOUR, 10 * YEAR),
        ] {
            self.time(key, value, least..=most, "");
        }
        let why = ": the sender gives up after 32 s";
        self.time(
            "reply_within",
            file.reply_within,
            Duration::ZERO..=REPLY,
            why,
        );
        if !file.watch_files.is_zero() {
            let why = ", or 0s for never";
            self.time("watch_files", file.watch_files, LOOK..=DAY, why);
        }
        if file.default_ttl > file.max_ttl {
            let [got, most] = [file.default_ttl, file.max_ttl].map(format_duration);
            self.problem(
                "default_ttl",
                format!("got {got}, expected at most max_ttl, which is {most}"),
            );
        }
    }

    fn time(&mut self, key: &str, value: Duration, bounds: RangeInclusive<Duration>, more: &str) {
        if !bounds.contains(&value) {
            let [got, least, most] = [value, *bounds.start(), *bounds.end()].map(format_duration);
            self.problem(key, format!("got {got}, expected {least} to {most}{more}"));
        }
    }

    fn rest(&mut self, file: &file::File) {
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
    }
}
