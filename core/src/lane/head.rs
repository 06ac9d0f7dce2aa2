//! A lane's head: how far it is committed, and with which state.
//!
//! ```text
//! "PLH1" length checksum
//! text app   text generation   text lane   varint alias   text table   i64 created at, ms
//! varint n   32 bytes digest of content n   optional text position   u8 0 | 1 ended | 2 idle   optional pin of content n
//! state (as in a content)   3 x i64 watermark, greatest arrival, greatest event time; -2^63: none   account
//! ```
//! A store keeps these bytes, and beside them what its conditions look at: `n`, and number and digest of `pend`.
//!
//! Invariants
//! - `account` is the sum of the accounts of contents 1..=n.
//! - Watermark and greatest times never move back.

use super::chunk::StateRef;
use super::codec::{self, put_bytes, put_option, take_option, take_text};
use super::content::{Content, Pin, Tip, put_end, take_end};
use crate::account::Account;
use crate::time::{ArrivalTime, EventTime};
use crate::wire::WireError;
use crate::wire::effects::{Progress, put_account, take_account};
use crate::wire::varint::put_u64;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Which lane: one strand of one stream incarnation, in one generation of one app.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneKey {
    /// The policy's name.
    pub app: String,
    /// The generation; empty for the first.
    pub generation: String,
    /// The source's identity of the lane.
    pub lane: String,
}

impl fmt::Display for LaneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.app, self.generation, self.lane)
    }
}

/// How far a lane is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Which lane.
    pub key: LaneKey,
    /// Its short id, part of the fences' names; never used twice in one table.
    pub alias: u64,
    /// Identity of the table of rows that the alias and the fences belong to.
    pub table: String,
    /// When the head was made, in milliseconds since the epoch, by its host's clock.
    pub created_ms: i64,
    /// Number of the last committed content; 0 before the first.
    pub n: u64,
    /// Its digest; zeros before the first.
    pub last: [u8; 32],
    /// The position after it; `None`: the source's configured start.
    pub pos: Option<String>,
    /// Whether the lane has ended.
    pub done: bool,
    /// Whether it was found idle after content n: it holds the policy's watermark back no longer, until it goes on.
    pub idle: bool,
    /// What content n was computed with.
    pub pin: Option<Pin>,
    /// The state after it.
    pub state: StateRef,
    /// How far event time has come.
    pub progress: Progress,
    /// Where all records of the lane went.
    pub account: Account,
}

/// A head as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredHead {
    /// The head, encoded.
    pub bytes: Vec<u8>,
    /// Its `n`, for conditions and people.
    pub n: u64,
    /// Its alias, for people.
    pub alias: u64,
    /// Its position, for people.
    pub pos: Option<String>,
    /// Whether the lane has ended, for people.
    pub done: bool,
    /// The content whose effects are being applied.
    pub pend: Option<StoredPend>,
}

/// A pending content as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredPend {
    /// Its number, for conditions.
    pub n: u64,
    /// Its digest, for conditions.
    pub digest: [u8; 32],
    /// The content, or the names of the chunks that hold it.
    pub bytes: Vec<u8>,
}

impl Head {
    /// The head of a lane of which nothing has been read.
    pub fn new(key: LaneKey, alias: u64, table: String, created_ms: i64) -> Self {
        Self {
            key,
            alias,
            table,
            created_ms,
            n: 0,
            last: [0; 32],
            pos: None,
            done: false,
            idle: false,
            pin: None,
            state: StateRef::Empty,
            progress: Progress::default(),
            account: Account::default(),
        }
    }

    /// The head after a content.
    ///
    /// # Panics
    /// If the content does not join onto this head (I2).
    pub fn after(&self, c: &Content) -> Self {
        assert_eq!(c.n, self.n + 1, "contents have no gaps");
        assert_eq!(c.prev, self.last, "content {} does not join onto the one before it", c.n);
        assert_eq!(c.from, self.pos, "content {} begins elsewhere than the one before it ended", c.n);
        let mut account = self.account.clone();
        account.add(&c.effects.account);
        let p = c.effects.progress;
        let progress = Progress {
            watermark: p.watermark.max(self.progress.watermark),
            arrival: p.arrival.max(self.progress.arrival),
            event: p.event.max(self.progress.event),
        };
        Self {
            key: self.key.clone(),
            alias: self.alias,
            table: self.table.clone(),
            created_ms: self.created_ms,
            n: c.n,
            last: c.digest,
            pos: c.to.clone(),
            done: c.done,
            idle: c.idle,
            pin: Some(c.pin.clone()),
            state: c.state.clone(),
            progress,
            account,
        }
    }

    /// What the next content joins onto.
    pub fn tip(&self) -> Tip {
        Tip { n: self.n, digest: self.last, pos: self.pos.clone(), state: self.state.clone() }
    }

    /// As a store keeps it.
    pub fn stored(&self, pend: Option<StoredPend>) -> StoredHead {
        StoredHead { bytes: self.encode(), n: self.n, alias: self.alias, pos: self.pos.clone(), done: self.done, pend }
    }

    /// The head's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = codec::begin(*b"PLH1");
        for t in [&self.key.app, &self.key.generation, &self.key.lane] {
            put_bytes(&mut out, t.as_bytes());
        }
        put_u64(&mut out, self.alias);
        put_bytes(&mut out, self.table.as_bytes());
        out.extend_from_slice(&self.created_ms.to_le_bytes());
        put_u64(&mut out, self.n);
        out.extend_from_slice(&self.last);
        put_option(&mut out, self.pos.as_ref(), |out, t| put_bytes(out, t.as_bytes()));
        out.push(put_end(self.done, self.idle));
        put_option(&mut out, self.pin.as_ref(), |out, p| p.put(out));
        self.state.put(&mut out);
        let p = self.progress;
        for t in [
            p.watermark.map(EventTime::as_millis),
            p.arrival.map(ArrivalTime::as_millis),
            p.event.map(EventTime::as_millis),
        ] {
            out.extend_from_slice(&t.unwrap_or(i64::MIN).to_le_bytes());
        }
        put_account(&mut out, &self.account);
        codec::finish(&mut out);
        out
    }

    /// Reads a head's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut c = codec::open(bytes, *b"PLH1", "head")?;
        let key = LaneKey { app: take_text(&mut c)?, generation: take_text(&mut c)?, lane: take_text(&mut c)? };
        let alias = c.varint_u64()?;
        let table = take_text(&mut c)?;
        let created_ms = c.i64()?;
        let n = c.varint_u64()?;
        let last = c.array()?;
        let pos = take_option(&mut c, take_text)?;
        let (done, idle) = take_end(&mut c)?;
        let pin = take_option(&mut c, Pin::take)?;
        let state = StateRef::take(&mut c)?;
        let mut time = || -> Result<Option<i64>, WireError> { Ok(Some(c.i64()?).filter(|t| *t != i64::MIN)) };
        let (watermark, arrival, event) = (time()?, time()?, time()?);
        let progress = Progress {
            watermark: watermark.map(EventTime::from_millis),
            arrival: arrival.map(ArrivalTime::from_millis),
            event: event.map(EventTime::from_millis),
        };
        let account = take_account(&mut c)?;
        c.end()?;
        Ok(Self { key, alias, table, created_ms, n, last, pos, done, idle, pin, state, progress, account })
    }
}
