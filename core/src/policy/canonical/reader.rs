//! Reads a value whose fields stand in the order of its struct.
//!
//! Nothing here is generic but what serde's traits ask for, so that one copy of it serves every type.
//!
//! Not here: the form itself (`canonical`).

use super::{DEPTH_MAX, Wrong};
use crate::json;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

/// The value, or what is wrong and at which byte.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut reader = Reader { bytes, at: 0, depth: 0 };
    let value = T::deserialize(&mut reader);
    match value {
        Ok(value) if reader.at == bytes.len() => Ok(value),
        Ok(_) => Err(format!("more after the end (byte {})", reader.at)),
        Err(wrong) => Err(format!("{wrong} (byte {})", reader.at)),
    }
}

type Answer<T> = Result<T, Wrong>;

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
    depth: u32,
}

impl Reader<'_> {
    /// Steps over `text` if it stands here.
    #[inline(never)]
    fn skip(&mut self, text: &str) -> bool {
        let there = self.bytes[self.at..].starts_with(text.as_bytes());
        if there {
            self.at += text.len();
        }
        there
    }

    #[inline(never)]
    fn expect(&mut self, text: &str) -> Answer<()> {
        if self.skip(text) { Ok(()) } else { Err(Wrong(format!("expected `{text}`"))) }
    }

    #[inline(never)]
    fn open(&mut self, bracket: &str) -> Answer<()> {
        self.expect(bracket)?;
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(Wrong::new("nested too deep")) } else { Ok(()) }
    }

    #[inline(never)]
    fn close(&mut self, bracket: &str) -> Answer<()> {
        self.depth -= 1;
        self.expect(bracket)
    }

    /// Steps over `"name"`, or stays.
    #[inline(never)]
    fn name(&mut self, name: &str) -> bool {
        let start = self.at;
        let there = self.skip("\"") && self.skip(name) && self.skip("\"");
        if !there {
            self.at = start;
        }
        there
    }

    /// Steps over `"name":` with the comma before it, or stays.
    #[inline(never)]
    fn field(&mut self, name: &str, first: bool) -> bool {
        let start = self.at;
        let there = (first || self.skip(",")) && self.name(name) && self.skip(":");
        if !there {
            self.at = start;
        }
        there
    }

    /// Which of the names stands here.
    #[inline(never)]
    fn variant(&mut self, names: &[&str]) -> Answer<u32> {
        match names.iter().position(|name| self.name(name)) {
            Some(i) => Ok(i as u32),
            None => Err(Wrong::new("an unknown name")),
        }
    }

    /// An integer as JSON writes it. What follows a leading zero is the next one's to refuse.
    #[inline(never)]
    fn integer(&mut self) -> Answer<i64> {
        let negative = self.skip("-");
        let rest = &self.bytes[self.at..];
        let digits = match rest.first() {
            Some(b'0') => 1,
            _ => rest.iter().take_while(|b| b.is_ascii_digit()).count(),
        };
        if digits == 0 {
            return Err(Wrong::new("expected an integer"));
        }
        if negative && rest[0] == b'0' {
            return Err(Wrong::new("a number in another form"));
        }
        // So many digits fit 64 bits without a sign.
        let magnitude = rest[..digits.min(19)].iter().fold(0, |sum: u64, digit| 10 * sum + u64::from(digit - b'0'));
        let value = if negative { 0i64.checked_sub_unsigned(magnitude) } else { 0i64.checked_add_unsigned(magnitude) };
        let value = value.filter(|_| digits <= 19).ok_or_else(|| Wrong::new("a number out of range"))?;
        self.at += digits;
        Ok(value)
    }

    #[inline(never)]
    fn text(&mut self) -> Answer<String> {
        self.expect("\"")?;
        let rest = &self.bytes[self.at..];
        let mut escaped = false;
        let len = rest.iter().position(|byte| {
            let end = *byte < 0x20 || (*byte == b'"' && !escaped);
            escaped = *byte == b'\\' && !escaped;
            end
        });
        let raw = &rest[..len.unwrap_or(rest.len())];
        let mut text = Vec::with_capacity(raw.len());
        json::unescape(raw, &mut text).map_err(|_| Wrong::new("a bad escape in this text"))?;
        let mut written = Vec::with_capacity(raw.len());
        json::write_escaped(&text, &mut written);
        if written != raw {
            return Err(Wrong::new("a text in another form"));
        }
        let text = String::from_utf8(text).map_err(|_| Wrong::new("this text is not UTF-8"))?;
        self.at += raw.len();
        self.expect("\"")?;
        Ok(text)
    }

    #[inline(never)]
    fn flag(&mut self) -> Answer<bool> {
        if self.skip("true") {
            return Ok(true);
        }
        self.expect("false")?;
        Ok(false)
    }

    fn list<'de, V: Visitor<'de>>(&mut self, visitor: V) -> Answer<V::Value> {
        self.open("[")?;
        let value = visitor.visit_seq(List { reader: self, first: true })?;
        self.close("]")?;
        Ok(value)
    }

    fn fields<'de, V: Visitor<'de>>(&mut self, names: &'static [&'static str], visitor: V) -> Answer<V::Value> {
        self.open("{")?;
        let value = visitor.visit_seq(Fields { reader: self, names, first: true })?;
        self.close("}")?;
        Ok(value)
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'_> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Answer<V::Value> {
        Err(Wrong::new("a value of a kind that the canonical form does not have"))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Answer<V::Value> {
        visitor.visit_bool(self.flag()?)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Answer<V::Value> {
        visitor.visit_i64(self.integer()?)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Answer<V::Value> {
        visitor.visit_i64(self.integer()?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Answer<V::Value> {
        visitor.visit_i64(self.integer()?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Answer<V::Value> {
        visitor.visit_i64(self.integer()?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Answer<V::Value> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Answer<V::Value> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Answer<V::Value> {
        if self.skip("null") { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Answer<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Answer<V::Value> {
        self.list(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Answer<V::Value> {
        self.list(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Answer<V::Value> {
        self.fields(names, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Answer<V::Value> {
        let bare = self.bytes.get(self.at) != Some(&b'{');
        if bare {
            return visitor.visit_enum(Variant { reader: self, names, bare });
        }
        self.open("{")?;
        let value = visitor.visit_enum(Variant { reader: self, names, bare })?;
        self.close("}")?;
        Ok(value)
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u128 f32 f64 char bytes byte_buf unit unit_struct tuple_struct map identifier ignored_any
    }
}

/// Elements up to the closing bracket.
struct List<'r, 'b> {
    reader: &'r mut Reader<'b>,
    first: bool,
}

impl<'de> SeqAccess<'de> for List<'_, '_> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Answer<Option<T::Value>> {
        let there =
            if self.first { self.reader.bytes.get(self.reader.at) != Some(&b']') } else { self.reader.skip(",") };
        self.first = false;
        if there { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }
}

/// The fields of a struct, each after its name; nothing for one that is not there.
struct Fields<'r, 'b> {
    reader: &'r mut Reader<'b>,
    names: &'static [&'static str],
    first: bool,
}

impl<'de> SeqAccess<'de> for Fields<'_, '_> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Answer<Option<T::Value>> {
        let Some((name, rest)) = self.names.split_first() else { return Ok(None) };
        self.names = rest;
        if !self.reader.field(name, self.first) {
            return Ok(None);
        }
        self.first = false;
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

/// A variant's name, and what belongs to it unless it stands `bare`.
struct Variant<'r, 'b> {
    reader: &'r mut Reader<'b>,
    names: &'static [&'static str],
    bare: bool,
}

impl<'de> EnumAccess<'de> for Variant<'_, '_> {
    type Error = Wrong;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Answer<(S::Value, Self)> {
        let index = self.reader.variant(self.names)?;
        Ok((seed.deserialize(IntoDeserializer::<Wrong>::into_deserializer(index))?, self))
    }
}

impl Variant<'_, '_> {
    #[inline(never)]
    fn colon(&mut self) -> Answer<()> {
        if self.bare { Err(Wrong::new("this name needs a value")) } else { self.reader.expect(":") }
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, '_> {
    type Error = Wrong;

    fn unit_variant(self) -> Answer<()> {
        if self.bare { Ok(()) } else { Err(Wrong::new("this name takes no value")) }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(mut self, seed: T) -> Answer<T::Value> {
        self.colon()?;
        seed.deserialize(self.reader)
    }

    fn tuple_variant<V: Visitor<'de>>(mut self, _: usize, visitor: V) -> Answer<V::Value> {
        self.colon()?;
        self.reader.list(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(mut self, names: &'static [&'static str], visitor: V) -> Answer<V::Value> {
        self.colon()?;
        self.reader.fields(names, visitor)
    }
}
