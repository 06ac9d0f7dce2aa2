//! Writes a value as compact JSON, its fields in their order.
//!
//! Not here: the form itself (`canonical`).

use super::Wrong;
use crate::decode::write_int;
use crate::json;
use alloc::vec::Vec;
use serde::Serialize;
use serde::ser::{
    Impossible, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple, SerializeTupleStruct,
    SerializeTupleVariant, Serializer,
};

/// Appends to what was written before.
pub(super) struct Writer<'o>(pub(super) &'o mut Vec<u8>);

type Answer = Result<(), Wrong>;

#[cold]
fn none<T>() -> Result<T, Wrong> {
    Err(Wrong::new("the canonical form has no floats, maps or bytes"))
}

#[inline(never)]
fn text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    json::write_escaped(text.as_bytes(), out);
    out.push(b'"');
}

/// Opens an object with one field, whose value is to follow.
#[inline(never)]
fn variant(name: &str, out: &mut Vec<u8>) {
    out.push(b'{');
    text(name, out);
    out.push(b':');
}

impl<'o> Writer<'o> {
    #[inline(never)]
    fn begin(self, variant_name: Option<&str>, open: u8, close: &'static str) -> Compound<'o> {
        if let Some(name) = variant_name {
            variant(name, self.0);
        }
        self.0.push(open);
        Compound { out: self.0, first: true, close }
    }
}

impl<'o> Serializer for Writer<'o> {
    type Ok = ();
    type Error = Wrong;
    type SerializeSeq = Compound<'o>;
    type SerializeTuple = Compound<'o>;
    type SerializeTupleStruct = Compound<'o>;
    type SerializeTupleVariant = Compound<'o>;
    type SerializeMap = Impossible<(), Wrong>;
    type SerializeStruct = Compound<'o>;
    type SerializeStructVariant = Compound<'o>;

    fn serialize_bool(self, v: bool) -> Answer {
        self.0.extend_from_slice(if v { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_i8(self, v: i8) -> Answer {
        self.serialize_i64(v.into())
    }

    fn serialize_i16(self, v: i16) -> Answer {
        self.serialize_i64(v.into())
    }

    fn serialize_i32(self, v: i32) -> Answer {
        self.serialize_i64(v.into())
    }

    fn serialize_i64(self, v: i64) -> Answer {
        write_int(v, self.0);
        Ok(())
    }

    fn serialize_u8(self, v: u8) -> Answer {
        self.serialize_i64(v.into())
    }

    fn serialize_u16(self, v: u16) -> Answer {
        self.serialize_i64(v.into())
    }

    fn serialize_u32(self, v: u32) -> Answer {
        self.serialize_i64(v.into())
    }

    // What the reader would refuse is not written.
    fn serialize_u64(self, v: u64) -> Answer {
        i64::try_from(v).map_or_else(|_| none(), |v| self.serialize_i64(v))
    }

    fn serialize_f32(self, _: f32) -> Answer {
        none()
    }

    fn serialize_f64(self, _: f64) -> Answer {
        none()
    }

    fn serialize_char(self, _: char) -> Answer {
        none()
    }

    fn serialize_str(self, v: &str) -> Answer {
        text(v, self.0);
        Ok(())
    }

    fn serialize_bytes(self, _: &[u8]) -> Answer {
        none()
    }

    fn serialize_none(self) -> Answer {
        self.0.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, v: &T) -> Answer {
        v.serialize(self)
    }

    fn serialize_unit(self) -> Answer {
        none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Answer {
        none()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Answer {
        self.serialize_str(name)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, v: &T) -> Answer {
        v.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        v: &T,
    ) -> Answer {
        variant(name, self.0);
        v.serialize(Writer(self.0))?;
        self.0.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Compound<'o>, Wrong> {
        Ok(self.begin(None, b'[', "]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Compound<'o>, Wrong> {
        Ok(self.begin(None, b'[', "]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Compound<'o>, Wrong> {
        Ok(self.begin(None, b'[', "]"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Compound<'o>, Wrong> {
        Ok(self.begin(Some(name), b'[', "]}"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Wrong> {
        none()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Compound<'o>, Wrong> {
        Ok(self.begin(None, b'{', "}"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Compound<'o>, Wrong> {
        Ok(self.begin(Some(name), b'{', "}}"))
    }
}

/// A list or an object that is being written.
pub(super) struct Compound<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
    close: &'static str,
}

impl Compound<'_> {
    /// The comma between two, and the name where there is one.
    #[inline(never)]
    fn next(&mut self, name: Option<&str>) -> Writer<'_> {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        if let Some(name) = name {
            text(name, self.out);
            self.out.push(b':');
        }
        Writer(self.out)
    }

    #[inline(never)]
    fn close(self) -> Answer {
        self.out.extend_from_slice(self.close.as_bytes());
        Ok(())
    }
}

impl SerializeSeq for Compound<'_> {
    type Ok = ();
    type Error = Wrong;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, v: &T) -> Answer {
        v.serialize(self.next(None))
    }

    fn end(self) -> Answer {
        self.close()
    }
}

impl SerializeTuple for Compound<'_> {
    type Ok = ();
    type Error = Wrong;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, v: &T) -> Answer {
        v.serialize(self.next(None))
    }

    fn end(self) -> Answer {
        self.close()
    }
}

impl SerializeTupleStruct for Compound<'_> {
    type Ok = ();
    type Error = Wrong;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, v: &T) -> Answer {
        v.serialize(self.next(None))
    }

    fn end(self) -> Answer {
        self.close()
    }
}

impl SerializeTupleVariant for Compound<'_> {
    type Ok = ();
    type Error = Wrong;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, v: &T) -> Answer {
        v.serialize(self.next(None))
    }

    fn end(self) -> Answer {
        self.close()
    }
}

impl SerializeStruct for Compound<'_> {
    type Ok = ();
    type Error = Wrong;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, v: &T) -> Answer {
        v.serialize(self.next(Some(name)))
    }

    fn end(self) -> Answer {
        self.close()
    }
}

impl SerializeStructVariant for Compound<'_> {
    type Ok = ();
    type Error = Wrong;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, v: &T) -> Answer {
        v.serialize(self.next(Some(name)))
    }

    fn end(self) -> Answer {
        self.close()
    }
}
