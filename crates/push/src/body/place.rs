//! The checks of a member where it stands, and the words when one fails.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::BodyError;
use super::member::{Integer, Kind, Member, Text};

/// Where in the document: `targets[3].token`.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) parent: &'static str,
    pub(super) index: Option<usize>,
    pub(super) name: &'static str,
}

pub(super) const ROOT: Place = Place {
    parent: "",
    index: None,
    name: "",
};

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.parent)?;
        if let Some(index) = self.index {
            write!(f, "[{index}]")?;
        }
        match (self.parent, self.name) {
            ("", "") => f.write_str("the body"),
            ("", name) => f.write_str(name),
            (_, "") => Ok(()),
            (_, name) => write!(f, ".{name}"),
        }
    }
}

pub(super) fn required<'de, T: Kind<'de>>(place: Place, member: Member<T>) -> Result<T, BodyError> {
    match member {
        Member::Is(value) => Ok(value),
        Member::Absent => Err(wrong_type::<T>(place, "nothing")),
        Member::Null => Err(wrong_type::<T>(place, "null")),
        Member::Wrong(got) => Err(wrong_type::<T>(place, got)),
    }
}

pub(super) fn optional<'de, T: Kind<'de>>(
    place: Place,
    member: Member<T>,
) -> Result<Option<T>, BodyError> {
    match member {
        Member::Is(value) => Ok(Some(value)),
        Member::Absent | Member::Null => Ok(None),
        Member::Wrong(got) => Err(wrong_type::<T>(place, got)),
    }
}

/// Any text.
pub(super) fn text(place: Place, member: Member<Text<'_>>) -> Result<Option<Box<str>>, BodyError> {
    Ok(optional(place, member)?.map(boxed))
}

/// Text without control characters.
pub(super) fn plain(place: Place, member: Member<Text<'_>>) -> Result<Option<Box<str>>, BodyError> {
    let text = optional(place, member)?;
    if text.as_deref().is_some_and(has_control) {
        return Err(expected(place, "no control characters, got one"));
    }
    Ok(text.map(boxed))
}

fn has_control(text: &str) -> bool {
    // No early end: so the compiler looks at many bytes at once.
    text.bytes()
        .fold(false, |any, byte| any | byte.is_ascii_control())
}

fn boxed(text: Text<'_>) -> Box<str> {
    match text {
        Cow::Borrowed(text) => text.into(),
        Cow::Owned(text) => text.into_boxed_str(),
    }
}

pub(super) fn integer(
    place: Place,
    member: Member<Integer>,
    least: i128,
    most: i128,
) -> Result<Option<u32>, BodyError> {
    let Some(Integer(number)) = optional(place, member)? else {
        return Ok(None);
    };
    match u32::try_from(number) {
        Ok(small) if (least..=most).contains(&number) => Ok(Some(small)),
        _ => Err(expected(
            place,
            format_args!("an integer from {least} to {most}, got one outside"),
        )),
    }
}

pub(super) fn uuid(place: Place, text: &str) -> Result<Uuid, BodyError> {
    // `Uuid::parse_str` also takes braces and `urn:uuid:`; what is compared must have one spelling.
    match Uuid::try_parse(text) {
        Ok(id) if text.len() == 36 => Ok(id),
        _ => Err(expected(
            place,
            "a UUID of 36 characters, got something else",
        )),
    }
}

pub(super) fn moment(place: Place, text: &str) -> Result<SystemTime, BodyError> {
    match OffsetDateTime::parse(text, &Rfc3339) {
        Ok(moment) if moment >= OffsetDateTime::UNIX_EPOCH => Ok(moment.into()),
        _ => Err(expected(
            place,
            "a time from 1970 on as in RFC 3339, got something else",
        )),
    }
}

fn wrong_type<'de, T: Kind<'de>>(place: Place, got: &str) -> BodyError {
    expected(place, format_args!("{}, got {got}", T::EXPECTED))
}

pub(super) fn length(place: Place, most: usize, unit: &str, got: usize) -> BodyError {
    expected(place, format_args!("1 to {most} {unit}, got {got}"))
}

pub(super) fn broken(place: Place, error: impl fmt::Display) -> BodyError {
    malformed(format_args!("{place}: {error}"))
}

pub(super) fn expected(place: Place, what: impl fmt::Display) -> BodyError {
    malformed(format_args!("{place}: expected {what}"))
}

pub(super) fn malformed(what: impl fmt::Display) -> BodyError {
    BodyError::Malformed(what.to_string())
}

pub(super) fn not_understood(expected: &str, got: &str) -> BodyError {
    BodyError::NotUnderstood(format!("expected {expected}, got {got}"))
}
