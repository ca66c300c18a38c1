//! The books of a relay: what came into it has left it or is still in it.
//!
//! Over the text of `/metrics`, so that it holds a relay to what an operator sees. A number that is missing is a fault too.

use std::fmt;

use crate::samples::Samples;

/// An equation that does not hold, or that lacks a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Imbalance(String);

impl fmt::Display for Imbalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Imbalance {}

/// MESSAGEs received = answered + in flight; for each service targets + taken over = ended + waiting + in flight.
///
/// Holds at every moment; a scrape that counts on while it is read may be off by what happened meanwhile.
pub fn conservation(samples: &Samples) -> Result<(), Imbalance> {
    equal(
        samples,
        "",
        &["pushrelay_messages_received_total"],
        &[
            "pushrelay_messages_answered_total",
            "pushrelay_messages_in_flight",
        ],
    )?;
    for service in SERVICES {
        equal(
            samples,
            service,
            &[
                "pushrelay_targets_total",
                "pushrelay_targets_taken_over_total",
            ],
            &[
                "pushrelay_targets_settled_total",
                "pushrelay_targets_waiting",
                "pushrelay_targets_in_flight",
            ],
        )?;
    }
    Ok(())
}

/// What the books call waiting is on disk. Holds whenever nothing is on its way to the disk or from it, and the disk answers.
pub fn waiting_is_on_disk(samples: &Samples) -> Result<(), Imbalance> {
    for service in SERVICES {
        let waiting = sum(
            samples,
            "pushrelay_targets_waiting",
            &[("service", service)],
        )?;
        let labels = [("service", service), ("state", "waiting")];
        let on_disk = sum(samples, "pushrelay_spool_entries", &labels)?;
        if waiting != on_disk {
            return Err(Imbalance(format!(
                "{service}: {waiting} targets wait by the books, {on_disk} on disk"
            )));
        }
    }
    Ok(())
}

const SERVICES: [&str; 2] = ["apns", "mpns"];

/// Whether the sums over both sides are equal, of one service or of all that has none.
fn equal(samples: &Samples, service: &str, left: &[&str], right: &[&str]) -> Result<(), Imbalance> {
    let labels = [("service", service)];
    let labels = if service.is_empty() { &[] } else { &labels[..] };
    let side = |names: &[&str]| -> Result<(f64, String), Imbalance> {
        let mut total = 0.0;
        let mut words = Vec::new();
        for name in names {
            let value = sum(samples, name, labels)?;
            total += value;
            words.push(format!("{name} {value}"));
        }
        Ok((total, words.join(" + ")))
    };
    let ((begun, left), (ended, right)) = (side(left)?, side(right)?);
    if begun == ended {
        return Ok(());
    }
    Err(Imbalance(format!(
        "{service} the books do not balance: {left} = {begun}, {right} = {ended}"
    )))
}

fn sum(samples: &Samples, name: &str, labels: &[(&str, &str)]) -> Result<f64, Imbalance> {
    if samples.iter().any(|sample| sample.name == name) {
        Ok(samples.sum(name, labels))
    } else {
        Err(Imbalance(format!(
            "expected {name} in the metrics, got none"
        )))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A relay that has answered all, pushed one, and keeps one.
    const GOOD: &str = r#"
        pushrelay_messages_received_total{partner="-"} 1
        pushrelay_messages_received_total{partner="contoso"} 3
        pushrelay_messages_answered_total{status="200"} 3
        pushrelay_messages_in_flight 1
        pushrelay_targets_total{service="apns"} 3
        pushrelay_targets_total{service="mpns"} 0
        pushrelay_targets_taken_over_total{service="apns"} 0
        pushrelay_targets_taken_over_total{service="mpns"} 1
        pushrelay_targets_settled_total{ending="accepted",service="apns"} 1
        pushrelay_targets_settled_total{ending="gone",service="apns"} 0
        pushrelay_targets_settled_total{ending="accepted",service="mpns"} 1
        pushrelay_targets_waiting{service="apns"} 1
        pushrelay_targets_waiting{service="mpns"} 0
        pushrelay_targets_in_flight{service="apns"} 1
        pushrelay_targets_in_flight{service="mpns"} 0
        pushrelay_spool_entries{service="apns",state="waiting"} 1
        pushrelay_spool_entries{service="apns",state="buried"} 7
        pushrelay_spool_entries{service="mpns",state="waiting"} 0
    "#;

    fn books(text: &str) -> [bool; 2] {
        let samples = Samples::parse(text).unwrap();
        [
            conservation(&samples).is_ok(),
            waiting_is_on_disk(&samples).is_ok(),
        ]
    }

    #[test]
    fn books_that_balance_do() {
        assert_eq!(books(GOOD), [true, true]);
    }

    #[test]
    fn every_number_counts() {
        let lines = GOOD.lines().map(str::trim).filter(|line| !line.is_empty());
        for line in lines.filter(|line| !line.contains("buried")) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let value: u32 = value.parse().unwrap();
            let other = GOOD.replace(line, &format!("{name} {}", value + 1));
            assert_ne!(books(&other), [true, true], "{line}");
        }
    }

    #[test]
    fn what_is_not_there_does_not_balance() {
        assert_eq!(books(""), [false, false]);
        let without = |name: &str| {
            let lines: Vec<&str> = GOOD.lines().filter(|line| !line.contains(name)).collect();
            books(&lines.join("\n"))
        };
        // Their sum is 0 or missing is the same to an equation.
        assert_eq!(without("in_flight"), [false, true]);
        assert_eq!(without("spool_entries"), [true, false]);
    }
}
