//! What `pushrelay explain` tells of a MESSAGE or a push, who must act and what to do.

#![allow(clippy::unwrap_used)]

mod common;

use common::{APPLE, PATIENCE, Relay, body, json};
use pushrelay_peers::MpnsAnswer;
use serde_json::Value;

#[tokio::test]
async fn explain_tells_every_step_who_must_act_and_what_to_do() {
    let relay = Relay::start().await;
    let edge = relay.edge().await;
    let phone = relay.windows_phone("one");
    relay
        .world
        .windows_phone
        .script_default([MpnsAnswer::inactive()]);
    let request = edge.request(json(), body(&[APPLE, &phone]));
    assert_eq!(edge.exchange(&request).await.unwrap().status, 200);
    relay.settled(1.0).await;

    let told = relay
        .asked(&["explain", &request.call_id, "--json"])
        .await
        .json();
    let message = &told["messages"][0];
    assert_eq!(message["call_id"], request.call_id);
    assert_eq!(message["partner"], "contoso");
    assert_eq!(message["status"], 200);
    assert_eq!(message["repeats"], false);
    let steps = |push: &Value| -> Vec<String> {
        let steps = push["steps"].as_array().unwrap().iter();
        steps
            .map(|step| step["step"].as_str().unwrap().to_owned())
            .collect()
    };
    let [apple, phone] = [&told["pushes"][0], &told["pushes"][1]];
    assert_eq!(
        (&apple["service"], &phone["service"]),
        (&"apns".into(), &"mpns".into())
    );
    assert_eq!(steps(apple), ["target", "attempt"]);
    assert_eq!(apple["steps"][1]["app"], "com.example.chat");
    assert_eq!(apple["steps"][1]["cause"], "Success");
    assert!(apple["steps"][1]["took_us"].as_u64().unwrap() > 0);
    assert_eq!(apple["now"], "it is over: accepted");
    assert_eq!(apple["advice"], "nobody: Apple has it");
    assert_eq!(steps(phone), ["target", "attempt", "kept"]);
    assert_eq!(phone["entry"]["state"], "waiting");
    assert!(
        phone["advice"].as_str().unwrap().starts_with("the user: "),
        "{phone}"
    );
    let apns_id = apple["id"].as_str().unwrap();
    assert_eq!(relay.world.apple.received()[0].id.as_deref(), Some(apns_id));

    let by_id = relay.asked(&["explain", apns_id]).await;
    for expected in [
        &*format!("MESSAGE {}", request.call_id),
        "from          contoso, CSeq 1",
        "answered      200 after ",
        &format!("push {apns_id} apns"),
        "target 1 of its MESSAGE, apns",
        "sent for com.example.chat: accepted, Success, after ",
        "who must act  nobody: Apple has it",
    ] {
        assert!(
            by_id.out.contains(expected),
            "{expected:?} in {}",
            by_id.out
        );
    }
    assert!(
        !by_id.out.contains("mpns"),
        "only the push that was asked for: {}",
        by_id.out
    );

    // The same again over another connection is one push, and says so.
    let other = relay.edge().await;
    assert_eq!(other.exchange(&request).await.unwrap().status, 200);
    let told = relay
        .asked(&["explain", &request.call_id, "--json"])
        .await
        .json();
    assert_eq!(told["messages"][1]["repeats"], true);
    assert!(
        told["messages"][1]["advice"]
            .as_str()
            .unwrap()
            .starts_with("nobody: ")
    );

    let nothing = relay.asked(&["explain", "no-such-call"]).await;
    assert_eq!(nothing.code, 3);
    assert!(
        nothing.err.contains("no such Call-ID or apns-id"),
        "{}",
        nothing.err
    );
    relay.end().await;
}

#[tokio::test]
async fn explain_tells_of_a_push_that_is_still_under_way() {
    let relay = Relay::configured(|config| {
        config.insert("reply_within".into(), "20s".into());
    })
    .await;
    let edge = relay.edge().await;
    // So that there is a connection that can stall.
    let first = edge.message(json(), body(&[APPLE])).await.unwrap();
    assert_eq!(first.status, 200);
    relay.world.apple.stall_connections(true);
    let request = edge.request(json(), body(&[APPLE]));
    edge.send(&request).await.unwrap();
    relay
        .daemon
        .wait_metrics(PATIENCE, |samples| {
            samples.sum("pushrelay_targets_in_flight", &[]) == 1.0
        })
        .await
        .unwrap();
    let told = relay.asked(&["explain", &request.call_id]).await;
    for expected in [
        "answered      not yet",
        "target 1 of its MESSAGE, apns",
        "now           it is under way: no verdict yet",
    ] {
        assert!(told.out.contains(expected), "{expected:?} in {}", told.out);
    }
    relay.world.apple.stall_connections(false);
    assert_eq!(
        edge.answer_to(&request, PATIENCE).await.unwrap().status,
        200
    );
    relay.end().await;
}

#[tokio::test]
async fn explain_tells_why_a_message_was_refused_at_the_door() {
    let relay = Relay::start().await;
    let mut edge = relay.edge().await;
    edge.request_uri = "sip:nobody@push.example.org".to_owned();
    let request = edge.request(json(), body(&[APPLE]));
    assert_eq!(edge.exchange(&request).await.unwrap().status, 404);
    let stranger = relay
        .world
        .edge_of(&relay.daemon, "sip.fabrikam.example", "fabrikam.example");
    let stranger = stranger.await.unwrap();
    let unknown = stranger.request(json(), body(&[APPLE]));
    assert_eq!(stranger.exchange(&unknown).await.unwrap().status, 403);

    let told = relay.asked(&["explain", &request.call_id]).await;
    assert!(
        told.out.contains("refused       foreign_uri"),
        "{}",
        told.out
    );
    assert!(
        told.out.contains("who must act  the sender: "),
        "{}",
        told.out
    );
    let told = relay.asked(&["explain", &unknown.call_id]).await;
    assert!(
        told.out.contains("from          a stranger, CSeq"),
        "{}",
        told.out
    );
    assert!(
        told.out
            .contains("who must act  the operator: no partner has an Edge"),
        "{}",
        told.out
    );
    relay.end().await;
}

#[tokio::test]
async fn after_a_restart_explain_finds_by_its_call_id_what_waits() {
    let mut relay = Relay::start().await;
    let sent = relay.leave_waiting(&["one", "two"]).await;
    relay.settled(2.0).await;
    relay.crash().await;
    let told = relay
        .asked(&["explain", &sent[1].call_id, "--json"])
        .await
        .json();
    assert_eq!(told["messages"], serde_json::json!([]));
    let pushes = told["pushes"].as_array().unwrap();
    assert_eq!(pushes.len(), 1);
    assert_eq!(pushes[0]["entry"]["said"], "DeviceInactive");
    assert!(
        pushes[0]["advice"]
            .as_str()
            .unwrap()
            .starts_with("the user: ")
    );
    relay.settled(2.0).await;
    relay.end().await;
}
