//! Takes device tokens and channel addresses out of a captured request and leaves its shape: every byte keeps its place, so that
//! lengths hold and a mapping can be made of what is left.
//!
//! What a foreign format calls a token is not known, so everything that looks like one goes: long runs of hexadecimal digits,
//! long runs of base64, the last part of a link. Other texts stay; who sent what to whom is not taken out.

/// Runs of so many hexadecimal digits are a token.
const HEX_RUN: usize = 16;
/// The same where blanks stand between them, as people print them.
const SPACED_HEX_RUN: usize = 32;
/// Runs of so many base64 digits, if they mix digits, large and small letters.
const BASE64_RUN: usize = 24;
/// The last part of a link from so many characters on, if it has a digit in it; without one from [`BASE64_RUN`] on.
const LINK_RUN: usize = 8;

/// The headers whose values are of SIP: ids and routes, which look like tokens and are none.
const SIP_HEADERS: [&str; 14] = [
    "via",
    "v",
    "from",
    "f",
    "to",
    "t",
    "call-id",
    "i",
    "cseq",
    "contact",
    "m",
    "route",
    "record-route",
    "max-forwards",
];

/// Redacts a start line's headers in place; those of SIP itself stay.
pub(crate) fn redact_head(head: &mut [u8]) {
    let mut of_sip = true; // the start line
    for line in head.split_inclusive_mut(|byte| *byte == b'\n') {
        if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            let name = name.trim_ascii();
            of_sip = SIP_HEADERS
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
                || name.starts_with(b"MESSAGE ");
        }
        if !of_sip {
            redact(line);
        }
    }
}

/// Redacts a body in place, whatever its encoding: in UTF-16 the zeros between the characters are stepped over.
pub(crate) fn redact(bytes: &mut [u8]) {
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let mut text: Vec<u8> = places.iter().map(|at| bytes[*at]).collect();
    links(&mut text);
    spaced_hex(&mut text);
    for run in runs(&text, is_base64) {
        let run = &mut text[run];
        if mixes(run) && run.len() >= BASE64_RUN {
            replace(run, |byte| if byte == b'=' { b'=' } else { b'A' });
        } else {
            for digits in runs(run, |byte| byte.is_ascii_hexdigit()) {
                if digits.len() >= HEX_RUN {
                    run[digits].fill(b'0');
                }
            }
        }
    }
    for (place, byte) in places.into_iter().zip(text) {
        bytes[place] = byte;
    }
}

/// Of each link, what follows its last slash.
fn links(text: &mut [u8]) {
    let mut at = 0;
    while let Some(found) = text[at..].windows(3).position(|window| window == b"://") {
        let begin = at + found + 3;
        let length = text[begin..]
            .iter()
            .position(|byte| byte.is_ascii_whitespace() || b"\"'<>\\".contains(byte))
            .unwrap_or(text.len() - begin);
        let link = &mut text[begin..begin + length];
        let path_end = link
            .iter()
            .position(|byte| *byte == b'?')
            .unwrap_or(link.len());
        if let Some(slash) = link[..path_end].iter().rposition(|byte| *byte == b'/') {
            let last = &mut link[slash + 1..];
            let has_digit = last.iter().any(u8::is_ascii_digit);
            if last.len() >= if has_digit { LINK_RUN } else { BASE64_RUN } {
                replace(last, |byte| match byte {
                    b'0'..=b'9' => b'0',
                    b'a'..=b'z' | b'A'..=b'Z' => b'x',
                    other => other,
                });
            }
        }
        at = begin + length;
    }
}

fn spaced_hex(text: &mut [u8]) {
    for run in runs(text, |byte| byte.is_ascii_hexdigit() || byte == b' ') {
        let run = &mut text[run];
        let digits = run.iter().filter(|byte| byte.is_ascii_hexdigit()).count();
        if digits >= SPACED_HEX_RUN && run.iter().any(u8::is_ascii_digit) {
            replace(run, |byte| if byte == b' ' { b' ' } else { b'0' });
        }
    }
}

fn runs(text: &[u8], belongs: impl Fn(u8) -> bool) -> Vec<std::ops::Range<usize>> {
    let mut runs = Vec::new();
    let mut begin = None;
    for (at, byte) in text.iter().copied().chain([b'\n']).enumerate() {
        match (begin, at < text.len() && belongs(byte)) {
            (None, true) => begin = Some(at),
            (Some(from), false) => {
                runs.push(from..at);
                begin = None;
            }
            _ => {}
        }
    }
    runs
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte)
}

fn mixes(run: &[u8]) -> bool {
    run.iter().any(u8::is_ascii_digit)
        && run.iter().any(u8::is_ascii_uppercase)
        && run.iter().any(u8::is_ascii_lowercase)
}

fn replace(run: &mut [u8], by: impl Fn(u8) -> u8) {
    for byte in run {
        *byte = by(*byte);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn redacted(text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        redact(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn tokens_and_channels_go_and_their_shape_stays() {
        for (text, expected) in [
            (
                "{\"token\":\"00FC13adff785122\"}",
                "{\"token\":\"0000000000000000\"}",
            ),
            (
                "t=<740f4707 bebcf74f 9b7c25d4 8e335894>",
                "t=<00000000 00000000 00000000 00000000>",
            ),
            (
                "APwTrf94USK0rSiAmjQgmCNBJBQhNICXh45XfJkd6PA=",
                "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            ),
            (
                "<u>_http://s.notify.live.net/throttledthirdparty/01.00/AAGv-dLTQ9?a=b1</u>",
                "<u>_http://s.notify.live.net/throttledthirdparty/01.00/xxxx-xxxx0?x=x0</u>",
            ),
        ] {
            assert_eq!(redacted(text), expected);
            let utf_16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let mut bytes = utf_16.clone();
            redact(&mut bytes);
            let expected: Vec<u8> = expected.encode_utf16().flat_map(u16::to_le_bytes).collect();
            assert_eq!(bytes, expected);
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in [
            "<pushNotification xmlns=\"http://schemas.example.com/rtc/2006/push\">Kim &amp; Lee: are you there at 10:30?",
            "6f0c1f2e-9d0c-4f4b-8f0a-1d7c0b7f3a55",
            "sip:kima@contoso.com, badge=12, kind=im.message",
            "pushNotificationServiceConfigurationValue",
        ] {
            assert_eq!(redacted(text), text);
        }
    }

    #[test]
    fn of_the_head_only_foreign_headers_are_touched() {
        let head = "MESSAGE sip:push@push.example.org SIP/2.0\r\nCall-ID: cecb8c21ba01462a90f2f7235673f2b9\r\nX-Token: 00fc13adff785122\r\n b4ad28809a342098\r\nvia: SIP/2.0/TLS a;branch=z9hG4bK0D6A9383D119DEC5AC7C0F4E\r\n\r\n";
        let mut bytes = head.as_bytes().to_vec();
        redact_head(&mut bytes);
        let expected = head
            .replace("00fc13adff785122", "0000000000000000")
            .replace("b4ad28809a342098", "0000000000000000");
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }
}
