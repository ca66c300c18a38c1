//! What is wrong with a request that is well framed: the checks of RFC 3261 8.2 and what they are answered.

use std::borrow::Cow;

use crate::answer::{ALLOW, Answer};

/// The first thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    status: u16,
    reason: Cow<'static, str>,
    field: Option<(&'static str, Cow<'static, str>)>,
}

/// Option tags that are named in Unsupported; the rest of a longer list is left out.
const UNSUPPORTED_TAGS: usize = 16;

/// A longer option tag is nobody's.
const OPTION_TAG_BYTES: usize = 64;

impl Fault {
    pub(crate) fn new(status: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        Fault {
            status,
            reason: reason.into(),
            field: None,
        }
    }

    /// 400, with what is wrong and where.
    pub(crate) fn malformed(place: &str, what: &str) -> Self {
        Fault::new(400, format!("{place}: {what}"))
    }

    /// 405, RFC 3261 8.2.1.
    pub(crate) fn method() -> Self {
        let reason = "only MESSAGE and OPTIONS are served here";
        Fault {
            field: Some(("Allow", ALLOW.into())),
            ..Fault::new(405, reason)
        }
    }

    /// 415, RFC 3261 8.2.3.
    pub(crate) fn encoding() -> Self {
        let reason = "Content-Encoding: only identity is understood";
        Fault {
            field: Some(("Accept-Encoding", "identity".into())),
            ..Fault::new(415, reason)
        }
    }

    /// 420 with the option tags of the Require lines, none of which is supported, RFC 3261 8.2.2.3.
    pub(crate) fn extension<'a>(required: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut tags = String::new();
        let all = required
            .flat_map(|line| line.split(|&byte| byte == b','))
            .map(crate::lex::trim);
        let good = all.filter(|tag| crate::lex::is_token(tag) && tag.len() <= OPTION_TAG_BYTES);
        for tag in good.take(UNSUPPORTED_TAGS) {
            if !tags.is_empty() {
                tags.push_str(", ");
            }
            tags.extend(tag.iter().map(|&byte| char::from(byte)));
        }
        let reason = "Require: no extension is supported";
        Fault {
            field: Some(("Unsupported", tags.into())),
            ..Fault::new(420, reason)
        }
    }

    /// The status that it is answered with.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// What is wrong and where, for the sender's operator.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The answer to it, with Allow, Unsupported or Accept-Encoding where one belongs to it.
    pub fn answer(&self) -> Answer {
        let answer = Answer::new(self.status).reason(self.reason.clone());
        match &self.field {
            Some((name, value)) => answer.field(name, value.clone()),
            None => answer,
        }
    }
}

impl From<&Fault> for Answer {
    fn from(fault: &Fault) -> Answer {
        fault.answer()
    }
}
