//! The gap ledger in a SQLite file.
//!
//! Invariant: an entry's first words stay; only its acceptance is added.

use super::read::{connect, has};
use super::refused;
use crate::store::gap::{self, Gap, GapKind};
use crate::store::{Layout, StoreError};
use rusqlite::{Connection, Row, params};
use std::path::Path;

/// In the primary key: nothing was committed. No position is empty.
const NOTHING: &str = "";

pub(super) fn note(path: &Path, db: &Connection, layout: &Layout, gap: &Gap) -> Result<Gap, StoreError> {
    let key = layout.lane(&gap.lane);
    let position = gap.position.as_deref().unwrap_or(NOTHING);
    let write = || {
        db.prepare_cached(
            "INSERT INTO plimsoll_gaps (app, generation, lane, kind, position, found, found_ms, accepted_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT DO UPDATE SET accepted_ms = coalesce(accepted_ms, excluded.accepted_ms)
             RETURNING lane, kind, position, found, found_ms, accepted_ms",
        )?
        .query_row(
            params![
                key.app,
                key.generation,
                key.lane,
                gap.kind.name(),
                position,
                gap.found,
                gap.found_ms,
                gap.accepted_ms
            ],
            entry,
        )
    };
    write().map_err(|e| refused(path, &e))
}

pub(super) fn read(path: &Path, layout: &Layout) -> Result<Vec<Gap>, StoreError> {
    let db = connect(path)?;
    let key = layout.lane("");
    let read = || -> rusqlite::Result<Vec<Gap>> {
        // A file that was written to before there was a ledger.
        if !has(&db, "plimsoll_gaps")? {
            return Ok(Vec::new());
        }
        let sql = "SELECT lane, kind, position, found, found_ms, accepted_ms FROM plimsoll_gaps
                   WHERE app = ?1 AND generation = ?2";
        db.prepare(sql)?.query_map(params![key.app, key.generation], entry)?.collect()
    };
    let mut gaps = read().map_err(|e| refused(path, &e))?;
    gap::sort(&mut gaps);
    Ok(gaps)
}

fn entry(r: &Row<'_>) -> rusqlite::Result<Gap> {
    let kind: String = r.get(1)?;
    let kind = GapKind::named(&kind).ok_or_else(|| {
        rusqlite::Error::UserFunctionError(format!("a gap of kind `{kind}`, which this version does not know").into())
    })?;
    Ok(Gap {
        lane: r.get(0)?,
        kind,
        position: Some(r.get::<_, String>(2)?).filter(|position| position != NOTHING),
        found: r.get(3)?,
        found_ms: r.get(4)?,
        accepted_ms: r.get(5)?,
    })
}
