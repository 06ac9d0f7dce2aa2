//! SQLite: rows, dead letters and heads in one file, each batch one transaction.
//!
//! ```text
//! plimsoll_meta          name -> value: identity of the file, counter of aliases
//! plimsoll_heads         (app, generation, lane) -> n, pos, head
//! plimsoll_dead_letters  (app, generation, lane, position) -> reason, raw bytes, n
//! plimsoll_gaps          (app, generation, lane, kind, position) -> found, found_ms, accepted_ms
//! rows_<id>              (window_start, window_end, key) -> m0, m1, …, _v
//! late_<id>              (window_start, window_end, key, arrival_day) -> the same
//! "impressions", "impressions_late"     views with the policy's names, for people
//! ```
//! Invariants
//! - BEGIN IMMEDIATE, then a look at the head's `n`: a second host on the same file changes nothing, it is told so.
//! - WAL with `synchronous = FULL`: what COMMIT answered survives loss of power.
//! - Totals are exact: an integer where it fits 64 bits, else decimal text. SQLite's own `+` and `sum()` would turn into
//!   floats there, so the file's additions go through `plimsoll_add` where they could overflow.
//!
//! Not here: names of tables and SQL (`schema`), reading for people (`read`).

mod gaps;
mod read;
mod schema;

use super::{Gap, Layout, RowQuery, Store, StoreError, StoredDeadLetter, StoredRow};
use async_trait::async_trait;
use plimsoll_core::account::Reason;
use plimsoll_core::decode::Decoder;
use plimsoll_core::lane::{Answer, Atomicity, Command, Content, Head, LaneKey, Limits, StoredHead};
use plimsoll_core::time::ArrivalTime;
use plimsoll_core::wire::effects::Table;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{
    CachedStatement, Connection, ErrorCode, OpenFlags, OptionalExtension, ToSql, TransactionBehavior, params,
};
use schema::Names;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

/// How long a write waits for another process's write before it is `Unknown` and tried again.
const BUSY_MAX: Duration = Duration::from_secs(5);
/// Pages kept in memory, in KiB. A batch's rows stand close together, so more buys little.
const CACHE_KIB: i64 = 16 << 10;
/// Pages of the WAL before they are written back into the file: 16 MiB.
const WAL_PAGES: i64 = 4_096;

/// A SQLite file.
pub struct SqliteStore {
    path: PathBuf,
    writer: Option<Arc<Mutex<Connection>>>,
    prepared: Arc<OnceLock<Prepared>>,
}

/// What `prepare` found and made.
struct Prepared {
    layout: Layout,
    names: Names,
    table: String,
    decoder: Mutex<Decoder>,
}

impl SqliteStore {
    /// Opens a file for writing, and makes it if there is none.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&path, flags).map_err(|e| refused(&path, &e))?;
        let set_up = || -> rusqlite::Result<String> {
            db.busy_timeout(BUSY_MAX)?;
            // Before anything is written: a file of another program is left as it is.
            let mode = db.pragma_query_value(None, "schema_version", |r| r.get::<_, i64>(0))?;
            let app = db.pragma_query_value(None, "application_id", |r| r.get::<_, i64>(0))?;
            if mode != 0 && app != schema::APPLICATION_ID {
                return Ok("foreign".into());
            }
            let mode = db.pragma_update_and_check(None, "journal_mode", "wal", |r| r.get(0))?;
            db.pragma_update(None, "synchronous", "full")?;
            db.pragma_update(None, "cache_size", -CACHE_KIB)?;
            db.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
            db.set_prepared_statement_cache_capacity(64);
            schema::functions(&db)?;
            Ok(mode)
        };
        match set_up().map_err(|e| refused(&path, &e))?.as_str() {
            "wal" => {}
            "foreign" => {
                return Err(StoreError::Refused(format!(
                    "{}: a SQLite file of another program; name a new file with --sqlite",
                    path.display()
                )));
            }
            other => {
                return Err(StoreError::Refused(format!(
                    "{}: its journal mode stays `{other}`, write-ahead logging is needed; put the file on a local disk",
                    path.display()
                )));
            }
        }
        Ok(Self { path, writer: Some(Arc::new(Mutex::new(db))), prepared: Arc::default() })
    }

    /// Opens an existing file for reading only. Whoever writes to it is not held up.
    pub fn open_read_only(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        read::connect(&path)?;
        Ok(Self { path, writer: None, prepared: Arc::default() })
    }

    fn writer(&self) -> Result<Arc<Mutex<Connection>>, StoreError> {
        self.writer.clone().ok_or_else(|| {
            StoreError::Refused(format!("{}: opened for reading only, and asked to write", self.path.display()))
        })
    }

    /// Runs SQL where waiting for a disk holds up no other task.
    async fn blocking<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Path) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || f(&path)).await.expect("SQL does not panic")
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn describe(&self) -> String {
        format!("sqlite {}", self.path.display())
    }

    fn atomicity(&self) -> Atomicity {
        Atomicity::Transaction
    }

    fn limits(&self) -> Limits {
        Limits::NONE
    }

    fn table(&self) -> String {
        self.prepared.get().map(|p| p.table.clone()).unwrap_or_default()
    }

    async fn prepare(&self, layout: &Layout) -> Result<(), StoreError> {
        let (db, layout, prepared) = (self.writer()?, layout.clone(), Arc::clone(&self.prepared));
        self.blocking(move |path| {
            let mut db = lock(&db);
            let names = Names::new(&layout);
            let table = schema::make(&mut db, &layout, &names).map_err(|e| refused(path, &e))?;
            let decoder = Mutex::new(Decoder::new(&layout.policy));
            // Preparing again for the same layout changes nothing; another layout is another run.
            prepared.get_or_init(|| Prepared { layout, names, table, decoder });
            Ok(())
        })
        .await
    }

    async fn execute(&self, key: &LaneKey, command: &Command) -> Result<Answer, StoreError> {
        let (db, prepared) = (self.writer()?, Arc::clone(&self.prepared));
        let (key, command) = (key.clone(), command.clone());
        self.blocking(move |path| {
            let prepared = prepared.get().expect("prepared before it is used");
            let mut db = lock(&db);
            let answer = match command {
                Command::ReadHead => read_head(&db, &key),
                Command::AllocateAlias => allocate(&db),
                Command::CreateHead { head } => create(&db, &key, &head),
                Command::Transact { content, head } => {
                    prepared.layout.check(&content.pin)?;
                    transact(&mut db, prepared, &key, &content, &head)
                }
                other => panic!("a store with transactions is not asked for {other:?}"),
            };
            answer.or_else(|e| failed(path, &e))
        })
        .await
    }

    async fn heads(&self, layout: &Layout) -> Result<Vec<Head>, StoreError> {
        let layout = layout.clone();
        self.blocking(move |path| read::heads(path, &layout)).await
    }

    async fn rows(&self, layout: &Layout, query: &RowQuery) -> Result<Vec<StoredRow>, StoreError> {
        let (layout, query) = (layout.clone(), query.clone());
        self.blocking(move |path| read::rows(path, &layout, &query)).await
    }

    async fn dead_letters(&self, layout: &Layout, limit: usize) -> Result<Vec<StoredDeadLetter>, StoreError> {
        let layout = layout.clone();
        self.blocking(move |path| read::dead_letters(path, &layout, limit)).await
    }

    async fn dead_letter_counts(&self, layout: &Layout) -> Result<BTreeMap<(String, Reason), u64>, StoreError> {
        let layout = layout.clone();
        self.blocking(move |path| read::dead_letter_counts(path, &layout)).await
    }

    async fn note_gap(&self, layout: &Layout, gap: &Gap) -> Result<Gap, StoreError> {
        let (db, layout, gap) = (self.writer()?, layout.clone(), gap.clone());
        self.blocking(move |path| gaps::note(path, &lock(&db), &layout, &gap)).await
    }

    async fn gaps(&self, layout: &Layout) -> Result<Vec<Gap>, StoreError> {
        let layout = layout.clone();
        self.blocking(move |path| gaps::read(path, &layout)).await
    }
}

fn lock(db: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    // A panic in the middle of a transaction rolled it back when its guard was dropped.
    db.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn read_head(db: &Connection, key: &LaneKey) -> rusqlite::Result<Answer> {
    let mut sql = db.prepare_cached(
        "SELECT head, n, alias, pos, done FROM plimsoll_heads WHERE app = ?1 AND generation = ?2 AND lane = ?3",
    )?;
    let stored = sql.query_row(params![key.app, key.generation, key.lane], |r| {
        Ok(StoredHead {
            bytes: r.get(0)?,
            n: r.get::<_, i64>(1)? as u64,
            alias: r.get::<_, i64>(2)? as u64,
            pos: r.get(3)?,
            done: r.get(4)?,
            pend: None,
        })
    });
    Ok(Answer::Head { stored: stored.optional()?, now_ms: crate::clock::now_ms() })
}

fn allocate(db: &Connection) -> rusqlite::Result<Answer> {
    let sql = "UPDATE plimsoll_meta SET value = value + 1 WHERE name = 'aliases' RETURNING value";
    Ok(Answer::Alias(db.query_row(sql, [], |r| r.get::<_, i64>(0))? as u64))
}

fn create(db: &Connection, key: &LaneKey, head: &StoredHead) -> rusqlite::Result<Answer> {
    let sql = "INSERT INTO plimsoll_heads (app, generation, lane, n, alias, pos, done, head) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING";
    let id =
        params![key.app, key.generation, key.lane, head.n as i64, head.alias as i64, head.pos, head.done, head.bytes];
    Ok(if db.execute(sql, id)? == 1 { Answer::Written } else { Answer::Refused })
}

fn transact(
    db: &mut Connection,
    prepared: &Prepared,
    key: &LaneKey,
    content: &Content,
    head: &StoredHead,
) -> rusqlite::Result<Answer> {
    let t = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let changed = t
        .prepare_cached(
            "UPDATE plimsoll_heads SET n = ?4, pos = ?5, done = ?6, head = ?7 \
             WHERE app = ?1 AND generation = ?2 AND lane = ?3 AND n = ?4 - 1",
        )?
        .execute(params![key.app, key.generation, key.lane, head.n as i64, head.pos, head.done, head.bytes])?;
    if changed == 0 {
        return Ok(Answer::Refused);
    }
    let names = &prepared.names;
    let mut main = t.prepare_cached(&names.upsert_main)?;
    let mut late = t.prepare_cached(&names.upsert_late)?;
    for group in &content.effects.groups {
        let (start, end) = (group.start.as_millis(), group.end.as_millis());
        let sql: &mut CachedStatement<'_> = if group.table == Table::Main { &mut main } else { &mut late };
        sql.raw_bind_parameter(1, start)?;
        sql.raw_bind_parameter(2, end)?;
        let mut first = 4;
        if let Table::Late { day } = group.table {
            sql.raw_bind_parameter(4, day.unwrap_or(schema::NO_DAY))?;
            first = 5;
        }
        for row in &group.rows {
            sql.raw_bind_parameter(3, Text(&row.key))?;
            for (i, v) in row.values.iter().enumerate() {
                sql.raw_bind_parameter(first + i, Total(*v))?;
            }
            sql.raw_execute()?;
        }
    }
    drop((main, late));
    if !content.effects.dead.is_empty() {
        let decoder = prepared.decoder.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // A position that is there already was set aside by the same record.
        let mut sql = t.prepare_cached(
            "INSERT INTO plimsoll_dead_letters \
             (app, generation, lane, position, reason, detail, arrival_ms, length, raw, n) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING",
        )?;
        for (d, position) in content.effects.dead.iter().zip(&content.places) {
            sql.execute(params![
                key.app,
                key.generation,
                key.lane,
                position,
                d.reason.name(),
                decoder.explain(d.reason, d.field, d.at),
                d.arrival.map(ArrivalTime::as_millis),
                i64::try_from(d.full_len).unwrap_or(i64::MAX),
                d.raw,
                content.n as i64
            ])?;
        }
    }
    t.commit()?;
    Ok(Answer::Written)
}

/// A key as text without a check: the decoder wrote it, as UTF-8.
struct Text<'a>(&'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

/// A total: NULL, an integer, or decimal text beyond 64 bits.
struct Total(Option<i128>);

impl ToSql for Total {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Owned(match self.0 {
            None => Value::Null,
            Some(v) => i64::try_from(v).map_or_else(|_| Value::Text(v.to_string()), Value::Integer),
        }))
    }
}

/// What an error while writing means for the protocol. The transaction was rolled back.
fn failed(path: &Path, e: &rusqlite::Error) -> Result<Answer, StoreError> {
    let detail = format!("{}: {e}", path.display());
    if e.to_string().contains(schema::OVER) {
        return Ok(Answer::Impossible { detail });
    }
    match e.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Ok(Answer::Unknown {
            detail: format!(
                "{}: locked by another process for {} s; close it, or wait",
                path.display(),
                BUSY_MAX.as_secs()
            ),
        }),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig) => Ok(Answer::Impossible { detail }),
        _ => Err(refused(path, e)),
    }
}

/// Says what is wrong with a file, and the mend.
fn refused(path: &Path, e: &rusqlite::Error) -> StoreError {
    let p = path.display();
    let what = match e.sqlite_error_code() {
        Some(ErrorCode::CannotOpen) if path.is_dir() => format!("{p}: a folder; name a file"),
        Some(ErrorCode::CannotOpen) => {
            format!("{p}: cannot be opened ({e}); check that the folder exists and that you may write there")
        }
        Some(ErrorCode::NotADatabase) => format!("{p}: not a SQLite file; name a new file with --sqlite"),
        Some(ErrorCode::DatabaseCorrupt) => format!(
            "{p}: damaged ({e}); nothing was written. Restore it from a backup, or name a new file with --sqlite and \
             read the source again from its start"
        ),
        Some(ErrorCode::ReadOnly) => {
            format!("{p}: may not be written ({e}); change its permissions, or name another file with --sqlite")
        }
        Some(ErrorCode::PermissionDenied) => format!("{p}: no permission ({e}); change its owner or permissions"),
        Some(ErrorCode::DiskFull) => {
            format!("{p}: the disk is full; nothing of this batch was written. Free some space and start again")
        }
        Some(ErrorCode::SystemIoFailure) => {
            format!("{p}: the disk failed ({e}); nothing of this batch was written. Free or repair it and start again")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("{p}: locked by another process for {} s; close that one", BUSY_MAX.as_secs())
        }
        _ => format!("{p}: {e}"),
    };
    StoreError::Refused(what)
}

#[cfg(test)]
mod tests;
