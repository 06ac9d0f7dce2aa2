//! Follows the change stream: every shard from the place it was left at, its children when it ends, and the rows
//! themselves where the stream may have lost changes.
//!
//! ```text
//! round   look at the heads, list the shards, read each to its tip                   again after a while
//! repair  first start · a shard was trimmed, or left the list before its end · a shard whose parent is not known
//!         · more than 20 hours since everything was covered · another stream than before · asked for
//! ```
//! Shards are read all at once and in no order, since the order of changes does not matter (`super`). Lineage only tells
//! whether a shard was missed.
//!
//! Invariants
//! - A shard's place is noted after what stands before it was carried.
//! - A shard that was never read begins at its oldest record, never at its tip.
//! - `Covered` is what the heads said before a round that began `settle` later read every shard to its tip: a change is in
//!   the stream by then. A repair covers what the heads said before it, since rows are written before heads are.
//!
//! The tip: the service does not tell where it is. Several empty pages in a row are taken for it (`EMPTY_AT_TIP`).
//!
//! Not here: the service's calls (`store::dynamodb`).

use super::{Carried, Changes, Page, Setting, Shard, Shelf, Trouble, carry};
use crate::store::StoreError;
use futures::stream::{self, StreamExt};
use plimsoll_core::time::EventTime;
use rand::RngExt as _;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use tokio::sync::watch;

/// The stream keeps changes a day. After so long without having covered everything the rows are read.
const GAP_MAX_MS: i64 = 20 * 3_600_000;
/// So many empty pages in a row are the tip of an open shard.
const EMPTY_AT_TIP: u32 = 4;
/// Shards that are read at once.
const SHARDS_AT_ONCE: usize = 16;
/// After so many pages of a shard the round ends, so that new shards and heads are looked at.
const PAGES_MAX: u32 = 200;
/// So often it is noted that everything is covered, where nothing else has changed.
const COVER_EVERY_MS: i64 = 60_000;
/// Looks at heads that wait for a later round.
const LOOKS_MAX: usize = 64;
/// Waits after trouble grow to this.
const BACKOFF_MAX: Duration = Duration::from_secs(20);
/// With `once`, trouble that lasts for so many attempts ends the run.
const ATTEMPTS_ONCE: u32 = 8;

/// How the stream is followed.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// End at the tip of every shard.
    pub once: bool,
    /// Read the rows themselves first.
    pub repair: bool,
    /// Between two rounds, and between two pages that give nothing.
    pub poll: Duration,
    /// How long after its write a change is in the stream for sure.
    pub settle: Duration,
    /// The least wait after trouble; it doubles up to 20 s, with full jitter.
    pub backoff: Duration,
}

impl Default for Options {
    /// Follows until it is stopped. The service says that changes come 'in near real time'; 3 s are ten times what is seen.
    fn default() -> Self {
        let (poll, settle, backoff) = (Duration::from_millis(250), Duration::from_secs(3), Duration::from_millis(200));
        Self { once: false, repair: false, poll, settle, backoff }
    }
}

/// How far one shard was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// After this record; none: nothing of it was read yet.
    pub after: Option<String>,
    /// To its end.
    pub done: bool,
}

/// Up to where everything is in the hours and days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    /// All that was written before this moment, by the clock of the host that says so, in milliseconds since the epoch.
    pub at_ms: i64,
    /// All that the lanes' heads stood for when their watermark was this.
    pub watermark: Option<EventTime>,
}

/// What earlier hosts have noted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Which stream that was.
    pub stream: Option<String>,
    /// Up to where everything is in the hours and days; none before the first repair is done.
    pub covered: Option<Covered>,
    /// How far each shard was read.
    pub shards: BTreeMap<String, Place>,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Out of the stream.
    pub followed: Carried,
    /// Out of the rows themselves.
    pub repaired: Carried,
    /// How often the rows were read.
    pub repairs: u64,
    /// How often a place had been trimmed, or a shard was gone before its end.
    pub gaps: u64,
}

/// Why it ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RollupError {
    /// The tables.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stream.
    #[error("{0}")]
    Stream(Trouble),
}

impl RollupError {
    fn passes(&self) -> bool {
        matches!(self, Self::Store(StoreError::Passing(_)) | Self::Stream(Trouble::Passing(_)))
    }
}

/// Whoever follows.
pub struct Follow<'a> {
    changes: &'a dyn Changes,
    shelf: &'a dyn Shelf,
    setting: &'a Setting,
    now_ms: &'a (dyn Fn() -> i64 + Send + Sync),
    options: Options,
    notes: Notes,
    /// What was noted of it.
    noted: Option<Covered>,
    /// Why the rows have to be read, if they have.
    repair: Option<String>,
    /// Shards that were gone before their end. Their places stay noted until the rows were read, so that a host that dies
    /// before that leaves the gap to be seen by the next.
    lost: BTreeSet<String>,
    /// Whether this run has covered what was there when it began.
    reached: bool,
    iterators: BTreeMap<String, String>,
    looks: VecDeque<Covered>,
    summary: Summary,
}

/// How a shard was left in a round.
struct Left {
    shard: String,
    place: Place,
    iterator: Option<String>,
    carried: Carried,
    outcome: Result<Reached, RollupError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    /// Its tip or end.
    Tip,
    /// There may be more.
    More,
    /// What was to come is gone.
    Trimmed,
}

impl<'a> Follow<'a> {
    /// Goes on from what is noted.
    pub async fn new(
        changes: &'a dyn Changes,
        shelf: &'a dyn Shelf,
        setting: &'a Setting,
        now_ms: &'a (dyn Fn() -> i64 + Send + Sync),
        options: Options,
    ) -> Result<Self, RollupError> {
        let mut notes = shelf.notes().await?;
        let repair = match (&notes.stream, notes.covered) {
            _ if options.repair => Some("it was asked for".to_owned()),
            (None, _) | (_, None) => Some("it is the first time".to_owned()),
            (Some(stream), _) if *stream != changes.id() => Some("the rows have another change stream now".to_owned()),
            _ => None,
        };
        if notes.stream.as_ref().is_some_and(|stream| *stream != changes.id()) {
            for shard in std::mem::take(&mut notes.shards).into_keys() {
                shelf.forget(&shard).await?;
            }
        }
        let (iterators, looks) = (BTreeMap::new(), VecDeque::new());
        let noted = notes.covered;
        Ok(Self {
            changes,
            shelf,
            setting,
            now_ms,
            options,
            notes,
            noted,
            repair,
            lost: BTreeSet::new(),
            reached: false,
            iterators,
            looks,
            summary: Summary::default(),
        })
    }

    /// Follows until `stop`; with `once`, until all that was written before it began is in the hours and days.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<Summary, RollupError> {
        let (mut failed, mut backoff) = (0, self.options.backoff);
        while !*stop.borrow() {
            let before = self.summary;
            let wait = match self.round(&stop).await {
                Ok(()) => {
                    (failed, backoff) = (0, self.options.backoff);
                    if self.options.once && self.reached && self.repair.is_none() {
                        break;
                    }
                    self.options.poll
                }
                Err(error) if !error.passes() => return Err(error),
                Err(error) => {
                    // Whoever gets on, slowly, is not stuck.
                    failed = if self.summary == before { failed + 1 } else { 1 };
                    if self.options.once && failed >= ATTEMPTS_ONCE {
                        return Err(error);
                    }
                    tracing::warn!(%error, "hours and days cannot be brought up to date now; trying again");
                    let wait = backoff.mul_f64(rand::rng().random::<f64>());
                    backoff = (2 * backoff).min(BACKOFF_MAX);
                    wait
                }
            };
            tokio::select! {
                _ = stop.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        Ok(self.summary)
    }

    async fn round(&mut self, stop: &watch::Receiver<bool>) -> Result<(), RollupError> {
        // Before the shards are listed: what is covered must not be later than what is read.
        let look = Covered { at_ms: (self.now_ms)(), watermark: self.shelf.watermark().await? };
        let shards = self.changes.shards().await.map_err(RollupError::Stream)?;
        self.lineage(&shards).await?;
        let silent_ms = self.notes.covered.map_or(0, |c| look.at_ms.saturating_sub(c.at_ms));
        if silent_ms > GAP_MAX_MS {
            let hours = silent_ms / 3_600_000;
            self.repair.get_or_insert(format!("nothing was known to be complete for {hours} hours"));
        }
        if self.repair.is_some() && !self.repaired(look, &shards, stop).await? {
            return Ok(());
        }
        if self.looks.len() < LOOKS_MAX {
            self.looks.push_back(look);
        }
        if self.read(&shards, stop).await? {
            self.advance(look.at_ms).await?;
        }
        Ok(())
    }

    /// Compares the shards with those that were known: one that is missing may have held changes that nobody has seen.
    async fn lineage(&mut self, shards: &[Shard]) -> Result<(), RollupError> {
        let listed: BTreeSet<&str> = shards.iter().map(|s| s.id.as_str()).collect();
        let parents: BTreeSet<&str> = shards.iter().filter_map(|s| s.parent.as_deref()).collect();
        if !self.notes.shards.is_empty() {
            let known = |id: &str| self.notes.shards.contains_key(id);
            let orphan = shards.iter().filter(|s| !known(&s.id)).find_map(|s| {
                let parent = s.parent.as_deref().filter(|p| !listed.contains(p) && !known(p))?;
                Some(format!("shard {parent}, before {}, was never read", s.id))
            });
            if let Some(why) = orphan {
                self.gap(why);
            }
        }
        let gone: Vec<String> = self.notes.shards.keys().filter(|id| !listed.contains(id.as_str())).cloned().collect();
        for id in gone {
            if !self.notes.shards[&id].done {
                if self.lost.insert(id.clone()) {
                    self.gap(format!("shard {id} is gone, and was not read to its end"));
                }
            } else if !parents.contains(id.as_str()) {
                // A parent stays noted: it says that its child has no unread shard before it.
                self.forget(&id).await?;
            }
        }
        Ok(())
    }

    async fn forget(&mut self, shard: &str) -> Result<(), RollupError> {
        self.shelf.forget(shard).await?;
        self.notes.shards.remove(shard);
        self.iterators.remove(shard);
        Ok(())
    }

    fn gap(&mut self, why: String) {
        tracing::warn!(%why, "the change stream has a gap; the rows themselves are read");
        self.summary.gaps += 1;
        self.repair.get_or_insert(why);
    }

    /// Carries every row as it stands. Whether it came to the end.
    async fn repaired(
        &mut self,
        look: Covered,
        shards: &[Shard],
        stop: &watch::Receiver<bool>,
    ) -> Result<bool, RollupError> {
        tracing::info!(why = self.repair.as_deref(), "hours and days are repaired from the rows");
        let mut from = None;
        loop {
            let (changes, next) = self.shelf.rows(from).await?;
            let carried = carry(self.shelf, self.setting, changes).await?;
            self.summary.repaired += carried;
            if *stop.borrow() {
                return Ok(false);
            }
            from = next;
            if from.is_none() {
                break;
            }
        }
        self.covered(look).await?;
        // What stands in a shard that was closed before is in the rows that were read.
        let done = Place { after: None, done: true };
        for shard in shards.iter().filter(|s| s.closed) {
            self.shelf.note(&shard.id, &done).await?;
            self.notes.shards.insert(shard.id.clone(), done.clone());
        }
        for shard in self.lost.clone() {
            self.forget(&shard).await?;
            self.lost.remove(&shard);
        }
        self.repair = None;
        self.summary.repairs += 1;
        Ok(true)
    }

    /// Reads every shard towards its tip. Whether all were reached.
    async fn read(&mut self, shards: &[Shard], stop: &watch::Receiver<bool>) -> Result<bool, RollupError> {
        let open: Vec<(String, Place, Option<String>)> = shards
            .iter()
            .map(|s| (s.id.clone(), self.notes.shards.get(&s.id).cloned().unwrap_or_default()))
            .filter(|(_, place)| !place.done)
            .map(|(id, place)| (id.clone(), place, self.iterators.remove(&id)))
            .collect();
        let this = &*self;
        let left: Vec<Left> = stream::iter(open)
            .map(|(shard, place, iterator)| this.shard(shard, place, iterator, stop))
            .buffer_unordered(SHARDS_AT_ONCE)
            .collect()
            .await;
        let (mut reached, mut failure) = (true, None);
        for Left { shard, place, iterator, carried, outcome } in left {
            self.summary.followed += carried;
            if let Some(iterator) = iterator {
                self.iterators.insert(shard.clone(), iterator);
            }
            match outcome {
                Ok(Reached::Tip) => {}
                Ok(Reached::More) => reached = false,
                Ok(Reached::Trimmed) => {
                    reached = false;
                    self.gap(format!("what comes next in shard {shard} is gone"));
                    // From its oldest record on; the repair finds the rest.
                    self.notes.shards.insert(shard, Place::default());
                    continue;
                }
                Err(error) => failure = failure.or(Some(error)),
            }
            self.notes.shards.insert(shard, place);
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(reached && !*stop.borrow()),
        }
    }

    async fn shard(&self, shard: String, place: Place, iterator: Option<String>, stop: &watch::Receiver<bool>) -> Left {
        let mut left = Left { shard, place, iterator, carried: Carried::default(), outcome: Ok(Reached::More) };
        left.outcome = self.pages(&mut left, stop).await;
        left
    }

    async fn pages(&self, left: &mut Left, stop: &watch::Receiver<bool>) -> Result<Reached, RollupError> {
        let mut empty = 0;
        for _ in 0..PAGES_MAX {
            if *stop.borrow() {
                return Ok(Reached::More);
            }
            let page = match self.page(left).await {
                Ok(page) => page,
                // Asked again from the last record: an iterator lives 15 minutes.
                Err(Trouble::Expired) => continue,
                // Trimmed between the listing and the reading; the next listing tells whether it is gone.
                Err(Trouble::Trimmed) if left.place.after.is_none() => {
                    left.iterator = None;
                    let why = format!("the oldest record of shard {} is gone already", left.shard);
                    return Err(RollupError::Stream(Trouble::Passing(why)));
                }
                Err(Trouble::Trimmed) => {
                    left.iterator = None;
                    return Ok(Reached::Trimmed);
                }
                Err(trouble) => return Err(RollupError::Stream(trouble)),
            };
            let Page { changes, last, next } = page;
            empty = if last.is_none() { empty + 1 } else { 0 };
            let place = Place { after: last.or_else(|| left.place.after.clone()), done: next.is_none() };
            left.carried += carry(self.shelf, self.setting, changes).await?;
            if place != left.place {
                self.shelf.note(&left.shard, &place).await?;
                left.place = place;
            }
            left.iterator = next;
            if left.place.done || empty >= EMPTY_AT_TIP {
                return Ok(Reached::Tip);
            }
            if empty > 0 {
                tokio::time::sleep(self.options.poll).await;
            }
        }
        Ok(Reached::More)
    }

    /// The next page. The iterator is kept until its page has been carried: after an error it is asked for again.
    async fn page(&self, left: &mut Left) -> Result<Page, Trouble> {
        let iterator = match left.iterator.clone() {
            Some(iterator) => iterator,
            None => self.changes.iterator(&left.shard, left.place.after.as_deref()).await?,
        };
        let page = self.changes.page(&iterator).await;
        left.iterator = if matches!(page, Err(Trouble::Expired)) { None } else { Some(iterator) };
        page
    }

    /// A round that began then has read everything.
    async fn advance(&mut self, round_ms: i64) -> Result<(), RollupError> {
        let settle_ms = i64::try_from(self.options.settle.as_millis()).unwrap_or(i64::MAX);
        let mut covered = None;
        while let Some(look) = self.looks.front().filter(|look| look.at_ms.saturating_add(settle_ms) <= round_ms) {
            covered = Some(*look);
            self.looks.pop_front();
        }
        match covered {
            Some(covered) => self.covered(covered).await,
            None => Ok(()),
        }
    }

    async fn covered(&mut self, covered: Covered) -> Result<(), RollupError> {
        let worth = |before: Covered| {
            before.watermark != covered.watermark || covered.at_ms.saturating_sub(before.at_ms) >= COVER_EVERY_MS
        };
        let stream = self.changes.id();
        if self.options.once || self.notes.stream.as_ref() != Some(&stream) || self.noted.is_none_or(worth) {
            self.shelf.cover(&stream, &covered).await?;
            self.noted = Some(covered);
        }
        self.notes.stream = Some(stream);
        self.notes.covered = Some(covered);
        self.reached = true;
        Ok(())
    }
}
