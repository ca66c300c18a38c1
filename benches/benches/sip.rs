//! What it costs to read the head of a MESSAGE of 1 KB, and to carry one through a connection.
#![allow(missing_docs)] // criterion's macros make undocumented functions

use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pushrelay_benches::message::Template;
use pushrelay_sip::{Answer, Connection, Decoder, Frame, Limits, Message, NameAddr, Output, Via};

/// The smallest body that the template has, so that the MESSAGE is about 1 KB of head.
const BODY: usize = 400;

fn head(criterion: &mut Criterion) {
    let bytes = Template::new(BODY, 7).message(1);
    let mut group = criterion.benchmark_group("sip");
    group.throughput(Throughput::Bytes(bytes.len() as u64));

    group.bench_function("frame", |bencher| {
        let mut decoder = Decoder::new(Limits::default());
        bencher.iter(|| frame(&mut decoder, black_box(&bytes)));
    });

    group.bench_function("frame and read Via, From, To, CSeq", |bencher| {
        let mut decoder = Decoder::new(Limits::default());
        bencher.iter(|| {
            let message = frame(&mut decoder, black_box(&bytes));
            read(&message);
            message
        });
    });

    group.bench_function("request, answer", |bencher| {
        let template = Template::new(BODY, 7);
        let peer = ([192, 0, 2, 10], 49812).into();
        let mut connection = Connection::new(Limits::default(), peer, 7);
        let mut number = 0;
        let mut bytes = Vec::new();
        bencher.iter(|| {
            number += 1;
            bytes.clear();
            template.write(number, &mut bytes);
            serve(&mut connection, &bytes)
        });
    });
    group.finish();
}

fn frame(decoder: &mut Decoder, bytes: &[u8]) -> Message {
    decoder.feed(bytes);
    match decoder.poll() {
        Some(Frame::Message(message)) => message,
        other => unreachable!("the template is one whole message, not {other:?}"),
    }
}

/// What the relay asks of every head.
fn read(message: &Message) {
    for line in message.headers("Via") {
        black_box(Via::parse(line).expect("a Via"));
    }
    for name in ["From", "To"] {
        let value = message.header(name).expect("From and To");
        let address = NameAddr::parse(value).expect("an address");
        black_box(address.tag());
        black_box(address.sip_uri().expect("a SIP URI"));
    }
    let cseq = message.header("CSeq").expect("CSeq");
    let digits = cseq.iter().take_while(|byte| byte.is_ascii_digit());
    black_box(digits.fold(0u32, |number, digit| number * 10 + u32::from(digit - b'0')));
}

/// One MESSAGE in, one answer out.
fn serve(connection: &mut Connection, bytes: &[u8]) -> usize {
    let now = Instant::now();
    connection.receive(bytes, now);
    let mut transmitted = 0;
    while let Some(output) = connection.poll_output() {
        match output {
            Output::Request(request) => connection.respond(request.key(), &Answer::ok(), now),
            Output::Transmit(bytes) => transmitted += bytes.len(),
            Output::Refused { .. } | Output::Close(_) => {
                unreachable!("the template is well formed")
            }
        }
    }
    transmitted
}

criterion_group!(benches, head);
criterion_main!(benches);
