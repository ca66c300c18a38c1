//! Characters, white space and quoted strings of RFC 3261 25.1.
//!
//! Works on header values whose line ends the decoder has checked: a CR or LF in them is folding.

/// The characters of a `token`: alphanumeric and ``-.!%*_+`'~``.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        let character = byte as u8;
        table[byte] = character.is_ascii_alphanumeric()
            || matches!(
                character,
                b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
            );
        byte += 1;
    }
    table
};

pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// Whether `bytes` is one `token`.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// Linear white space, folding included.
pub(crate) fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The first place at or after `at` that is no white space.
pub(crate) fn skip_lws(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && is_lws(bytes[at]) {
        at += 1;
    }
    at
}

/// The first place at or after `at` that is no token character.
pub(crate) fn skip_token(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && is_token_byte(bytes[at]) {
        at += 1;
    }
    at
}

/// `bytes` without white space at its ends.
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_lws(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_lws(*last)
    {
        bytes = rest;
    }
    bytes
}

/// The place after the closing quote of the quoted string that opens at `at`; `None` when it never closes.
pub(crate) fn skip_quoted(bytes: &[u8], at: usize) -> Option<usize> {
    debug_assert_eq!(bytes[at], b'"');
    let mut at = at + 1;
    loop {
        let found = at + memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        match bytes[found] {
            b'"' => return Some(found + 1),
            _ => at = found + 2, // a quoted pair: the next byte is itself, whatever it is
        }
    }
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
    fn folding_is_white_space() {
        assert_eq!(trim(b" \r\n\t a b \r\n "), b"a b");
        assert_eq!(trim(b" \r\n "), b"");
    }
}
