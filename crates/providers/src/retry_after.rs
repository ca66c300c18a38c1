//! `Retry-After`: how long a provider itself wants to be left alone.

use std::time::Duration;

use pushrelay_push::{Outcome, Verdict};

/// The outcome with the peer's own `Retry-After`, where it defers and names a longer time than the tables do. At most an hour:
/// what is longer than that is no advice but a mistake.
pub(crate) fn with_retry_after(outcome: Outcome, said: Option<Duration>) -> Outcome {
    match (outcome.verdict, said) {
        (Verdict::Deferred { scope, retry_after }, Some(said)) => Outcome {
            verdict: Verdict::Deferred {
                scope,
                retry_after: retry_after.max(Some(said.min(LONGEST))),
            },
            ..outcome
        },
        _ => outcome,
    }
}

const LONGEST: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use pushrelay_push::apns;

    use super::*;

    fn retry_after(outcome: Outcome) -> Option<Duration> {
        match outcome.verdict {
            Verdict::Deferred { retry_after, .. } => retry_after,
            _ => None,
        }
    }

    #[test]
    fn the_longer_of_table_and_peer_counts_up_to_an_hour() {
        let outcome = apns::outcome(503, Some("ServiceUnavailable"), None);
        let table = retry_after(outcome);
        let said = |seconds| {
            retry_after(with_retry_after(
                outcome,
                Some(Duration::from_secs(seconds)),
            ))
        };
        assert_eq!(said(0), table.max(Some(Duration::ZERO)));
        assert_eq!(said(1800), Some(Duration::from_secs(1800)));
        assert_eq!(said(86_400), Some(LONGEST));
        assert_eq!(with_retry_after(outcome, None), outcome);
    }

    #[test]
    fn what_is_not_deferred_has_nothing_to_wait_for() {
        let outcome = apns::outcome(400, Some("BadTopic"), None);
        assert_eq!(with_retry_after(outcome, Some(LONGEST)), outcome);
    }
}
