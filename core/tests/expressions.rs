//! Filters, computed fields and decimals from outside: what becomes of records, what rows show, and that a filter over a
//! stream counts what a policy without one counts of the records that pass.

use plimsoll_core::account::{Account, Reason};
use plimsoll_core::engine::{Engine, FlushMode};
use plimsoll_core::json::PADDING;
use plimsoll_core::policy::Policy;
use plimsoll_core::policy::text::{Syntax, parse};
use plimsoll_core::rows::Rows;
use plimsoll_core::wire::effects;
use plimsoll_core::wire::frame::{self, Kind};
use plimsoll_core::{policy::explain, time::ArrivalTime};
use proptest::prelude::*;

const POLICY: &str = r#"policy = "sales"
where = "WHERE"
[input]
time = { field = "ts", unit = "ms", unit_check = false }
key = ["k"]
[fields]
[window]
fixed = "10ms"
[watermark]
max = true
delay = "5ms"
max_future = "50ms"
[measures]
events = "count"
"#;

fn policy(filter: &str, edits: &[(&str, &str)]) -> Policy {
    let filter = if filter.is_empty() { String::new() } else { format!("where = '''{filter}'''") };
    let text = POLICY.replace("where = \"WHERE\"", &filter);
    let text = edits.iter().fold(text, |t, (a, b)| {
        assert!(t.contains(a), "{a}");
        t.replace(a, b)
    });
    parse(&text, Syntax::Toml).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

struct Run {
    engine: Engine,
    rows: Rows,
    lines: u64,
}

impl Run {
    fn new(policy: &Policy) -> Self {
        Self { engine: Engine::new(policy.clone()), rows: Rows::new(policy), lines: 0 }
    }

    fn feed(&mut self, lines: &str, arrival: Option<i64>) -> &mut Self {
        let mut buf = Vec::new();
        frame::push(&mut buf, Kind::Lines, self.lines, arrival.map(ArrivalTime::from_millis), lines.as_bytes());
        self.lines += lines.lines().count() as u64;
        let len = buf.len();
        buf.resize(len + PADDING, 0);
        self.engine.apply(&buf, len).unwrap();
        self
    }

    fn flush(&mut self) -> &mut Self {
        let mut out = Vec::new();
        self.engine.flush(FlushMode::Drain, &mut out);
        self.rows.add(effects::decode(&out).unwrap()).unwrap();
        self
    }

    fn restore(&mut self) {
        let mut bytes = Vec::new();
        self.engine.snapshot(&mut bytes);
        self.engine = Engine::restore(self.engine.policy().clone(), &bytes).unwrap();
    }

    fn main(&self) -> String {
        let mut out = Vec::new();
        self.rows.write_main(&mut out);
        String::from_utf8(out).unwrap().replace("\"window_start\":", "").replace("\"window_end\":", "")
    }

    fn late(&self) -> String {
        let mut out = Vec::new();
        self.rows.write_late(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn dead(&self) -> Vec<(u64, Reason, String)> {
        self.rows.dead().iter().map(|d| (d.ordinal, d.reason, self.rows.explain(d))).collect()
    }

    fn classes(&self) -> [u64; 6] {
        let a: &Account = self.rows.account();
        assert!(a.balanced(), "{a:?}");
        [a.read, a.counted, a.late, a.future, a.rejected, a.filtered]
    }
}

#[test]
fn a_filter_counts_what_it_leaves_out() {
    let mut run = Run::new(&policy(r#"country == "JP" && n > 1"#, &[]));
    run.feed(
        concat!(
            "{\"k\":\"a\",\"ts\":1,\"country\":\"JP\",\"n\":2}\n",
            "{\"k\":\"a\",\"ts\":2,\"country\":\"DE\",\"n\":2}\n",
            // False whatever n is; no key either.
            "{\"ts\":3,\"country\":\"DE\"}\n",
            // Nor a time that can be read.
            "{\"k\":\"a\",\"ts\":\"soon\",\"country\":\"DE\"}\n",
            "{\"country\":\"DE\"}\n",
            // Neither true nor false.
            "{\"k\":\"a\",\"ts\":4,\"n\":2}\n",
            "{\"k\":\"a\",\"ts\":5,\"country\":\"JP\",\"n\":\"2\"}\n",
            "{\"k\":\"a\",\"ts\":6,\"country\":\"\\u004aP\",\"n\":9.5}\n",
            // It passes, and is faulty in itself.
            "{\"ts\":7,\"country\":\"JP\",\"n\":2}\n",
            "{\"k\":\"a\",\"ts\":8,\"country\":\"JP\",\"n\":2\n",
        ),
        None,
    );
    run.flush();
    assert_eq!(run.classes(), [10, 2, 0, 0, 4, 4]);
    assert_eq!(run.main(), "{\"k\":\"a\",0,10,\"events\":2,\"state\":\"provisional\"}\n");
    let missing =
        |field: &str| format!("`where` says nothing of it: the field `{field}` is missing or of another type");
    let dead = [
        (5, Reason::FilterError, missing("country")),
        (6, Reason::FilterError, missing("n")),
        (8, Reason::MissingField, "the field `k` is missing".into()),
        (9, Reason::Malformed, "not one JSON object: fault at byte 36".into()),
    ];
    assert_eq!(run.dead(), dead);
    let mut run = Run::new(&policy("n / d > 1", &[]));
    run.feed("{\"k\":\"a\",\"ts\":1,\"n\":2,\"d\":0}\n", None).flush();
    assert_eq!(run.dead()[0].1, Reason::FilterError);
    assert!(run.dead()[0].2.contains("divided by zero"), "{:?}", run.dead());
}

#[test]
fn what_is_left_out_tells_the_time_all_the_same() {
    let filtered = |ts: i64| format!("{{\"k\":\"a\",\"ts\":{ts},\"x\":0}}\n");
    let counted = |ts: i64| format!("{{\"k\":\"a\",\"ts\":{ts},\"x\":1}}\n");
    for edits in [
        &[][..],
        &[("fixed = \"10ms\"", "sliding = { size = \"10ms\", every = \"5ms\" }")],
        &[("[measures]", "[trigger]\n[measures]")],
        &[("[measures]", "[trigger]\nbundle = \"frame\"\n[measures]")],
    ] {
        let mut run = Run::new(&policy("x == 1", edits));
        run.feed(&counted(1), Some(10)).feed(&filtered(30), Some(40)).feed(&counted(2), Some(41));
        // Its clock is not believed, and it is no dead letter: it does not count.
        run.feed(&filtered(1_000), Some(42)).feed(&filtered(7), Some(43));
        // Without a time it only has a class.
        run.feed("{\"x\":0}\n", Some(44));
        run.flush();
        assert_eq!(run.rows.progress().watermark.map(|w| w.as_millis()), Some(25), "{edits:?}");
        assert_eq!(run.rows.progress().arrival.map(|a| a.as_millis()), Some(43), "{edits:?}");
        assert_eq!(run.rows.progress().event.map(|a| a.as_millis()), Some(1), "{edits:?}");
        assert_eq!(run.classes(), [6, 1, 1, 0, 0, 4], "{edits:?}");
        assert!(run.late().contains("\"events\":1"), "{edits:?}");
        assert!(run.rows.dead().is_empty());
    }
}

#[test]
fn computed_fields_are_keys_and_measures() {
    let mut run = Run::new(&policy(
        "",
        &[
            ("key = [\"k\"]", "key = [\"k\", \"site\", \"big\"]"),
            (
                "[fields]",
                "[fields]\nsite = 'has(at.site) ? at.site : \"no \\\"site\\\"\"'\nbig = \"n >= 100\"\nk = '\"<\" == k ? \"lt\" : k'\n\
                 cents = \"euros * 100 + cents\"",
            ),
            ("events = \"count\"", "cents = { sum = \"cents\" }\nsites = { count = \"site\" }"),
        ],
    ));
    run.feed(
        concat!(
            "{\"k\":\"a\",\"ts\":1,\"n\":99,\"at\":{\"site\":\"s\"},\"euros\":1,\"cents\":5}\n",
            "{\"k\":\"<\",\"ts\":2,\"n\":99.5,\"at\":{},\"euros\":2,\"cents\":0}\n",
            "{\"k\":\"\\u003c\",\"ts\":3,\"n\":0,\"euros\":3,\"cents\":1}\n",
            "{\"k\":\"q\\\"\\u00e9\",\"ts\":4,\"n\":1e2,\"at\":{\"site\":\"x\\ny\"},\"euros\":0,\"cents\":-7}\n",
            "{\"k\":\"a\",\"ts\":5,\"n\":1,\"at\":{\"site\":\"s\"},\"euros\":1}\n",
            "{\"k\":\"a\",\"ts\":6,\"n\":1,\"at\":{\"site\":\"s\"},\"euros\":9223372036854775807,\"cents\":0}\n",
            "{\"k\":\"a\",\"ts\":7,\"n\":1,\"at\":{\"site\":[1]},\"euros\":1,\"cents\":0}\n",
            "{\"k\":\"a\",\"ts\":8,\"n\":1,\"at\":{\"site\":null},\"euros\":1,\"cents\":0}\n",
        ),
        None,
    );
    run.flush();
    let rows = concat!(
        "{\"k\":\"a\",\"site\":\"s\",\"big\":false,0,10,\"cents\":105,\"sites\":1,\"state\":\"provisional\"}\n",
        "{\"k\":\"lt\",\"site\":\"no \\\"site\\\"\",\"big\":false,0,10,\"cents\":501,\"sites\":2,\"state\":\"provisional\"}\n",
        "{\"k\":\"q\\\"é\",\"site\":\"x\\ny\",\"big\":true,0,10,\"cents\":-7,\"sites\":1,\"state\":\"provisional\"}\n",
    );
    assert_eq!(run.main(), rows);
    let dead: Vec<(u64, Reason)> = run.dead().iter().map(|(at, reason, _)| (*at, *reason)).collect();
    let computed = Reason::ComputedError;
    assert_eq!(dead, [(4, computed), (5, computed), (6, computed), (7, Reason::MissingField)]);
    assert!(run.dead()[0].2.starts_with("the computed field `cents` has no value"), "{:?}", run.dead());
}

#[test]
fn computed_fields_are_kept_in_panes() {
    let mut run = Run::new(&policy(
        "x",
        &[
            ("[fields]", "[fields]\nname = 'n > 1 ? \"many\" : t'\nn = \"n\""),
            (
                "[measures]",
                "[trigger]\n[measures]\nnames = { list = { field = \"name\", most = 9 } }\nlast = { last = \"n\" }",
            ),
        ],
    ));
    run.feed(
        "{\"k\":1,\"ts\":1,\"n\":1,\"t\":\"\\u0041\\\"\",\"x\":true}\n{\"k\":1,\"ts\":2,\"n\":7,\"x\":true}\n{\"k\":1,\"ts\":30,\"x\":false}\n",
        Some(50),
    );
    let mut out = Vec::new();
    run.engine.panes(&mut out);
    let panes = plimsoll_core::wire::panes::decode(&out).unwrap().panes;
    let mut text = Vec::new();
    panes.iter().for_each(|p| plimsoll_core::rows::write_pane(run.engine.policy(), p, &mut text));
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("\"names\":{\"values\":[\"A\\\"\",\"many\"],\"left_out\":0},\"last\":7"), "{text}");
}

#[test]
fn decimals_are_exact() {
    let price = |op: &str| format!("{{ {op} = {{ field = \"p\", scale = 2 }} }}");
    let measures: Vec<String> =
        ["sum", "min", "max", "squares", "mean", "variance"].iter().map(|op| format!("{op} = {}", price(op))).collect();
    let mut run = Run::new(&policy("", &[("events = \"count\"", &measures.join("\n"))]));
    let line = |p: &str| format!("{{\"k\":\"a\",\"ts\":1,\"p\":{p}}}\n");
    for p in ["0.1", "0.20", "\"0.30\"", "1", "-1e-2", "null"] {
        run.feed(&line(p), None);
    }
    for p in [
        "0.005",
        "\"0.001\"",
        "\"1,5\"",
        "\"\"",
        "\"1.\"",
        "true",
        "92233720368547758.08",
        "99999999999999999999",
        "{}",
    ] {
        run.feed(&line(p), None);
    }
    run.feed("{\"k\":\"a\",\"ts\":1}\n", None).flush();
    // 10 + 20 + 30 + 100 - 1 = 159 hundredths; squares 100 + 400 + 900 + 10000 + 1.
    assert_eq!(
        run.main(),
        "{\"k\":\"a\",0,10,\"sum\":1.59,\"min\":-0.01,\"max\":1.00,\"squares\":1.1401,\"mean_sum\":1.59,\"mean_count\":5,\
         \"variance_sum\":1.59,\"variance_count\":5,\"variance_squares\":1.1401,\"mean\":0.318,\"variance\":0.126896,\
         \"state\":\"provisional\"}\n"
    );
    let reasons: Vec<Reason> = run.dead().iter().map(|(_, reason, _)| *reason).collect();
    let (digits, kind, range) = (Reason::TooPrecise, Reason::WrongType, Reason::OutOfRange);
    assert_eq!(reasons, [digits, digits, kind, kind, kind, kind, range, range, kind, Reason::MissingField]);
    assert_eq!(run.dead()[0].2, "the field `p` holds a number with more decimals than the measure's scale");
}

#[test]
fn an_expression_is_its_meaning() {
    let with = |filter: &str| policy(filter, &[]);
    let (a, b) = (with("a == 'x'&&(n>1.50)"), with("a == \"x\" && n > 15e-1 // why"));
    assert_eq!((a.digest(), a.shape()), (b.digest(), b.shape()));
    let canonical = String::from_utf8(a.canonical().to_vec()).unwrap();
    let steps = r#""where":[["field","a"],["text","x"],["=="],["field","n"],["number","15e-1"],[">"],["&&"]]"#;
    assert!(canonical.starts_with(&format!("{{\"v\":1,\"policy\":\"sales\",{steps},\"input\":")), "{canonical}");
    assert_eq!(Policy::from_canonical(a.canonical()).unwrap(), a);
    // Other records make other rows.
    let c = with("a == 'y' && n > 1.5");
    assert_ne!(a.shape(), c.shape());
    assert_ne!(a.shape(), with("").shape());
    let text = explain(&a);
    assert!(text.contains("Counts only records where a == \"x\" && n > 1.5; the others"), "{text}");
}

#[test]
fn a_hostile_canonical_form_is_refused_at_once() {
    let good = policy("a == 'x'", &[("[fields]", "[fields]\nk = 'b'")]);
    let text = String::from_utf8(good.canonical().to_vec()).unwrap();
    let filter = r#"[["field","a"],["text","x"],["=="]]"#;
    assert!(text.contains(filter));
    let many = format!("[{}[\"null\"]]", "[\"field\",\"a\"],".repeat(1_000_000));
    for (hostile, said) in [
        ("[]", "one value"),
        (r#"[["&&"]]"#, "one for each place"),
        (r#"[["and"]]"#, "no step"),
        (r#"[["&&","x"]]"#, "no step"),
        (r#"[["int","1"]]"#, "true or false"),
        (r#"[["int","01"]]"#, "no step"),
        (r#"[["int","9223372036854775808"]]"#, "no step"),
        (r#"[["text"]]"#, "no step"),
        (r#"[["field"]]"#, "a field's name"),
        (r#"[["field","a"],["field","a","b"],["&&"]]"#, "not an object"),
        (r#"[["field","a"],["in","4294967295"]]"#, "one for each place"),
        (r#"[["field","a"],["number","1.0"],["<"]]"#, "digits"),
        ("null", "expected `[`"),
        (&many, "at most 256"),
    ] {
        let e = Policy::from_canonical(text.replace(filter, hostile).as_bytes()).unwrap_err().to_string();
        assert!(e.contains(said), "{}: {e}", &hostile[..hostile.len().min(80)]);
    }
    let fields: String = (0..100_000).map(|i| format!(",{{\"name\":\"f{i}\",\"value\":[[\"int\",\"1\"]]}}")).collect();
    let all = text.replace("}],\"window\"", &format!("}}{fields}],\"window\""));
    assert_ne!(all, text);
    let e = Policy::from_canonical(all.as_bytes()).unwrap_err().to_string();
    assert!(e.contains("at most 16"), "{e}");
}

/// Lines of which each is judged by hand: whether it is JSON with a `c` that is there, and one of the wanted.
fn lines() -> impl Strategy<Value = Vec<(String, Option<bool>)>> {
    let line = (0i64..60, 0u8..3, 0u8..9, -9i64..9);
    let line = line.prop_map(|(ts, key, kind, n)| match kind {
        // What is false on one side is false.
        0 => (format!("{{\"k\":{key},\"ts\":{ts},\"n\":{n}}}\n"), (n % 2 != 0).then_some(false)),
        1 => (format!("{{\"k\":{key},\"ts\":{ts},\"c\":7,\"n\":{n}}}\n"), Some(false)),
        2 => (format!("{{\"k\":{key},\"ts\":{ts},\"c\":\"\\u0064e\",\"n\":{n}}}\n"), Some(n % 2 == 0)),
        3 => (format!("{{\"k\":{key},\"ts\":{ts},\"c\":\"de\",\"n\":{n}.5}}\n"), None),
        4 => (format!("{{\"c\":\"fr\",\"ts\":{ts}}}\n"), Some(false)),
        _ => (
            format!("{{\"c\":\"{}\",\"k\":{key},\"n\":{n},\"ts\":{ts}}}\n", ["de", "jp", "fr"][usize::from(kind % 3)]),
            Some(kind % 3 != 2 && n % 2 == 0),
        ),
    });
    proptest::collection::vec(line, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_filter_is_the_same_as_fewer_records(lines in lines(), cut in 1usize..9, restore in any::<bool>(), trigger in any::<bool>()) {
        // No record is late, so that what is left out decides about no other.
        let mut edits = vec![("delay = \"5ms\"", "delay = \"1h\""), ("events = \"count\"", "events = \"count\"\nn = { sum = \"n\" }")];
        if trigger {
            edits.push(("[measures]", "[trigger]\nwhen = { repeatedly = { after_count = 2 } }\n[measures]"));
        }
        let mut run = Run::new(&policy("c in [\"de\", \"jp\"] && n % 2 == 0", &edits));
        for lines in lines.chunks(cut) {
            run.feed(&lines.iter().map(|(line, _)| line.as_str()).collect::<String>(), None);
            if restore {
                run.restore();
            }
        }
        run.flush();
        let mut plain = Run::new(&policy("", &edits));
        let passed = lines.iter().filter(|(_, passes)| *passes == Some(true));
        plain.feed(&passed.map(|(line, _)| line.as_str()).collect::<String>(), None).flush();
        prop_assert_eq!(run.main(), plain.main());
        let n = |wanted| lines.iter().filter(|(_, passes)| *passes == wanted).count() as u64;
        prop_assert_eq!(run.classes(), [lines.len() as u64, n(Some(true)), 0, 0, n(None), n(Some(false))]);
        prop_assert!(run.dead().iter().all(|(_, reason, _)| *reason == Reason::FilterError));
    }
}
