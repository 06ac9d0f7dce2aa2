//! Other documents than policies, read with the same care: every error at once, each with its place and the mend.
//!
//! A program names the fields of its sections ([`Shape`]) and reads them one by one; what is no field is refused with the
//! one that was probably meant. The host's configuration is read so.
//!
//! Not here: what is said of a policy's own fields (`walk`).

pub use super::reader::{Field, Reader, Section, Shape};

use super::diagnostic::finish;
use super::{Diagnostics, Syntax, tree};

/// Reads a document whose outermost fields are those of `shape`. What `walk` gives counts only if nothing was refused.
///
/// # Errors
/// All that is wrong with it, in order of place.
pub fn read<T>(
    text: &str,
    syntax: Syntax,
    shape: &Shape,
    walk: impl FnOnce(&mut Reader, &Section<'_>) -> T,
) -> Result<T, Diagnostics> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let refused = |findings| finish(findings, body, text.len() - body.len());
    let root = tree(body, syntax).map_err(refused)?;
    let mut reader = Reader::new(syntax, |_| None);
    let made = reader.document(&root, shape).map(|section| walk(&mut reader, &section));
    let findings = reader.into_findings();
    match made {
        Some(made) if findings.is_empty() => Ok(made),
        _ => Err(refused(findings)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    const ROOT: Shape = Shape { fields: &["name", "every"] };

    #[test]
    fn everything_wrong_is_said_with_its_place() {
        let walk = |r: &mut Reader, s: &Section<'_>| {
            let name = s.optional("name").and_then(|f| r.text(&f, "a name", None).map(str::len));
            (name, s.optional("every").and_then(|f| r.duration(&f)).map(|d| d.as_millis()))
        };
        assert_eq!(read("name = \"abc\"\nevery = \"1m\"", Syntax::Toml, &ROOT, walk), Ok((Some(3), Some(60_000))));
        let refused = read("nam = 1\nevery = 5\ndelay = 1", Syntax::Toml, &ROOT, walk).unwrap_err().to_string();
        let lines = [
            "1:1: unknown field `nam`, did you mean `name`?",
            "2:9: `every`: found 5, expected a duration with a unit, like \"5s\"",
            // Of a policy it would be said where this belongs.
            "3:1: unknown field `delay`, expected `name` or `every`",
        ];
        assert_eq!(refused, lines.join("\n"));
        assert!(read("[", Syntax::Toml, &ROOT, walk).is_err());
    }
}
