//! What it costs to compose the request for Apple of a push of 1 KB.
#![allow(missing_docs)] // criterion's macros make undocumented functions

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use pushrelay_benches::message::Template;
use pushrelay_peers::world::TOPIC;
use pushrelay_providers::Push;
use pushrelay_providers::apns::{self, ApnsApp};
use pushrelay_push::ChannelPolicy;
use pushrelay_push::body::{Body, Decoders};
use pushrelay_push::present::AppleLook;

fn compose(criterion: &mut Criterion) {
    let message = Template::new(1024, 7).message(1);
    let notification = Decoders::new(ChannelPolicy::default())
        .decode(Body {
            content_type: Some("application/vnd.pushrelay+json; v=1"),
            bytes: &message[message.len() - 1024..],
        })
        .expect("a notification");
    let notification = Arc::new(notification);
    let app = ApnsApp::new(TOPIC).expect("a topic");
    let mut group = criterion.benchmark_group("apns");
    group.bench_function("compose", |bencher| {
        bencher.iter(|| {
            let push = Push {
                notification: Arc::clone(black_box(&notification)),
                target: 0,
                id: Default::default(),
                expiry: None,
            };
            let fields = push.fields(false).expect("a target");
            let look = AppleLook::of(&fields, None, false);
            apns::compose(&push, &app, &look).expect("it fits")
        });
    });
    group.finish();
}

criterion_group!(benches, compose);
criterion_main!(benches);
