//! The scanner beside serde_json: the same documents accepted, the same values found.
//!
//! Documents are generated with every spelling JSON has, then often damaged. They differ on purpose in these places only,
//! each of which is checked for being the place:
//! - numbers beyond an f64's range (`1e999`): the scanner hands their spelling on, serde_json refuses them;
//! - more than `DEPTH_MAX` levels, and wanted fields that are there twice: refused by the scanner only;
//! - documents that are no objects: the same;
//! - `-0` is the integer 0, not the float -0.0.
//!
//! Each document is read twice: by a new scanner, and by one that has read all documents before it, since what was learnt
//! must change no answer.

use plimsoll_core::json::{DEPTH_MAX, Framing, PADDING, ScanError, ScanErrorKind as Kind, Scanner, Slot, unescape};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::cell::RefCell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

/// The wanted paths. The generator draws its names from few letters, so that they are met often.
const PATHS: [&[&str]; 7] = [
    &["a"],
    &["b", "a"],
    &["b", "c", "é"],
    &["b", "c", "a"],
    &["placement"],
    &["a name of more than 28 bytes"],
    &["\""],
];
const NAMES: [&str; 14] = [
    "a",
    "b",
    "c",
    "é",
    "placement",
    "a name of more than 28 bytes",
    "\"",
    "",
    "aa",
    "creative",
    "ts",
    "日本",
    "\u{1}",
    "A",
];

/// A document as serde_json reads it, duplicates included.
#[derive(Debug)]
enum Tree {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;
        impl<'de> Visitor<'de> for AnyValue {
            type Value = Tree;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("any value")
            }
            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
                Ok(Tree::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
                Ok(Tree::Int(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
                Ok(i64::try_from(value).map_or(Tree::Float(value as f64), Tree::Int))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
                Ok(Tree::Float(value))
            }
            fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
                Ok(Tree::Str(value.into()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Tree::Array(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Tree::Object(fields))
            }
        }
        deserializer.deserialize_any(AnyValue)
    }
}

impl Tree {
    fn depth(&self) -> usize {
        match self {
            Tree::Array(items) => 1 + items.iter().map(Tree::depth).max().unwrap_or(0),
            Tree::Object(fields) => 1 + fields.iter().map(|field| field.1.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// The values at a path; `twice` is set if a name on the way is there twice.
    fn get(&self, path: &[&str], twice: &mut bool) -> Option<&Tree> {
        let Some((name, rest)) = path.split_first() else { return Some(self) };
        let Tree::Object(fields) = self else { return None };
        let mut found = fields.iter().filter(|field| field.0 == *name);
        let first = found.next()?;
        *twice |= found.next().is_some();
        first.1.get(rest, twice)
    }
}

fn scan(scanner: &mut Scanner, data: &[u8], framing: Framing) -> Result<(usize, [Slot; PATHS.len()]), ScanError> {
    // Other bytes before the record: nothing may depend on where it starts.
    let mut buf = b"\n".to_vec();
    buf.extend_from_slice(data);
    let end = buf.len();
    // Behind the zero there may be anything; most harmful is what would go on with the record.
    buf.push(0);
    buf.extend(br#"","ts":12345678,"a":{"b":"}]}"#.iter().cycle().take(PADDING - 1));
    let mut slots = [Slot::Bool(true); PATHS.len()];
    let next = scanner.scan(&buf, 1, end, framing, &mut slots)?;
    Ok((next, slots))
}

/// Whether a slot says what serde_json says. `buf` has one byte before the data.
fn same(slot: Slot, tree: Option<&Tree>, data: &[u8]) -> bool {
    let bytes = |start: u32, end: u32| &data[start as usize - 1..end as usize - 1];
    match (slot, tree) {
        (Slot::Missing, None) | (Slot::Null, Some(Tree::Null)) => true,
        (Slot::Bool(a), Some(Tree::Bool(b))) => a == *b,
        (Slot::Int(a), Some(Tree::Int(b))) => a == *b,
        (Slot::Int(0), Some(Tree::Float(b))) => *b == 0.0 && b.is_sign_negative(),
        (Slot::Number { start, end }, Some(Tree::Float(b))) => {
            let spelling = std::str::from_utf8(bytes(start, end)).unwrap();
            // serde_json's usual float parser may be off in the last digit.
            let a: f64 = spelling.parse().unwrap();
            (a - b).abs() <= b.abs() * 1e-14
        }
        (Slot::Str { start, end, escaped }, Some(Tree::Str(b))) => {
            let raw = bytes(start, end);
            let mut text = Vec::new();
            unescape(raw, &mut text).unwrap();
            escaped == raw.contains(&b'\\') && text == b.as_bytes()
        }
        (Slot::Compound { start, end }, Some(b @ (Tree::Array(_) | Tree::Object(_)))) => {
            let again: Tree = serde_json::from_slice(bytes(start, end)).unwrap();
            format!("{again:?}") == format!("{b:?}")
        }
        _ => false,
    }
}

/// Compares one document. `Err` says how they differ.
fn compare(scanner: &mut Scanner, data: &[u8], framing: Framing) -> Result<(), String> {
    let got = scan(scanner, data, framing);
    let fresh = scan(&mut Scanner::new(&PATHS), data, framing);
    if got != fresh {
        return Err(format!("what was learnt changes the answer: {got:?}, without it {fresh:?}"));
    }
    let (record, next) = match framing {
        Framing::Whole => (data, data.len()),
        Framing::Line => match data.iter().position(|byte| *byte == b'\n') {
            Some(newline) => (&data[..newline], newline + 1),
            None => (data, data.len()),
        },
    };
    let want: Result<Tree, _> = serde_json::from_slice(record);
    match (&got, &want) {
        (Err(ScanError { at, .. }), _) if *at > record.len() + 1 => Err(format!("{got:?} is behind the record")),
        (Ok((got_next, _)), Ok(_)) if *got_next != next + 1 => Err(format!("ends at {got_next}, not {}", next + 1)),
        (Ok((_, slots)), Ok(tree)) => {
            let mut twice = false;
            for (path, slot) in PATHS.iter().zip(slots) {
                let value = tree.get(path, &mut twice);
                if !same(*slot, value, data) {
                    return Err(format!("{path:?} is {slot:?}, serde_json says {value:?}"));
                }
            }
            if twice { Err("a wanted field is there twice".into()) } else { Ok(()) }
        }
        (Err(error), Ok(tree)) => {
            let mut twice = false;
            PATHS.iter().for_each(|path| _ = tree.get(path, &mut twice));
            let ours = match error.kind {
                Kind::TooDeep => tree.depth() > DEPTH_MAX,
                Kind::DuplicateField(_) => twice,
                Kind::NotAnObject { .. } => !matches!(tree, Tree::Object(_)),
                _ => false,
            };
            if ours { Ok(()) } else { Err(format!("refused: {error}")) }
        }
        (Ok(_), Err(error)) if error.to_string().starts_with("number out of range") => Ok(()),
        (Ok(_), Err(error)) => Err(format!("accepted, but serde_json says: {error}")),
        (Err(_), Err(_)) => Ok(()),
    }
}

fn space() -> impl Strategy<Value = String> {
    prop_oneof![6 => Just(String::new()), 2 => Just(" ".to_string()), 1 => "[ \t\r\n]{0,3}"]
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        (any::<i64>(), 0u32..63).prop_map(|(n, shift)| (n >> shift).to_string()),
        "-?(0|[1-9][0-9]{0,24})",
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
        prop::sample::select(vec![
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "-9223372036854775809",
            "-0",
            "-0.0",
            "01",
            "1e400",
        ])
        .prop_map(String::from),
    ]
}

/// A spelling of a text: each character raw, in its short escape, or as \u.
fn spell(text: String) -> impl Strategy<Value = String> {
    prop::collection::vec(0u8..12, text.chars().count()).prop_map(move |ways| {
        let mut out = String::from("\"");
        for (character, way) in text.chars().zip(ways) {
            match character {
                _ if way == 0 => {
                    let units =
                        character.encode_utf16(&mut [0; 2]).iter().map(|u| format!("\\u{u:04x}")).collect::<String>();
                    out += &units;
                }
                '"' | '\\' => out.extend(['\\', character]),
                '/' if way == 1 => out += "\\/",
                '\n' => out += "\\n",
                '\t' => out += "\\t",
                c if c < ' ' => out += &format!("\\u{:04X}", c as u32),
                c => out.push(c),
            }
        }
        out + "\""
    })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-z0-9 -]{0,24}", 1 => "[\\x00-\\x7f]{0,12}", 1 => "\\PC{0,12}", 1 => "[\"\\\\/é日😀\n]{0,9}"]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![9 => prop::sample::select(NAMES.to_vec()).prop_map(String::from), 1 => text()].prop_flat_map(spell)
}

fn joined(items: Vec<(String, String, String)>, open: char, close: char) -> String {
    let items: Vec<String> = items.into_iter().map(|(before, item, after)| before + &item + &after).collect();
    format!("{open}{}{close}", items.join(","))
}

fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let field = (name(), space(), space(), value).prop_map(|(name, a, b, value)| format!("{name}{a}:{b}{value}"));
    prop::collection::vec((space(), field, space()), 0..7).prop_map(|fields| joined(fields, '{', '}'))
}

fn value() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        3 => number(),
        3 => text().prop_flat_map(spell),
        1 => prop::sample::select(vec!["null", "true", "false", "[]", "{}"]).prop_map(String::from),
    ];
    scalar.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            2 => object(inner.clone()),
            1 => prop::collection::vec((space(), inner, space()), 0..6).prop_map(|items| joined(items, '[', ']')),
        ]
    })
}

/// A document, nested deeply now and then, in white space.
fn document() -> impl Strategy<Value = Vec<u8>> {
    let wrapped = (object(value()), prop_oneof![20 => Just(0), 1 => 60usize..68], any::<bool>()).prop_map(
        |(inner, deep, array)| {
            let (open, close) = if array { ("[", "]") } else { ("{\"b\":", "}") };
            if deep == 0 { inner } else { format!("{{\"a\":{}{inner}{}}}", open.repeat(deep), close.repeat(deep)) }
        },
    );
    let any = prop_oneof![30 => wrapped, 1 => value()];
    (space(), any, space()).prop_map(|(before, inner, after)| (before + &inner + &after).into_bytes())
}

/// One change of some bytes.
#[derive(Clone, Debug)]
enum Damage {
    Put(usize, u8),
    Insert(usize, u8),
    Delete(usize, usize),
    Cut(usize),
    Repeat(usize, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let byte = || prop_oneof![4 => prop::sample::select(br#"{}[]",:\u09-+.eE tfn"#.to_vec()), 1 => any::<u8>(), 1 => Just(b'\n')];
    prop_oneof![
        (any::<usize>(), byte()).prop_map(|(at, byte)| Damage::Put(at, byte)),
        (any::<usize>(), byte()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        (any::<usize>(), 1usize..6).prop_map(|(at, count)| Damage::Delete(at, count)),
        any::<usize>().prop_map(Damage::Cut),
        (any::<usize>(), 1usize..30).prop_map(|(at, count)| Damage::Repeat(at, count)),
    ]
}

fn apply(data: &mut Vec<u8>, damage: &Damage) {
    let len = data.len().max(1);
    match *damage {
        Damage::Put(at, byte) => data.iter_mut().skip(at % len).take(1).for_each(|old| *old = byte),
        Damage::Insert(at, byte) => data.insert((at % len).min(data.len()), byte),
        Damage::Delete(at, count) => drop(data.drain(at % len..(at % len + count).min(data.len()).max(at % len))),
        Damage::Cut(at) => data.truncate(at % len),
        Damage::Repeat(at, count) => {
            let piece: Vec<u8> = data.iter().skip(at % len).take(count).copied().collect();
            data.splice(at % len..at % len, piece);
        }
    }
}

thread_local! {
    static EXPERIENCED: RefCell<Scanner> = RefCell::new(Scanner::new(&PATHS));
}

fn check(data: &[u8]) -> Result<(), TestCaseError> {
    for framing in [Framing::Whole, Framing::Line] {
        let result = EXPERIENCED.with_borrow_mut(|scanner| compare(scanner, data, framing));
        result.map_err(|why| TestCaseError::fail(format!("{framing:?} {:?}: {why}", String::from_utf8_lossy(data))))?;
    }
    Ok(())
}

/// `PROPTEST_CASES` asks for more, `PROPTEST_RNG_SEED` for a run that was seen before.
fn config() -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 5_000;
    }
    if let RngSeed::Random = config.rng_seed {
        config.rng_seed = RngSeed::Fixed(RandomState::new().hash_one(0));
    }
    println!("seed: {:?}; repeat with PROPTEST_RNG_SEED", config.rng_seed);
    config
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn documents(data in document()) {
        check(&data)?;
    }

    #[test]
    fn damaged_documents(mut data in document(), damages in prop::collection::vec(damage(), 1..4)) {
        for damage in &damages {
            if !data.is_empty() {
                apply(&mut data, damage);
            }
            check(&data)?;
        }
    }

    #[test]
    fn any_bytes(data in prop::collection::vec(any::<u8>(), 0..64)) {
        check(&data)?;
        check(&[b"{\"a\":\"", &data[..], b"\"}"].concat())?;
        check(&[b"{\"a\":\"", &data[..]].concat())?;
    }

    #[test]
    fn numbers(number in number()) {
        check(format!("{{\"a\":{number}}}").as_bytes())?;
        check(format!("{{\"a\":{number}").as_bytes())?;
    }
}
