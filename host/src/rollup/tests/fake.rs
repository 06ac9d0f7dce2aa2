//! A world in memory: rows, their change stream with its tree of shards, the hours and days.
//!
//! The stream keeps the contract of `Changes` and no more: pages are small, some are empty, records repeat.

use crate::rollup::{At, Change, Changes, Covered, Notes, Page, Place, Setting, Shard, Shelf, Trouble};
use crate::store::StoreError;
use async_trait::async_trait;
use plimsoll_core::policy::Policy;
use plimsoll_core::rollup::{Level, Part, Slot, Spans, Whole, add_up};
use plimsoll_core::time::EventTime;
use plimsoll_core::window::Window;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// Records of a page.
const PAGE: usize = 3;
const MINUTE_MS: i64 = 60_000;

/// Key, window and bucket of a row.
pub type RowKey = (Vec<u8>, Window, u32);

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The host dies at a write.
    Crash {
        after_writes: u32,
    },
    /// One in so many calls of the stream fails, in turn for good reasons.
    Stream {
        one_in: u32,
    },
}

struct Kept {
    shard: Shard,
    /// The oldest record that is still there.
    oldest: usize,
    records: Vec<Option<Change>>,
    closed: bool,
}

struct Inner {
    now_ms: i64,
    stream: String,
    shards: Vec<Kept>,
    made: usize,
    rows: BTreeMap<RowKey, Part>,
    truth: BTreeMap<RowKey, Part>,
    wholes: BTreeMap<(Level, Vec<u8>, Window), Whole>,
    notes: Notes,
    fault: Fault,
    writes: u32,
    calls: u32,
    fired: u32,
}

pub struct World {
    setting: Setting,
    inner: Mutex<Inner>,
}

impl World {
    /// Nothing is written yet; days are those of a zone half an hour off.
    pub fn new() -> Self {
        let text = "policy = \"p\"\ninput = { time = { field = \"t\", unit = \"ms\" }, key = [\"k\"] }\n\
                    window = { fixed = \"1m\" }\nmeasures = { n = \"count\", sum = { sum = \"v\" }, least = { min = \"v\" } }\n\
                    [rollup]\nhour = true\nday = { zone = \"Asia/Kolkata\" }\n";
        let policy = Policy::from_toml(text).unwrap_or_else(|e| panic!("{e}"));
        let setting =
            Setting { spans: Spans::of(&policy).expect("it has a rollup"), measures: policy.spec().measures.clone() };
        let inner = Inner {
            now_ms: 1_767_225_600_000,
            stream: "stream-1".into(),
            shards: Vec::new(),
            made: 0,
            rows: BTreeMap::new(),
            truth: BTreeMap::new(),
            wholes: BTreeMap::new(),
            notes: Notes::default(),
            fault: Fault::None,
            writes: 0,
            calls: 0,
            fired: 0,
        };
        let world = Self { setting, inner: Mutex::new(inner) };
        world.lock().grow(None);
        world
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn setting(&self) -> &Setting {
        &self.setting
    }

    pub fn now_ms(&self) -> i64 {
        self.lock().now_ms
    }

    pub fn pass(&self, ms: i64) {
        self.lock().now_ms += ms;
    }

    pub fn fault(&self, fault: Fault) {
        let mut inner = self.lock();
        (inner.fault, inner.writes) = (fault, 0);
    }

    pub fn faults_fired(&self) -> u32 {
        self.lock().fired
    }

    /// A row's count is raised, and its sum by so much; its least value is the least of them.
    pub fn write(&self, key: &str, minute: i64, by: i128) {
        self.write_in(key, minute, 0, by);
    }

    pub fn write_in(&self, key: &str, minute: i64, bucket: u32, by: i128) {
        let mut inner = self.lock();
        let start = 1_767_225_600_000 + minute * MINUTE_MS;
        let place = (format!("[\"{key}\"]").into_bytes(), Window::of_millis(start, start + MINUTE_MS), bucket);
        // An expired row is never written again (exactly-once.md's row expiry): such a write goes elsewhere.
        if inner.truth.contains_key(&place) && !inner.rows.contains_key(&place) {
            return;
        }
        let held = inner.rows.get(&place).cloned().unwrap_or(Part { version: 0, values: vec![None; 3] });
        let values = add_up(&self.setting.measures, [&held.values[..], &[Some(1), Some(by), Some(by)]]);
        let part = Part { version: held.version + 1, values };
        inner.rows.insert(place.clone(), part.clone());
        inner.truth.insert(place.clone(), part.clone());
        let (key, window, bucket) = place;
        inner.put(Some(Change { key, window, bucket, part }));
    }

    /// The row is deleted. Its removal is a record of the stream without a change for us.
    pub fn expire(&self, key: &str, minute: i64) {
        let mut inner = self.lock();
        let start = 1_767_225_600_000 + minute * MINUTE_MS;
        inner
            .rows
            .retain(|(k, window, _), _| *k != format!("[\"{key}\"]").into_bytes() || window.start.as_millis() != start);
        inner.put(None);
    }

    /// A record that was there before stands there once more, behind newer ones.
    pub fn repeat(&self, back: usize) {
        let mut inner = self.lock();
        let all: Vec<Option<Change>> = inner.shards.iter().flat_map(|s| s.records.clone()).collect();
        if let Some(again) = all.iter().rev().nth(back) {
            inner.put(again.clone());
        }
    }

    /// The open shard ends, and a child goes on.
    pub fn roll(&self) {
        let mut inner = self.lock();
        let parent = inner.shards.last_mut().expect("there is an open shard");
        parent.closed = true;
        let parent = parent.shard.id.clone();
        inner.grow(Some(parent));
    }

    /// Closed shards are gone.
    pub fn trim(&self) {
        self.lock().shards.retain(|s| !s.closed);
    }

    /// All records but the last are gone.
    pub fn trim_records(&self) {
        for shard in &mut self.lock().shards {
            shard.oldest = shard.records.len().saturating_sub(1).max(shard.oldest);
        }
    }

    /// The stream is turned off and on.
    pub fn another_stream(&self) {
        let mut inner = self.lock();
        inner.stream.push('x');
        inner.shards.clear();
        inner.grow(None);
    }

    /// As a host that had covered everything just now would have noted.
    pub fn cover(&self) {
        let mut inner = self.lock();
        inner.notes.covered = Some(Covered { at_ms: inner.now_ms, watermark: None });
    }

    pub fn shards_noted(&self) -> usize {
        self.lock().notes.shards.len()
    }

    /// The newest state of every row that there ever was.
    pub fn truth(&self) -> BTreeMap<RowKey, Part> {
        self.lock().truth.clone()
    }

    /// Hours or days.
    pub fn wholes(&self, level: Level) -> BTreeMap<(Vec<u8>, Window), Whole> {
        let inner = self.lock();
        let of_level = inner.wholes.iter().filter(|((l, ..), _)| *l == level);
        of_level.map(|((_, key, window), whole)| ((key.clone(), *window), whole.clone())).collect()
    }

    fn called(&self) -> Result<MutexGuard<'_, Inner>, Trouble> {
        let mut inner = self.lock();
        inner.calls += 1;
        if let Fault::Stream { one_in } = inner.fault
            && inner.calls.is_multiple_of(one_in)
        {
            inner.fired += 1;
            return Err(if inner.fired.is_multiple_of(2) {
                Trouble::Passing("throttled".into())
            } else {
                Trouble::Expired
            });
        }
        Ok(inner)
    }

    fn writing(&self) -> Result<MutexGuard<'_, Inner>, StoreError> {
        let mut inner = self.lock();
        inner.writes += 1;
        match inner.fault {
            Fault::Crash { after_writes } if inner.writes > after_writes => {
                Err(StoreError::Refused("the host is dead".into()))
            }
            _ => Ok(inner),
        }
    }
}

impl Inner {
    fn grow(&mut self, parent: Option<String>) {
        self.made += 1;
        let shard = Shard { id: format!("{}-shard-{}", self.stream, self.made), parent, closed: false };
        self.shards.push(Kept { shard, oldest: 0, records: Vec::new(), closed: false });
    }

    fn put(&mut self, record: Option<Change>) {
        self.shards.last_mut().expect("there is an open shard").records.push(record);
    }
}

#[async_trait]
impl Changes for World {
    fn id(&self) -> String {
        self.lock().stream.clone()
    }

    async fn shards(&self) -> Result<Vec<Shard>, Trouble> {
        match self.called() {
            // Not an answer of this call.
            Err(Trouble::Expired) => Err(Trouble::Passing("busy".into())),
            inner => Ok(inner?.shards.iter().map(|s| Shard { closed: s.closed, ..s.shard.clone() }).collect()),
        }
    }

    async fn iterator(&self, shard: &str, after: Option<&str>) -> Result<String, Trouble> {
        let inner = match self.called() {
            Err(Trouble::Expired) => return Err(Trouble::Passing("busy".into())),
            inner => inner?,
        };
        let kept = inner.shards.iter().find(|s| s.shard.id == shard).ok_or(Trouble::Trimmed)?;
        let at = match after {
            None => kept.oldest,
            Some(after) => after.parse::<usize>().expect("a position of ours") + 1,
        };
        // As the service: a position older than what it keeps is refused.
        if at < kept.oldest { Err(Trouble::Trimmed) } else { Ok(format!("{shard}/{at}/0")) }
    }

    async fn page(&self, iterator: &str) -> Result<Page, Trouble> {
        let inner = self.called()?;
        let mut parts = iterator.split('/');
        let (shard, at, turn) = (parts.next(), parts.next(), parts.next());
        let at: usize = at.and_then(|at| at.parse().ok()).expect("an iterator of ours");
        let kept = inner.shards.iter().find(|s| Some(s.shard.id.as_str()) == shard).ok_or(Trouble::Trimmed)?;
        if at < kept.oldest {
            return Err(Trouble::Trimmed);
        }
        // Every page comes after an empty one.
        if turn == Some("0") {
            let next = Some(format!("{}/{at}/1", kept.shard.id));
            return Ok(Page { next, ..Page::default() });
        }
        let end = (at + PAGE).min(kept.records.len());
        let changes = kept.records[at..end].iter().flatten().cloned().collect();
        let last = (end > at).then(|| (end - 1).to_string());
        let over = kept.closed && end == kept.records.len();
        Ok(Page { changes, last, next: (!over).then(|| format!("{}/{end}/0", kept.shard.id)) })
    }
}

#[async_trait]
impl Shelf for World {
    async fn set(&self, at: &At<'_>, slot: Slot, part: &Part) -> Result<(Whole, bool), StoreError> {
        let mut inner = self.writing()?;
        let whole = inner.wholes.entry((at.level, at.key.to_vec(), at.span)).or_default();
        let taken = whole.set(slot, part.clone());
        Ok((whole.clone(), taken))
    }

    async fn rows(&self, from: Option<String>) -> Result<(Vec<Change>, Option<String>), StoreError> {
        let inner = self.lock();
        let from: usize = from.map_or(0, |n| n.parse().expect("a place of ours"));
        let change = |((key, window, bucket), part): (&RowKey, &Part)| Change {
            key: key.clone(),
            window: *window,
            bucket: *bucket,
            part: part.clone(),
        };
        let page: Vec<Change> = inner.rows.iter().skip(from).take(PAGE).map(change).collect();
        let next = (from + PAGE < inner.rows.len()).then(|| (from + PAGE).to_string());
        Ok((page, next))
    }

    async fn watermark(&self) -> Result<Option<EventTime>, StoreError> {
        Ok(Some(EventTime::from_millis(self.now_ms())))
    }

    async fn notes(&self) -> Result<Notes, StoreError> {
        Ok(self.lock().notes.clone())
    }

    async fn note(&self, shard: &str, place: &Place) -> Result<(), StoreError> {
        self.writing()?.notes.shards.insert(shard.to_owned(), place.clone());
        Ok(())
    }

    async fn forget(&self, shard: &str) -> Result<(), StoreError> {
        self.writing()?.notes.shards.remove(shard);
        Ok(())
    }

    async fn cover(&self, stream: &str, covered: &Covered) -> Result<(), StoreError> {
        let mut inner = self.writing()?;
        (inner.notes.stream, inner.notes.covered) = (Some(stream.to_owned()), Some(*covered));
        Ok(())
    }
}
