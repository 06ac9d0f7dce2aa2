//! Small typed readers over the tree. Each reads one field, and notes what is wrong with it and goes on.
//!
//! Invariants
//! - A reader that returns `None` has noted why. The field counts as broken from then on: whatever else would be said
//!   about it is left out.
//!
//! Not here: which fields a policy has (`walk`).

use super::Syntax;
use super::diagnostic::{Code, Finding};
use super::tree::{Member, Node, Span, Value, cut};
use crate::policy::{Path, PolicyError, duration, limits};
use crate::time::TimeDelta;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The fields that an object may have.
#[derive(Debug)]
pub struct Shape {
    /// Those of this version.
    pub fields: &'static [&'static str],
}

/// An object that is being read.
#[derive(Debug)]
pub struct Section<'n> {
    path: String,
    place: Span,
    members: &'n [Member],
    // Fields that are not missed: something stands there that probably means them.
    excused: Vec<&'static str>,
}

/// One field of a section.
#[derive(Clone, Debug)]
pub struct Field<'n> {
    /// Where it stands, like `window.fixed`.
    pub path: String,
    pub(super) key: Span,
    pub(super) node: &'n Node,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    key: Span,
    value: Span,
}

/// Where everything stands and what is wrong so far.
#[derive(Debug)]
pub struct Reader {
    syntax: Syntax,
    /// Of a document of this kind: which section has a field of this name; the document itself is "".
    owner: fn(&str) -> Option<&'static str>,
    findings: Vec<Finding>,
    broken: BTreeSet<String>,
    places: BTreeMap<String, Place>,
}

impl Reader {
    pub(super) fn new(syntax: Syntax, owner: fn(&str) -> Option<&'static str>) -> Self {
        Self { syntax, owner, findings: Vec::new(), broken: BTreeSet::new(), places: BTreeMap::new() }
    }

    pub(super) fn into_findings(self) -> Vec<Finding> {
        self.findings
    }

    /// Notes what is wrong with a field.
    pub(super) fn note(&mut self, code: Code, path: &str, span: Span, message: String, hint: Option<String>) {
        self.broken.insert(path.into());
        self.findings.push(Finding { code, path: path.into(), span, message, hint });
    }

    /// Notes a value that is not what was expected.
    pub fn refuse(&mut self, code: Code, f: &Field<'_>, expected: &str, hint: Option<String>) {
        let message = format!("`{}`: found {}, expected {expected}", cut(&f.path), f.node.found());
        self.note(code, &f.path, f.node.span, message, hint);
    }

    /// Notes what is wrong with a value that must not be repeated.
    pub fn refuse_secret(&mut self, f: &Field<'_>, expected: &str) {
        let message = format!("`{}`: expected {expected}", cut(&f.path));
        self.note(Code::WrongValue, &f.path, f.node.span, message, None);
    }

    /// Notes what `validate` says, unless the field, or what it stands in, is broken already.
    pub(super) fn refusal(&mut self, e: &PolicyError) {
        let (path, is_name) = match e {
            PolicyError::Value { field, .. } => (field, false),
            PolicyError::Name { field, .. } => (field, true),
            PolicyError::NotCanonical { .. } => unreachable!("only from_canonical says so"),
        };
        let mut place = None;
        for at in up(path) {
            if self.broken.contains(at) {
                return;
            }
            place = place.or_else(|| self.places.get(at).map(|p| if is_name { p.key } else { p.value }));
        }
        let span = place.unwrap_or(Span { from: 0, to: 0 });
        self.findings.push(Finding {
            code: Code::WrongValue,
            path: path.clone(),
            span,
            message: e.to_string(),
            hint: None,
        });
    }

    /// An example in the document's own language.
    pub(super) fn like(&self, toml: &str, json: &str) -> Option<String> {
        Some(format!("like {}", if self.syntax == Syntax::Toml { toml } else { json }))
    }

    /// The whole document.
    pub(super) fn document<'n>(&mut self, root: &'n Node, shape: &Shape) -> Option<Section<'n>> {
        let place = Span { from: root.span.from, to: root.span.from };
        self.section(&Field { path: String::new(), key: place, node: root }, shape)
    }

    /// An object with a fixed set of fields: notes those that it cannot have.
    pub fn section<'n>(&mut self, f: &Field<'n>, shape: &Shape) -> Option<Section<'n>> {
        let mut section = self.members(f, "a group of fields")?;
        for m in section.members {
            let name = m.name.as_str();
            if shape.fields.contains(&name) {
                continue;
            }
            let path = join(&f.path, name);
            let meant = nearest(name, shape.fields);
            section.excused.extend(meant);
            let owner = (self.owner)(name).filter(|_| meant.is_none());
            let within = if f.path.is_empty() { String::new() } else { format!(" in `{}`", f.path) };
            let hint = match (meant, owner) {
                (Some(meant), _) => format!("did you mean `{meant}`?"),
                (None, Some("")) => "it belongs to the document itself, above the first section".into(),
                (None, Some(owner)) => format!("it belongs to `{owner}`"),
                (None, None) => format!("expected {}", one_of(shape.fields, "`")),
            };
            self.note(Code::UnknownField, &path, m.key, format!("unknown field `{}`{within}", cut(name)), Some(hint));
        }
        Some(section)
    }

    /// An object as one value of a field: like `section`, but it shows how it may look.
    pub(super) fn group<'n>(&mut self, f: &Field<'n>, shape: &Shape, [toml, json]: [&str; 2]) -> Option<Section<'n>> {
        if matches!(f.node.value, Value::Object(_)) {
            return self.section(f, shape);
        }
        self.refuse(Code::WrongType, f, "a group of fields", self.like(toml, json));
        None
    }

    /// An object with any fields, in order.
    pub(super) fn members<'n>(&mut self, f: &Field<'n>, expected: &str) -> Option<Section<'n>> {
        let Value::Object(members) = &f.node.value else {
            let path = if f.path.is_empty() { String::new() } else { format!("`{}`: ", cut(&f.path)) };
            let message = format!("{path}found {}, expected {expected}", f.node.found());
            self.note(Code::WrongType, &f.path, f.node.span, message, None);
            return None;
        };
        let mut seen = BTreeSet::new();
        for m in members {
            let path = join(&f.path, &m.name);
            if !seen.insert(m.name.as_str()) {
                self.note(Code::DuplicateField, &path, m.key, format!("`{}` is written twice", cut(&path)), None);
            }
            self.places.entry(path).or_insert(Place { key: m.key, value: m.node.span });
        }
        Some(Section { path: f.path.clone(), place: f.key, members, excused: Vec::new() })
    }

    /// A field that must be there; `toml` and `json` show how it may look.
    pub(super) fn required<'n>(&mut self, s: &Section<'n>, name: &str, toml: &str, json: &str) -> Option<Field<'n>> {
        let field = s.optional(name);
        if field.is_none() {
            let path = join(&s.path, name);
            if s.excused.contains(&name) {
                self.broken.insert(path);
            } else {
                self.note(Code::MissingField, &path, s.place, format!("missing field `{path}`"), self.like(toml, json));
            }
        }
        field
    }

    /// One of several fields, for an object that holds just one of them: the first in the order of the text. Others are
    /// refused, for the reason given; `toml` and `json` show how one may look.
    pub fn one_of<'n>(
        &mut self,
        s: &Section<'n>,
        names: &[&'static str],
        reason: &str,
        mend: &str,
        [toml, json]: [&str; 2],
    ) -> Option<(&'static str, Field<'n>)> {
        let mut written: Vec<_> = names.iter().filter_map(|name| Some((*name, s.optional(name)?))).collect();
        written.sort_by_key(|(_, f)| f.key);
        for (_, other) in written.iter().skip(1) {
            let message = format!("`{}` excludes `{}`: {reason}", cut(&other.path), cut(&written[0].1.path));
            self.note(Code::Conflict, &other.path, other.key, message, Some(mend.into()));
        }
        if written.is_empty() {
            if s.excused.iter().any(|name| names.contains(name)) {
                self.broken.insert(s.path.clone());
            } else {
                let message = format!("missing one of {} in `{}`", one_of(names, "`"), cut(&s.path));
                self.note(Code::MissingField, &s.path, s.place, message, self.like(toml, json));
            }
        }
        written.into_iter().next()
    }

    /// Nothing more is to be said of an object: something in it is wrong, and has been said.
    pub(super) fn give_up(&mut self, s: &Section<'_>) {
        self.broken.insert(s.path.clone());
    }

    /// Whether something is wrong with a field itself.
    pub(super) fn is_broken(&self, path: &str) -> bool {
        self.broken.contains(path)
    }

    /// Text.
    pub fn text<'n>(&mut self, f: &Field<'n>, expected: &str, hint: Option<String>) -> Option<&'n str> {
        match &f.node.value {
            Value::Text(t) => Some(t),
            _ => {
                self.refuse(Code::WrongType, f, expected, hint);
                None
            }
        }
    }

    /// `true` or `false`.
    pub fn flag(&mut self, f: &Field<'_>) -> Option<bool> {
        match f.node.value {
            Value::Bool(b) => Some(b),
            _ => {
                self.refuse(Code::WrongType, f, "true or false", None);
                None
            }
        }
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, f: &Field<'_>, words: &[(&'static str, T)]) -> Option<T> {
        let names: Vec<&'static str> = words.iter().map(|(w, _)| *w).collect();
        let expected = one_of(&names, "\"");
        let text = self.text(f, &expected, None)?;
        let chosen = words.iter().find(|(w, _)| *w == text).map(|(_, t)| *t);
        if chosen.is_none() {
            let hint =
                nearest(text, &names).filter(|_| names.len() > 1).map(|meant| format!("did you mean \"{meant}\"?"));
            self.refuse(Code::WrongValue, f, &expected, hint);
        }
        chosen
    }

    /// A duration with its unit.
    pub fn duration(&mut self, f: &Field<'_>) -> Option<TimeDelta> {
        self.duration_or(f, None)
    }

    /// A duration, in a field that may also be `"none"`.
    pub(super) fn duration_or_none(&mut self, f: &Field<'_>) -> Option<TimeDelta> {
        match &f.node.value {
            Value::Text(t) if t == "none" => None,
            _ => self.duration_or(f, Some("or \"none\"")),
        }
    }

    /// A duration, in a field that may also be `"unbounded"`.
    pub(super) fn duration_or_unbounded(&mut self, f: &Field<'_>) -> Option<TimeDelta> {
        match &f.node.value {
            Value::Text(t) if t == "unbounded" => Some(limits::LATENESS_UNBOUNDED),
            _ => self.duration_or(f, Some("or \"unbounded\"")),
        }
    }

    /// A duration that may be negative: `"-5m"`.
    pub(super) fn shift(&mut self, f: &Field<'_>) -> Option<TimeDelta> {
        match &f.node.value {
            Value::Text(t) if t.starts_with('-') => match duration::parse(&t[1..]) {
                Ok(d) => Some(TimeDelta::from_millis(-d.as_millis())),
                Err(e) => {
                    self.refuse(Code::WrongValue, f, &e.to_string(), None);
                    None
                }
            },
            _ => self.duration(f),
        }
    }

    fn duration_or(&mut self, f: &Field<'_>, or: Option<&str>) -> Option<TimeDelta> {
        if let Value::Text(t) = &f.node.value {
            let d = duration::parse(t);
            if let Err(e) = d {
                self.refuse(Code::WrongValue, f, &e.to_string(), or.map(str::to_owned));
            }
            return d.ok();
        }
        let like = match &f.node.value {
            Value::Number(n) if n.len() < 10 && n.bytes().all(|b| b.is_ascii_digit()) => format!("like \"{n}s\""),
            _ => "like \"60s\"".into(),
        };
        let hint = [Some(like.as_str()), or].into_iter().flatten().collect::<Vec<_>>().join(" ");
        self.refuse(Code::WrongType, f, "a duration with a unit", Some(hint));
        None
    }

    /// `true`, where the field says all by being there.
    pub(super) fn sign(&mut self, f: &Field<'_>) {
        let code = match f.node.value {
            Value::Bool(true) => return,
            Value::Bool(false) => Code::WrongValue,
            _ => Code::WrongType,
        };
        self.refuse(code, f, "true, or no such field", None);
    }

    /// A whole number; `expected` names it with its bounds, which `validate` knows.
    pub fn whole<T: FromStr>(&mut self, f: &Field<'_>, expected: &str) -> Option<T> {
        match &f.node.value {
            Value::Number(n) if n.bytes().all(|b| b.is_ascii_digit() || b == b'-') => {
                let n = n.parse::<T>().ok();
                if n.is_none() {
                    self.refuse(Code::WrongValue, f, expected, None);
                }
                n
            }
            _ => {
                self.refuse(Code::WrongType, f, &format!("{expected} as a whole number"), None);
                None
            }
        }
    }

    /// A decimal fraction in thousandths, exactly, within bounds; `expected` names them.
    pub(super) fn thousandths(&mut self, f: &Field<'_>, within: RangeInclusive<u32>, expected: &str) -> Option<u32> {
        let like = self.like("0.5 for the median", "0.5 for the median");
        let Value::Number(n) = &f.node.value else {
            self.refuse(Code::WrongType, f, expected, like);
            return None;
        };
        let q = thousandths(n).filter(|q| within.contains(q));
        if q.is_none() {
            self.refuse(Code::WrongValue, f, expected, like);
        }
        q
    }

    /// Where a value stands in a record: `"a.b"`, or the names in a list, `["a", "b"]`.
    pub(super) fn path(&mut self, f: &Field<'_>) -> Option<Path> {
        let hint = Some("like \"ts\", \"a.b\" or [\"a.b\", \"c\"]".to_owned());
        match &f.node.value {
            Value::Text(t) => Some(t.split('.').map(str::to_owned).collect()),
            Value::List(names) => {
                let path: Option<Path> = names
                    .iter()
                    .map(|n| match &n.value {
                        Value::Text(t) => Some(t.clone()),
                        _ => {
                            let f = Field { path: f.path.clone(), key: f.key, node: n };
                            self.refuse(Code::WrongType, &f, "a field's name", None);
                            None
                        }
                    })
                    .collect();
                path
            }
            _ => {
                self.refuse(Code::WrongType, f, "a field's name", hint);
                None
            }
        }
    }

    /// The elements of a list, as fields of their own: `key[0]`, `key[1]`.
    pub fn list<'n>(&mut self, f: &Field<'n>, expected: &str, hint: Option<String>) -> Option<Vec<Field<'n>>> {
        let Value::List(nodes) = &f.node.value else {
            self.refuse(Code::WrongType, f, expected, hint);
            return None;
        };
        let fields = nodes.iter().enumerate().map(|(i, node)| {
            let path = format!("{}[{i}]", f.path);
            self.places.insert(path.clone(), Place { key: node.span, value: node.span });
            Field { path, key: node.span, node }
        });
        Some(fields.collect())
    }
}

impl Field<'_> {
    /// Whether a list stands here.
    pub fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    /// Whether a group of fields stands here.
    pub fn is_group(&self) -> bool {
        matches!(self.node.value, Value::Object(_))
    }
}

impl<'n> Section<'n> {
    /// A field that may be there.
    pub fn optional(&self, name: &str) -> Option<Field<'n>> {
        let m = self.members.iter().find(|m| m.name == name)?;
        Some(Field { path: join(&self.path, name), key: m.key, node: &m.node })
    }

    /// All fields, in the order of the text; of duplicates the first.
    pub fn each(&self) -> Vec<Field<'n>> {
        let mut seen = BTreeSet::new();
        let first = self.members.iter().filter(|m| seen.insert(m.name.as_str()));
        first.map(|m| Field { path: join(&self.path, &m.name), key: m.key, node: &m.node }).collect()
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.into() } else { format!("{path}.{name}") }
}

/// A path, what it stands in, what that stands in, …
fn up(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |p| p.rfind(['.', '[']).map(|i| &p[..i]))
}

/// The word that was probably meant.
pub(super) fn nearest<'w>(word: &str, words: &[&'w str]) -> Option<&'w str> {
    if word.len() > 40 {
        return None;
    }
    let word = word.to_lowercase();
    words
        .iter()
        .map(|w| (strsim::osa_distance(&word, &w.to_lowercase()), *w))
        .filter(|(d, w)| *d <= (w.chars().count() / 3).clamp(1, 3))
        .min_by_key(|(d, _)| *d)
        .map(|(_, w)| w)
}

pub(super) fn one_of(words: &[&str], quote: &str) -> String {
    let quoted: Vec<String> = words.iter().map(|w| format!("{quote}{w}{quote}")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

/// `0.5` is 500, exactly; `None` where a digit would be lost, and for exponents.
fn thousandths(number: &str) -> Option<u32> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = fraction.trim_end_matches('0');
    let all_digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || whole.len() > 3 || digits.len() > 3 || !all_digits(whole) || !all_digits(digits) {
        return None;
    }
    let fraction: u32 = format!("{digits:0<3}").parse().ok()?;
    Some(whole.parse::<u32>().ok()? * 1_000 + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousandths_are_exact_or_nothing() {
        let cases = [
            ("0.5", Some(500)),
            ("0.50", Some(500)),
            ("0.5000", Some(500)),
            ("0.001", Some(1)),
            ("0.0005", None),
            ("1", Some(1_000)),
            ("0", Some(0)),
            ("5e-1", None),
            ("-0.5", None),
            ("inf", None),
            ("1234567", None),
        ];
        for (text, q) in cases {
            assert_eq!(thousandths(text), q, "{text}");
        }
    }

    #[test]
    fn the_nearest_word_is_near() {
        let words = ["window", "watermark", "late", "to"];
        assert_eq!(nearest("windw", &words), Some("window"));
        assert_eq!(nearest("Window", &words), Some("window"));
        assert_eq!(nearest("watermrak", &words), Some("watermark"));
        assert_eq!(nearest("lat", &words), Some("late"));
        assert_eq!(nearest("measure", &words), None);
        assert_eq!(nearest("", &words), None);
    }
}
