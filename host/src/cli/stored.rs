//! What the commands on a store share: which store and which rows, how times and spans read, where results go.
//!
//! Invariants
//! - A command that only reads opens a store so that it cannot write.
//!
//! Not here: what a command says (one file each).

use super::{Exit, Failure, Outcome, common};
use crate::driver::BatchLimits;
use crate::source::SourceError;
use crate::store::dynamodb::DynamoStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{Layout, RowQuery, Store, StoreError, Which};
use anyhow::anyhow;
use plimsoll_core::policy::Policy;
use plimsoll_core::time::{EventTime, TimeDelta};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// Which store.
#[derive(clap::Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct Place {
    /// The SQLite file.
    #[arg(long, value_name = "FILE")]
    sqlite: Option<PathBuf>,
    /// The prefix of the DynamoDB tables.
    #[arg(long, value_name = "PREFIX")]
    dynamodb: Option<String>,
}

/// Which rows of which store, and how results are written.
#[derive(clap::Args, Clone, Debug)]
pub struct StoreArgs {
    /// The policy that the rows were counted under.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    #[command(flatten)]
    pub place: Place,
    /// Rows of another generation.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub generation: String,
    /// Results as JSON, for programs.
    #[arg(long)]
    pub json: bool,
}

/// Windows by their start.
#[derive(clap::Args, Clone, Debug)]
pub struct WindowArgs {
    /// One key: the JSON array of its values.
    #[arg(long, value_name = "JSON")]
    key: Option<String>,
    /// Windows that start at or after this time (RFC 3339 or milliseconds).
    #[arg(long, value_name = "TIME", value_parser = common::time)]
    from: Option<EventTime>,
    /// Windows that start before this time.
    #[arg(long, value_name = "TIME", value_parser = common::time)]
    to: Option<EventTime>,
}

impl WindowArgs {
    /// These rows of a table.
    pub fn query(&self, policy: &Policy, table: Which, limit: Option<usize>) -> Result<RowQuery, Failure> {
        let key = self.key.as_deref().map(|text| canonical_key(policy, text)).transpose()?;
        Ok(RowQuery { table, key, from: self.from, to: self.to, limit })
    }
}

impl Place {
    /// The store, for reading only.
    pub async fn to_read(&self) -> Result<Arc<dyn Store>, Failure> {
        match (&self.sqlite, &self.dynamodb) {
            (Some(file), _) => Ok(Arc::new(SqliteStore::open_read_only(file).map_err(refused)?)),
            (_, Some(prefix)) => Ok(Arc::new(DynamoStore::connect(prefix).await.map_err(refused)?)),
            _ => unreachable!("clap wants one of them"),
        }
    }

    /// The store, for writing, and how much it is given at once.
    pub async fn to_write(&self) -> Result<(Arc<dyn Store>, BatchLimits), Failure> {
        let batch = BatchLimits::default();
        match &self.sqlite {
            Some(file) => Ok((Arc::new(SqliteStore::open(file).map_err(refused)?), batch)),
            // As `run` has it: each row is a request, and an intent holds at most 4 MiB.
            None => Ok((self.to_read().await?, BatchLimits { bytes: 4 << 20, rows: 10_000, ..batch })),
        }
    }
}

impl StoreArgs {
    /// The policy and the generation.
    pub fn layout(&self) -> Result<Layout, Failure> {
        let (policy, _) = common::policy(&self.policy)?;
        Ok(Layout { policy, generation: self.generation.clone() })
    }
}

/// The store is refused.
pub fn refused(e: StoreError) -> Failure {
    Exit::Store.because(e)
}

/// What the store holds cannot be driven.
pub fn unreadable(e: SourceError) -> Failure {
    Exit::Store.because(e)
}

/// Writes results; whoever reads them may stop at any time.
pub fn print(text: impl AsRef<[u8]>) -> Outcome {
    match io::stdout().write_all(text.as_ref()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Exit::Run.because(anyhow!("cannot write to stdout: {e}")))
        }
        _ => Ok(()),
    }
}

/// A key as people write it, in its canonical text: one value for each field of the policy's key.
pub fn canonical_key(policy: &Policy, text: &str) -> Result<Vec<u8>, Failure> {
    let fields = policy.spec().input.key.len();
    let refuse = |found: &str| {
        Exit::Run.because(anyhow!(
            "--key: found {found}, expected a JSON array of the key's values ({fields} of them), like '[\"p-017\",\"c-0342\"]'"
        ))
    };
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(serde_json::Value::Array(values)) if values.len() == fields => {
            Ok(serde_json::Value::Array(values).to_string().into_bytes())
        }
        Ok(other) => Err(refuse(&other.to_string())),
        Err(e) => Err(refuse(&format!("`{text}` ({e})"))),
    }
}

/// A moment for people: RFC 3339 where the year has four digits, else milliseconds.
pub fn moment(ms: i64) -> String {
    const DAY_MS: i64 = 86_400_000;
    const FOUR_DIGITS: std::ops::Range<i64> = -719_528..2_932_897;
    let day = ms.div_euclid(DAY_MS);
    if !FOUR_DIGITS.contains(&day) {
        return format!("{ms} ms");
    }
    let rest = ms.rem_euclid(DAY_MS);
    let (h, m, s, ms) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60, rest % 1_000);
    let fraction = if ms == 0 { String::new() } else { format!(".{ms:03}") };
    format!("{}T{h:02}:{m:02}:{s:02}{fraction}Z", plimsoll_core::rows::day_text(day))
}

/// A moment of event time; a dash where there is none.
pub fn moment_of(t: Option<EventTime>) -> String {
    t.map_or_else(|| "-".to_owned(), |t| moment(t.as_millis()))
}

/// A span for people: its two greatest units, like `2 h 5 min`.
pub fn span(d: TimeDelta) -> String {
    let ms = d.as_millis();
    if ms < 0 {
        return format!("-{}", span(TimeDelta::from_millis(ms.saturating_neg())));
    }
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"), (1, "ms")];
    let Some(at) = units.iter().position(|(size, _)| ms >= *size) else { return "0 s".to_owned() };
    let (size, name) = units[at];
    let rest = units.get(at + 1).map(|(smaller, name)| (ms % size / smaller, *name));
    match rest.filter(|(n, name)| *n > 0 && *name != "ms") {
        Some((n, smaller)) => format!("{} {name} {n} {smaller}", ms / size),
        None => format!("{} {name}", ms / size),
    }
}

/// Columns under their heads, for people; numbers to the right.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..head.len())
        .map(|i| rows.iter().map(|r| r[i].chars().count()).chain([head[i].len()]).max().unwrap_or(0))
        .collect();
    let is_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains([':', '|', '/']);
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells = cells
            .zip(&widths)
            .map(|(text, width)| if is_number(text) { format!("{text:>width$}") } else { format!("{text:<width$}") });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let mut out = line(&mut head.iter().copied());
    rows.iter().for_each(|r| out.push_str(&line(&mut r.iter().map(String::as_str))));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_spans_read_well() {
        assert_eq!(moment(0), "1970-01-01T00:00:00Z");
        assert_eq!(moment(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(moment(i64::MAX), format!("{} ms", i64::MAX));
        let of = |ms| span(TimeDelta::from_millis(ms));
        assert_eq!([of(0), of(7), of(1_500), of(65_000)], ["0 s", "7 ms", "1 s", "1 min 5 s"]);
        assert_eq!([of(7_500_000), of(86_400_000), of(-60_000)], ["2 h 5 min", "1 d", "-1 min"]);
    }

    #[test]
    fn tables_have_columns() {
        let rows = [vec!["a".into(), "17".into()], vec!["bcd".into(), "4".into()]];
        assert_eq!(table(&["lane", "n"], &rows), "lane  n\na     17\nbcd    4\n");
    }
}
