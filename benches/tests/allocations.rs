//! Allocations are counted here, where an allocator that counts may stand in for the real one.

use pushrelay_benches::message::Template;
use pushrelay_sip::{Decoder, Frame, Limits};

/// Allocations for framing one MESSAGE to whose head this many more headers were added.
fn allocations(more_headers: usize) -> u64 {
    let message = Template::new(1024, 7).message(1);
    let text = String::from_utf8(message).expect("the template is ASCII");
    let more = "X-More: <sip:more@contoso.example;lr>\r\n".repeat(more_headers);
    let text = text.replacen("Call-ID:", &format!("{more}Call-ID:"), 1);
    let mut decoder = Decoder::new(Limits::default());
    let mut framed = 0;
    let counted = allocation_counter::measure(|| {
        decoder.feed(text.as_bytes());
        while let Some(frame) = decoder.poll() {
            framed += u32::from(matches!(frame, Frame::Message(_)));
        }
    });
    assert_eq!(framed, 1);
    counted.count_total
}

#[test]
fn a_head_is_read_without_an_allocation_per_header() {
    // The index of fields may grow once or twice; it does not allocate for each.
    let (few, many) = (allocations(0), allocations(100));
    assert!(
        many <= few + 3,
        "{few} allocations, {many} with 100 headers more"
    );
}
