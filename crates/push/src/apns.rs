//! What Apple's answers mean (design: verdicts; Apple, "Handling error responses from APNs").

use std::time::SystemTime;

use crate::verdict::Outcome;

/// A reason that APNs gives in its error body, or the bare status where it gives none that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApnsReason {
    /// 200
    Success,
    /// A reason that this program does not know.
    Other,
}

impl ApnsReason {
    /// All, in the order of the metrics.
    pub const ALL: [ApnsReason; 2] = [ApnsReason::Success, ApnsReason::Other];

    /// Apple's own word, or `other`: the label in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            ApnsReason::Success => "Success",
            ApnsReason::Other => "other",
        }
    }
}

/// What `status` with `reason` and `timestamp` (410 only) from the error body means.
pub fn outcome(_status: u16, _reason: Option<&str>, _timestamp: Option<SystemTime>) -> Outcome {
    crate::verdict::Local::Expired.outcome()
}
