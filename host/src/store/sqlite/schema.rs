//! Names, tables, views and the exact arithmetic of the SQLite store.
//!
//! Columns of measures have no declared type: SQLite would turn decimal text beyond 64 bits into a float otherwise.

use crate::store::{Layout, hex};
use plimsoll_core::policy::Op;
use plimsoll_core::policy::limits::OVERFLOW_COLUMN;
use plimsoll_core::rows::{column, overflow_key};
use plimsoll_core::wire::effects::VALUE_MAX;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, TransactionBehavior, params};

/// `PLIM`: marks the file as ours.
pub(super) const APPLICATION_ID: i64 = 0x504c_494d;
/// Version of the tables.
const VERSION: i64 = 1;
/// In the late table: the arrival is not known.
pub(super) const NO_DAY: i64 = i64::MIN;
/// In the error of a total that cannot be held.
pub(super) const OVER: &str = "goes beyond 10^30";

/// Names and statements of a layout.
pub(super) struct Names {
    pub main: String,
    pub late: String,
    view: String,
    view_late: String,
    pub upsert_main: String,
    pub upsert_late: String,
}

impl Names {
    pub(super) fn new(layout: &Layout) -> Self {
        let id = layout.rows_id();
        let (main, late) = (format!("rows_{id}"), format!("late_{id}"));
        let name = &layout.policy.spec().policy;
        let of = if layout.generation.is_empty() { String::new() } else { format!("@{}", layout.generation) };
        Self {
            view: format!("{name}{of}"),
            view_late: format!("{name}_late{of}"),
            upsert_main: upsert(layout, &main, false),
            upsert_late: upsert(layout, &late, true),
            main,
            late,
        }
    }
}

/// `"name"`, whatever stands in it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn upsert(layout: &Layout, table: &str, late: bool) -> String {
    let measures = &layout.policy.spec().measures;
    let key = if late { "window_start, window_end, key, arrival_day" } else { "window_start, window_end, key" };
    let keys = if late { 4 } else { 3 };
    let columns: String = (0..measures.len()).map(|i| format!(", m{i}")).collect();
    let places: Vec<String> = (1..=keys + measures.len()).map(|i| format!("?{i}")).collect();
    let set: String = measures.iter().enumerate().map(|(i, m)| format!("m{i} = {}, ", folded(m.op, i))).collect();
    format!(
        "INSERT INTO {table} ({key}{columns}, _v) VALUES ({}, 1) ON CONFLICT ({key}) DO UPDATE SET {set}_v = _v + 1",
        places.join(", ")
    )
}

/// The new total. SQLite's own arithmetic where it cannot overflow, which is three times as fast as a call of ours;
/// NULL and text fail the comparisons and go the exact way.
fn folded(op: Op, i: usize) -> String {
    let (held, new) = (format!("m{i}"), format!("excluded.m{i}"));
    let half = i64::MAX / 2;
    match op {
        Op::Count | Op::Sum | Op::Squares => format!(
            "CASE WHEN {held} BETWEEN -{half} AND {half} AND {new} BETWEEN -{half} AND {half} THEN {held} + {new} \
             ELSE plimsoll_add({held}, {new}) END"
        ),
        Op::Min => format!("plimsoll_min({held}, {new})"),
        Op::Max => format!("plimsoll_max({held}, {new})"),
        _ => unreachable!("a measure that this store does not know: {op:?}"),
    }
}

/// Registers the exact arithmetic.
pub(super) fn functions(db: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    // Both are at most 10^30 in magnitude: no sum of two overflows 128 bits.
    db.create_scalar_function("plimsoll_add", 2, flags, fold(|a, b| a + b))?;
    db.create_scalar_function("plimsoll_min", 2, flags, fold(Ord::min))?;
    db.create_scalar_function("plimsoll_max", 2, flags, fold(Ord::max))
}

fn fold(f: fn(i128, i128) -> i128) -> impl Fn(&mut Context<'_>) -> rusqlite::Result<Value> + Send + 'static {
    move |c| {
        let total = match (total(c.get_raw(0))?, total(c.get_raw(1))?) {
            (Some(a), Some(b)) => Some(f(a, b)),
            (a, b) => a.or(b),
        };
        Ok(match total {
            None => Value::Null,
            Some(v) if v.unsigned_abs() > VALUE_MAX as u128 => {
                return Err(rusqlite::Error::UserFunctionError(format!("a total {OVER}").into()));
            }
            Some(v) => i64::try_from(v).map_or_else(|_| Value::Text(v.to_string()), Value::Integer),
        })
    }
}

/// Reads a total: NULL, an integer, or decimal text.
pub(super) fn total(v: ValueRef<'_>) -> rusqlite::Result<Option<i128>> {
    let text = match v {
        ValueRef::Null => return Ok(None),
        ValueRef::Integer(i) => return Ok(Some(i128::from(i))),
        ValueRef::Text(t) => String::from_utf8_lossy(t).into_owned(),
        other => format!("{other:?}"),
    };
    match text.parse::<i128>() {
        Ok(v) if v.unsigned_abs() <= VALUE_MAX as u128 => Ok(Some(v)),
        _ => Err(rusqlite::Error::UserFunctionError(
            format!("a total is {text}, an integer was expected: something else has written to this table").into(),
        )),
    }
}

/// Whether dead letters say which batch set them aside: files of before do not, until they are written to.
pub(super) fn letters_are_numbered(db: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) > 0 FROM pragma_table_info('plimsoll_dead_letters') WHERE name = 'n'";
    db.query_row(sql, [], |r| r.get(0))
}

/// Makes what is missing; returns the file's identity.
pub(super) fn make(db: &mut Connection, layout: &Layout, names: &Names) -> rusqlite::Result<String> {
    let t = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = t.pragma_query_value(None, "user_version", |r| r.get(0))?;
    if version > VERSION {
        return Err(rusqlite::Error::UserFunctionError(
            format!("written by a newer Plimsoll (tables of version {version}); use that one, or a new file").into(),
        ));
    }
    t.pragma_update(None, "application_id", APPLICATION_ID)?;
    t.pragma_update(None, "user_version", VERSION)?;
    t.execute_batch(
        "CREATE TABLE IF NOT EXISTS plimsoll_meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS plimsoll_heads (
             app TEXT NOT NULL, generation TEXT NOT NULL, lane TEXT NOT NULL,
             n INTEGER NOT NULL, alias INTEGER NOT NULL, pos TEXT, done INTEGER NOT NULL, head BLOB NOT NULL,
             PRIMARY KEY (app, generation, lane));
         CREATE TABLE IF NOT EXISTS plimsoll_dead_letters (
             app TEXT NOT NULL, generation TEXT NOT NULL, lane TEXT NOT NULL, position TEXT NOT NULL,
             reason TEXT NOT NULL, detail TEXT NOT NULL, arrival_ms INTEGER, length INTEGER NOT NULL, raw BLOB NOT NULL,
             n INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (app, generation, lane, position));
         CREATE TABLE IF NOT EXISTS plimsoll_gaps (
             app TEXT NOT NULL, generation TEXT NOT NULL, lane TEXT NOT NULL, kind TEXT NOT NULL, position TEXT NOT NULL,
             found TEXT NOT NULL, found_ms INTEGER NOT NULL, accepted_ms INTEGER,
             PRIMARY KEY (app, generation, lane, kind, position));",
    )?;
    if !letters_are_numbered(&t)? {
        // Made before letters knew their batch: those that are there are older than all that come.
        t.execute_batch("ALTER TABLE plimsoll_dead_letters ADD COLUMN n INTEGER NOT NULL DEFAULT 0")?;
    }
    let fresh = hex(&rand::random::<[u8; 8]>());
    t.execute("INSERT INTO plimsoll_meta VALUES ('table', ?1), ('aliases', 0) ON CONFLICT DO NOTHING", params![fresh])?;
    let table = t.query_row("SELECT value FROM plimsoll_meta WHERE name = 'table'", [], |r| r.get(0))?;

    let spec = layout.policy.spec();
    let measures: String = (0..spec.measures.len()).map(|i| format!("m{i}, ")).collect();
    t.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS {main} (
             window_start INTEGER NOT NULL, window_end INTEGER NOT NULL, key TEXT NOT NULL,
             {measures}_v INTEGER NOT NULL, PRIMARY KEY (window_start, window_end, key)) WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS {late} (
             window_start INTEGER NOT NULL, window_end INTEGER NOT NULL, key TEXT NOT NULL, arrival_day INTEGER NOT NULL,
             {measures}_v INTEGER NOT NULL, PRIMARY KEY (window_start, window_end, key, arrival_day)) WITHOUT ROWID;",
        main = names.main,
        late = names.late,
    ))?;
    let keys: String = spec
        .input
        .key
        .iter()
        .enumerate()
        .map(|(i, path)| format!("json_extract(key, '$[{i}]') AS {}, ", quoted(column(path))))
        .collect();
    // The row of all keys beyond a window's budget has no key; this column says so.
    let overflow = match spec.limits.keys_per_window {
        Some(_) => {
            let key = String::from_utf8_lossy(&overflow_key(spec.input.key.len())).into_owned();
            format!("key = '{key}' AS {}, ", quoted(OVERFLOW_COLUMN))
        }
        None => String::new(),
    };
    let measures: String =
        spec.measures.iter().enumerate().map(|(i, m)| format!("m{i} AS {}, ", quoted(&m.name))).collect();
    let day = format!("CASE arrival_day WHEN {NO_DAY} THEN NULL ELSE date(arrival_day * 86400, 'unixepoch') END");
    for (view, table, extra) in
        [(&names.view, &names.main, overflow), (&names.view_late, &names.late, format!("{day} AS arrival_day, "))]
    {
        let view = quoted(view);
        t.execute_batch(&format!(
            "DROP VIEW IF EXISTS {view};
             CREATE VIEW {view} AS SELECT {keys}window_start, window_end, {measures}{extra}_v AS version FROM {table};"
        ))?;
    }
    t.commit()?;
    Ok(table)
}
