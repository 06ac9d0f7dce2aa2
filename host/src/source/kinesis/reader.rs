//! Reads one shard: from a position, proven, to pages, until its end.
//!
//! ```text
//! position --place--> [iterator or subscription] --fetch--> answer --proof--> page --> ... --> the shard's end
//! ```
//! Invariants
//! - The reader's place moves only with a whole answer in hand: after an error, a lost reply or a dropped future it is asked
//!   again at the same place, and what has expired is replaced from the last record that was read.
//! - A position is proven: reading goes on AT its record, which must come first and is left out. The service itself
//!   would begin with the oldest record it still has, and say nothing. Where the record is gone, a position that says when
//!   there was nothing behind it is proven as long as nothing that came later can have been trimmed.
//! - A shard that is silent has its position marked with the time, so that it can still be gone on with when its last record
//!   has passed the retention.
//! - Between two calls that ask for records lie at least `poll_min`, and at most `poll_max`; more where the last answer was so large that the
//!   service would refuse the next one, or has refused one. What is refused for being too much is neither silence nor trouble.
//! - Past a gap that was accepted, nothing is given that lies at or before the last position.
//! - `Idle` is said at the tip of an open shard only. The service answers with empty pages far from it, too, and before
//!   a closed shard's end.
//!
//! Not here: how the service is asked (`poll`, `fanout`), pages into chunks (`page`), the meaning of errors (`trouble`).

use super::fanout::Fanout;
use super::page::{self, Page, Place};
use super::poll::{Answer, Fetched, From, Poll};
use super::shards::Looks;
use super::trouble::Trouble;
use super::{KinesisOptions, SKEW_MAX_MS, Start, Stream};
use crate::clock;
use crate::source::{LaneReader, Next, Position, SourceError};
use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::Record;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long one `next` goes on over empty pages towards the tip; a driver that is stopped must end within 10 s.
const CROSS_MAX: Duration = Duration::from_secs(5);
/// The most time between two calls where the service says that they are too many: others read the shard, too.
const THROTTLED_MAX: Duration = Duration::from_secs(2);
/// A silent shard's position is marked so many times before what it says is worth nothing any more.
const MARKS: i64 = 4;

/// What a reader reads, and how.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) client: Client,
    pub(super) stream: Arc<Stream>,
    /// The lane's id, for messages.
    pub(super) lane: String,
    pub(super) shard: String,
    /// What the looks at the shard list have shown.
    pub(super) looks: Arc<Mutex<Looks>>,
    /// The hash keys that are the shard's.
    pub(super) hash_keys: RangeInclusive<u128>,
    /// How long the stream keeps records, in ms.
    pub(super) keeps_ms: i64,
    /// The consumer that reads it by enhanced fan-out, by its ARN.
    pub(super) consumer: Option<Arc<str>>,
    pub(super) options: KinesisOptions,
}

impl Setting {
    /// The shard takes no record any more, so that its end will come.
    fn closed(&self) -> bool {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).closed(&self.lane)
    }
}

/// Reads one shard.
#[derive(Debug)]
pub(super) struct Reader {
    setting: Setting,
    begin: Start,
    /// The last record that was read, by this reader or before it.
    last: Option<Read>,
    /// After a gap: where it begins. Records up to there were given out, should any be left.
    past: Option<String>,
    way: Way,
    /// The record that comes first, read before: the proof that the stream still holds the position.
    proof: Option<Read>,
    /// The last answer was the tip.
    tip: bool,
    page: Page,
    /// The shard has ended; what is left is in `page`.
    ended: bool,
    ordinal: u64,
    /// When the next call may be made.
    due: Instant,
    /// How long to wait after an empty answer.
    pause: Duration,
    /// The least time between two calls that the service bears.
    every: Duration,
    /// Where the last event was given out, and until when its position can be gone on with at least: when its record
    /// arrived, or when there was nothing behind it.
    given: Option<(Position, i64)>,
    misplaced: u64,
}

/// How far the records of a shard were read.
#[derive(Clone, Debug)]
struct Read {
    sequence: String,
    /// So many events of that record were given out.
    events: usize,
    /// When there was nothing behind it, in ms since the epoch.
    quiet_ms: Option<i64>,
}

/// How the service is asked.
#[derive(Debug)]
enum Way {
    Poll(Poll),
    Fanout(Box<Fanout>),
}

/// What shows that nothing is missing after a position.
enum Proof {
    /// Its record is there.
    Record,
    /// There was nothing behind it until lately.
    Quiet,
    /// Nothing yet.
    Pending,
}

/// What one call brought.
enum Asked {
    /// Records, or the shard's end.
    More,
    /// Nothing, and the tip is here.
    Tip,
    /// Nothing yet, for this reason; another call follows.
    Again(String),
}

impl Reader {
    /// A reader after `from`, or where `begin` says. Its place is fixed on return.
    pub(super) async fn open(setting: Setting, begin: Start, from: Option<&Position>) -> Result<Self, SourceError> {
        let last = from.map(|position| read(&setting.lane, position)).transpose()?;
        let mut reader = Self::at(setting, begin, last, None).await?;
        // When its record arrived is seen with the proof.
        let since_ms = reader.last.as_ref().map(|read| read.quiet_ms.unwrap_or(0));
        reader.given = from.cloned().zip(since_ms);
        Ok(reader)
    }

    /// A reader of the oldest records that are left after `from`.
    pub(super) async fn past(setting: Setting, from: Option<&Position>) -> Result<Self, SourceError> {
        let past = from.map(|position| read(&setting.lane, position)).transpose()?;
        Self::at(setting, Start::TrimHorizon, None, past.map(|read| read.sequence)).await
    }

    async fn at(setting: Setting, begin: Start, last: Option<Read>, past: Option<String>) -> Result<Self, SourceError> {
        let poll_min = setting.options.poll_min;
        let page = Page::new(Vec::new(), 0, setting.hash_keys.clone(), None);
        let way = match &setting.consumer {
            None => Way::Poll(Poll::default()),
            Some(consumer) => Way::Fanout(Box::new(Fanout::new(Arc::clone(consumer)))),
        };
        let mut reader = Self {
            setting,
            begin,
            last,
            past,
            way,
            proof: None,
            tip: false,
            page,
            ended: false,
            ordinal: 0,
            due: Instant::now(),
            pause: poll_min,
            every: poll_min,
            given: None,
            misplaced: 0,
        };
        reader.place().await?;
        if reader.begin == Start::Latest {
            reader.begin = Start::At(clock::now_ms() - SKEW_MAX_MS);
        }
        Ok(reader)
    }

    /// Finds the reader's place.
    async fn place(&mut self) -> Result<(), SourceError> {
        let from = match &self.last {
            Some(last) => From::Record(&last.sequence),
            None => From::Start(self.begin),
        };
        let placed = match &mut self.way {
            Way::Poll(poll) => poll.place(&self.setting, &from).await,
            Way::Fanout(fanout) => fanout.place(&self.setting, &from).await,
        };
        match placed {
            // It goes on behind what was read.
            Ok(true) => {}
            Ok(false) => self.proof = self.last.clone(),
            Err(Trouble::Argument(text)) if self.last.is_some() => return Err(self.gap(&text)),
            Err(Trouble::Missing(text)) => return Err(self.gap(&text)),
            Err(other) => return Err(other.into_source()),
        }
        Ok(())
    }

    /// Asks once.
    async fn ask(&mut self) -> Result<Asked, SourceError> {
        let placed = match &self.way {
            Way::Poll(poll) => poll.placed(),
            Way::Fanout(fanout) => fanout.placed(),
        };
        if !placed {
            self.place().await?;
        }
        let began = Instant::now();
        self.due = began + self.every;
        let fetched = match &mut self.way {
            Way::Poll(poll) => poll.fetch(&self.setting).await,
            Way::Fanout(fanout) => fanout.fetch(&self.setting).await,
        };
        match fetched {
            Ok(Fetched::Answer(answer)) => self.take(answer, began),
            Ok(Fetched::Lost(text)) => Ok(Asked::Again(text)),
            Ok(Fetched::Silence) => {
                self.due = began;
                if self.setting.closed() {
                    return Ok(self.poll_the_end());
                }
                let why = || format!("no records of shard {} come", self.setting.shard);
                Ok(if self.tip { Asked::Tip } else { Asked::Again(why()) })
            }
            Err(Trouble::Throttled(text)) => {
                let most = THROTTLED_MAX.max(self.setting.options.poll_min);
                self.every = self.every.saturating_mul(2).min(most);
                // Readers that were refused together must not come again together.
                self.due = began + self.every.mul_f64(0.5 + rand::random::<f64>() / 2.0);
                Ok(Asked::Again(text))
            }
            Err(Trouble::Missing(text)) => Err(self.gap(&text)),
            Err(other) => Err(other.into_source()),
        }
    }

    /// Takes an answer in.
    fn take(&mut self, answer: Answer, began: Instant) -> Result<Asked, SourceError> {
        let Answer { mut records, behind_ms, ended } = answer;
        let options = &self.setting.options;
        self.every = self.every.mul_f64(0.9).max(options.poll_min);
        let mut skip = 0;
        if let Some(expected) = &self.proof {
            match self.prove(expected, records.first(), ended, behind_ms) {
                Ok(Proof::Record) => {
                    if let Some((_, since_ms)) = self.given.as_mut().filter(|_| expected.quiet_ms.is_none()) {
                        *since_ms = records.first().and_then(page::arrival_ms).unwrap_or(0);
                    }
                    skip = expected.events;
                    self.proof = None;
                }
                // Whatever is left up to there was given out.
                Ok(Proof::Quiet) => self.past = self.proof.take().map(|read| read.sequence),
                Ok(Proof::Pending) => {}
                Err(gap) => {
                    // Asked again, it is found again.
                    match &mut self.way {
                        Way::Poll(poll) => poll.forget(),
                        Way::Fanout(fanout) => fanout.forget(),
                    }
                    return Err(gap);
                }
            }
        }
        // From here on nothing fails: the place moves.
        let bytes: usize = records.iter().map(|record| record.data.as_ref().len()).sum();
        if let Some(past) = self.past.take_if(|_| !records.is_empty()) {
            records.retain(|record| page::after(&record.sequence_number, &past));
            // All of them were before it: so may the next be.
            self.past = records.is_empty().then_some(past);
        }
        if let Some(record) = records.last() {
            // A page is given out whole before another one is asked for.
            self.last = Some(Read { sequence: record.sequence_number.clone(), events: usize::MAX, quiet_ms: None });
        }
        self.ended = ended;
        let empty = records.is_empty();
        self.page = Page::new(records, skip, self.setting.hash_keys.clone(), behind_ms);
        // After ten megabytes the service refuses calls for five seconds: by then they are due. What is pushed needs no call.
        self.due = match self.way {
            Way::Poll(_) => self.due.max(began + options.time_of(bytes)),
            Way::Fanout(_) => began,
        };
        let closed = self.setting.closed();
        self.tip = behind_ms.unwrap_or(0) == 0 && !closed;
        if !empty || ended {
            self.pause = options.poll_min;
            return Ok(Asked::More);
        }
        let shard = &self.setting.shard;
        if let Some(ms) = behind_ms.filter(|ms| *ms > 0) {
            return Ok(Asked::Again(format!("empty pages, {ms} ms behind the tip of shard {shard}")));
        }
        match (closed, &self.way) {
            (true, Way::Fanout(_)) => return Ok(self.poll_the_end()),
            (true, Way::Poll(_)) => {
                return Ok(Asked::Again(format!("the end of the closed shard {shard} does not come")));
            }
            (false, Way::Fanout(_)) => return Ok(Asked::Tip),
            (false, Way::Poll(_)) => {}
        }
        self.due = began + self.pause;
        self.pause = self.pause.saturating_mul(2).min(options.poll_max);
        Ok(Asked::Tip)
    }

    /// The end of a shard that was closed is asked for, where nobody pushes it: it comes but once, and may have been missed.
    fn poll_the_end(&mut self) -> Asked {
        self.way = Way::Poll(Poll::default());
        Asked::Again(format!("the end of the closed shard {} was not pushed", self.setting.shard))
    }

    /// Whether the stream still holds all that came after the record after which reading goes on.
    fn prove(
        &self,
        expected: &Read,
        first: Option<&Record>,
        ended: bool,
        behind_ms: Option<u64>,
    ) -> Result<Proof, SourceError> {
        let quiet = expected.quiet_ms.is_some_and(|ms| clock::now_ms().saturating_sub(ms) < self.setting.keeps_ms);
        match first {
            Some(record) if page::same(&record.sequence_number, &expected.sequence) => Ok(Proof::Record),
            _ if quiet && (first.is_some() || ended || behind_ms.unwrap_or(0) == 0) => Ok(Proof::Quiet),
            Some(record) => Err(self.gap(&format!("the oldest record there is now {}", record.sequence_number))),
            None if ended => Err(self.gap("its shard is closed and holds no record any more")),
            // A shard without news. Nothing is counted until the proof has come.
            None => Ok(Proof::Pending),
        }
    }

    /// Counts what the page at hand has left out.
    fn leave_out(&mut self) {
        let records = self.page.misplaced();
        if records > 0 {
            self.misplaced += records;
            let Setting { shard, stream, .. } = &self.setting;
            tracing::warn!(
                stream = stream.given,
                shard,
                records,
                "an aggregated record is another shard's: its producer had an old list of shards, and puts it again"
            );
        }
    }

    fn gap(&self, found: &str) -> SourceError {
        let Setting { lane, stream, .. } = &self.setting;
        let last = self.last.as_ref().map(|read| format!("record {}", read.sequence));
        SourceError::Gap(format!(
            "lane {lane}: reading cannot go on after {}: {found}; the stream {} has trimmed it (retention) or was deleted or made again, and records may be lost",
            last.as_deref().unwrap_or("the beginning"),
            stream.given
        ))
    }
}

/// How far a shard was read, as a position says it.
fn read(lane: &str, position: &Position) -> Result<Read, SourceError> {
    let Some(Place { sequence, event, quiet_ms }) = page::place(position) else {
        return Err(SourceError::Refused(format!(
            "lane {lane}: the position `{}` is not one of a Kinesis shard (60 digits, / and a number, and maybe @ and a time); it was written by something else: use a new --generation",
            position.0
        )));
    };
    Ok(Read { sequence: sequence.to_owned(), events: event.saturating_add(1), quiet_ms })
}

#[async_trait]
impl LaneReader for Reader {
    async fn next(&mut self, bytes: usize) -> Result<Next, SourceError> {
        let until = Instant::now() + CROSS_MAX;
        loop {
            if !self.page.is_empty() {
                let cut = self.page.cut(self.ordinal, bytes)?;
                self.leave_out();
                let Some(chunk) = cut else { continue };
                let crate::source::Places::Records { positions, .. } = &chunk.places else {
                    unreachable!("a page gives one position per record")
                };
                self.ordinal += positions.len() as u64;
                self.given = Some((chunk.end.clone(), self.page.last_ms().unwrap_or(0)));
                return Ok(Next::Chunk(chunk));
            }
            if self.ended {
                return Ok(Next::End);
            }
            tokio::time::sleep_until(self.due).await;
            match self.ask().await? {
                Asked::More => {}
                Asked::Tip => return Ok(Next::Idle),
                Asked::Again(why) if Instant::now() >= until => return Err(SourceError::Passing(why)),
                Asked::Again(_) => {}
            }
        }
    }

    fn mark(&mut self) -> Option<Position> {
        let proven = self.tip && self.proof.is_none();
        let now_ms = clock::now_ms().saturating_sub(SKEW_MAX_MS);
        let due = |since_ms: &i64| now_ms.saturating_sub(*since_ms) > self.setting.keeps_ms / MARKS;
        let (position, _) = self.given.as_ref().filter(|(_, since_ms)| proven && due(since_ms))?;
        let place = page::place(position).expect("a position of this shard");
        let mark = page::position_at(place.sequence, place.event, now_ms).expect("its sequence number");
        self.given = Some((mark.clone(), now_ms));
        if let Some(last) = &mut self.last {
            last.quiet_ms = Some(now_ms);
        }
        Some(mark)
    }

    fn misplaced(&self) -> u64 {
        self.misplaced
    }
}
