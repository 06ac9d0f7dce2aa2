//! What the n-th piece of a lane does: its range, its effects, the state after it. This is what an intent stores.
//!
//! ```text
//! "PLC1" length checksum
//! varint n   32 bytes digest of content n-1   optional text from   optional text to   u8 0 | 1 ended | 2 idle
//! i64 written at, ms                                    the host's clock; only its age is ever used
//! pin: 32 bytes policy   optional 32 bytes module   varint replay version   text policy name   8 bytes shape
//! state after: u8 0 | 1 bytes | 2 names                 a name: varint n, 32 bytes SHA-256
//! bytes effects (`wire::effects`)   varint, texts: the positions of its dead letters
//! ```
//! Its digest is the SHA-256 of all of that. The state is itself a document:
//! ```text
//! "PLS1" length checksum   optional bytes snapshot   optional rest: bytes effects, varint, texts
//! ```
//!
//! Invariants
//! - Effects that are too many for one intent are given out over several contents with `from = to`; what is still to be
//!   given out is in the state (`rest`), so that a crash between two of them computes nothing again.
//! - The account of a batch stands in the first of its contents; the others' accounts are empty.
//!
//! Not here: what a row's delta does to a row (stores), the engine's snapshot (`snapshot`).

use super::chunk::{self, Chunk, StateRef};
use super::codec::{self, put_bytes, put_option, take_bytes, take_option, take_text};
use crate::account::{Account, Reason};
use crate::time::EventTime;
use crate::wire::WireError;
use crate::wire::effects::{self, DeadLetter, Effects, Group, Row, Table};
use crate::wire::varint::{Cursor, put_u64};
use alloc::string::String;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use sha2::{Digest as _, Sha256};

/// What a store can hold in one piece, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// A longer state goes into chunks.
    pub state_inline: usize,
    /// A longer intent goes into chunks.
    pub intent_inline: usize,
    /// A batch with a longer intent is given out over several contents.
    pub intent: usize,
    /// Bytes of a chunk.
    pub chunk: usize,
}

impl Limits {
    /// DynamoDB, whose items hold 400 KB and cost by the KB.
    pub const ITEMS: Self = Self { state_inline: 8 << 10, intent_inline: 64 << 10, intent: 4 << 20, chunk: 256 << 10 };
    /// A database that writes rows and heads in one transaction: nothing is cut.
    pub const NONE: Self =
        Self { state_inline: usize::MAX, intent_inline: usize::MAX, intent: usize::MAX, chunk: usize::MAX };
}

/// What a content was computed with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pin {
    /// SHA-256 of the policy's canonical form.
    pub policy: [u8; 32],
    /// SHA-256 of the module; `None` for the native engine.
    pub module: Option<[u8; 32]>,
    /// `REPLAY_VERSION` of the host.
    pub replay: u32,
    /// The policy's name.
    pub name: String,
    /// The policy's shape: which rows.
    pub shape: [u8; 8],
}

/// The end of a lane as far as it is known: what the next content joins onto.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tip {
    /// Number of the last content.
    pub n: u64,
    /// Its digest; zeros before the first.
    pub digest: [u8; 32],
    /// The position after it.
    pub pos: Option<String>,
    /// The state after it.
    pub state: StateRef,
}

/// One batch as the engine gave it out.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The position after its last record.
    pub to: Option<String>,
    /// Whether the lane has ended.
    pub done: bool,
    /// What it does.
    pub effects: Effects,
    /// Positions of its dead letters, in their order.
    pub places: Vec<String>,
    /// The engine's state after it.
    pub snapshot: Option<Vec<u8>>,
    /// The host's clock, in milliseconds since the epoch.
    pub written_ms: i64,
    /// What it was computed with.
    pub pin: Pin,
}

/// A lane's state, read back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The engine's snapshot.
    pub snapshot: Option<Vec<u8>>,
    /// Computed and still to be given out, before anything else is computed.
    pub rest: Option<Rest>,
}

/// Effects still to be given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// The effects.
    pub effects: Effects,
    /// Positions of their dead letters.
    pub places: Vec<String>,
}

/// Why a batch is no content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// The records of the batch are not all somewhere, or somewhere twice.
    #[error(
        "the batch does not add up: {column} is {account}, but {found} {things} are given out; this is a bug in the engine or its module, nothing was written"
    )]
    Unbalanced {
        /// Column of the account.
        column: &'static str,
        /// Its value.
        account: u64,
        /// What stands in the effects.
        found: i128,
        /// What was added up.
        things: &'static str,
    },
}

/// The n-th piece of a lane.
#[derive(Clone, Debug)]
pub struct Content {
    /// 1, 2, 3, … without gaps.
    pub n: u64,
    /// Digest of content n-1.
    pub prev: [u8; 32],
    /// The position before its first record.
    pub from: Option<String>,
    /// The position after its last record.
    pub to: Option<String>,
    /// Whether the lane has ended with it.
    pub done: bool,
    /// Whether the lane was found idle after it: silent at its tip for so long that it holds no watermark back. Recorded
    /// here, since only whoever reads the lane can tell silence from trouble.
    pub idle: bool,
    /// The host's clock when it was made, in milliseconds since the epoch.
    pub written_ms: i64,
    /// What it was computed with.
    pub pin: Pin,
    /// The state after it.
    pub state: StateRef,
    /// What it does.
    pub effects: Effects,
    /// Positions of its dead letters.
    pub places: Vec<String>,
    /// SHA-256 of its encoding.
    pub digest: [u8; 32],
    /// Chunks to be written before its intent.
    pub(super) chunks: Vec<Chunk>,
    /// What the head's `pend` holds: the encoding itself, or the names of its chunks.
    pub(super) pend: Vec<u8>,
    /// The chunks that `pend` names.
    pub(super) pend_names: Vec<chunk::ChunkName>,
    /// Row `(group, row)`, in order.
    index: Vec<(u32, u32)>,
}

/// One effect of a content: applied to the store at most once.
#[derive(Clone, Copy, Debug)]
pub enum Effect<'a> {
    /// A row's delta.
    Row {
        /// Which table.
        table: Table,
        /// First instant of the window.
        start: EventTime,
        /// First instant after it.
        end: EventTime,
        /// Key and values.
        row: &'a Row,
    },
    /// A record set aside.
    Dead {
        /// The letter.
        letter: &'a DeadLetter,
        /// The record's position.
        position: &'a str,
    },
}

impl Batch {
    /// I8 for one batch: what was read is in main rows, late rows or dead letters, or declared as left out.
    /// `count` is the place of a `count` measure among the policy's measures, if it has one.
    pub fn check(&self, count: Option<usize>) -> Result<(), ContentError> {
        let a = &self.effects.account;
        let unbalanced =
            |column, account, found, things| Err(ContentError::Unbalanced { column, account, found, things });
        if !a.balanced() {
            let classes = [a.counted, a.late, a.future, a.rejected, a.filtered, a.duplicate];
            return unbalanced("read", a.read, classes.iter().map(|n| i128::from(*n)).sum(), "records in all classes");
        }
        let dead = self.effects.dead.len();
        let late_letters = self.effects.dead.iter().filter(|d| d.reason == Reason::Late).count();
        if (dead - late_letters) as u64 != a.rejected + a.future || dead != self.places.len() {
            return unbalanced("rejected + future", a.rejected + a.future, dead as i128, "dead letters");
        }
        if late_letters as u64 > a.late {
            return unbalanced("late", a.late, late_letters as i128, "late dead letters");
        }
        let Some(count) = count else { return Ok(()) };
        let (mut main, mut late) = (0i128, 0i128);
        for g in &self.effects.groups {
            let sum: i128 = g.rows.iter().map(|r| r.values.get(count).copied().flatten().unwrap_or(0)).sum();
            if g.table == Table::Main { main += sum } else { late += sum }
        }
        if main != i128::from(a.counted) {
            return unbalanced("counted", a.counted, main, "records in main rows");
        }
        let expected = (a.late - a.late_dropped) - late_letters as u64;
        if late != i128::from(expected) {
            return unbalanced("late - dropped", expected, late, "records in late rows");
        }
        Ok(())
    }
}

impl Tip {
    /// The contents of a batch, one after the other: one, unless its effects are too many for one intent.
    pub fn contents(&self, batch: Batch, limits: &Limits) -> Vec<Content> {
        self.cut(batch, false, limits)
    }

    /// The same for a batch after which the lane was found idle.
    pub fn contents_at_rest(&self, batch: Batch, limits: &Limits) -> Vec<Content> {
        self.cut(batch, true, limits)
    }

    fn cut(&self, batch: Batch, idle: bool, limits: &Limits) -> Vec<Content> {
        let Batch { to, done, effects, places, snapshot, written_ms, pin } = batch;
        let mut tip = self.clone();
        let mut out: Vec<Content> = Vec::new();
        let mut rest = Some(Rest { effects, places });
        while let Some(all) = rest.take() {
            let (now, later) = all.split(limits.intent);
            let state = encode_state(snapshot.as_deref(), later.as_ref());
            let c = Content::new(
                &tip,
                Content {
                    n: tip.n + 1,
                    prev: tip.digest,
                    from: tip.pos.clone(),
                    to: to.clone(),
                    done: done && later.is_none(),
                    idle: idle && !done && later.is_none(),
                    written_ms,
                    pin: pin.clone(),
                    state: StateRef::Empty,
                    effects: now.effects,
                    places: now.places,
                    digest: [0; 32],
                    chunks: Vec::new(),
                    pend: Vec::new(),
                    pend_names: Vec::new(),
                    index: Vec::new(),
                },
                state,
                limits,
            );
            tip = c.tip();
            rest = later;
            out.push(c);
        }
        out
    }
}

impl Rest {
    /// The part that fits into an intent of `limit` bytes, at least one effect, and what is left.
    fn split(self, limit: usize) -> (Self, Option<Self>) {
        // What a content holds beside its effects: positions, pin, state reference.
        let room = limit.saturating_sub(32 << 10);
        let row_bytes = |r: &Row| 4 + r.key.len() + r.values.len() * 20;
        let letter_bytes = |(d, p): (&DeadLetter, &String)| 64 + d.raw.len() + p.len();
        let size: usize = self.effects.groups.iter().flat_map(|g| &g.rows).map(row_bytes).sum::<usize>()
            + self.effects.groups.len() * 40
            + self.effects.dead.iter().zip(&self.places).map(letter_bytes).sum::<usize>();
        if size <= room {
            return (self, None);
        }
        let Self { effects: e, places } = self;
        let mut now = Effects { groups: Vec::new(), dead: Vec::new(), ..e.clone_head() };
        let mut later = Effects { account: Account::default(), ..e.clone_head() };
        let (mut now_places, mut later_places) = (Vec::new(), Vec::new());
        let (mut used, mut taken) = (0, 0);
        let mut fits = |bytes: usize| {
            used += bytes;
            taken += 1;
            taken == 1 || used <= room
        };
        for Group { table, start, end, rows } in e.groups {
            let mut parts = [Vec::new(), Vec::new()];
            for row in rows {
                parts[usize::from(!fits(row_bytes(&row) + 40))].push(row);
            }
            for (rows, to) in parts.into_iter().zip([&mut now.groups, &mut later.groups]) {
                if !rows.is_empty() {
                    to.push(Group { table, start, end, rows });
                }
            }
        }
        for (letter, place) in e.dead.into_iter().zip(places) {
            if fits(letter_bytes((&letter, &place))) {
                now.dead.push(letter);
                now_places.push(place);
            } else {
                later.dead.push(letter);
                later_places.push(place);
            }
        }
        (Self { effects: now, places: now_places }, Some(Self { effects: later, places: later_places }))
    }
}

impl Effects {
    /// Everything but groups and dead letters.
    fn clone_head(&self) -> Self {
        Self {
            measures: self.measures,
            progress: self.progress,
            account: self.account.clone(),
            groups: Vec::new(),
            dead: Vec::new(),
        }
    }
}

impl Content {
    fn new(tip: &Tip, mut c: Self, state: Vec<u8>, limits: &Limits) -> Self {
        c.state = if state.len() <= limits.state_inline {
            StateRef::Inline(state)
        } else {
            let (names, chunks) = chunk::cut(&state, c.n, limits.chunk, tip.state.names());
            c.chunks = chunks;
            StateRef::Chunks(names)
        };
        let body = c.encode();
        c.digest = Sha256::digest(&body).into();
        c.pend = if body.len() <= limits.intent_inline {
            encode_pend(Ok(&body))
        } else {
            let (names, chunks) = chunk::cut(&body, c.n, limits.chunk, &[]);
            c.chunks.extend(chunks);
            let pend = encode_pend(Err(&names));
            c.pend_names = names;
            pend
        };
        c.index = index(&c.effects);
        c
    }

    /// What the next content joins onto.
    pub fn tip(&self) -> Tip {
        Tip { n: self.n, digest: self.digest, pos: self.to.clone(), state: self.state.clone() }
    }

    /// How many effects it has: rows, then dead letters.
    pub fn len(&self) -> u32 {
        (self.index.len() + self.effects.dead.len()) as u32
    }

    /// Whether it changes nothing but the head.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One effect.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn effect(&self, i: u32) -> Effect<'_> {
        let i = i as usize;
        match self.index.get(i) {
            Some((g, r)) => {
                let g = &self.effects.groups[*g as usize];
                Effect::Row { table: g.table, start: g.start, end: g.end, row: &g.rows[*r as usize] }
            }
            None => {
                let i = i - self.index.len();
                Effect::Dead { letter: &self.effects.dead[i], position: &self.places[i] }
            }
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = codec::begin(*b"PLC1");
        put_u64(&mut out, self.n);
        out.extend_from_slice(&self.prev);
        for t in [&self.from, &self.to] {
            put_option(&mut out, t.as_ref(), |out, t| put_bytes(out, t.as_bytes()));
        }
        out.push(put_end(self.done, self.idle));
        out.extend_from_slice(&self.written_ms.to_le_bytes());
        self.pin.put(&mut out);
        self.state.put(&mut out);
        put_rest(&mut out, &self.effects, &self.places);
        codec::finish(&mut out);
        out
    }

    /// Reads an encoding.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut c = codec::open(bytes, *b"PLC1", "intent")?;
        let n = c.varint_u64()?;
        let prev = c.array()?;
        let from = take_option(&mut c, take_text)?;
        let to = take_option(&mut c, take_text)?;
        let (done, idle) = take_end(&mut c)?;
        let written_ms = c.i64()?;
        let pin = Pin::take(&mut c)?;
        let state = StateRef::take(&mut c)?;
        let Rest { effects, places } = take_rest(&mut c)?;
        c.end()?;
        Ok(Self {
            n,
            prev,
            from,
            to,
            done,
            idle,
            written_ms,
            pin,
            state,
            index: index(&effects),
            effects,
            places,
            digest: Sha256::digest(bytes).into(),
            chunks: Vec::new(),
            pend: Vec::new(),
            pend_names: Vec::new(),
        })
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Content {}

impl Hash for Content {
    fn hash<H: Hasher>(&self, h: &mut H) {
        self.digest.hash(h);
    }
}

impl Pin {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.policy);
        put_option(out, self.module, |out, m| out.extend_from_slice(&m));
        put_u64(out, u64::from(self.replay));
        put_bytes(out, self.name.as_bytes());
        out.extend_from_slice(&self.shape);
    }

    pub(super) fn take(c: &mut Cursor<'_>) -> Result<Self, WireError> {
        let policy = c.array()?;
        let module = take_option(c, |c| c.array())?;
        let replay = u32::try_from(c.varint_u64()?).map_err(|_| c.bad("a replay version over 32 bits"))?;
        Ok(Self { policy, module, replay, name: take_text(c)?, shape: c.array()? })
    }
}

impl State {
    /// Reads the state that a head names, its chunks put together.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut c = codec::open(bytes, *b"PLS1", "state")?;
        let snapshot = take_option(&mut c, take_bytes)?;
        let rest = take_option(&mut c, take_rest)?;
        c.end()?;
        Ok(Self { snapshot, rest })
    }
}

/// How a lane stands after a content: 0 goes on, 1 has ended, 2 is idle.
pub(super) fn put_end(done: bool, idle: bool) -> u8 {
    if done { 1 } else { 2 * u8::from(idle) }
}

/// Reads what `put_end` gave.
pub(super) fn take_end(c: &mut Cursor<'_>) -> Result<(bool, bool), WireError> {
    match c.u8()? {
        0 => Ok((false, false)),
        1 => Ok((true, false)),
        2 => Ok((false, true)),
        _ => Err(c.bad("a lane goes on (0), has ended (1) or is idle (2)")),
    }
}

pub(super) fn encode_state(snapshot: Option<&[u8]>, rest: Option<&Rest>) -> Vec<u8> {
    let mut out = codec::begin(*b"PLS1");
    put_option(&mut out, snapshot, put_bytes);
    put_option(&mut out, rest, |out, r| put_rest(out, &r.effects, &r.places));
    codec::finish(&mut out);
    out
}

fn put_rest(out: &mut Vec<u8>, e: &Effects, places: &[String]) {
    let mut bytes = Vec::new();
    effects::encode(e, &mut bytes);
    put_bytes(out, &bytes);
    put_u64(out, places.len() as u64);
    for p in places {
        put_bytes(out, p.as_bytes());
    }
}

fn take_rest(c: &mut Cursor<'_>) -> Result<Rest, WireError> {
    let n = c.count(1)?;
    let effects = effects::decode(c.take(n)?)?;
    let n = c.count(1)?;
    if n != effects.dead.len() {
        return Err(c.bad("not one position per dead letter"));
    }
    let places = (0..n).map(|_| take_text(c)).collect::<Result<_, _>>()?;
    Ok(Rest { effects, places })
}

fn index(e: &Effects) -> Vec<(u32, u32)> {
    let rows = e.groups.iter().enumerate();
    rows.flat_map(|(g, group)| (0..group.rows.len()).map(move |r| (g as u32, r as u32))).collect()
}

/// The bytes of a head's `pend`: the content itself, or the chunks that hold it.
fn encode_pend(body: Result<&[u8], &[chunk::ChunkName]>) -> Vec<u8> {
    match body {
        Ok(body) => {
            let mut out = Vec::with_capacity(body.len() + 1);
            out.push(0);
            out.extend_from_slice(body);
            out
        }
        Err(names) => {
            let mut out = codec::begin(*b"PLP1");
            chunk::put_names(&mut out, names);
            codec::finish(&mut out);
            out.insert(0, 1);
            out
        }
    }
}

/// What a head's `pend` says: the content's bytes, or the names of the chunks that hold them.
pub(super) fn decode_pend(bytes: &[u8]) -> Result<Result<&[u8], Vec<chunk::ChunkName>>, WireError> {
    match bytes.split_first() {
        Some((0, body)) => Ok(Ok(body)),
        Some((1, names)) => {
            let mut c = codec::open(names, *b"PLP1", "names of an intent's chunks")?;
            let names = chunk::take_names(&mut c)?;
            c.end()?;
            Ok(Err(names))
        }
        _ => Err(WireError::Bad { what: "pending intent", at: 0, problem: "begins with neither 0 nor 1" }),
    }
}
