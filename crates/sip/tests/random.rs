//! Random streams: good messages that are cut, mixed, mangled and repeated, through the same body as the fuzz target.
//!
//! `PUSHRELAY_SEED` plays one seed again; without it the same ones are played every time.
#![allow(clippy::unwrap_used)]
#![allow(clippy::print_stdout, reason = "a random test prints its seed")]

mod peer;

use std::panic::catch_unwind;

use peer::{message, message_with, origin};
use pushrelay_sip::fuzz;

/// Streams to a run. More: `PUSHRELAY_ROUNDS`.
const ROUNDS: u64 = 3000;

/// xorshift64: a seed reproduces everything.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.roll(list.len())]
    }
}

fn rounds() -> impl Iterator<Item = u64> {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|value| value.parse::<u64>().unwrap())
    };
    let (first, count) = match number("PUSHRELAY_SEED") {
        Some(seed) => (seed, 1),
        None => (1, number("PUSHRELAY_ROUNDS").unwrap_or(ROUNDS)),
    };
    first..first + count
}

/// Runs `round` for each seed and prints the one that fails.
fn for_each_seed(round: impl Fn(Dice) + std::panic::RefUnwindSafe) {
    for seed in rounds() {
        let dice = || Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        if let Err(panic) = catch_unwind(|| round(dice())) {
            println!("failed with PUSHRELAY_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// Pieces that readers stumble over.
const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\r",
    b"\n",
    b"\r\n ",
    b"\r\n\t",
    b" ",
    b"\t",
    b"\"",
    b"\\",
    b"<",
    b">",
    b";",
    b"=",
    b",",
    b":",
    b"@",
    b"?",
    b"[",
    b"]",
    b"[::1]",
    b"%",
    b"/",
    b"\0",
    b"\x7f",
    b"\xff",
    b"SIP/2.0",
    b"sip:",
    b"Via: ",
    b"v:",
    b"Content-Length: ",
    b"l: 3\r\n",
    b"From:",
    b"To:t",
    b";tag=",
    b";tag",
    b"z9hG4bK",
    b"CSeq: 4294967296 ",
    b"-1",
    b"99999999999",
    b"MESSAGE ",
    b"ACK",
    b";rport",
    b";received=1.2.3.4",
    b"Require: a\r\n",
    b"e: gzip\r\n",
];

/// Some messages, whole or not, in one stream.
fn stream(dice: &mut Dice) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..8).map(|_| dice.roll(256) as u8).collect();
    for _ in 0..1 + dice.roll(5) {
        let mut text = match dice.roll(6) {
            0 => message_with(
                "Via",
                "v: SIP/2.0/TLS h , SIP/2.0/TLS [::1]:5;branch=z9hG4bKq;x=\"a\\\"b\"",
            ),
            1 => message_with(
                "From",
                "From: \"A \\\" B\"\r\n <sip:a@[2001:db8::1]:5;x>;tag=1 ;y",
            ),
            2 => message_with("Via", &format!("Via: SIP/2.0/TLS h{};rport", dice.roll(3))),
            _ => message(dice.roll(4) as u32),
        }
        .into_bytes();
        for _ in 0..dice.roll(4).saturating_sub(1) {
            mangle(&mut text, dice);
        }
        bytes.extend(text);
        bytes.extend_from_slice(dice.pick(&[b"" as &[u8], b"", b"\r\n", b"\r\n\r\n"]));
    }
    bytes
}

fn mangle(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let at = dice.roll(bytes.len());
    let end = at + dice.roll((bytes.len() - at).min(20));
    match dice.roll(5) {
        0 => bytes[at] = dice.roll(256) as u8,
        1 => drop(bytes.drain(at..end)),
        2 => drop(bytes.splice(at..end, dice.pick(PIECES).iter().copied())),
        3 => drop(bytes.splice(at..at, dice.pick(PIECES).repeat(1 + dice.roll(5)))),
        _ => {
            let copied = bytes[at..end].to_vec();
            let to = dice.roll(bytes.len());
            drop(bytes.splice(to..to, copied));
        }
    }
}

#[test]
fn mangled_streams_break_no_law() {
    let now = origin();
    for_each_seed(|mut dice| fuzz::connection(&stream(&mut dice), now));
}

#[test]
fn noise_breaks_no_law() {
    let now = origin();
    for_each_seed(|mut dice| {
        let noise: Vec<u8> = (0..dice.roll(80))
            .flat_map(|_| dice.pick(PIECES).to_vec())
            .collect();
        fuzz::connection(&noise, now);
        fuzz::values(&noise);
    });
}

#[test]
fn mangled_values_break_no_law() {
    for_each_seed(|mut dice| {
        let mut value = dice
            .pick(&[
                "SIP/2.0/TLS [2001:db8::1]:5061;branch=z9hG4bK1;x=\"a,b\";rport , SIP / 2.0 / UDP h;received=::1",
                "\"Kim \\\" Akers\" <sip:kima:pw@contoso.example:5061;opaque=user:epid:x;gruu?a=b>;tag=1;epid=2",
                "sips:user;par=u%40example.net@[::1]:65535;lr;transport=tls?x=y",
            ])
            .as_bytes()
            .to_vec();
        for _ in 0..dice.roll(4) {
            if !value.is_empty() {
                mangle(&mut value, &mut dice);
            }
        }
        fuzz::values(&value);
    });
}

#[test]
fn a_good_stream_breaks_no_law_wherever_it_is_cut_off() {
    let now = origin();
    let whole = [
        b"12345678".to_vec(),
        message(1).into_bytes(),
        b"\r\n\r\n".to_vec(),
        message(2).into_bytes(),
    ]
    .concat();
    for length in 0..=whole.len() {
        fuzz::connection(&whole[..length], now);
    }
}
