//! Names of SIP domains and hosts.

use std::borrow::Borrow;

/// The longest host name, RFC 1035 2.3.4.
pub(crate) const NAME_BYTES: usize = 253;

/// A SIP domain's or a host's name: A-labels in lower case, two at least, no wildcard, no trailing dot. Two that look alike are the
/// same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DomainName(Box<str>);

impl DomainName {
    /// Reads a name; `None` for what is none. One that is not ASCII becomes A-labels (IDNA 2008, UTS 46).
    pub(crate) fn parse(text: &str) -> Option<DomainName> {
        if !text.is_ascii() {
            let ascii = idna::domain_to_ascii_strict(text).ok()?;
            return DomainName::parse(&ascii);
        }
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        let valid = text.len() <= NAME_BYTES && text.contains('.') && text.split('.').all(label);
        valid.then(|| DomainName(text.to_ascii_lowercase().into_boxed_str()))
    }

    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `text` is this name, in any case.
    pub(crate) fn is(&self, text: &[u8]) -> bool {
        self.0.as_bytes().eq_ignore_ascii_case(text)
    }

    /// Whether this is `domain` or a name below it.
    pub(crate) fn is_within(&self, domain: &DomainName) -> bool {
        let above = self.0.strip_suffix(&*domain.0);
        above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
    }

    /// This name, and those above it, the longest first.
    pub(crate) fn and_above(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(self.as_str()), |name| {
            name.split_once('.').map(|(_, above)| above)
        })
    }
}

/// For look-ups by a name that is known to be in lower case.
impl Borrow<str> for DomainName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    #[test]
    fn names_with_wildcards_trailing_dots_or_a_single_label_are_refused() {
        for text in [
            "*.contoso.com",
            "contoso.com.",
            "bücher.de.",
            "bücher.de。",
            "contoso",
            "bücher",
            "",
            "a..b",
            "-a.b",
            "sip:contoso.com",
            "contoso.com:5061",
            "con toso.com",
            "192.0.2.1.",
        ] {
            assert_eq!(DomainName::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_is_compared_as_a_labels_without_case() {
        for (text, expected) in [
            ("SIP.Contoso.com", "sip.contoso.com"),
            ("Bücher.de", "xn--bcher-kva.de"),
            ("BÜCHER.DE", "xn--bcher-kva.de"),
            ("bu\u{308}cher.de", "xn--bcher-kva.de"),
            ("XN--BCHER-KVA.de", "xn--bcher-kva.de"),
            ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
            ("straße.de", "xn--strae-oqa.de"),
        ] {
            assert_eq!(name(text).as_str(), expected, "{text}");
        }
        assert!(name("bücher.de").is(b"xn--BCHER-kva.DE"));
        assert!(!name("bücher.de").is("bücher.de".as_bytes()));
    }

    #[test]
    fn only_whole_labels_are_a_suffix() {
        let domain = name("contoso.com");
        assert!(name("contoso.com").is_within(&domain));
        assert!(name("sip.contoso.com").is_within(&domain));
        assert!(!name("notcontoso.com").is_within(&domain));
        assert!(!name("contoso.com.evil.example").is_within(&domain));
        let above: Vec<_> = name("a.b.contoso.com")
            .and_above()
            .map(str::to_owned)
            .collect();
        assert_eq!(
            above,
            ["a.b.contoso.com", "b.contoso.com", "contoso.com", "com"]
        );
    }
}
