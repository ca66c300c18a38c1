//! What a fuzz target runs: ordinary functions, which a test runs too. They panic when a law is broken.

use std::time::{Duration, Instant};

use crate::{
    Answer, Connection, Decoder, Frame, Limits, Message, NameAddr, Output, Request, SipUri, Via,
};

/// A stream from a peer, however it is cut, ends in requests that are each answered once and in answers that can be read.
///
/// The first bytes of `data` decide how the rest is cut and in which order it is answered.
pub fn connection(data: &[u8], now: Instant) {
    let (script, stream) = data.split_at(data.len().min(8));
    let mut dice = Dice::new(script);
    let limits = Limits {
        transactions: 8,
        transaction_bytes: 4096,
        ..Limits::default()
    };
    let mut play = Play {
        connection: Connection::new(limits, ([192, 0, 2, 10], 5061).into(), dice.roll(u64::MAX)),
        requests: Vec::new(),
        transmitted: Vec::new(),
        closed: false,
    };
    let mut rest = stream;
    let mut now = now;
    while !rest.is_empty() {
        let length = 1 + dice.roll(rest.len() as u64) as usize;
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        rest = behind;
        now += Duration::from_millis(dice.roll(3000));
        play.connection.receive(piece, now);
        play.collect();
        while !play.requests.is_empty() && dice.roll(2) == 0 {
            let request = play
                .requests
                .swap_remove(dice.roll(play.requests.len() as u64) as usize);
            play.answer(&request, now);
        }
        if play.connection.poll_timeout().is_some_and(|due| due <= now) {
            play.connection.handle_timeout(now);
            play.collect();
        }
    }
    while let Some(request) = play.requests.pop() {
        play.answer(&request, now);
    }
    play.finish();
    decoder(stream, &mut dice);
}

/// Every reader of one value takes anything.
pub fn values(data: &[u8]) {
    let _ = SipUri::parse(data).map(|uri| {
        assert!(!uri.host().is_empty());
        (
            uri.user(),
            uri.port(),
            uri.is_secure(),
            uri.headers(),
            uri.params().count(),
        )
    });
    let _ = NameAddr::parse(data).map(|address| touch(&address));
    let mut rest = Some(data);
    while let Some(value) = rest {
        let Ok((via, behind)) = Via::parse(value) else {
            break;
        };
        assert!(!via.host().is_empty() && via.as_bytes().len() <= value.len());
        assert!(
            behind.is_none_or(|behind| behind.len() < value.len()),
            "reading goes forward"
        );
        let _ = (via.branch(), via.port(), via.params().count());
        rest = behind;
    }
}

/// The same frames come of a stream however it is cut.
fn decoder(stream: &[u8], dice: &mut Dice) {
    let frames = |decoder: &mut Decoder| std::iter::from_fn(|| decoder.poll()).collect::<Vec<_>>();
    let mut whole = Decoder::new(Limits::default());
    whole.feed(stream);
    let at_once = frames(&mut whole);
    let mut cut = Decoder::new(Limits::default());
    let mut in_pieces = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(1 + dice.roll(rest.len().min(40) as u64) as usize);
        rest = behind;
        cut.feed(piece);
        in_pieces.extend(frames(&mut cut));
    }
    assert_eq!(at_once.len(), in_pieces.len());
    for (one, other) in at_once.iter().zip(&in_pieces) {
        match (one, other) {
            (Frame::Message(one), Frame::Message(other)) => assert!(is_same(one, other)),
            (Frame::Refused(one), Frame::Refused(other)) => assert_eq!(one.error, other.error),
            (Frame::Ping, Frame::Ping) => {}
            _ => panic!("{one:?} and {other:?}"),
        }
    }
    assert_eq!(whole.is_mid_message(), cut.is_mid_message());
}

fn is_same(one: &Message, other: &Message) -> bool {
    one.start_line() == other.start_line()
        && one.lines().eq(other.lines())
        && one.body() == other.body()
}

struct Play {
    connection: Connection,
    requests: Vec<Request>,
    transmitted: Vec<u8>,
    closed: bool,
}

impl Play {
    fn collect(&mut self) {
        while let Some(output) = self.connection.poll_output() {
            assert!(!self.closed, "a close comes last");
            match output {
                Output::Transmit(bytes) => self.transmitted.extend_from_slice(&bytes),
                Output::Request(request) => {
                    assert!(
                        self.requests
                            .iter()
                            .all(|other| other.key() != request.key())
                    );
                    read(&request);
                    self.requests.push(request);
                }
                Output::Refused { status, .. } => assert!(matches!(status, 400 | 413 | 513)),
                Output::Close(_) => self.closed = true,
            }
        }
        assert_eq!(self.connection.unanswered(), self.requests.len());
    }

    fn answer(&mut self, request: &Request, now: Instant) {
        let answer = request
            .fault()
            .map_or_else(Answer::options, |fault| fault.answer());
        self.connection.respond(request.key(), &answer, now);
        self.collect();
    }

    /// Everything was answered, and what was sent can be read.
    fn finish(self) {
        let counts = self.connection.counts();
        assert_eq!(counts.requests, counts.answers);
        assert_eq!(self.connection.unanswered(), 0);
        let mut decoder = Decoder::new(Limits {
            head_bytes: 1 << 20,
            head_lines: 1 << 12,
            ..Limits::default()
        });
        let mut answers = 0;
        decoder.feed(&self.transmitted);
        while let Some(frame) = decoder.poll() {
            match frame {
                Frame::Message(message) => {
                    assert!(
                        message.is_response()
                            && message.malformed_line.is_none()
                            && message.body().is_empty()
                    );
                    answers += 1;
                }
                Frame::Ping => {} // two pongs
                Frame::Refused(refusal) => {
                    panic!("an answer that cannot be framed: {}", refusal.error)
                }
            }
        }
        assert!(!decoder.is_mid_message());
        let due = counts.answers + counts.merged_refused;
        assert!(
            answers >= due
                && answers <= due + counts.retransmissions + counts.merged + counts.refused
        );
    }
}

/// Everything that can be asked of a request can be asked of any.
fn read(request: &Request) {
    let _ = request.request_uri().map(|uri| uri.host().len());
    let _ = (
        request.uri(),
        request.method(),
        request.content_type(),
        request.body().len(),
    );
    let (number, method) = request.cseq();
    assert!(number < 1 << 31 && (method.is_empty() || method == request.method()));
    touch(&request.from());
    touch(&request.to());
    if let Some(via) = request.via() {
        assert!(via.params().count() <= via.as_bytes().len());
    }
    assert!(
        request.header("Content-Length").is_some(),
        "there is always one"
    );
    assert!(request.fault().is_some() || !request.call_id().is_empty());
}

fn touch(address: &NameAddr<'_>) {
    let _ = (address.display(), address.tag(), address.params().count());
    let _ = address.sip_uri().map(|uri| uri.host().len());
}

/// Dice whose every throw follows from the script: xorshift64.
struct Dice(u64);

impl Dice {
    fn new(script: &[u8]) -> Self {
        let seed = script.iter().fold(0x9e37_79b9_7f4a_7c15_u64, |sum, &byte| {
            sum.rotate_left(8) ^ u64::from(byte)
        });
        Dice(seed.max(1))
    }

    /// A number below `bound`.
    fn roll(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
