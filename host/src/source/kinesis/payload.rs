//! What the payload of a record holds: one event, or several.
//!
//! ```text
//! aggregated? -> each of its records:   gzip or zstd? -> [ {..}, {..} ]      a JSON array of objects
//!                                                        {..} \n {..}        objects, one a line
//!                                                        anything else       one event, as it is
//! ```
//! Invariants
//! - A payload gives the same events in the same order whenever it is opened: positions count them.
//! - What is not quite one of these forms is one event as it stands, and the engine says what is wrong with it.
//! - An object that is written over several lines is one event: lines count only where the first one is whole by itself.
//! - Room and time are bounded whatever a stranger has packed; beyond the bounds the record is one event that is too long.
//!
//! Not here: whether an event is one (the engine), whose an aggregated record is (`kpl`).

use super::kpl::{Unpacked, unpack};
use bytes::Bytes;
use memchr::memchr;
use std::io::Read;
use std::ops::RangeInclusive;

/// A compressed payload may hold so many bytes.
pub const INFLATED_BYTES_MAX: usize = 16 << 20;
/// And so many times its own length, where that is more than `INFLATED_FREE`: text hardly packs better, bombs do.
pub const INFLATE_RATIO_MAX: usize = 100;
/// Up to here nothing is asked of the ratio.
pub const INFLATED_FREE: usize = 1 << 20;
/// A record may hold so many events.
pub const EVENTS_MAX: usize = 100_000;
/// zstd's window, as a power of two: the memory that a frame may ask for.
const ZSTD_WINDOW_LOG_MAX: u32 = 24;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The events of a record.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Events {
    pub(super) events: Vec<Event>,
    /// Records in it that are another shard's.
    pub(super) misplaced: u64,
}

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) data: Bytes,
    /// The data is the beginning, or the packed form, of an event that is too long.
    pub(super) too_long: bool,
}

/// Whether a payload can only be one event, as it stands: the usual case, seen at a glance.
#[inline]
pub(super) fn plain(payload: &[u8]) -> bool {
    match payload.first() {
        Some(b'{') => memchr(b'\n', payload.trim_ascii_end()).is_none(),
        // An array, aggregated, gzip, zstd, or spaces before any of these.
        Some(b'[' | 0xf3 | 0x1f | 0x28 | b' ' | b'\t' | b'\r' | b'\n') => false,
        _ => true,
    }
}

/// Opens the payload of a record of a shard with these hash keys.
pub(super) fn open(payload: &[u8], hash_keys: &RangeInclusive<u128>) -> Events {
    let mut all = Events::default();
    match unpack(payload, hash_keys) {
        Unpacked::No => all.take(&Bytes::copy_from_slice(payload)),
        Unpacked::Records(records) => records.iter().for_each(|record| all.take(record)),
        Unpacked::Misplaced(records) => all.misplaced = records,
    }
    if all.events.len() > EVENTS_MAX {
        all.events = vec![Event { data: Bytes::copy_from_slice(payload), too_long: true }];
    }
    all
}

impl Events {
    /// Takes the events of one payload in.
    fn take(&mut self, payload: &Bytes) {
        let inflated = inflate(payload);
        let data = match &inflated {
            Inflated::Not => payload,
            Inflated::To(data) => data,
            Inflated::Beyond => return self.events.push(Event { data: payload.clone(), too_long: true }),
        };
        let trimmed = data.trim_ascii();
        let parts = match trimmed.first() {
            Some(b'[') => elements(trimmed),
            Some(b'{') => lines(trimmed),
            _ => None,
        };
        match parts {
            Some(parts) => {
                self.events.extend(parts.into_iter().map(|p| Event { data: data.slice_ref(p), too_long: false }));
            }
            None => self.events.push(Event { data: data.clone(), too_long: false }),
        }
    }
}

enum Inflated {
    /// It is not compressed, or damaged.
    Not,
    To(Bytes),
    /// It holds more than it may.
    Beyond,
}

fn inflate(payload: &[u8]) -> Inflated {
    let most = payload.len().saturating_mul(INFLATE_RATIO_MAX).clamp(INFLATED_FREE, INFLATED_BYTES_MAX);
    let mut out = Vec::new();
    // One byte more shows that there is more.
    let room = most as u64 + 1;
    let read = if payload.starts_with(&GZIP) {
        flate2::read::MultiGzDecoder::new(payload).take(room).read_to_end(&mut out)
    } else if payload.starts_with(&ZSTD) {
        zstd::Decoder::with_buffer(payload).and_then(|mut decoder| {
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            decoder.take(room).read_to_end(&mut out)
        })
    } else {
        return Inflated::Not;
    };
    match read {
        Ok(n) if n > most => Inflated::Beyond,
        Ok(_) => Inflated::To(out.into()),
        Err(_) => Inflated::Not,
    }
}

/// The elements of a JSON array of objects; `None` if it is none, or empty.
fn elements(text: &[u8]) -> Option<Vec<&[u8]>> {
    let mut parts = Vec::new();
    let mut rest = text.strip_prefix(b"[")?.trim_ascii_start();
    loop {
        let (object, after) = rest.split_at(object_end(rest)?);
        parts.push(object);
        let after = after.trim_ascii_start();
        rest = match after.split_first()? {
            (b',', after) => after.trim_ascii_start(),
            (b']', after) => return after.trim_ascii().is_empty().then_some(parts),
            _ => return None,
        };
    }
}

/// The lines that are not blank, if the first of several is an object by itself.
fn lines(text: &[u8]) -> Option<Vec<&[u8]>> {
    let first = text[..memchr(b'\n', text)?].trim_ascii_end();
    if object_end(first) != Some(first.len()) {
        return None;
    }
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    Some(lines.filter(|line| !line.is_empty()).collect())
}

/// Where the object ends that `text` begins with; whether what is in it is right, the engine will see.
fn object_end(text: &[u8]) -> Option<usize> {
    if text.first() != Some(&b'{') {
        return None;
    }
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for (at, byte) in text.iter().enumerate() {
        match (quoted, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (true, b'"') => quoted = false,
            (true, _) => {}
            (false, b'"') => quoted = true,
            (false, b'{' | b'[') => depth += 1,
            (false, b'}' | b']') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            (false, _) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::kpl::pack;
    use super::*;
    use std::io::Write;

    const ALL: RangeInclusive<u128> = 0..=u128::MAX;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packed.write_all(data).unwrap();
        packed.finish().unwrap()
    }

    fn zstd(data: &[u8]) -> Vec<u8> {
        zstd::encode_all(data, 3).unwrap()
    }

    /// The events as text; one that is too long as `too long`.
    fn events(payload: &[u8]) -> Vec<String> {
        let all = open(payload, &ALL);
        assert_eq!(all.misplaced, 0);
        let text =
            |e: Event| if e.too_long { "too long".into() } else { String::from_utf8_lossy(&e.data).into_owned() };
        all.events.into_iter().map(text).collect()
    }

    #[test]
    fn one_event_stays_as_it_is() {
        for text in [
            "",
            "{}",
            "{\"a\":1}\n",
            " {\"a\":1}\r\n",
            "{\n  \"a\": 1\n}",
            "{\"a\":{\n},\"b\":[\n{\"c\":1}\n]}",
            "{\"a\":{}\n,\"b\":1}",
            "{\"a\":\"}\n{\"}",
            "{\"a\":1} {\"b\":2}",
            "{\"a\":\n{\"a\":1}\n",
            "[]",
            "[1,2,3]",
            "[{\"a\":1},2]",
            "[{\"a\":1},]",
            "[{\"a\":1}",
            "[{\"a\":1}] x",
            "[{\"a\":\"]}",
            "not json at all",
            "a\nb",
            "\u{1f}\u{8b}",
        ] {
            assert_eq!(events(text.as_bytes()), [text]);
        }
    }

    #[test]
    fn arrays_and_lines_are_several() {
        let array = " [ {\"a\":\"],\\\"{\"} ,\n{\"b\":[[{}]]}\t]\r\n";
        assert_eq!(events(array.as_bytes()), ["{\"a\":\"],\\\"{\"}", "{\"b\":[[{}]]}"]);
        let lines = "\n{\"a\":1}\r\n\n  {\"b\":\"\\\"\"} \nbroken\n{\"c\":";
        assert_eq!(events(lines.as_bytes()), ["{\"a\":1}", "{\"b\":\"\\\"\"}", "broken", "{\"c\":"]);
    }

    #[test]
    fn the_glance_never_misses() {
        for payload in [
            &b"{\"a\":1}"[..],
            b"{\"a\":1}\r\n",
            b"",
            b"x\ny",
            b"{\"a\":1}\n{\"b\":2}",
            b" {}\n{}",
            b"[{},{}]",
            b"\n[{}]",
            &gzip(b"{}\n{}"),
            &zstd(b"[{},{}]"),
            &pack("b", &[("k".into(), b"{}".to_vec())]),
        ] {
            let all = open(payload, &ALL).events;
            let same = all.len() == 1 && all[0].data == payload;
            assert!(same || !plain(payload), "{payload:?}");
        }
        assert!(plain(b"{\"a\":1}\r\n") && plain(b"") && plain(b"x\ny"));
    }

    #[test]
    fn compressed_payloads_are_opened_in_any_form() {
        for pack in [gzip, zstd] {
            assert_eq!(events(&pack(b"{\"a\":1}")), ["{\"a\":1}"]);
            assert_eq!(events(&pack(b"[{\"a\":1},{\"b\":2}]")), ["{\"a\":1}", "{\"b\":2}"]);
            assert_eq!(events(&pack(b"")), [""]);
            // Damaged, it is what it is.
            let mut broken = pack(b"{\"a\":1,\"b\":\"long enough to be compressed, compressed, compressed\"}");
            let whole = broken.clone();
            let middle = broken.len() / 2;
            broken.truncate(middle);
            assert_eq!(open(&broken, &ALL).events, [Event { data: broken.into(), too_long: false }]);
            // Two in a row, as appending gives them.
            assert_eq!(events(&[pack(b"{}\n"), pack(b"{\"b\":1}")].concat()), ["{}", "{\"b\":1}"]);
            assert_eq!(events(&whole).len(), 1);
        }
        let several = [("k".into(), gzip(b"{}\n{\"a\":1}")), ("l".into(), b"{\"b\":2}".to_vec())];
        assert_eq!(events(&pack("b", &several)), ["{}", "{\"a\":1}", "{\"b\":2}"]);
        // What is inside a compressed payload is not unpacked again.
        let inside = pack("b", &[("k".into(), b"{}".to_vec())]);
        assert_eq!(open(&gzip(&inside), &ALL).events, [Event { data: inside.into(), too_long: false }]);
    }

    #[test]
    fn bombs_are_one_event_that_is_too_long() {
        let zeros = |n: usize| vec![b' '; n];
        for pack in [gzip, zstd] {
            assert_eq!(events(&pack(&zeros(INFLATED_FREE))).len(), 1);
            assert_ne!(events(&pack(&zeros(INFLATED_FREE))), ["too long"], "few bytes are no bomb");
            assert_eq!(events(&pack(&zeros(INFLATED_FREE + 1))), ["too long"], "a ratio of hundreds");
            assert_eq!(events(&pack(&zeros(INFLATED_BYTES_MAX + 1))), ["too long"]);
        }
        let many = "{}\n".repeat(EVENTS_MAX);
        assert_eq!(events(many.as_bytes()).len(), EVENTS_MAX);
        assert_eq!(events((many + "{}\n").as_bytes()), ["too long"]);
    }
}
