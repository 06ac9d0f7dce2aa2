//! Expressions with known answers, and an evaluator of its own to judge the machine: a tree, values that own what they
//! hold, and CEL's rules as its language definition words them.

use super::*;
use crate::json::{Framing, PADDING, Scanner, Slot, unescape};
use proptest::prelude::*;
use serde_json::Value as Json;
use std::cmp::Ordering;
use std::string::ToString as _;

/// What is asked of a machine here: the value as JSON, or an error.
fn ask(e: &Expression, record: &str) -> Result<Json, Option<String>> {
    let paths: Vec<Path> = e.wants().into_iter().cloned().collect();
    let slot = |p: &Path| paths.iter().position(|q| q == p).unwrap();
    let machine = Machine::new(e, &slot);
    let mut buf = record.as_bytes().to_vec();
    let end = buf.len();
    buf.resize(end + PADDING, 0);
    let mut slots = alloc::vec![Slot::Missing; paths.len()];
    Scanner::new(&paths).scan(&buf, 0, end, Framing::Whole, &mut slots).unwrap_or_else(|e| panic!("{record}: {e:?}"));
    let (mut plain, mut escaped) = (Vec::new(), Vec::new());
    for slot in &slots {
        let from = plain.len() as u32;
        if let Slot::Str { start, end, escaped: true } = *slot {
            unescape(&buf[start as usize..end as usize], &mut plain).unwrap();
        }
        escaped.push((from, plain.len() as u32));
    }
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().to_owned();
    match machine.value(&Record { buf: &buf, slots: &slots, plain: &plain, escaped: &escaped }) {
        Value::Null => Ok(Json::Null),
        Value::Bool(b) => Ok(b.into()),
        Value::Int(n) => Ok(n.into()),
        Value::Text(t) => Ok(text(t).into()),
        Value::Number(t) => Ok(serde_json::json!({ "number": text(t) })),
        Value::Compound => Ok(serde_json::json!({ "compound": true })),
        Value::Error(field) => Err(field.map(|i| paths[usize::from(i)].join("."))),
    }
}

fn read(text: &str) -> Expression {
    let expression = parse(text, Wanted::Truth).or_else(|_| parse(text, Wanted::Value));
    expression.unwrap_or_else(|e| panic!("{text}: {e:?}"))
}

/// `expression -> answer`, the answer as JSON, `error`, or `error FIELD`; for the record that is written above it.
const KNOWN: &str = include_str!("known.txt");

#[test]
fn known_answers() {
    let (mut record, mut cases) = ("{}", 0);
    for line in KNOWN.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        if line.starts_with('{') {
            record = line;
            continue;
        }
        let (text, answer) = line.rsplit_once(" -> ").unwrap_or_else(|| panic!("no answer: {line}"));
        let found = match ask(&read(text), record) {
            Ok(value) => value.to_string(),
            Err(None) => "error".into(),
            Err(Some(field)) => format!("error {field}"),
        };
        assert_eq!(found, answer, "{text} of {record}");
        cases += 1;
    }
    assert!(cases > 150, "{cases} cases");
}

/// `expression => what is said`, with the place in the text as `FROM..TO`.
const REFUSED: &str = include_str!("refused.txt");

#[test]
fn refusals() {
    let mut wrong = String::new();
    for line in REFUSED.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let (text, expected) = line.split_once(" => ").unwrap_or_else(|| panic!("no refusal: {line}"));
        let (wanted, text) = match text.strip_prefix("value: ") {
            Some(text) => (Wanted::Value, text),
            None => (Wanted::Truth, text),
        };
        let found = match parse(text, wanted) {
            Ok(e) => format!("accepted as {e}"),
            Err(Problem { at, message, hint }) => {
                let hint = hint.map_or(String::new(), |hint| format!("; {hint}"));
                format!("{}..{} {message}{hint}", at.start, at.end)
            }
        };
        if found != expected {
            wrong += &format!("\n{text} => {found}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn hostile_texts_are_refused_at_once() {
    let refused = |text: &str| parse(text, Wanted::Truth).unwrap_err().message;
    assert!(refused(&"!".repeat(1_000_000)).starts_with("found 1000000 bytes"));
    for deep in ["(", "!", "-", "a ? b : ", "a.contains(", "size(", "a in [", "!("] {
        let text = deep.repeat(limits::TEXT_BYTES_MAX / deep.len());
        assert!(refused(&text).contains("more than 32 deep"), "{deep}");
    }
    for wide in ["a && ", "1 + ", "a in [1] || ", "a * b == "] {
        let text = wide.repeat(limits::TEXT_BYTES_MAX / wide.len() - 1) + "a";
        assert!(refused(&text).contains("at most 256"), "{wide}");
    }
    let wide = format!("a in [{}1]", "1,".repeat(2_000));
    assert!(refused(&wide).contains("at most 256"));
    let fields: Vec<String> = (0..17).map(|i| format!("f{i}")).collect();
    assert!(refused(&fields.join(" && ")).contains("at most 16 different fields"));
    assert!(parse(&fields[1..].join(" && "), Wanted::Truth).is_ok());
}

#[test]
fn hostile_steps_are_refused_at_once() {
    let refused = |steps: Vec<Step>| Expression(steps).check(Wanted::Truth).unwrap_err();
    let field = || Step::Field(alloc::vec!["a".into()]);
    assert_eq!(refused(Vec::new()).expected, "one value");
    assert_eq!(refused(alloc::vec![Step::Op(Op::And)]).found, "too few values");
    assert_eq!(refused(alloc::vec![field(), Step::In(u32::MAX)]).found, "too few values");
    assert_eq!(refused(alloc::vec![field(), field()]).expected, "one value");
    assert!(refused(alloc::vec![field(); 1_000_000]).expected.starts_with("at most 256"));
    let mut deep = alloc::vec![field()];
    deep.extend(alloc::vec![Step::Op(Op::Not); 200]);
    assert_eq!(refused(deep).expected, "at most 32 deep");
    assert!(
        refused(alloc::vec![field(), Step::Number("10e0".into()), Step::Op(Op::Less)])
            .expected
            .starts_with("its digits")
    );
    assert!(
        refused(alloc::vec![field(), Step::Text("x".repeat(5_000)), Step::Op(Op::Equal)]).expected.contains("4096")
    );
    // Left to right there is no bound but the steps'.
    let mut long = alloc::vec![field()];
    (0..127).for_each(|_| long.extend([field(), Step::Op(Op::And)]));
    assert_eq!(Expression(long.clone()).check(Wanted::Truth), Ok(()));
    assert_eq!(ask(&Expression(long), "{\"a\":true}"), Ok(true.into()));
}

#[test]
fn one_expression_has_one_form() {
    for texts in [
        &["a==\"x\"&&b>1", " ( a == 'x' ) && (b > 0x1) // why", "(a == r'x') && (b > 1)", "`a` == \"\\x78\" && b > 1"]
            [..],
        &["size(a) > 1.5", "a.size() > 15e-1", "size((a)) > 1.50"],
        &["a.b == -1", "a['b'] == -1", "a . b == -1"],
        &["a ? b : c ? d : e", "a ? b : (c ? d : e)"],
        &["a - b - c > 0", "(a - b) - c > 0"],
    ] {
        let first = read(texts[0]);
        for text in &texts[1..] {
            assert_eq!(read(text), first, "{text}");
        }
    }
    assert_ne!(read("a - (b - c) > 0"), read("a - b - c > 0"));
    assert_eq!(
        read("a == 12.50 && !(b in ['x', 1]) || -c < -(1)").to_string(),
        "a == 12.5 && !(b in [\"x\", 1]) || -c < -(1)"
    );
}

/// A tree of its own, made of steps.
#[derive(Debug)]
enum Tree {
    Leaf(Step),
    Of(Step, Vec<Tree>),
}

fn tree(e: &Expression) -> Tree {
    let mut stack = Vec::new();
    for step in &e.0 {
        let n = step.operands();
        let given = stack.split_off(stack.len() - n);
        stack.push(if n == 0 { Tree::Leaf(step.clone()) } else { Tree::Of(step.clone(), given) });
    }
    stack.pop().unwrap()
}

#[derive(Clone, Debug, PartialEq)]
enum V {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    Compound,
}

/// By the words of CEL's language definition; doubles are exact here, since the generator's are small.
fn walk(t: &Tree, record: &Json) -> Result<V, ()> {
    let at = |p: &Path| p.iter().try_fold(record, |v, name| v.get(name));
    let of = match t {
        Tree::Leaf(step) => {
            return Ok(match step {
                Step::Field(p) => match at(p).ok_or(())? {
                    Json::Null => V::Null,
                    Json::Bool(b) => V::Bool(*b),
                    Json::Number(n) => n.as_i64().map_or_else(|| V::Double(n.as_f64().unwrap()), V::Int),
                    Json::String(t) => V::Text(t.clone()),
                    _ => V::Compound,
                },
                Step::Has(p) => V::Bool(at(p).is_some()),
                Step::Int(n) => V::Int(*n),
                Step::Number(n) => V::Double(n.parse().unwrap()),
                Step::Text(t) => V::Text(t.clone()),
                Step::Op(Op::Null) => V::Null,
                other => V::Bool(*other == Step::Op(Op::True)),
            });
        }
        Tree::Of(step, of) => (step, of),
    };
    let (step, given) = of;
    let values: Vec<Result<V, ()>> = given.iter().map(|t| walk(t, record)).collect();
    let truth = |i: usize| match &values[i] {
        Ok(V::Bool(b)) => Ok(*b),
        _ => Err(()),
    };
    match step {
        Step::Op(Op::And) => {
            return match (truth(0), truth(1)) {
                (Ok(false), _) | (_, Ok(false)) => Ok(V::Bool(false)),
                (Ok(true), Ok(true)) => Ok(V::Bool(true)),
                _ => Err(()),
            };
        }
        Step::Op(Op::Or) => {
            return match (truth(0), truth(1)) {
                (Ok(true), _) | (_, Ok(true)) => Ok(V::Bool(true)),
                (Ok(false), Ok(false)) => Ok(V::Bool(false)),
                _ => Err(()),
            };
        }
        Step::Op(Op::If) => return if truth(0)? { values[1].clone() } else { values[2].clone() },
        _ => {}
    }
    let truths = values.clone();
    let truth = |i: usize| match &truths[i] {
        Ok(V::Bool(b)) => Ok(*b),
        _ => Err(()),
    };
    let values = values.into_iter().collect::<Result<Vec<V>, ()>>()?;
    let double = |v: &V| match v {
        V::Int(n) => Some(*n as f64),
        V::Double(d) => Some(*d),
        _ => None,
    };
    let order = |a: &V, b: &V| match (a, b) {
        (V::Text(a), V::Text(b)) => Ok(a.chars().cmp(b.chars())),
        (V::Bool(a), V::Bool(b)) => Ok(a.cmp(b)),
        (V::Int(a), V::Int(b)) => Ok(a.cmp(b)),
        _ => Ok(double(a).ok_or(())?.partial_cmp(&double(b).ok_or(())?).ok_or(())?),
    };
    let same = |a: &V, b: &V| match (a, b) {
        (V::Compound, V::Compound) => Err(()),
        _ if double(a).is_some() && double(b).is_some() => order(a, b).map(Ordering::is_eq),
        _ => Ok(a == b),
    };
    let text = |i: usize| match &values[i] {
        V::Text(t) => Ok(t.as_str()),
        _ => Err(()),
    };
    let int = |i: usize| match &values[i] {
        V::Int(n) => Ok(i128::from(*n)),
        _ => Err(()),
    };
    let whole = |n: i128| i64::try_from(n).map(V::Int).map_err(|_| ());
    let divisor = || int(1).and_then(|n| if n == 0 { Err(()) } else { Ok(n) });
    Ok(match step {
        Step::Op(Op::Not) => V::Bool(!truth(0)?),
        Step::Op(Op::Negative) => whole(-int(0)?)?,
        Step::Op(Op::Equal) => V::Bool(same(&values[0], &values[1])?),
        Step::Op(Op::NotEqual) => V::Bool(!same(&values[0], &values[1])?),
        Step::Op(Op::Less) => V::Bool(order(&values[0], &values[1])?.is_lt()),
        Step::Op(Op::AtMost) => V::Bool(order(&values[0], &values[1])?.is_le()),
        Step::Op(Op::Greater) => V::Bool(order(&values[0], &values[1])?.is_gt()),
        Step::Op(Op::AtLeast) => V::Bool(order(&values[0], &values[1])?.is_ge()),
        Step::Op(Op::Add) => whole(int(0)? + int(1)?)?,
        Step::Op(Op::Subtract) => whole(int(0)? - int(1)?)?,
        Step::Op(Op::Multiply) => whole(int(0)? * int(1)?)?,
        Step::Op(Op::Divide) => whole(int(0)? / divisor()?)?,
        // CEL's own say that the least integer has no remainder by -1: the quotient overflows.
        Step::Op(Op::Remainder) => {
            whole(int(0)? / divisor()?)?;
            whole(int(0)? % divisor()?)?
        }
        Step::In(_) => {
            let mut found = false;
            for v in &values[1..] {
                found |= same(&values[0], v)?;
            }
            V::Bool(found)
        }
        Step::Op(Op::StartsWith) => V::Bool(text(0)?.starts_with(text(1)?)),
        Step::Op(Op::EndsWith) => V::Bool(text(0)?.ends_with(text(1)?)),
        Step::Op(Op::Contains) => V::Bool(text(0)?.contains(text(1)?)),
        Step::Op(Op::Size) => V::Int(text(0)?.chars().count() as i64),
        other => panic!("{other:?} has no operands"),
    })
}

fn leaf() -> impl Strategy<Value = Vec<Step>> {
    let field = || {
        prop::sample::select(alloc::vec!["a", "b", "c", "d.e"])
            .prop_map(|n| n.split('.').map(String::from).collect::<Path>())
    };
    prop_oneof![
        4 => field().prop_map(|p| alloc::vec![Step::Field(p)]),
        1 => field().prop_map(|p| alloc::vec![Step::Has(p)]),
        2 => prop_oneof![-3i64..4, Just(i64::MAX), Just(i64::MIN)].prop_map(|n| alloc::vec![Step::Int(n)]),
        1 => prop::sample::select(alloc::vec!["5e-1", "1e0", "-15e-1", "2e1"]).prop_map(|n| alloc::vec![Step::Number(n.into())]),
        2 => "[ab\"é]{0,2}".prop_map(|t| alloc::vec![Step::Text(t)]),
        1 => any::<bool>().prop_map(|b| alloc::vec![Step::Op(if b { Op::True } else { Op::False })]),
        1 => Just(alloc::vec![Step::Op(Op::Null)]),
    ]
}

fn steps() -> impl Strategy<Value = Expression> {
    let all = leaf().prop_recursive(6, 40, 3, |inner| {
        let one = prop::sample::select(alloc::vec![Step::Op(Op::Not), Step::Op(Op::Negative), Step::Op(Op::Size)]);
        let two = prop::sample::select(alloc::vec![
            Step::Op(Op::And), Step::Op(Op::And), Step::Op(Op::And), Step::Op(Op::Or), Step::Op(Op::Or), Step::Op(Op::Or), Step::Op(Op::Equal), Step::Op(Op::NotEqual), Step::Op(Op::Less), Step::Op(Op::AtMost),
            Step::Op(Op::Greater), Step::Op(Op::AtLeast), Step::Op(Op::Add), Step::Op(Op::Subtract), Step::Op(Op::Multiply), Step::Op(Op::Divide), Step::Op(Op::Remainder),
            Step::Op(Op::StartsWith), Step::Op(Op::EndsWith),
        ]);
        prop_oneof![
            1 => (inner.clone(), one).prop_map(|(a, s)| [a, alloc::vec![s]].concat()),
            4 => (inner.clone(), inner.clone(), two).prop_map(|(a, b, s)| [a, b, alloc::vec![s]].concat()),
            1 => (inner.clone(), "[ab]{0,2}").prop_map(|(a, t)| [a, alloc::vec![Step::Text(t), Step::Op(Op::Contains)]].concat()),
            1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| [a, b, c, alloc::vec![Step::Op(Op::If)]].concat()),
            1 => (inner.clone(), prop::collection::vec(inner, 0..4)).prop_map(|(a, list)| {
                let n = list.len() as u32;
                [a, list.concat(), alloc::vec![Step::In(n)]].concat()
            }),
        ]
    });
    all.prop_map(Expression)
}

fn value() -> impl Strategy<Value = Json> {
    prop_oneof![
        (-3i64..4).prop_map(Json::from),
        prop_oneof![Just(i64::MAX), Just(i64::MIN)].prop_map(Json::from),
        prop::sample::select(alloc::vec![0.5, -1.5, 20.0, 1.0]).prop_map(Json::from),
        "[ab\"é\n]{0,3}".prop_map(Json::from),
        any::<bool>().prop_map(Json::from),
        Just(Json::Null),
        Just(serde_json::json!([1])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn the_machine_says_what_the_tree_says(
        e in steps(),
        fields in prop::collection::vec((prop::sample::select(alloc::vec!["a", "b", "c", "d"]), value(), any::<bool>()), 0..5),
    ) {
        let mut record = serde_json::Map::new();
        for (name, value, below) in fields {
            let value = if name == "d" && below { serde_json::json!({ "e": value }) } else { value };
            record.insert(name.into(), value);
        }
        let record = Json::Object(record);
        let text = e.to_string();
        // Types that do not go together are refused as text, and an error here.
        if e.check(Wanted::Truth).or_else(|_| e.check(Wanted::Value)).is_ok() {
            prop_assert_eq!(&read(&text), &e, "{}", text);
        }
        let found = ask(&e, &record.to_string()).map_err(|_| ());
        let expected = walk(&tree(&e), &record).map(|v| match v {
            V::Null => Json::Null,
            V::Bool(b) => b.into(),
            V::Int(n) => n.into(),
            V::Text(t) => t.into(),
            V::Double(_) => serde_json::json!({ "number": 0 }),
            V::Compound => serde_json::json!({ "compound": true }),
        });
        match (&found, &expected) {
            (Ok(a), Ok(b)) if a.get("number").is_some() => prop_assert!(b.get("number").is_some(), "{} of {}", text, record),
            _ => prop_assert_eq!(found, expected, "{} of {}", text, record),
        }
    }

    #[test]
    fn no_text_panics(text in "[ab.()!&|=<>+*/%?:,\\[\\]\"'`\\\\0-9xehasiznul \n-]{0,60}") {
        let _ = parse(&text, Wanted::Truth).map(|e| e.to_string());
    }
}
