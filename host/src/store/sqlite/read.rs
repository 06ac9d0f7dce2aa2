//! Reading a SQLite store for people: on a connection of its own that cannot write, so that nobody is held up.

use super::schema::{NO_DAY, Names, letters_are_numbered, total};
use super::{BUSY_MAX, refused};
use crate::store::{Layout, RowQuery, StoreError, StoredDeadLetter, StoredRow, Which, sort};
use plimsoll_core::account::Reason;
use plimsoll_core::lane::Head;
use plimsoll_core::time::{ArrivalTime, EventTime};
use plimsoll_core::window::Window;
use plimsoll_core::wire::effects::{Row, Table};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use std::collections::BTreeMap;
use std::path::Path;

/// A connection that cannot write.
pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    if !path.exists() {
        return Err(StoreError::Refused(format!(
            "{}: there is no such file; `plimsoll run --sqlite FILE` makes it",
            path.display()
        )));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(|e| refused(path, &e))?;
    let ours = || -> rusqlite::Result<bool> {
        db.busy_timeout(BUSY_MAX)?;
        has(&db, "plimsoll_heads")
    };
    if ours().map_err(|e| refused(path, &e))? {
        return Ok(db);
    }
    Err(StoreError::Refused(format!("{}: a SQLite file without Plimsoll's tables; name the right one", path.display())))
}

pub(super) fn has(db: &Connection, table: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1";
    Ok(db.query_row(sql, params![table], |_| Ok(())).optional()?.is_some())
}

pub(super) fn heads(path: &Path, layout: &Layout) -> Result<Vec<Head>, StoreError> {
    let db = connect(path)?;
    let key = layout.lane("");
    let read = || -> rusqlite::Result<Vec<Vec<u8>>> {
        db.prepare("SELECT head FROM plimsoll_heads WHERE app = ?1 AND generation = ?2")?
            .query_map(params![key.app, key.generation], |r| r.get(0))?
            .collect()
    };
    let heads = read().map_err(|e| refused(path, &e))?;
    let decoded = heads.iter().map(|bytes| Head::decode(bytes)).collect::<Result<_, _>>();
    decoded.map_err(|e| StoreError::Refused(format!("{}: a lane's head cannot be read: {e}", path.display())))
}

pub(super) fn rows(path: &Path, layout: &Layout, query: &RowQuery) -> Result<Vec<StoredRow>, StoreError> {
    let db = connect(path)?;
    let names = Names::new(layout);
    let late = query.table == Which::Late;
    let table = if late { &names.late } else { &names.main };
    let measures = layout.policy.spec().measures.len();
    let read = || -> rusqlite::Result<Vec<StoredRow>> {
        if !has(&db, table)? {
            return Ok(Vec::new());
        }
        let columns: String = (0..measures).map(|i| format!("m{i}, ")).collect();
        let day = if late { "arrival_day" } else { "NULL" };
        let sql = format!(
            "SELECT window_start, window_end, key, {columns}_v, {day} FROM {table}
             WHERE window_start >= ?1 AND (?2 IS NULL OR window_start < ?2) AND (?3 IS NULL OR key = ?3)
             ORDER BY window_end, window_start, {day}, key LIMIT ?4"
        );
        let mut sql = db.prepare(&sql)?;
        let rows = sql.query_map(
            params![
                query.from.map_or(i64::MIN, EventTime::as_millis),
                query.to.map(EventTime::as_millis),
                query.key.as_ref().map(|k| String::from_utf8_lossy(k)),
                query.limit.map_or(-1, |n| i64::try_from(n).unwrap_or(-1)),
            ],
            |r| {
                let time = |i| Ok::<_, rusqlite::Error>(EventTime::from_millis(r.get(i)?));
                let values = (0..measures).map(|i| total(r.get_ref(3 + i)?)).collect::<Result<_, _>>()?;
                let day: Option<i64> = r.get(4 + measures)?;
                Ok(StoredRow {
                    table: if late { Table::Late { day: day.filter(|d| *d != NO_DAY) } } else { Table::Main },
                    window: Window { start: time(0)?, end: time(1)? },
                    row: Row { key: r.get::<_, String>(2)?.into_bytes(), values },
                    version: r.get::<_, i64>(3 + measures)? as u64,
                })
            },
        )?;
        rows.collect()
    };
    let mut rows = read().map_err(|e| refused(path, &e))?;
    sort(&mut rows);
    Ok(rows)
}

pub(super) fn dead_letters(path: &Path, layout: &Layout, limit: usize) -> Result<Vec<StoredDeadLetter>, StoreError> {
    let db = connect(path)?;
    let key = layout.lane("");
    let read = || -> rusqlite::Result<Vec<StoredDeadLetter>> {
        let n = if letters_are_numbered(&db)? { "n" } else { "0" };
        let sql = format!(
            "SELECT lane, position, reason, detail, arrival_ms, length, raw, {n} FROM plimsoll_dead_letters
             WHERE app = ?1 AND generation = ?2 ORDER BY lane, rowid LIMIT ?3"
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut sql = db.prepare(&sql)?;
        let letters = sql.query_map(params![key.app, key.generation, limit], |r| {
            Ok(StoredDeadLetter {
                lane: r.get(0)?,
                position: r.get(1)?,
                reason: reason(&r.get::<_, String>(2)?)?,
                detail: r.get(3)?,
                arrival: r.get::<_, Option<i64>>(4)?.map(ArrivalTime::from_millis),
                length: r.get::<_, i64>(5)? as u64,
                raw: r.get(6)?,
                n: r.get::<_, i64>(7)? as u64,
            })
        })?;
        letters.collect()
    };
    read().map_err(|e| refused(path, &e))
}

pub(super) fn dead_letter_counts(path: &Path, layout: &Layout) -> Result<BTreeMap<(String, Reason), u64>, StoreError> {
    let db = connect(path)?;
    let key = layout.lane("");
    let read = || -> rusqlite::Result<BTreeMap<(String, Reason), u64>> {
        let sql = "SELECT lane, reason, count(*) FROM plimsoll_dead_letters
                   WHERE app = ?1 AND generation = ?2 GROUP BY lane, reason";
        let mut sql = db.prepare(sql)?;
        let counts = sql.query_map(params![key.app, key.generation], |r| {
            Ok(((r.get(0)?, reason(&r.get::<_, String>(1)?)?), r.get::<_, i64>(2)? as u64))
        })?;
        counts.collect()
    };
    read().map_err(|e| refused(path, &e))
}

fn reason(name: &str) -> rusqlite::Result<Reason> {
    Reason::ALL.into_iter().find(|known| known.name() == name).ok_or_else(|| {
        rusqlite::Error::UserFunctionError(
            format!("a dead letter for `{name}`, which this version does not know").into(),
        )
    })
}
