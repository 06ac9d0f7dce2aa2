//! CEL's text → steps: the grammar of CEL's language definition, in precedence
//! `?:` < `||` < `&&` < `== != < <= > >= in` < `+ -` < `* / %` < `! -` < `.field .method()`.
//!
//! Invariants
//! - A refusal names the place in the text, what was found, what was expected, and often the mend.
//! - Time is linear and the stack bounded for any text: its length, its depth and the number of its steps are.
//!
//! Not here: types (`Expression::check`), the place in the document (`policy::text`).

use super::{Expression, Op, Step, Wanted, limits};
use crate::decimal::Decimal;
use crate::policy::Path;
use std::ops::Range;

/// Why a text is no expression, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Bytes of the text.
    pub(crate) at: Range<usize>,
    /// What was found and what was expected.
    pub(crate) message: String,
    /// The mend.
    pub(crate) hint: Option<String>,
}

/// Reads an expression for a purpose.
pub(crate) fn parse(text: &str, wanted: Wanted) -> Result<Expression, Problem> {
    if text.len() > limits::TEXT_BYTES_MAX {
        let message = format!("found {} bytes, expected at most {}", text.len(), limits::TEXT_BYTES_MAX);
        return Err(Problem { at: 0..text.len(), message, hint: None });
    }
    let mut parser = Parser {
        text,
        at: 0,
        token: Token::End,
        place: 0..0,
        before: 0,
        depth: 0,
        steps: Vec::new(),
        places: Vec::new(),
    };
    parser.next()?;
    parser.expression()?;
    if parser.token != Token::End {
        return Err(parser.expected("an operator, or the end"));
    }
    let Parser { steps, places, .. } = parser;
    let expression = Expression(steps);
    match expression.check(wanted) {
        Ok(()) => Ok(expression),
        Err(wrong) => Err(Problem {
            at: places[wrong.step].clone(),
            message: format!("found {}, expected {}", wrong.found, wrong.expected),
            hint: None,
        }),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// A name, and whether it stood in backticks.
    Name(String, bool),
    Int(u64),
    Number(String),
    Text(String),
    Symbol(&'static str),
    End,
}

/// The longer before those that begin like them.
const SYMBOLS: [&str; 24] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", "(", ")", "[", "]", ",", ".",
    "{", "}",
];

/// Names that CEL keeps for itself; as a record's field they stand in backticks.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "package",
    "return",
    "var",
    "while",
];

const METHODS: [&str; 4] = ["startsWith", "endsWith", "contains", "size"];
const FUNCTIONS: [&str; 5] = ["has", "size", "startsWith", "endsWith", "contains"];

/// Functions of CEL that are left out.
const LEFT_OUT: [&str; 25] = [
    "all",
    "bool",
    "bytes",
    "double",
    "duration",
    "dyn",
    "exists",
    "exists_one",
    "filter",
    "getDate",
    "getDayOfWeek",
    "getFullYear",
    "getHours",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "int",
    "lowerAscii",
    "map",
    "matches",
    "string",
    "timestamp",
    "type",
    "uint",
    "upperAscii",
];

type Answer<T> = Result<T, Problem>;

struct Parser<'t> {
    text: &'t str,
    at: usize,
    /// What comes next, and where it stands.
    token: Token,
    place: Range<usize>,
    /// Where the token before it ended.
    before: usize,
    depth: usize,
    steps: Vec<Step>,
    /// By step.
    places: Vec<Range<usize>>,
}

impl Parser<'_> {
    fn problem<T>(&self, at: Range<usize>, message: String, hint: Option<String>) -> Answer<T> {
        Err(Problem { at, message, hint })
    }

    /// What is next is not what should be.
    fn expected(&self, what: &str) -> Problem {
        let found = match &self.token {
            Token::End => "the end".into(),
            _ => format!("`{}`", cut(&self.text[self.place.clone()])),
        };
        let hint = match &self.token {
            Token::Symbol("{") => Some("maps and messages are not in Plimsoll's part of CEL".into()),
            Token::Name(name, _) if name == "and" => Some("write `&&`".into()),
            Token::Name(name, _) if name == "or" => Some("write `||`".into()),
            _ => None,
        };
        Problem { at: self.place.clone(), message: format!("found {found}, expected {what}"), hint }
    }

    /// Reads the next token.
    fn next(&mut self) -> Answer<()> {
        self.before = self.place.end;
        let bytes = self.text.as_bytes();
        loop {
            self.at += bytes[self.at..].iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0c)).count();
            if !self.text[self.at..].starts_with("//") {
                break;
            }
            self.at += self.text[self.at..].find('\n').unwrap_or(self.text.len() - self.at);
        }
        let from = self.at;
        let rest = &self.text[from..];
        let first = rest.bytes().next().unwrap_or_default();
        self.token = match first {
            _ if rest.is_empty() => Token::End,
            b'"' | b'\'' => self.literal(from, false)?,
            b'r' | b'R' if matches!(rest.as_bytes().get(1), Some(b'"' | b'\'')) => self.literal(from + 1, true)?,
            b'b' | b'B' if matches!(rest.as_bytes().get(1), Some(b'"' | b'\'')) => {
                let hint = Some("write a text, without the `b`".into());
                return self.problem(from..from + 1, "bytes are not in Plimsoll's part of CEL".into(), hint);
            }
            b'`' => {
                let Some(end) = rest[1..].find('`').filter(|end| *end > 0) else {
                    return self.problem(
                        from..from + 1,
                        "found a backtick, expected a field's name between two of them".into(),
                        None,
                    );
                };
                self.at += end + 2;
                Token::Name(rest[1..=end].into(), true)
            }
            b'_' | b'a'..=b'z' | b'A'..=b'Z' => {
                let len = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
                self.at += len;
                Token::Name(rest[..len].into(), false)
            }
            b'0'..=b'9' => self.number(from)?,
            b'.' if rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit) => self.number(from)?,
            _ => match SYMBOLS.iter().find(|s| rest.starts_with(**s)) {
                Some(symbol) => {
                    self.at += symbol.len();
                    Token::Symbol(symbol)
                }
                None => {
                    let c = rest.chars().next().unwrap_or_default();
                    let hint = match c {
                        '=' => Some("write `==` to compare".into()),
                        '&' => Some("write `&&`".into()),
                        '|' => Some("write `||`".into()),
                        c if c.is_alphabetic() => Some("write a name of other letters in backticks".into()),
                        _ => None,
                    };
                    let message = format!("found `{c}`, expected an expression in CEL");
                    return self.problem(from..from + c.len_utf8(), message, hint);
                }
            },
        };
        self.place = from..self.at;
        Ok(())
    }

    fn number(&mut self, from: usize) -> Answer<Token> {
        let bytes = self.text.as_bytes();
        let digits = |at: usize| bytes[at.min(bytes.len())..].iter().take_while(|b| b.is_ascii_digit()).count();
        let hexadecimal = self.text[from..].starts_with("0x") || self.text[from..].starts_with("0X");
        let mut at = from;
        let mut whole = true;
        if hexadecimal {
            at += 2 + bytes[from + 2..].iter().take_while(|b| b.is_ascii_hexdigit()).count();
        } else {
            at += digits(at);
            if bytes.get(at) == Some(&b'.') && digits(at + 1) > 0 {
                at += 1 + digits(at + 1);
                whole = false;
            }
            if let Some(b'e' | b'E') = bytes.get(at) {
                let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
                if digits(at + 1 + sign) > 0 {
                    at += 1 + sign + digits(at + 1 + sign);
                    whole = false;
                }
            }
        }
        if bytes.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_') {
            let hint = matches!(bytes[at], b'u' | b'U').then(|| "leave out the `u`: integers have a sign here".into());
            return self.problem(from..at + 1, format!("found `{}`, expected a number", &self.text[from..=at]), hint);
        }
        self.at = at;
        let written = &self.text[from..at];
        if whole {
            let n = if hexadecimal { u64::from_str_radix(&written[2..], 16) } else { written.parse() };
            return match n {
                // One more than there are: a minus may stand before it.
                Ok(n) if n <= 1 << 63 => Ok(Token::Int(n)),
                _ => self.problem(from..at, format!("found {}, expected an integer of 64 bits", cut(written)), None),
            };
        }
        // JSON wants a digit before the point, and no zero before other digits.
        let digits = written.trim_start_matches('0');
        let json =
            if digits.starts_with(|c: char| c.is_ascii_digit()) { digits.to_owned() } else { format!("0{digits}") };
        let spelling = Decimal::read(json.as_bytes()).map(|d| d.spelling());
        match spelling.filter(|s| s.len() <= limits::NUMBER_BYTES_MAX) {
            Some(spelling) => Ok(Token::Number(spelling)),
            None => self.problem(from..at, "found a long number, expected one of at most 60 digits".into(), None),
        }
    }

    /// A text that begins with the quote at `from`.
    fn literal(&mut self, from: usize, raw: bool) -> Answer<Token> {
        let start = self.at;
        let rest = &self.text[from..];
        let quote = &rest[..1];
        let triple = quote.repeat(3);
        let end = if rest.starts_with(&triple) { &triple } else { quote };
        let mut out = String::new();
        let mut at = end.len();
        loop {
            let Some(c) = rest[at..].chars().next() else {
                return self.problem(start..self.text.len(), "found a text without its closing quote".into(), None);
            };
            if rest[at..].starts_with(end) {
                self.at = from + at + end.len();
                return Ok(Token::Text(out));
            }
            if matches!(c, '\n' | '\r') && end.len() == 1 {
                let hint = Some("write \\n, or three quotes around it".into());
                return self.problem(start..from + at, "found a line's end in a text".into(), hint);
            }
            if c != '\\' || raw {
                out.push(c);
                at += c.len_utf8();
                continue;
            }
            let (c, len) = escape(&rest[at + 1..]);
            let Some(c) = c else {
                let end = from + at + 1 + rest[at + 1..].chars().next().map_or(0, char::len_utf8);
                let message = format!("found `{}`, expected an escape of CEL", &self.text[from + at..end]);
                return self.problem(from + at..end, message, Some("write \\\\ for a backslash".into()));
            };
            out.push(c);
            at += 1 + len;
        }
    }

    fn step(&mut self, step: Step, at: Range<usize>) -> Answer<()> {
        if self.steps.len() == limits::STEPS_MAX {
            let message =
                format!("found more, expected at most {} fields, literals, operators and functions", limits::STEPS_MAX);
            return self.problem(at, message, None);
        }
        self.steps.push(step);
        self.places.push(at);
        Ok(())
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.token, Token::Symbol(s) if s == symbol)
    }

    /// Steps over a symbol if it is next.
    fn take(&mut self, symbol: &str) -> Answer<bool> {
        let there = self.is(symbol);
        if there {
            self.next()?;
        }
        Ok(there)
    }

    fn must(&mut self, symbol: &str, what: &str) -> Answer<()> {
        if self.take(symbol)? { Ok(()) } else { Err(self.expected(what)) }
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Answer<T>) -> Answer<T> {
        self.depth += 1;
        if self.depth > limits::DEPTH_MAX {
            let message = format!("found brackets, calls, conditions and signs more than {} deep", limits::DEPTH_MAX);
            return self.problem(self.place.clone(), message, None);
        }
        let read = read(self)?;
        self.depth -= 1;
        Ok(read)
    }

    fn expression(&mut self) -> Answer<()> {
        self.deeper(|p| {
            p.binary(0)?;
            let at = p.place.clone();
            if p.take("?")? {
                p.deeper(|p| p.binary(0))?;
                p.must(":", "`:` and what holds otherwise")?;
                p.expression()?;
                p.step(Step::Op(Op::If), at)?;
            }
            Ok(())
        })
    }

    /// Operators of this level and those that bind tighter, from the left.
    fn binary(&mut self, level: usize) -> Answer<()> {
        const LEVELS: [&[(&str, Step)]; 5] = [
            &[("||", Step::Op(Op::Or))],
            &[("&&", Step::Op(Op::And))],
            &[
                ("==", Step::Op(Op::Equal)),
                ("!=", Step::Op(Op::NotEqual)),
                ("<=", Step::Op(Op::AtMost)),
                ("<", Step::Op(Op::Less)),
                (">=", Step::Op(Op::AtLeast)),
                (">", Step::Op(Op::Greater)),
            ],
            &[("+", Step::Op(Op::Add)), ("-", Step::Op(Op::Subtract))],
            &[("*", Step::Op(Op::Multiply)), ("/", Step::Op(Op::Divide)), ("%", Step::Op(Op::Remainder))],
        ];
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        self.binary(level + 1)?;
        loop {
            let at = self.place.clone();
            if level == 2 && matches!(&self.token, Token::Name(name, false) if name == "in") {
                self.next()?;
                self.list(at)?;
                continue;
            }
            let Some((_, step)) = operators.iter().find(|(symbol, _)| self.is(symbol)) else { return Ok(()) };
            self.next()?;
            self.binary(level + 1)?;
            self.step(step.clone(), at)?;
        }
    }

    /// What stands right of `in`.
    fn list(&mut self, at: Range<usize>) -> Answer<()> {
        if !self.is("[") {
            return Err(self.expected("a list that is written out, like [\"a\", \"b\"]"));
        }
        self.next()?;
        let mut n = 0;
        while !self.is("]") {
            self.expression()?;
            n += 1;
            if !self.take(",")? && !self.is("]") {
                return Err(self.expected("`,` or `]`"));
            }
        }
        self.next()?;
        self.step(Step::In(n), at)
    }

    fn unary(&mut self) -> Answer<()> {
        let at = self.place.clone();
        if self.take("!")? {
            self.deeper(Self::unary)?;
            return self.step(Step::Op(Op::Not), at);
        }
        if self.take("-")? {
            // A number's own sign, so that the least integer can be written.
            let negative = match &self.token {
                Token::Int(n) => Some(Step::Int(0i64.checked_sub_unsigned(*n).expect("2^63 at most"))),
                Token::Number(n) if n == "0e0" => Some(Step::Number(n.clone())),
                Token::Number(n) => Some(Step::Number(format!("-{n}"))),
                _ => None,
            };
            if let Some(step) = negative {
                let at = at.start..self.place.end;
                self.next()?;
                self.step(step, at)?;
                return self.members();
            }
            self.deeper(Self::unary)?;
            return self.step(Step::Op(Op::Negative), at);
        }
        self.primary()?;
        self.members()
    }

    /// A literal, a field, a function, or an expression in brackets.
    fn primary(&mut self) -> Answer<()> {
        let at = self.place.clone();
        match self.token.clone() {
            Token::Int(n) => {
                let Ok(n) = i64::try_from(n) else {
                    return self.problem(at, format!("found {n}, expected an integer of 64 bits"), None);
                };
                self.next()?;
                self.step(Step::Int(n), at)
            }
            Token::Number(n) => {
                self.next()?;
                self.step(Step::Number(n), at)
            }
            Token::Text(t) => {
                self.next()?;
                self.step(Step::Text(t), at)
            }
            Token::Symbol("(") => {
                self.next()?;
                self.expression()?;
                self.must(")", "an operator or `)`")
            }
            Token::Symbol("[") => {
                let hint = Some("like country in [\"DE\", \"JP\"]".into());
                self.problem(at, "found a list, which may stand behind `in` alone".into(), hint)
            }
            Token::Name(name, false) if matches!(name.as_str(), "true" | "false" | "null") => {
                self.next()?;
                let step = match name.as_str() {
                    "null" => Step::Op(Op::Null),
                    "true" => Step::Op(Op::True),
                    _ => Step::Op(Op::False),
                };
                self.step(step, at)
            }
            Token::Name(name, false) if RESERVED.contains(&name.as_str()) => {
                let hint = Some(format!("write `{name}` in backticks where it is a field's name"));
                self.problem(at, format!("found `{name}`, a word that CEL keeps for itself"), hint)
            }
            Token::Name(name, quoted) => {
                self.next()?;
                if !quoted && self.is("(") {
                    return self.call(&name, at);
                }
                let path = self.path(name)?;
                self.step(Step::Field(path), at.start..self.before)
            }
            _ => Err(self.expected("a field, a literal, a function or `(`")),
        }
    }

    /// The rest of a field's path: `.b` and `["b"]`, but no method.
    fn path(&mut self, first: String) -> Answer<Path> {
        let mut path = vec![first];
        loop {
            if self.is(".") {
                // A method belongs to what has been read.
                if self.method().is_some() {
                    return Ok(path);
                }
                self.next()?;
                match &self.token {
                    Token::Name(name, _) => path.push(name.clone()),
                    _ => return Err(self.expected("a field's name")),
                }
                self.next()?;
            } else if self.take("[")? {
                match &self.token {
                    Token::Text(name) => path.push(name.clone()),
                    _ => return Err(self.expected("a field's name as a text; elements of lists cannot be had")),
                }
                self.next()?;
                self.must("]", "`]`")?;
            } else {
                return Ok(path);
            }
        }
    }

    /// The method whose dot is next.
    fn method(&self) -> Option<&str> {
        let rest = self.text[self.at..].trim_start();
        let len = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        rest[len..].trim_start().starts_with('(').then_some(&rest[..len])
    }

    /// Methods of what has been read.
    fn members(&mut self) -> Answer<()> {
        while self.is(".") {
            if self.method().is_none() {
                return self.problem(
                    self.place.clone(),
                    "found `.`, expected it behind a field of the record".into(),
                    None,
                );
            }
            self.next()?;
            let (at, Token::Name(name, _)) = (self.place.clone(), self.token.clone()) else {
                return Err(self.expected("a function"));
            };
            let step = match name.as_str() {
                "startsWith" => Step::Op(Op::StartsWith),
                "endsWith" => Step::Op(Op::EndsWith),
                "contains" => Step::Op(Op::Contains),
                "size" => Step::Op(Op::Size),
                _ => return Err(unknown(&name, at, &METHODS)),
            };
            self.next()?;
            self.must("(", "`(`")?;
            if step == Step::Op(Op::Size) {
                self.must(")", "`)`: size() takes nothing here")?;
            } else {
                self.expression()?;
                self.must(")", "`)`")?;
            }
            self.step(step, at)?;
        }
        Ok(())
    }

    fn call(&mut self, name: &str, at: Range<usize>) -> Answer<()> {
        match name {
            "size" => {
                self.next()?;
                self.expression()?;
                self.must(")", "`)`")?;
                self.step(Step::Op(Op::Size), at)
            }
            "has" => {
                self.next()?;
                let what = "a field, like has(country) or has(site.id)";
                let Token::Name(name, _) = self.token.clone() else { return Err(self.expected(what)) };
                self.next()?;
                let path = self.path(name)?;
                if !self.is(")") {
                    return Err(self.expected("`)`: has() takes a field alone"));
                }
                self.next()?;
                self.step(Step::Has(path), at.start..self.before)
            }
            "startsWith" | "endsWith" | "contains" => {
                let hint = Some(format!("write page.{name}(\"...\")"));
                self.problem(at, format!("found `{name}` as a function, expected it behind a text"), hint)
            }
            _ => Err(unknown(name, at, &FUNCTIONS)),
        }
    }
}

fn unknown(name: &str, at: Range<usize>, known: &[&'static str]) -> Problem {
    let near = known.iter().filter(|k| strsim::damerau_levenshtein(&name.to_lowercase(), &k.to_lowercase()) <= 2);
    let near = near.min_by_key(|k| strsim::damerau_levenshtein(name, k));
    let (message, hint) = if LEFT_OUT.contains(&name) {
        let all = format!("there are {}", FUNCTIONS.map(|f| format!("`{f}`")).join(", "));
        (format!("`{name}` is not in Plimsoll's part of CEL"), all)
    } else if let Some(near) = near {
        (format!("unknown function `{}`", cut(name)), format!("did you mean `{near}`?"))
    } else {
        let all = format!("there are {}", FUNCTIONS.map(|f| format!("`{f}`")).join(", "));
        (format!("unknown function `{}`", cut(name)), all)
    };
    Problem { at, message, hint: Some(hint) }
}

/// The character that an escape stands for, from behind its backslash, and its length.
fn escape(text: &str) -> (Option<char>, usize) {
    let coded = |skip: usize, len: usize, radix: u32| {
        let digits = text.get(skip..skip + len).filter(|d| d.bytes().all(|b| char::from(b).is_digit(radix)));
        let code = digits.and_then(|d| u32::from_str_radix(d, radix).ok());
        (code.and_then(char::from_u32), skip + len)
    };
    let one = |c: char| (Some(c), 1);
    match text.bytes().next() {
        Some(b'a') => one('\u{7}'),
        Some(b'b') => one('\u{8}'),
        Some(b'f') => one('\u{c}'),
        Some(b'n') => one('\n'),
        Some(b'r') => one('\r'),
        Some(b't') => one('\t'),
        Some(b'v') => one('\u{b}'),
        Some(c @ (b'\\' | b'?' | b'"' | b'\'' | b'`')) => one(c.into()),
        Some(b'x' | b'X') => coded(1, 2, 16),
        Some(b'u') => coded(1, 4, 16),
        Some(b'U') => coded(1, 8, 16),
        Some(b'0'..=b'3') => coded(0, 3, 8),
        _ => (None, 0),
    }
}

/// As much as a message bears.
fn cut(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}
