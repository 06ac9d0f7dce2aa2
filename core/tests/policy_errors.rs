//! Every field of a policy wrong in turn: what people are told, word by word, with line and column.
//!
//! A case edits the good policy below in one place and says all that must be reported.

use plimsoll_core::policy::text::{Code, DEPTH_MAX, DIAGNOSTICS_MAX, SIZE_MAX, Syntax, parse};
use std::fmt::Write as _;

const CASES: &str = include_str!("policy_errors.txt");

/// A good policy, to be made wrong.
const GOOD: &str = r#"policy = "views"
[input]
time = { field = "ts", unit = "ms" }
key = ["page", "site.id"]
[window]
fixed = "1m"
[measures]
events = "count"
total = { sum = "n" }
"#;

fn written(visible: &str) -> String {
    visible.replace('⏎', "\n").replace('⇥', "\t").replace('␀', "\0").replace('⍽', "\u{a0}")
}

fn edited(good: &str, from: &str, to: &str) -> String {
    assert_eq!(good.matches(from).count(), 1, "an edit must name one place: {from}");
    good.replace(from, to)
}

/// The case's document and language.
fn document(case: &str, good: &str, syntax: Syntax) -> (String, Syntax) {
    let (kind, rest) = case.split_at(1);
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    match kind {
        "+" => (good.to_owned() + &written(rest), syntax),
        "~" => {
            let (from, to) = rest.split_once(" =>").expect("an edit has an arrow");
            (edited(good, &written(from), &written(to.strip_prefix(' ').unwrap_or(to))), syntax)
        }
        "=" => {
            let (language, text) = rest.split_once(' ').unwrap_or((rest, ""));
            (written(text), language_of(language))
        }
        _ => panic!("no case: {case}"),
    }
}

fn language_of(name: &str) -> Syntax {
    match name {
        "toml" => Syntax::Toml,
        "json" => Syntax::Json,
        _ => panic!("no language: {name}"),
    }
}

#[test]
fn every_field_wrong_in_turn() {
    let (mut good, mut syntax) = (String::new(), Syntax::Toml);
    let (mut wrong, mut cases) = (String::new(), 0);
    let mut lines = CASES.lines().filter(|l| !l.starts_with('#')).peekable();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("== ") {
            syntax = language_of(name);
            good = lines.by_ref().take_while(|l| !l.is_empty()).map(|l| format!("{l}\n")).collect();
            parse(&good, syntax).unwrap_or_else(|e| panic!("{e}"));
            continue;
        }
        if line.is_empty() {
            continue;
        }
        let (text, syntax) = document(line, &good, syntax);
        let mut expected = Vec::new();
        while let Some(l) = lines.next_if(|l| l.starts_with("    ")) {
            expected.push(l.trim_start());
        }
        let found = parse(&text, syntax).err().map_or("accepted".into(), |e| e.to_string());
        cases += 1;
        if found != expected.join("\n") {
            write!(wrong, "\n{line}\n    {}\n", found.replace('\n', "\n    ")).expect("text takes text");
        }
    }
    assert!(wrong.is_empty(), "found otherwise:\n{wrong}");
    assert!(cases > 150, "{cases} cases were read");
}

#[test]
fn a_diagnostic_says_all_that_an_editor_needs() {
    let text = edited(GOOD, "\"page\", \"site.id\"]", "\"größe\", 7]\nsurce = \"x\"");
    let e = parse(&format!("\u{feff}{text}"), Syntax::Toml).expect_err("two errors").in_file("p.toml");
    let found: Vec<_> = e
        .all
        .iter()
        .map(|d| (d.code, d.path.as_str(), d.line, d.column, &text[d.from - 3..d.to - 3], d.hint.as_deref()))
        .collect();
    assert_eq!(
        found,
        [
            (Code::WrongType, "input.key[1]", 4, 17, "7", Some("like \"ts\", \"a.b\" or [\"a.b\", \"c\"]")),
            (Code::UnknownField, "input.surce", 5, 1, "surce", Some("did you mean `source`?")),
        ]
    );
    assert_eq!(
        e.to_string(),
        "p.toml:4:17: `input.key[1]`: found 7, expected a field's name, like \"ts\", \"a.b\" or [\"a.b\", \"c\"]\n\
         p.toml:5:1: unknown field `surce` in `input`, did you mean `source`?"
    );
    assert_eq!(
        serde_json::to_string(&e.all[1]).expect("JSON"),
        "{\"code\":\"unknown_field\",\"path\":\"input.surce\",\"line\":5,\"column\":1,\"from\":86,\"to\":91,\
         \"message\":\"unknown field `surce` in `input`\",\"hint\":\"did you mean `source`?\"}"
    );
}

fn codes(text: &str, syntax: Syntax) -> Vec<Code> {
    parse(text, syntax).expect_err("no policy").all.iter().map(|d| d.code).collect()
}

#[test]
fn a_document_has_bounds() {
    let comment = "#".repeat(SIZE_MAX - GOOD.len());
    assert!(parse(&format!("{GOOD}{comment}"), Syntax::Toml).is_ok());
    assert_eq!(codes(&format!("{GOOD}{comment}#"), Syntax::Toml), [Code::TooLarge]);
    assert_eq!(codes(&" ".repeat(SIZE_MAX + 1), Syntax::Json), [Code::TooLarge]);

    let many = (0..1_001).map(|i| format!("b{i} = 1\n")).collect::<String>();
    let e = parse(&many, Syntax::Toml).expect_err("unknown fields");
    // 1,001 unknown fields and 4 missing ones.
    assert_eq!((e.all.len(), e.more), (DIAGNOSTICS_MAX, 1_005 - DIAGNOSTICS_MAX));
    assert!(e.to_string().ends_with("\nand 905 more"), "{e}");
}

/// As much of one thing as a document holds. What is quadratic here would take minutes.
#[test]
fn full_documents_get_an_answer() {
    fn fill(head: &str, each: impl Fn(usize) -> String, tail: &str, most: usize) -> String {
        let mut text = head.to_owned();
        for next in (0..).map(each) {
            if text.len() + next.len() + tail.len() > most {
                break;
            }
            text += &next;
        }
        text + tail
    }
    let all = SIZE_MAX;
    let keys = fill("[input]\nkey=[", |i| format!("'{i:x}',"), "]\n[measures]\n", all / 2);
    let toml = [
        fill("", |i| format!("a{i:x}=1\n"), "", all),
        fill("[measures]\n", |i| format!("m{i:x}='count'\n"), "", all),
        fill("[measures]\n", |i| format!("m{i:x}.sum='a.b'\n"), "", all),
        fill(&keys, |i| format!("m{i:x}='count'\n"), "", all),
        fill("[input.time]\nfield='", |_| "a.".into(), "'", all),
        fill("", |i| format!("[a{i:x}]\n"), "", all),
        fill("", |_| "[[a]]\n".into(), "", all),
        fill("a='''", |_| "\n".into(), "'''", all),
        fill("", |_| "k".into(), " = 1", all),
        fill("[measures]\n", |i| format!("m{i:x}.variance='a'\n"), "", all),
        fill("[measures]\n", |i| format!("m{i:x}.mean={{sum='m{i:x}',count='x'}}\n"), "", all),
        fill("[measures]\n", |i| format!("m{i:x}.list={{field='a.{i}',most=0}}\n"), "", all),
        fill("[trigger]\nwhen={after_any=[", |_| "'never',".into(), "]}", all),
        fill("[trigger]\nwhen={after_any=[", |_| "{after_all=[{repeatedly=7}]},".into(), "]}", all),
        fill("[trigger]\nwhen='", |_| "always".into(), "'", all),
        fill("[window.calendar]\nevery='day'\nzone='", |_| "Asia/".into(), "'", all),
    ];
    for text in &toml {
        assert!(!codes(text, Syntax::Toml).is_empty());
    }
    let json = [
        fill("{", |i| format!("\"a{i:x}\":1,"), "\"a\":1}", all),
        fill("{", |_| "\"policy\":1,".into(), "\"a\":1}", all),
        fill("{\"measures\":{", |i| format!("\"m{i:x}\":{{}},"), "\"a\":1}}", all),
        fill("{\"input\":{\"key\":[", |_| "[],".into(), "1]}}", all),
        fill("[\"", |_| "\\u0000".into(), "\"]", all),
        fill("\n\n[", |_| "\u{a0}".into(), "", all),
    ];
    for text in &json {
        assert!(!codes(text, Syntax::Json).is_empty());
    }
}

#[test]
fn deep_documents_are_refused_before_anything_recurses() {
    let n = SIZE_MAX / 2 - 8;
    let dots = SIZE_MAX / 2 - 8;
    let toml = [
        format!("a = {}", "[".repeat(n)),
        format!("a = {}{}", "[".repeat(n), "]".repeat(n)),
        format!("a = {}", "{a=".repeat(SIZE_MAX / 3 - 8)),
        format!("a{} = 1", ".a".repeat(dots)),
        format!("[a{}]", ".a".repeat(dots)),
        format!("[[a{}]]", ".a".repeat(dots)),
        format!("a = {{ {} }}", "a.a.a.a.a.a = { ".repeat(SIZE_MAX / 16 - 8)),
        format!("a = [\n{}", "{a.a =\n".repeat(SIZE_MAX / 8 - 8)),
    ];
    for text in &toml {
        assert_eq!(codes(text, Syntax::Toml), [Code::TooDeep], "{}", &text[..20]);
    }
    let json = [
        "[".repeat(SIZE_MAX),
        "{\"a\":".repeat(SIZE_MAX / 5),
        format!("{}{}", "[".repeat(n), "]".repeat(n)),
        format!("[\"\\\"{}\", {}", "]".repeat(50), "[".repeat(DEPTH_MAX)),
    ];
    for text in &json {
        assert_eq!(codes(text, Syntax::Json), [Code::TooDeep], "{}", &text[..20]);
    }
    // Brackets in texts are no depth, and neither are those that are closed again.
    let brackets = format!("{{\"policy\": [\"{}\", {}]}}", "[".repeat(1_000), "[], ".repeat(1_000) + "[]");
    assert!(!codes(&brackets, Syntax::Json).contains(&Code::TooDeep));
}
