//! What one connection may cost.

use std::time::Duration;

/// The bounds of one [`Connection`](crate::Connection). What lies past them is refused and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Start line and header lines with their line ends, in bytes. Past it: 513, then the connection closes.
    pub head_bytes: usize,
    /// Lines of a head, continuation lines included. Past it: 513, then the connection closes.
    pub head_lines: usize,
    /// The body, in bytes. Past it: 413, then the connection closes, for the body is not read.
    pub body_bytes: usize,
    /// Answered transactions that are remembered for retransmissions and merged requests. Past it the oldest is forgotten.
    pub transactions: usize,
    /// What the remembered answers may take, in bytes. Past it the oldest is forgotten.
    pub transaction_bytes: usize,
    /// How long an answered transaction is remembered.
    pub transaction_life: Duration,
    /// How long a message may take to arrive whole, however steadily it drips. Past it: 400, then the connection closes.
    pub message_life: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            // Record-Route with ms-route-sig grows large; nothing real comes near these.
            head_bytes: 64 * 1024,
            head_lines: 256,
            body_bytes: 64 * 1024,
            transactions: 4096,
            // A remembered answer is some 350 bytes without its Via lines: 4096 of them are 1.4 MiB.
            transaction_bytes: 4 * 1024 * 1024,
            // Timer F at the peer: 64 * T1, RFC 3261 17.1.2.2. Later nobody waits for an answer.
            transaction_life: Duration::from_secs(32),
            message_life: Duration::from_secs(32),
        }
    }
}
