//! A member of a JSON object that may be absent, null or of the wrong type, without an error of the JSON reader's own.
//!
//! serde's errors know line and column and repeat what they found, so that a token could end up in a log. Here a wrong
//! type is a value like any other, and whoever asks for the member says where it stood and what was expected.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What stands, or does not stand, under a name.
#[derive(Debug, Default)]
pub(super) enum Member<T> {
    #[default]
    Absent,
    Null,
    Is(T),
    /// Something else: what, with its article.
    Wrong(&'static str),
}

/// What a JSON value can become. Each kind takes what it is and leaves the rest.
pub(super) trait Kind<'de>: Sized {
    const EXPECTED: &'static str;

    fn from_text(_: Cow<'de, str>) -> Option<Self> {
        None
    }
    fn from_integer(_: i128) -> Option<Self> {
        None
    }
    /// Must read to the end of a map that it takes.
    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        drain_map(map).map(|()| None)
    }
    /// Must read to the end of a sequence that it takes.
    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// Text, borrowed where it holds no escapes.
pub(super) type Text<'a> = Cow<'a, str>;

impl<'de: 'a, 'a> Kind<'de> for Text<'a> {
    const EXPECTED: &'static str = "a string";

    fn from_text(text: Cow<'de, str>) -> Option<Self> {
        Some(text)
    }
}

/// A whole number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Integer(pub(super) i128);

impl Kind<'_> for Integer {
    const EXPECTED: &'static str = "an integer";

    fn from_integer(number: i128) -> Option<Self> {
        Some(Integer(number))
    }
}

/// An object of known members.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Kind<'de> for Object<T> {
    const EXPECTED: &'static str = "an object";

    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|value| Some(Object(value)))
    }
}

/// An object of any members.
pub(super) type Map = serde_json::Map<String, serde_json::Value>;

impl<'de> Kind<'de> for Map {
    const EXPECTED: &'static str = "an object";

    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        Map::deserialize(MapAccessDeserializer::new(map)).map(Some)
    }
}

/// An array, of which the first `MAX` elements are kept and the others counted.
#[derive(Debug)]
pub(super) struct List<T, const MAX: usize> {
    pub(super) first: Vec<Member<T>>,
    pub(super) count: usize,
}

impl<'de, T: Kind<'de>, const MAX: usize> Kind<'de> for List<T, MAX> {
    const EXPECTED: &'static str = "an array";

    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut first = Vec::new();
        while first.len() < MAX {
            match seq.next_element()? {
                Some(element) => first.push(element),
                None => break,
            }
        }
        let mut count = first.len();
        while count >= MAX && seq.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Some(List { first, count }))
    }
}

impl<'de, T: Kind<'de>> Deserialize<'de> for Member<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MemberVisitor(PhantomData))
    }
}

struct MemberVisitor<T>(PhantomData<T>);

impl<'de, T: Kind<'de>> Visitor<'de> for MemberVisitor<T> {
    type Value = Member<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Member::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Member::Wrong("a boolean"))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(is_or(T::from_integer(number.into()), "a number"))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(is_or(T::from_integer(number.into()), "a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Member::Wrong("a fraction or a number beyond 64 bits"))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(is_or(T::from_text(Cow::Borrowed(text)), "a string"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(is_or(T::from_text(Cow::Owned(text.to_owned())), "a string"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        Ok(is_or(T::from_seq(seq)?, "an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Ok(is_or(T::from_map(map)?, "an object"))
    }
}

fn is_or<T>(value: Option<T>, wrong: &'static str) -> Member<T> {
    value.map_or(Member::Wrong(wrong), Member::Is)
}

fn drain_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}
