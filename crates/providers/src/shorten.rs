//! Shortening a text so that what is made of it fits.

use unicode_segmentation::UnicodeSegmentation;

/// What stands where text was cut: "…", three bytes in UTF-8.
pub(crate) const ELLIPSIS: &str = "…";

/// `text` so that it costs `excess` bytes less on the wire, where a character costs `cost` bytes there: cut between what a reader
/// takes for characters (grapheme clusters, Unicode Standard Annex 29), with an ellipsis. `None` when even the ellipsis alone would cost too much.
pub(crate) fn shorten(text: &str, excess: usize, cost: impl Fn(char) -> usize) -> Option<String> {
    let whole: usize = text.chars().map(&cost).sum();
    let mut room = whole.checked_sub(excess)?.checked_sub(ELLIPSIS.len())?;
    let mut end = 0;
    for (at, cluster) in text.grapheme_indices(true) {
        match room.checked_sub(cluster.chars().map(&cost).sum()) {
            Some(rest) => room = rest,
            None => break,
        }
        end = at + cluster.len();
    }
    let mut short = String::with_capacity(end + ELLIPSIS.len());
    short.push_str(text[..end].trim_end());
    short.push_str(ELLIPSIS);
    Some(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        // Each of these has two bytes; four of six must go, three come back as the ellipsis.
        assert_eq!(shorten("äöüäöü", 4, char::len_utf8).as_deref(), Some("äö…"));
    }

    #[test]
    fn a_text_that_is_too_short_to_give_so_much_gives_nothing() {
        assert_eq!(shorten("ab", 1, char::len_utf8), None);
        assert_eq!(shorten("ab", 3, char::len_utf8), None);
    }

    #[test]
    fn a_family_is_one_character() {
        let text = "👨‍👩‍👧‍👦👨‍👩‍👧‍👦";
        assert_eq!(shorten(text, 4, char::len_utf8).as_deref(), Some("👨‍👩‍👧‍👦…"));
        assert_eq!(
            shorten("e\u{301}e\u{301}e\u{301}", 1, char::len_utf8).as_deref(),
            Some("e\u{301}…")
        );
    }

    #[test]
    fn a_blank_before_the_ellipsis_goes_too() {
        assert_eq!(
            shorten("one two three", 6, char::len_utf8).as_deref(),
            Some("one…")
        );
    }

    #[test]
    fn the_result_never_costs_more_than_allowed() {
        let text = "a\"b\\c\u{1}dé…🙂 e\n".repeat(7);
        let cost = |c: char| match c {
            '"' | '\\' | '\n' => 2,
            '\u{1}' => 6,
            c => c.len_utf8(),
        };
        let whole: usize = text.chars().map(cost).sum();
        for excess in 1..=whole {
            if let Some(short) = shorten(&text, excess, cost) {
                assert!(
                    short.chars().map(cost).sum::<usize>() <= whole - excess,
                    "{excess}"
                );
            }
        }
    }
}
