//! RFC 4475's messages, sent unchanged to the real daemon over TLS: every outcome is one that the index allows, and the next
//! connection is served as if nothing had been.
//!
//! Runs where the folder of messages is: `../shared/sip-torture` beside the checkout, or `PUSHRELAY_SIP_TORTURE`.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{APPLE, Relay, body, json};
use serde_json::Value;

/// How long after the last answer nothing more may come.
const QUIET: Duration = Duration::from_millis(300);

fn folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/sip-torture");
    let folder = std::env::var_os("PUSHRELAY_SIP_TORTURE").map_or(beside, PathBuf::from);
    folder.join("index.json").exists().then_some(folder)
}

fn allows(outcomes: &Value, outcome: &str) -> bool {
    let fits = |allowed: &str| {
        allowed == outcome
            || (allowed == "any" && outcome.len() == 3)
            || (allowed.ends_with("xx") && allowed[..1] == outcome[..1] && outcome.len() == 3)
    };
    outcomes
        .as_array()
        .is_some_and(|list| list.iter().filter_map(Value::as_str).any(fits))
}

#[tokio::test]
async fn every_torture_message_has_an_outcome_that_its_index_allows() {
    let Some(folder) = folder() else {
        eprintln!("skipped: no folder of torture messages");
        return;
    };
    let index: Value =
        serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap();
    let tests = index["tests"].as_array().unwrap();
    assert_eq!(tests.len(), 50);
    let relay = Relay::start().await;
    for test in tests {
        let name = test["name"].as_str().unwrap();
        let expect = &test["expect"];
        let edge = relay.edge().await;
        edge.send_raw(&std::fs::read(folder.join(test["file"].as_str().unwrap())).unwrap())
            .await
            .unwrap();
        let mut outcomes = Vec::new();
        let wait = if expect["responses"] == 0 {
            QUIET
        } else {
            Duration::from_secs(5)
        };
        while let Ok(answer) = edge
            .read_answer(if outcomes.is_empty() { wait } else { QUIET })
            .await
        {
            outcomes.push(answer.status.to_string());
        }
        if outcomes.is_empty() {
            let closed = edge.closed(Duration::from_millis(1)).await.is_ok();
            outcomes.push(if closed { "close" } else { "silence" }.into());
        }
        let most = expect["max_responses"].as_u64().unwrap().max(1) as usize;
        assert!(outcomes.len() <= most, "{name}: {outcomes:?}");
        for (place, outcome) in outcomes.iter().enumerate() {
            let extra = place > 0 && allows(&expect["extra_outcomes"], outcome);
            assert!(
                extra || allows(&expect["outcomes"], outcome),
                "{name}: got {outcome}, allowed {expect}"
            );
        }
        let next = relay.edge().await;
        assert_eq!(
            next.message(json(), body(&[APPLE])).await.unwrap().status,
            200,
            "after {name}"
        );
    }
    relay.end().await;
}
