//! Characters, white space and quoted strings of RFC 3261 25.1.
//!
//! Works on header values whose line ends the decoder has checked: a CR or LF in them is folding.

/// A place in the head of a message, from its `start` up to before its `end`. Heads are bounded far below 4 GiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Span {
        Span {
            start: start as u32,
            end: end as u32,
        }
    }

    /// The bytes at this place.
    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }
}

/// The characters of a `token`: alphanumeric and ``-.!%*_+`'~``.
pub(crate) const TOKEN: u8 = 1;
/// Linear white space, folding included.
pub(crate) const LWS: u8 = 2;
/// The characters of a host name or IPv4 address, and `_`.
pub(crate) const HOST: u8 = 4;
/// What ends a parameter value that is not quoted.
pub(crate) const VALUE_END: u8 = 8;
/// What ends a URI in or without angle brackets, or must not be in it.
pub(crate) const URI_END: u8 = 16;
/// What ends a display name, or shows that it is none.
pub(crate) const NAME_END: u8 = 32;
/// What a SIP URI never holds unescaped, and the `@` that it holds once.
pub(crate) const URI_STOP: u8 = 64;
/// What ends a quoted string, or takes the meaning from what follows.
const QUOTE: u8 = 128;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let character = byte as u8;
        let alphanumeric = character.is_ascii_alphanumeric();
        let mark = matches!(
            character,
            b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
        );
        let blank = matches!(character, b' ' | b'\t' | b'\r' | b'\n');
        let bracket = matches!(character, b'<' | b'>' | b'"');
        let mut class = 0;
        if alphanumeric || mark {
            class |= TOKEN;
        }
        if blank {
            class |= LWS;
        }
        if alphanumeric || matches!(character, b'-' | b'.' | b'_') {
            class |= HOST;
        }
        if blank || bracket || matches!(character, b';' | b',') {
            class |= VALUE_END;
        }
        if blank || bracket || matches!(character, b';' | b',' | b'?') {
            class |= URI_END;
        }
        if bracket || matches!(character, b':' | b';' | b'@' | b'?' | b',') {
            class |= NAME_END;
        }
        if character <= b' ' || bracket || matches!(character, b'@' | 0x7f) {
            class |= URI_STOP;
        }
        if matches!(character, b'"' | b'\\') {
            class |= QUOTE;
        }
        classes[byte] = class;
        byte += 1;
    }
    classes
};

/// Whether `byte` is of one of these classes.
pub(crate) fn is(byte: u8, classes: u8) -> bool {
    CLASSES[usize::from(byte)] & classes != 0
}

/// The first place at or after `at` whose byte is not of this class.
pub(crate) fn skip(bytes: &[u8], mut at: usize, class: u8) -> usize {
    while let Some(four) = four(bytes, at)
        && four
            .iter()
            .fold(class, |all, &byte| all & CLASSES[usize::from(byte)])
            != 0
    {
        at += 4;
    }
    while at < bytes.len() && is(bytes[at], class) {
        at += 1;
    }
    at
}

/// The first place at or after `at` whose byte is of this class.
pub(crate) fn find(bytes: &[u8], mut at: usize, class: u8) -> usize {
    while let Some(four) = four(bytes, at)
        && four
            .iter()
            .fold(0, |any, &byte| any | CLASSES[usize::from(byte)])
            & class
            == 0
    {
        at += 4;
    }
    while at < bytes.len() && !is(bytes[at], class) {
        at += 1;
    }
    at
}

/// Four bytes are looked at for one branch: that costs more than the look, and most runs are longer.
fn four(bytes: &[u8], at: usize) -> Option<&[u8; 4]> {
    bytes.get(at..)?.first_chunk()
}

/// The first place at or after `at` that is no white space: nearly always this one or the next.
pub(crate) fn skip_lws(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && is(bytes[at], LWS) {
        at += 1;
    }
    at
}

/// Whether `bytes` is one `token`.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && skip(bytes, 0, TOKEN) == bytes.len()
}

/// `bytes` without white space at its ends.
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let start = skip_lws(bytes, 0);
    let end = bytes
        .iter()
        .rposition(|&byte| !is(byte, LWS))
        .map_or(start, |last| last + 1);
    &bytes[start..end]
}

/// The place after the closing quote of the quoted string that opens at `at`; `None` when it never closes.
pub(crate) fn skip_quoted(bytes: &[u8], at: usize) -> Option<usize> {
    debug_assert_eq!(bytes[at], b'"');
    let mut at = at + 1;
    loop {
        at = find(bytes, at, QUOTE);
        if *bytes.get(at)? == b'"' {
            return Some(at + 1);
        }
        // A quoted pair: the next byte is itself, whatever it is.
        at += 2;
        if at > bytes.len() {
            return None;
        }
    }
}

/// Whether `have` is `name`, in any case: nearly always in this one.
pub(crate) fn is_name<const LENGTH: usize>(have: &[u8], name: &[u8; LENGTH]) -> bool {
    have == name || have.eq_ignore_ascii_case(name)
}

/// A number of digits only, in at most `max`; `None` for anything else, signs and overflow included.
pub(crate) fn number(digits: &[u8], max: u32) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    let mut value = 0_u32;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value
            .checked_mul(10)?
            .checked_add(u32::from(digit - b'0'))?;
    }
    (value <= max).then_some(value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_pair_does_not_close_the_string() {
        assert_eq!(skip_quoted(br#""a \" b" c"#, 0), Some(8));
        assert_eq!(skip_quoted(br#""\\" c"#, 0), Some(4));
    }

    #[test]
    fn a_string_that_never_closes_has_no_end() {
        assert_eq!(skip_quoted(br#""abc"#, 0), None);
        assert_eq!(skip_quoted(br#""abc\""#, 0), None);
        assert_eq!(skip_quoted(br#""abc\"#, 0), None);
    }

    #[test]
    fn numbers_are_digits_only_and_never_wrap() {
        assert_eq!(number(b"0009", 9), Some(9));
        for wrong in [
            &b""[..],
            b"+1",
            b"-1",
            b" 1",
            b"1 ",
            b"0x1",
            b"4294967296",
            b"36893488147419103232",
        ] {
            assert_eq!(number(wrong, u32::MAX), None, "{}", wrong.escape_ascii());
        }
        assert_eq!(number(b"256", 255), None);
    }

    #[test]
    fn runs_end_at_the_same_place_however_long_they_are() {
        for length in 0..20 {
            let run = [vec![b'a'; length], b";b".to_vec()].concat();
            assert_eq!(find(&run, 0, VALUE_END), length);
            assert_eq!(skip(&run, 0, TOKEN), length);
            assert_eq!(find(&run[..length], 0, VALUE_END), length);
        }
    }

    #[test]
    fn folding_is_white_space() {
        assert_eq!(trim(b" \r\n\t a b \r\n "), b"a b");
        assert_eq!(trim(b" \r\n "), b"");
        assert_eq!(trim(b""), b"");
    }
}
