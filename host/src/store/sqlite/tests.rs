//! The contract on real files, and the troubles that files have.

use super::*;
use crate::store::contract::{self, policy};
use std::fs;
use tempfile::TempDir;

fn layout() -> Layout {
    Layout::new(policy())
}

async fn made(dir: &TempDir) -> PathBuf {
    let file = dir.path().join("a.db");
    SqliteStore::open(&file).unwrap().prepare(&layout()).await.unwrap();
    file
}

fn refusal<T>(r: Result<T, StoreError>) -> String {
    match r {
        Err(e) => e.to_string(),
        Ok(_) => panic!("it was not refused"),
    }
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let dir = TempDir::new().unwrap();
    let count = std::sync::atomic::AtomicU32::new(0);
    contract::check(async || {
        let n = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let file = dir.path().join(format!("{n}.db"));
        let open = || -> Arc<dyn Store> { Arc::new(SqliteStore::open(&file).unwrap()) };
        [open(), open()]
    })
    .await;
}

#[tokio::test]
async fn views_have_the_policys_names_and_exact_totals() {
    let dir = TempDir::new().unwrap();
    let file = made(&dir).await;
    let db = Connection::open(&file).unwrap();
    let id = layout().rows_id();
    db.execute_batch(&format!(
        "INSERT INTO rows_{id} VALUES (0, 10, '[\"a\"]', 3, '9223372036854775808', -1, NULL, 1);
         INSERT INTO late_{id} VALUES (0, 10, '[\"a\"]', 20000, 1, 1, 1, 1, 1);
         INSERT INTO late_{id} VALUES (0, 10, '[\"a\"]', {}, 1, 1, 1, 1, 1);",
        schema::NO_DAY
    ))
    .unwrap();
    let row = db.query_row("SELECT k, window_start, n, sum, most FROM contract", [], |r| {
        Ok((
            r.get::<_, String>(0)?,
            r.get::<_, i64>(1)?,
            r.get::<_, i64>(2)?,
            r.get::<_, String>(3)?,
            r.get::<_, Option<i64>>(4)?,
        ))
    });
    assert_eq!(row.unwrap(), ("a".into(), 0, 3, "9223372036854775808".into(), None));
    let mut days = db.prepare("SELECT arrival_day FROM contract_late ORDER BY 1").unwrap();
    let days: Vec<Option<String>> = days.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(days, [None, Some("2024-10-04".into())]);
}

#[tokio::test]
async fn letters_of_before_batches_were_named_stay_readable() {
    let dir = TempDir::new().unwrap();
    let file = made(&dir).await;
    let db = Connection::open(&file).unwrap();
    db.execute_batch(
        "ALTER TABLE plimsoll_dead_letters DROP COLUMN n;
         INSERT INTO plimsoll_dead_letters VALUES ('contract', '', 'a', 'f:1', 'malformed', 'why', NULL, 1, x'41');",
    )
    .unwrap();
    let read = async || {
        let letters = SqliteStore::open_read_only(&file).unwrap().dead_letters(&layout(), 9).await.unwrap();
        letters.iter().map(|l| (l.position.clone(), l.n)).collect::<Vec<_>>()
    };
    assert_eq!(read().await, [("f:1".to_owned(), 0)], "reading changes nothing");
    assert!(!schema::letters_are_numbered(&db).unwrap());
    SqliteStore::open(&file).unwrap().prepare(&layout()).await.unwrap();
    assert_eq!(read().await, [("f:1".to_owned(), 0)]);
    assert!(schema::letters_are_numbered(&db).unwrap());
}

#[tokio::test]
async fn what_is_no_store_of_ours_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let text = dir.path().join("text.db");
    fs::write(&text, "this is no database, and long enough to be looked at".repeat(50)).unwrap();
    assert!(refusal(SqliteStore::open(&text)).contains("not a SQLite file"));
    let foreign = dir.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE people (name)").unwrap();
    let before = fs::read(&foreign).unwrap();
    assert!(refusal(SqliteStore::open(&foreign)).contains("another program"));
    assert_eq!(fs::read(&foreign).unwrap(), before);
    assert!(refusal(SqliteStore::open_read_only(&foreign)).contains("without Plimsoll's tables"));
    assert!(refusal(SqliteStore::open(dir.path())).contains("a folder"));
    assert!(refusal(SqliteStore::open(dir.path().join("no/such/a.db"))).contains("the folder exists"));
    let none = dir.path().join("none.db");
    assert!(refusal(SqliteStore::open_read_only(&none)).contains("no such file"));
    assert!(!none.exists(), "asking for rows makes no file");
}

#[tokio::test]
async fn a_damaged_file_is_named_as_such() {
    let dir = TempDir::new().unwrap();
    let file = made(&dir).await;
    Connection::open(&file).unwrap().pragma_update(None, "wal_checkpoint", "truncate").ok();
    let mut bytes = fs::read(&file).unwrap();
    for b in &mut bytes[100..] {
        *b = 0xa5;
    }
    fs::write(&file, bytes).unwrap();
    for side in ["a.db-wal", "a.db-shm"] {
        fs::remove_file(dir.path().join(side)).ok();
    }
    let refused = async || SqliteStore::open(&file)?.prepare(&layout()).await;
    let why = refusal(refused().await);
    assert!(why.contains("damaged") && why.contains("backup"), "{why}");
}

#[tokio::test]
async fn a_full_disk_leaves_nothing_half_written() {
    let dir = TempDir::new().unwrap();
    let file = made(&dir).await;
    let store = SqliteStore::open(&file).unwrap();
    store.prepare(&layout()).await.unwrap();
    let db = store.writer().unwrap();
    let pages: i64 = lock(&db).pragma_query_value(None, "page_count", |r| r.get(0)).unwrap();
    // SQLite says the same of a file that may not grow as of a disk that is full.
    lock(&db).pragma_update_and_check(None, "max_page_count", pages, |r| r.get::<_, i64>(0)).unwrap();
    let key = layout().lane("a");
    let head = plimsoll_core::lane::Head::new(key.clone(), 1, store.table(), 0);
    let fat = StoredHead { bytes: vec![7; 1 << 20], ..head.stored(None) };
    let why = refusal(store.execute(&key, &Command::CreateHead { head: fat }).await);
    assert!(why.contains("disk is full") && why.contains("Free some space"), "{why}");
    let Answer::Head { stored, .. } = store.execute(&key, &Command::ReadHead).await.unwrap() else { panic!() };
    assert_eq!(stored, None);
}

#[tokio::test]
async fn a_locked_file_is_asked_again() {
    let dir = TempDir::new().unwrap();
    let file = made(&dir).await;
    let store = SqliteStore::open(&file).unwrap();
    store.prepare(&layout()).await.unwrap();
    lock(&store.writer().unwrap()).busy_timeout(Duration::ZERO).unwrap();
    let other = Connection::open(&file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answer = store.execute(&layout().lane("a"), &Command::AllocateAlias).await.unwrap();
    assert!(
        matches!(&answer, Answer::Unknown { detail } if detail.contains("locked by another process")),
        "{answer:?}"
    );
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.execute(&layout().lane("a"), &Command::AllocateAlias).await.unwrap(), Answer::Alias(1));
}
