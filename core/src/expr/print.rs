//! Steps → CEL's text, with the brackets that it needs.
//!
//! Invariants
//! - What is written is read as the same steps (`parse`).
//!
//! Not here: steps that `check` would refuse.

use super::{Expression, Level, Op, Step};
use std::fmt;

/// Words that cannot stand as names without backticks.
const WORDS: [&str; 20] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "while",
];

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<(String, Level)> = Vec::new();
        for step in &self.0 {
            let given = parts.split_off(parts.len().saturating_sub(step.operands()));
            let given: Vec<String> = given.into_iter().enumerate().map(|(i, part)| bracketed(step, i, part)).collect();
            parts.push((written(step, &given), step.level()));
        }
        f.write_str(parts.last().map_or("", |(text, _)| text))
    }
}

fn bracketed(step: &Step, i: usize, (text, level): (String, Level)) -> String {
    // A number behind a minus would take it for its own sign.
    let number = *step == Step::Op(Op::Negative) && text.starts_with(|c: char| c.is_ascii_digit());
    if level < step.least(i) || number { format!("({text})") } else { text }
}

fn written(step: &Step, given: &[String]) -> String {
    let part = |i: usize| given.get(i).map_or("", String::as_str);
    match step {
        Step::Field(path) => field(path),
        Step::Has(path) => format!("has({})", field(path)),
        Step::Int(n) => n.to_string(),
        Step::Number(n) => number(n),
        Step::Text(t) => quoted(t),
        Step::In(_) => format!("{} in [{}]", part(0), given.get(1..).unwrap_or_default().join(", ")),
        Step::Op(op) => match op {
            Op::True | Op::False | Op::Null => op.row().name.into(),
            Op::Not => format!("!{}", part(0)),
            Op::Negative => format!("-{}", part(0)),
            Op::If => format!("{} ? {} : {}", part(0), part(1), part(2)),
            Op::StartsWith | Op::EndsWith | Op::Contains => format!("{}.{}({})", part(0), op.row().name, part(1)),
            Op::Size => format!("size({})", part(0)),
            _ => format!("{} {} {}", part(0), op.row().name, part(1)),
        },
    }
}

fn field(path: &[String]) -> String {
    let mut out = String::new();
    for (i, name) in path.iter().enumerate() {
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
        let dot = if i == 0 { "" } else { "." };
        match (plain && !WORDS.contains(&name.as_str()), name.contains('`')) {
            (true, _) => out += &format!("{dot}{name}"),
            (false, true) if i > 0 => out += &format!("[{}]", quoted(name)),
            (false, _) => out += &format!("{dot}`{name}`"),
        }
    }
    out
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out += "\\n",
            '\r' => out += "\\r",
            '\t' => out += "\\t",
            c if c.is_control() => out += &format!("\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out + "\""
}

/// A canonical spelling as people write it: `125e-1` is `12.5`.
fn number(spelling: &str) -> String {
    let (digits, exponent) = spelling.split_once('e').unwrap_or((spelling, "0"));
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    match exponent.parse::<i64>() {
        Ok(zeros @ 0..=18) => format!("{sign}{digits}{}.0", "0".repeat(zeros as usize)),
        Ok(behind @ -18..0) => {
            let behind = behind.unsigned_abs() as usize;
            let digits = format!("{digits:0>width$}", width = behind + 1);
            let (whole, fraction) = digits.split_at(digits.len() - behind);
            format!("{sign}{whole}.{fraction}")
        }
        _ => spelling.into(),
    }
}
