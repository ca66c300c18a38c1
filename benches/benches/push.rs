//! What it costs to make a push of a body of 1 KB.
#![allow(missing_docs)] // criterion's macros make undocumented functions

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pushrelay_benches::message::Template;
use pushrelay_push::ChannelPolicy;
use pushrelay_push::body::{Body, Decoders};

fn decode(criterion: &mut Criterion) {
    let message = Template::new(1024, 7).message(1);
    let decoders = Decoders::new(ChannelPolicy::default());
    let body = Body {
        content_type: Some("application/vnd.pushrelay+json; v=1"),
        bytes: &message[message.len() - 1024..],
    };
    let mut group = criterion.benchmark_group("push");
    group.throughput(Throughput::Bytes(1024));
    group.bench_function("decode JSON v1", |bencher| {
        bencher.iter(|| decoders.decode(black_box(body)).expect("a notification"));
    });
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
