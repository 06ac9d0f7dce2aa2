//! The scanner's edges one by one: each kind of refusal, each kind of value, framing, nesting, sizes.
//!
//! Not here: random documents beside serde_json (`json_differential`).

#![expect(clippy::disallowed_types, reason = "one test looks at the clock to find quadratic work; the engine does not")]

use plimsoll_core::json::{
    DEPTH_MAX, Framing, PADDING, ScanError, ScanErrorKind as Kind, Scanner, Slot, unescape, write_escaped,
};
use std::time::{Duration, Instant};

fn padded(data: &[u8]) -> Vec<u8> {
    let mut buf = data.to_vec();
    buf.resize(data.len() + PADDING, 0);
    buf
}

/// One scan of `data` by a new scanner.
fn scan(paths: &[&[&str]], data: &[u8], framing: Framing) -> Result<(usize, Vec<Slot>), ScanError> {
    let mut slots = vec![Slot::Missing; paths.len()];
    let next = Scanner::new(paths).scan(&padded(data), 0, data.len(), framing, &mut slots)?;
    Ok((next, slots))
}

/// The value of `a` in a document that must be fine.
fn a(data: &str) -> Slot {
    let whole = scan(&[&["a"]], data.as_bytes(), Framing::Whole).unwrap_or_else(|e| panic!("{data}: {e}"));
    let line = scan(&[&["a"]], data.as_bytes(), Framing::Line).unwrap_or_else(|e| panic!("{data}: {e}"));
    assert_eq!(whole, line, "{data}");
    assert_eq!(whole.0, data.len(), "{data}");
    whole.1[0]
}

/// The refusal of a document, which must be the same as a line and as a whole.
fn refusal(data: &[u8]) -> (Kind, usize) {
    let name = String::from_utf8_lossy(data);
    let whole = scan(&[&["a"]], data, Framing::Whole).expect_err(&name);
    let line = scan(&[&["a"]], data, Framing::Line).expect_err(&name);
    assert_eq!(whole, line, "{name}");
    (whole.kind, whole.at)
}

fn unexpected(found: u8, expected: &'static str) -> Kind {
    Kind::UnexpectedByte { found, expected }
}

#[test]
fn values() {
    for (json, want) in [
        ("null", Slot::Null),
        ("true", Slot::Bool(true)),
        ("false", Slot::Bool(false)),
        ("0", Slot::Int(0)),
        ("-0", Slot::Int(0)),
        ("-1", Slot::Int(-1)),
        ("1234567", Slot::Int(1_234_567)),
        ("12345678", Slot::Int(12_345_678)),
        ("123456789", Slot::Int(123_456_789)),
        ("1700000000000", Slot::Int(1_700_000_000_000)),
        ("-999999999999999", Slot::Int(-999_999_999_999_999)),
        ("1000000000000000", Slot::Int(1_000_000_000_000_000)),
        ("9223372036854775807", Slot::Int(i64::MAX)),
        ("-9223372036854775808", Slot::Int(i64::MIN)),
        ("9223372036854775808", Slot::Number { start: 5, end: 24 }),
        ("-9223372036854775809", Slot::Number { start: 5, end: 25 }),
        ("18446744073709551616", Slot::Number { start: 5, end: 25 }),
        ("99999999999999999999999999999", Slot::Number { start: 5, end: 34 }),
        ("1.0", Slot::Number { start: 5, end: 8 }),
        ("-0.5E-7", Slot::Number { start: 5, end: 12 }),
        ("1e3", Slot::Number { start: 5, end: 8 }),
        ("12345678.5", Slot::Number { start: 5, end: 15 }),
        ("1234567890123456e+1", Slot::Number { start: 5, end: 24 }),
        (r#""""#, Slot::Str { start: 6, end: 6, escaped: false }),
        (r#""p-017""#, Slot::Str { start: 6, end: 11, escaped: false }),
        (r#""0123456\"01234""#, Slot::Str { start: 6, end: 20, escaped: true }),
        (r#""\ud83d\ude00 and 😀""#, Slot::Str { start: 6, end: 27, escaped: true }),
        ("[]", Slot::Compound { start: 5, end: 7 }),
        (r#"[1,{"a":[2]}]"#, Slot::Compound { start: 5, end: 18 }),
        ("{}", Slot::Compound { start: 5, end: 7 }),
    ] {
        assert_eq!(a(&format!("{{\"a\":{json}}}")), want, "{json}");
        // White space moves the value and changes nothing else.
        let moved = a(&format!("\t{{ \"b\" : [ ] , \"a\"\r: {json} }} "));
        assert_eq!(std::mem::discriminant(&moved), std::mem::discriminant(&want), "{json}");
        if let Slot::Int(_) | Slot::Bool(_) | Slot::Null = want {
            assert_eq!(moved, want, "{json}");
        }
    }
}

#[test]
fn missing_fields() {
    assert_eq!(a("{}"), Slot::Missing);
    assert_eq!(a(" { } "), Slot::Missing);
    assert_eq!(a(r#"{"b":{"a":1},"aa":2,"":3,"A":4}"#), Slot::Missing);
}

#[test]
fn refusals() {
    for (data, kind, at) in [
        ("", Kind::Truncated, 0),
        ("   ", Kind::Truncated, 3),
        ("[]", Kind::NotAnObject { found: b'[' }, 0),
        (" 5", Kind::NotAnObject { found: b'5' }, 1),
        ("\u{feff}{}", Kind::NotAnObject { found: 0xef }, 0),
        ("{}}", Kind::TrailingData { found: b'}' }, 2),
        ("{} {}", Kind::TrailingData { found: b'{' }, 3),
        ("{,}", unexpected(b',', "a field name in quotes"), 1),
        (r#"{"a":1,}"#, unexpected(b'}', "a field name in quotes"), 7),
        (r#"{"a":1;}"#, unexpected(b';', "`,` or `}`"), 6),
        (r#"{"a":1]"#, unexpected(b']', "`,` or `}`"), 6),
        (r#"{"a" 1}"#, unexpected(b'1', "`:`"), 5),
        (r#"{"a":}"#, unexpected(b'}', "a value"), 5),
        (r#"{"a":NaN}"#, unexpected(b'N', "a value"), 5),
        (r#"{"a":+1}"#, unexpected(b'+', "a value"), 5),
        (r#"{"a":.5}"#, unexpected(b'.', "a value"), 5),
        (r#"{"a":nul}"#, unexpected(b'}', "`null`, `true` or `false`"), 8),
        (r#"{"a":truf}"#, unexpected(b'f', "`null`, `true` or `false`"), 8),
        (r#"{"a":[1}"#, unexpected(b'}', "`,` or `]`"), 7),
        (r#"{"a":[1,]}"#, unexpected(b']', "a value"), 8),
        (r#"{"a":{"b"}}"#, unexpected(b'}', "`:`"), 9),
        (r#"{'a':1}"#, unexpected(b'\'', "a field name in quotes"), 1),
        ("{\"a\":\0}", unexpected(0, "a value"), 5),
        (r#"{"a":01}"#, Kind::BadNumber, 5),
        (r#"{"a":-01}"#, Kind::BadNumber, 6),
        (r#"{"a":012345678}"#, Kind::BadNumber, 5),
        (r#"{"a":-}"#, Kind::BadNumber, 6),
        (r#"{"a":1.}"#, Kind::BadNumber, 7),
        (r#"{"a":1.e5}"#, Kind::BadNumber, 7),
        (r#"{"a":1e}"#, Kind::BadNumber, 7),
        (r#"{"a":1e+}"#, Kind::BadNumber, 8),
        (r#"{"a":"\x"}"#, Kind::BadEscape, 6),
        (r#"{"a":"\u12g4"}"#, Kind::BadEscape, 6),
        (r#"{"a":"\u+123"}"#, Kind::BadEscape, 6),
        (r#"{"a":"1234567890 \ud800"}"#, Kind::BadEscape, 17),
        (r#"{"a":"\ud800\u0041"}"#, Kind::BadEscape, 6),
        (r#"{"a":"\udc00"}"#, Kind::BadEscape, 6),
        (r#"{"\ud800":1}"#, Kind::BadEscape, 2),
        ("{\"a\":\"tab\there\"}", Kind::ControlCharacter, 9),
        ("{\"a\\t\u{1}\":0}", Kind::ControlCharacter, 5),
        (r#"{"a":1,"a":2}"#, Kind::DuplicateField(0), 11),
        (r#"{"a":null,"\u0061":null}"#, Kind::DuplicateField(0), 19),
    ] {
        assert_eq!(refusal(data.as_bytes()), (kind, at), "{data}");
    }
}

#[test]
fn bytes_that_are_not_utf8() {
    assert_eq!(refusal(b"{\"a\":\"12345678\xff\"}"), (Kind::BadUtf8, 14));
    assert_eq!(refusal(b"{\"a\":\"\xc3\"}"), (Kind::BadUtf8, 6));
    assert_eq!(refusal(b"{\"b\":\"\\n\xed\xa0\x80\"}"), (Kind::BadUtf8, 8));
    assert_eq!(refusal(b"{\"\xff\":1}"), (Kind::BadUtf8, 2));
    assert_eq!(refusal(b"{\"a\":[{\"b\":[\"\xff\"]}]}"), (Kind::BadUtf8, 13));
}

/// A name with bad bytes must not become known, or it would pass unchecked the next time.
#[test]
fn bad_names_are_not_learnt() {
    let mut scanner = Scanner::new(&[["a"]]);
    let data = b"{\"\xff\":1,\"a\":2}";
    for _ in 0..3 {
        let error = scanner.scan(&padded(data), 0, data.len(), Framing::Line, &mut [Slot::Missing]).unwrap_err();
        assert_eq!(error, ScanError { kind: Kind::BadUtf8, at: 2 });
    }
}

#[test]
fn cut_anywhere() {
    let paths: &[&[&str]] = &[&["ts"], &["a", "b"]];
    let data =
        r#"{"x\u00e9":[null,{"y":"é\ud83d\ude00"}], "ts":-17000000000001.5e+3,"a":{"b":true,"c":false}}"#.as_bytes();
    assert!(scan(paths, data, Framing::Whole).is_ok());
    for cut in 0..data.len() {
        let error = scan(paths, &data[..cut], Framing::Whole).unwrap_err();
        // A cut escape or pair looks like a bad one; everything else is clear.
        assert!(matches!(error.kind, Kind::Truncated | Kind::BadEscape), "{cut}: {error}");
        assert!(error.at <= cut, "{cut}: {error}");
        // The same with more lines after it: the error does not lie in them.
        let mut lines = data[..cut].to_vec();
        lines.extend_from_slice(b"\n{\"ts\":1}\n");
        let error = scan(paths, &lines, Framing::Line).unwrap_err();
        assert!(matches!(error.kind, Kind::Truncated | Kind::BadEscape), "{cut}: {error}");
        assert!(error.at <= cut, "{cut}: {error}");
    }
}

#[test]
fn lines() {
    let data = b"{\"a\":1}\n  {\"a\":2} \t\r\n{\"a\":3}\r\n{\"a\":4}";
    let buf = padded(data);
    let mut scanner = Scanner::new(&[["a"]]);
    let mut at = 0;
    for (want, next) in [(1, 8), (2, 21), (3, 30), (4, data.len())] {
        let mut slots = [Slot::Missing];
        at = scanner.scan(&buf, at, data.len(), Framing::Line, &mut slots).unwrap();
        assert_eq!((slots[0], at), (Slot::Int(want), next));
    }
    let error = scanner.scan(&buf, at, data.len(), Framing::Line, &mut [Slot::Missing]).unwrap_err();
    assert_eq!(error, ScanError { kind: Kind::Truncated, at: data.len() });
}

#[test]
fn digits_stand_where_they_are_asked_for() {
    let data = b"{\"a\":12,\"b\":12}\n{\"a\":0,\"b\":-3}\n{\"a\":123456789012345,\"b\":1.5}\n{\"a\":1234567890123456}\n{\"a\":-7}\n{\"a\":\"8\"}";
    let buf = padded(data);
    let mut scanner = Scanner::with_digits(&[["a"], ["b"]], &|path| path == 0);
    let (mut at, mut found) = (0, Vec::new());
    while at < data.len() {
        let mut slots = [Slot::Missing; 2];
        at = scanner.scan(&buf, at, data.len(), Framing::Line, &mut slots).unwrap();
        found.push(slots);
    }
    let value = |slot: Slot| match slot {
        Slot::Digits { start, end } => Some(String::from_utf8_lossy(&data[start as usize..end as usize]).into_owned()),
        Slot::Int(n) => Some(n.to_string()),
        _ => None,
    };
    let texts: Vec<_> = found.iter().map(|slots| slots.map(value)).collect();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        texts,
        [
            [some("12"), some("12")],
            [some("0"), some("-3")],
            [some("123456789012345"), None],
            [some("1234567890123456"), None],
            [some("-7"), None],
            [None, None],
        ]
    );
    // Once the order of the fields is known, plain ones come as digits, and those that were not asked for never do.
    assert!(matches!(found[1][0], Slot::Digits { .. }) && matches!(found[2][0], Slot::Digits { .. }), "{found:?}");
    assert!(found.iter().all(|slots| !matches!(slots[1], Slot::Digits { .. })), "{found:?}");
    assert!(matches!(found[5][0], Slot::Str { .. }), "{found:?}");
}

#[test]
fn newlines_inside() {
    let data = b"\n{\n\"a\"\n:\n1\n}\n\n";
    assert_eq!(scan(&[&["a"]], data, Framing::Whole), Ok((data.len(), vec![Slot::Int(1)])));
    let cut = |data: &[u8]| scan(&[&["a"]], data, Framing::Line).unwrap_err();
    assert_eq!(cut(data), ScanError { kind: Kind::Truncated, at: 0 });
    assert_eq!(cut(b"{\n\"a\":1}"), ScanError { kind: Kind::Truncated, at: 1 });
    assert_eq!(cut(b"{\"a\":\"x\ny\"}"), ScanError { kind: Kind::Truncated, at: 7 });
    assert_eq!(cut(b"{\"a\":\"\\n\ny\"}"), ScanError { kind: Kind::Truncated, at: 8 });
    assert_eq!(cut(b"{\"b\":[1,\n2]}"), ScanError { kind: Kind::Truncated, at: 8 });
    let error = scan(&[&["a"]], b"{\"a\":\"x\ny\"}", Framing::Whole).unwrap_err();
    assert_eq!(error, ScanError { kind: Kind::ControlCharacter, at: 7 });
}

#[test]
fn nested_paths() {
    let paths: &[&[&str]] = &[&["a", "b", "c"], &["a", "d"], &["c"], &["a", "b", "x"]];
    let find = |data: &str| scan(paths, data.as_bytes(), Framing::Line).map(|found| found.1);
    let missing = Slot::Missing;
    let data = r#"{"c":1,"b":2,"a":{"c":3,"d":4,"b":{"d":5, "x":6 ,"c":7}}}"#;
    assert_eq!(find(data), Ok(vec![Slot::Int(7), Slot::Int(4), Slot::Int(1), Slot::Int(6)]));
    for (data, want) in [
        (r#"{"a":5}"#, [missing; 4]),
        (r#"{"a":null,"c":true}"#, [missing, missing, Slot::Bool(true), missing]),
        (r#"{"a":[{"d":1}]}"#, [missing; 4]),
        (r#"{"a":"{\"d\":1}"}"#, [missing; 4]),
        (r#"{"a":{}}"#, [missing; 4]),
        (r#"{"a" : { "b" : [ ] , "d" : 9 } }"#, [missing, Slot::Int(9), missing, missing]),
        (r#"{"x":{"a":{"d":1}}}"#, [missing; 4]),
    ] {
        assert_eq!(find(data), Ok(want.to_vec()), "{data}");
    }
    let duplicate = |data: &str| find(data).unwrap_err().kind;
    assert_eq!(duplicate(r#"{"a":{"d":1,"d":2}}"#), Kind::DuplicateField(1));
    assert_eq!(duplicate(r#"{"a":{"b":{}},"a":{"d":1}}"#), Kind::DuplicateField(0));
    assert_eq!(duplicate(r#"{"a":0,"a":{"d":1}}"#), Kind::DuplicateField(0));
    assert_eq!(find(r#"{"z":1,"z":2,"a":{"c":1,"c":2}}"#), Ok(vec![missing; 4]));
}

#[test]
fn names_of_every_kind() {
    let long = "n".repeat(29);
    let longer = "é".repeat(200);
    let names = ["", "a", "12345678", "123456789abcd", "123456789abcdefghijklmnopqrs", &long, &longer];
    let odd = ["a\":\"b", "back\\slash", "line\nbreak", "nul\0", "é", "日本"];
    let names: Vec<&str> = names.into_iter().chain(odd).collect();
    let paths: Vec<[&str; 1]> = names.iter().map(|name| [*name]).collect();
    let mut scanner = Scanner::new(&paths);
    let escapes: [fn(&str) -> String; 2] = [
        |name| {
            let mut out = Vec::new();
            write_escaped(name.as_bytes(), &mut out);
            String::from_utf8(out).unwrap()
        },
        |name| name.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect(),
    ];
    for round in 0..4 {
        for spell in escapes {
            let fields: Vec<String> = (0..names.len())
                .map(|i| if round % 2 == 0 { i } else { names.len() - 1 - i })
                .map(|i| format!("\"{}\":{i},\"other {i}\":-1", spell(names[i])))
                .collect();
            let data = format!("{{{}}}", fields.join(","));
            let mut slots = vec![Slot::Missing; names.len()];
            scanner.scan(&padded(data.as_bytes()), 0, data.len(), Framing::Line, &mut slots).unwrap();
            let want: Vec<Slot> = (0..names.len()).map(|i| Slot::Int(i as i64)).collect();
            assert_eq!(slots, want, "{data}");
        }
    }
}

/// What a scanner that has read `before` makes of a document, beside a new one.
fn like_a_new_one(before: &[&str], data: &str) {
    let paths: [&[&str]; 3] = [&["a"], &["b"], &["c", "d"]];
    let mut scanner = Scanner::new(&paths);
    let mut read = |data: &str| {
        let mut slots = vec![Slot::Missing; paths.len()];
        let next = scanner.scan(&padded(data.as_bytes()), 0, data.len(), Framing::Line, &mut slots)?;
        Ok((next, slots))
    };
    before.iter().for_each(|data| drop(read(data)));
    assert_eq!(read(data), scan(&paths, data.as_bytes(), Framing::Line), "{data} after {before:?}");
}

#[test]
fn however_a_producer_spaces_its_keys_the_values_are_the_same() {
    let spellings = [
        r#"{"a":1,"b":"x","skip":[0],"c":{"d":22}}"#,
        r#"{"a": 1, "b": "x", "skip": [0], "c": {"d": 22}}"#,
        r#"{ "a" : 1 , "b" :"x","skip":  [0] ,  "c":{ "d":22 } }"#,
        "{\"a\":\t1,\t\"b\":\"x\",\r\"skip\":\t[0], \"c\":\r{\"d\":22}}",
        r#"{"c": {"d": 22}, "a": 1, "b": "x"}"#,
        r#"{"b": "x"}"#,
        "{}",
        r#"{"a": 1, "b": "x", "a": 2}"#,
        r#"{"a": 1, "b": "x",}"#,
        r#"{"a": 1; "b": "x"}"#,
        r#"{"a": 1{"b": "x"}"#,
    ];
    for first in spellings {
        for second in spellings {
            for data in spellings {
                like_a_new_one(&[first, first, second], data);
            }
        }
    }
}

#[test]
fn values_of_every_length_are_the_same_where_their_keys_are_expected() {
    let before = [r#"{"a":1,"b":"x"}"#, r#"{"a":1,"b":"x"}"#];
    let mut values: Vec<String> = Vec::new();
    for len in 0..40 {
        let digits = "1234567890".repeat(4);
        values.extend([digits[..len].to_owned(), format!("-{}", &digits[..len]), format!("0{}", &digits[..len])]);
        values.push("9".repeat(len));
        let text = "abcdefgh".repeat(5);
        for end in ["\"", "\\n\"", "\\", "\u{1f}\"", "\u{e9}\"", "", "\u{0}\""] {
            values.push(format!("\"{}{end}", &text[..len]));
        }
    }
    for value in values {
        for end in [",\"b\":\"y\"}", "}", " }", ".5}", "e1,\"b\":2}", "]", ""] {
            like_a_new_one(&before, &format!("{{\"a\":{value}{end}"));
        }
    }
}

/// More names than are ever learnt, in one record and over many, while the wanted ones stay found.
#[test]
fn names_without_end() {
    let mut scanner = Scanner::new(&[vec!["a", "x7"], vec!["x7"]]);
    for round in 0..50 {
        let others: String = (0..400).map(|i| format!("\"x{}\":0,", 400 * round + i + 10)).collect();
        let data = format!("{{{others}\"a\":{{{others}\"x7\":1}},\"x7\":2}}");
        let mut slots = [Slot::Missing; 2];
        scanner.scan(&padded(data.as_bytes()), 0, data.len(), Framing::Line, &mut slots).unwrap();
        assert_eq!(slots, [Slot::Int(1), Slot::Int(2)]);
    }
}

#[test]
fn depth() {
    for (wrap, paths) in [("{\"b\":", [vec!["a"], vec!["z"]]), ("{\"b\":", [vec!["b"; 100], vec!["z"]])] {
        for (open, close) in [(wrap, "}"), ("[", "]")] {
            for levels in [DEPTH_MAX, DEPTH_MAX + 1] {
                let inner = levels - 1;
                let data = format!("{{\"b\":{}0{}}}", open.repeat(inner), close.repeat(inner));
                let mut slots = [Slot::Missing; 2];
                let got = Scanner::new(&paths).scan(&padded(data.as_bytes()), 0, data.len(), Framing::Line, &mut slots);
                if levels == DEPTH_MAX {
                    assert_eq!(got, Ok(data.len()));
                } else {
                    assert_eq!(got.unwrap_err().kind, Kind::TooDeep);
                }
            }
        }
    }
    for open in ["[", "{\"a\":", "{\"b\":", "[{\"a\":[{\"a\":"] {
        let data = format!("{{\"a\":{}", open.repeat(1_000_000));
        assert_eq!(refusal(data.as_bytes()).0, Kind::TooDeep);
    }
}

/// Sizes at which anything quadratic would take hours; the limit is generous since machines differ.
#[test]
fn ten_megabytes() {
    let start = Instant::now();
    let size = 10 << 20;
    for body in [
        format!("\"{}\"", "x".repeat(size)),
        format!("\"{}\"", "\\n".repeat(size / 2)),
        format!("\"{}\"", "é".repeat(size / 2)),
        format!("[{}0]", "[],".repeat(size / 3)),
        format!("[{}0]", "{\"a\":-1.5e3},".repeat(size / 13)),
        "7".repeat(size),
        format!("0.{}", "1".repeat(size)),
        format!("{}0", " ".repeat(size)),
    ] {
        let data = format!("{{\"a\":{body}}}");
        assert_ne!(a(&data), Slot::Missing);
        assert_eq!(refusal(&data.as_bytes()[..data.len() - 1]).0, Kind::Truncated);
    }
    let names: String = (0..size / 16).map(|i| format!("\"{i}\":0,")).collect();
    assert_eq!(a(&format!("{{{names}\"a\":1}}")), Slot::Int(1));
    assert_eq!(refusal(&vec![b'{'; size]).0, unexpected(b'{', "a field name in quotes"));
    assert!(start.elapsed() < Duration::from_secs(60), "took {:?}", start.elapsed());
}

#[test]
fn messages_name_what_was_found_and_the_mend() {
    let text = |data: &str| scan(&[&["a"]], data.as_bytes(), Framing::Line).unwrap_err().to_string();
    assert_eq!(text("[1]"), "byte 0: expected a JSON object that starts with `{`, found `[`");
    assert_eq!(text("{\"a\":1 \"b\"}"), "byte 7: expected `,` or `}`, found `\"`");
    assert_eq!(text("{\"a\":\u{7f}}"), "byte 5: expected a value, found byte 0x7f");
    assert_eq!(
        text("{\"a\":1,\n"),
        "byte 7: the record ends before its JSON object does; write each record as one complete object"
    );
}

#[test]
#[should_panic(expected = "padding")]
fn padding_that_is_not_there() {
    let _ = Scanner::new(&[["a"]]).scan(b"{}", 0, 2, Framing::Line, &mut [Slot::Missing]);
}

#[test]
#[should_panic(expected = "byte after the data is not zero")]
fn padding_that_does_not_begin_with_a_zero() {
    let _ = Scanner::new(&[["a"]]).scan(&[b' '; 2 + PADDING], 0, 2, Framing::Line, &mut [Slot::Missing]);
}

#[test]
#[should_panic(expected = "start of")]
fn a_path_that_starts_another() {
    Scanner::new(&[vec!["a"], vec!["a", "b"]]);
}

#[test]
#[should_panic(expected = "start of")]
fn a_path_that_starts_one_before_it() {
    Scanner::new(&[vec!["a", "b"], vec!["a"]]);
}

#[test]
#[should_panic(expected = "equals another")]
fn a_path_twice() {
    Scanner::new(&[["a"], ["a"]]);
}

#[test]
fn escapes() {
    let resolve = |raw: &str| {
        let mut out = b"before ".to_vec();
        unescape(raw.as_bytes(), &mut out).map(|()| String::from_utf8(out).unwrap())
    };
    assert_eq!(resolve(""), Ok("before ".into()));
    assert_eq!(resolve(r#"\"\\\/\b\f\n\r\t\u00e9é"#), Ok("before \"\\/\u{8}\u{c}\n\r\téé".into()));
    assert_eq!(resolve(r"\uD83D\uDE00\u0000"), Ok("before 😀\0".into()));
    for (raw, at) in
        [(r"ab\", 2), (r"\u123", 0), (r"x\ud83d", 1), (r"\ud83d\n", 0), (r"\ude00", 0), (r"\ud83d\ud83d", 0)]
    {
        assert_eq!(resolve(raw), Err(ScanError { kind: Kind::BadEscape, at }), "{raw}");
    }
}

#[test]
fn escapes_are_written_as_serde_json_does() {
    for code in (0..0x300).chain([0x2028, 0xfffd, 0x1_f600]) {
        let text = format!("{}x", char::from_u32(code).unwrap());
        let mut out = b"\"".to_vec();
        write_escaped(text.as_bytes(), &mut out);
        out.push(b'"');
        assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&text).unwrap());
    }
}
