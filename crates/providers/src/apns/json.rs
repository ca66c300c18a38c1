//! JSON of a2's payload types, with strings copied in runs.
//!
//! Not here: values of any other shape; numbers and custom data go through serde_json. That one looks at each byte of a string by
//! itself: 7 000 instructions for a push with a text of 600 bytes, a third of what the push costs beyond HTTP/2. This takes 1 600.

use serde::ser::{Error as _, Impossible, Serialize, SerializeSeq, SerializeStruct, Serializer};
use serde_json::Error;

/// Appends `value` to `out`.
pub(crate) fn write(out: &mut Vec<u8>, value: &impl Serialize) -> Result<(), Error> {
    value.serialize(Json { out })
}

/// Appends `text` to `out` as a JSON string.
pub(crate) fn write_str(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, special) = rest.split_at(plain(rest));
        out.extend_from_slice(plain);
        let Some((&byte, behind)) = special.split_first() else {
            break;
        };
        escape(out, byte);
        rest = behind;
    }
    out.push(b'"');
}

/// How many bytes at the beginning stand for themselves.
fn plain(bytes: &[u8]) -> usize {
    // Whole chunks without a branch inside, which the compiler makes vector instructions of.
    let (chunks, _) = bytes.as_chunks::<32>();
    let any_special = |chunk: &[u8; 32]| {
        chunk
            .iter()
            .fold(false, |any, byte| any | is_special(*byte))
    };
    let whole = 32
        * chunks
            .iter()
            .take_while(|chunk| !any_special(chunk))
            .count();
    let rest = &bytes[whole..];
    whole
        + rest
            .iter()
            .position(|byte| is_special(*byte))
            .unwrap_or(rest.len())
}

/// RFC 8259, 7: quotation mark, reverse solidus and the control characters.
fn is_special(byte: u8) -> bool {
    (byte < b' ') | (byte == b'"') | (byte == b'\\')
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let digit = |value: u8| b"0123456789abcdef"[usize::from(value)];
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

struct Json<'a> {
    out: &'a mut Vec<u8>,
}

/// Members of an object or elements of an array.
struct Parts<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl Parts<'_> {
    fn separate(&mut self) {
        if !std::mem::replace(&mut self.first, false) {
            self.out.push(b',');
        }
    }
}

impl SerializeStruct for Parts<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.separate();
        write_str(self.out, name);
        self.out.push(b':');
        value.serialize(Json { out: self.out })
    }

    fn end(self) -> Result<(), Error> {
        self.out.push(b'}');
        Ok(())
    }
}

impl SerializeSeq for Parts<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.separate();
        value.serialize(Json { out: self.out })
    }

    fn end(self) -> Result<(), Error> {
        self.out.push(b']');
        Ok(())
    }
}

/// What serde_json does as well as anybody.
macro_rules! by_serde_json {
    ($($method:ident($kind:ty)),+ $(,)?) => {
        $(fn $method(self, value: $kind) -> Result<(), Error> {
            serde_json::to_writer(self.out, &value)
        })+
    };
}

/// What no type of a2's that is used here is made of.
fn unused<T>() -> Result<T, Error> {
    Err(Error::custom(
        "expected one of a2's payload types, got a shape that none of them has",
    ))
}

impl<'a> Serializer for Json<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Parts<'a>;
    type SerializeStruct = Parts<'a>;
    type SerializeTuple = Impossible<(), Error>;
    type SerializeTupleStruct = Impossible<(), Error>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeMap = Impossible<(), Error>;
    type SerializeStructVariant = Impossible<(), Error>;

    by_serde_json!(
        serialize_bool(bool),
        serialize_i8(i8),
        serialize_i16(i16),
        serialize_i32(i32),
        serialize_i64(i64),
        serialize_u8(u8),
        serialize_u16(u16),
        serialize_u32(u32),
        serialize_u64(u64),
        serialize_f32(f32),
        serialize_f64(f64),
        serialize_char(char),
        serialize_bytes(&[u8]),
    );

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        write_str(self.out, text);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
    ) -> Result<(), Error> {
        self.serialize_str(name)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Error> {
        unused()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts<'a>, Error> {
        self.out.push(b'[');
        Ok(Parts {
            out: self.out,
            first: true,
        })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Parts<'a>, Error> {
        self.out.push(b'{');
        Ok(Parts {
            out: self.out,
            first: true,
        })
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Error> {
        unused()
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Error> {
        unused()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        unused()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Error> {
        unused()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        unused()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use a2::request::notification::{DefaultNotificationBuilder, NotificationBuilder};

    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        write_str(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_character_at_every_place_is_as_serde_json_writes_it() {
        for character in (0..0x800)
            .filter_map(char::from_u32)
            .chain(['…', '🙂', '\u{2028}'])
        {
            for before in [0, 1, 7, 31, 32, 33, 63, 64, 100] {
                let text = format!(
                    "{}{character}{}",
                    "a".repeat(before),
                    "ü".repeat(before / 2)
                );
                assert_eq!(written(&text), serde_json::to_string(&text).unwrap());
            }
        }
        let twice = "\"\\\n\u{1}".repeat(40);
        assert_eq!(written(&twice), serde_json::to_string(&twice).unwrap());
    }

    #[test]
    fn a_payload_with_everything_is_as_serde_json_writes_it() {
        let arguments = ["Kim \"K\" Akers", "3"];
        let payload = DefaultNotificationBuilder::new()
            .title("Kim")
            .subtitle("Contoso")
            .body("Ärger\n")
            .loc_key("KEY")
            .loc_args(&arguments)
            .badge(7)
            .sound("ping.caf")
            .critical(true, Some(0.5))
            .thread_id("thread")
            .category("category")
            .content_available()
            .mutable_content()
            .time_sensitive_interruption_level()
            .build("token", Default::default());
        let mut out = Vec::new();
        write(&mut out, &payload.aps).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            serde_json::to_string(&payload.aps).unwrap()
        );
    }
}
