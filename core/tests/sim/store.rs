//! Tables in memory that hold to the contract of a store, with rows that expire; and the rules that mutants break there.
//!
//! Invariants (what is found broken is kept in `wrong`)
//! - I1: one content per lane and number is ever accepted.
//! - I2: contents that are committed follow each other without a gap.

use super::mutant::Mutant;
use super::plan::{DAY, HOUR, MINUTE};
use super::random::Random;
use plimsoll_core::lane::{Applied, Chunk, ChunkName, Content, Effect, StoredHead, StoredPend};
use plimsoll_core::policy::Policy;
use plimsoll_core::rows::fold;
use plimsoll_core::wire::effects::Table;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows are kept so long after their window's end and their last change.
pub const KEPT: i64 = 8 * DAY;
/// What expires is gone so long after.
const SWEPT: i64 = 6 * HOUR;
/// A request is refused when it was signed so long ago, or so far ahead.
pub const SIGNATURE: i64 = 15 * MINUTE;

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Request {
    pub shard: usize,
    pub call: Call,
    /// By its host's clock.
    pub signed: i64,
}

#[derive(Clone, Debug)]
pub enum Call {
    ReadHead,
    Allocate,
    Create(StoredHead),
    List(u64),
    Get(u64, Vec<ChunkName>),
    Put(u64, Vec<Chunk>),
    Delete(u64, Vec<ChunkName>),
    Intent(StoredPend),
    Effect(u64, Arc<Content>, u32),
    Commit(u64, [u8; 32], StoredHead),
    Transact(Arc<Content>, StoredHead),
}

impl Call {
    pub fn writes(&self) -> bool {
        !matches!(self, Self::ReadHead | Self::List(_) | Self::Get(..))
    }
}

#[derive(Clone, Debug)]
pub enum Reply {
    Head(Option<StoredHead>),
    Alias(u64),
    Names(Vec<ChunkName>),
    Chunks(Vec<Option<Vec<u8>>>),
    Written,
    Refused,
    Effect(Applied),
}

/// Policy, table, window, key.
pub type RowKey = (usize, Table, i64, Vec<u8>);

#[derive(Clone, Debug, Default)]
struct Row {
    values: Vec<Option<i128>>,
    fences: BTreeMap<u64, u64>,
    expires: i64,
}

/// What was said of a content when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub from: usize,
    pub to: usize,
    pub policy: usize,
    pub done: bool,
}

pub struct Store {
    pub mutant: Mutant,
    policies: [Arc<Policy>; 2],
    pub heads: BTreeMap<usize, StoredHead>,
    /// The head before the last change, for stale reads.
    older: BTreeMap<usize, StoredHead>,
    aliases: u64,
    chunks: BTreeMap<(u64, ChunkName), Vec<u8>>,
    rows: BTreeMap<RowKey, Row>,
    /// Rows that expired, as readers have seen them.
    expired: Vec<(RowKey, Vec<Option<i128>>)>,
    pub dead: BTreeMap<(usize, String), Vec<u8>>,
    /// Contents by digest, told by the hosts that made them.
    pub made: BTreeMap<[u8; 32], Made>,
    /// Digests of the contents accepted, by lane and number.
    pub history: BTreeMap<usize, Vec<[u8; 32]>>,
    /// When the last content of a lane was accepted.
    pub accepted: BTreeMap<usize, i64>,
    pub wrong: Vec<String>,
    noise: Random,
}

impl Store {
    pub fn new(mutant: Mutant, policies: [Arc<Policy>; 2], noise: Random) -> Self {
        Self {
            mutant,
            policies,
            heads: BTreeMap::new(),
            older: BTreeMap::new(),
            aliases: 0,
            chunks: BTreeMap::new(),
            rows: BTreeMap::new(),
            expired: Vec::new(),
            dead: BTreeMap::new(),
            made: BTreeMap::new(),
            history: BTreeMap::new(),
            accepted: BTreeMap::new(),
            wrong: Vec::new(),
            noise,
        }
    }

    pub fn policy(&self, content: &Content) -> usize {
        usize::from(content.pin.policy != *self.policies[0].digest())
    }

    /// All values of rows that there are or ever were.
    pub fn rows(&self) -> impl Iterator<Item = (&RowKey, &[Option<i128>])> {
        let live = self.rows.iter().map(|(key, row)| (key, row.values.as_slice()));
        live.chain(self.expired.iter().map(|(key, values)| (key, values.as_slice())))
    }

    pub fn chunks_left(&self) -> usize {
        self.chunks.len()
    }

    pub fn chunk(&self, alias: u64, name: ChunkName) -> Vec<u8> {
        self.chunks.get(&(alias, name)).cloned().unwrap_or_default()
    }

    /// Whether the request's condition holds now.
    pub fn holds(&self, request: &Request, now: i64) -> bool {
        let head = self.heads.get(&request.shard);
        match &request.call {
            Call::ReadHead | Call::List(_) | Call::Get(..) | Call::Allocate | Call::Put(..) | Call::Delete(..) => true,
            Call::Create(_) => head.is_none(),
            Call::Intent(pend) => {
                self.mutant == Mutant::IntentAlways || head.is_some_and(|h| h.n + 1 == pend.n && h.pend.is_none())
            }
            Call::Commit(n, digest, _) => {
                let ours = |h: &StoredHead| h.pend.as_ref().is_some_and(|p| p.n == *n && p.digest == *digest);
                self.mutant == Mutant::CommitAlways || head.is_some_and(ours)
            }
            Call::Transact(content, _) => head.is_some_and(|h| h.n + 1 == content.n),
            Call::Effect(alias, content, i) => self.fence(*alias, content, *i, request.shard, now).is_none(),
        }
    }

    /// What refuses an effect: the fence, or a dead letter that is there.
    fn fence(&self, alias: u64, content: &Content, i: u32, shard: usize, now: i64) -> Option<u64> {
        match content.effect(i) {
            Effect::Dead { position, .. } => self.dead.contains_key(&(shard, position.to_owned())).then_some(content.n),
            Effect::Row { table, start, row, .. } => {
                let key = (self.policy(content), table, start.as_millis(), row.key.clone());
                let row = self.rows.get(&key).filter(|row| now <= row.expires + SWEPT)?;
                row.fences.get(&alias).copied().filter(|f| *f >= content.n && self.mutant != Mutant::NoFence)
            }
        }
    }

    /// Does it, and whether it changed anything. `answered`: the reply will reach its host.
    pub fn execute(&mut self, request: &Request, now: i64, answered: bool) -> (Reply, bool) {
        let shard = request.shard;
        let holds = self.holds(request, now);
        let written = |happened: bool| (if happened { Reply::Written } else { Reply::Refused }, happened);
        match &request.call {
            Call::ReadHead => {
                let stale = self.mutant == Mutant::StaleHead && self.noise.percent(30);
                let from = if stale { &self.older } else { &self.heads };
                (Reply::Head(from.get(&shard).cloned()), false)
            }
            Call::Allocate => {
                self.aliases += 1;
                (Reply::Alias(if self.mutant == Mutant::AliasReused { 1 } else { self.aliases }), true)
            }
            Call::List(alias) => {
                let names = self.chunks.keys().filter(|(a, _)| a == alias).map(|(_, name)| *name);
                (Reply::Names(names.collect()), false)
            }
            Call::Get(alias, names) => {
                let found = names.iter().map(|name| self.chunks.get(&(*alias, *name)).cloned());
                (Reply::Chunks(found.collect()), false)
            }
            Call::Put(alias, chunks) => {
                self.chunks.extend(chunks.iter().map(|c| ((*alias, c.name), c.bytes.clone())));
                (Reply::Written, true)
            }
            Call::Delete(alias, names) => {
                for name in names {
                    self.chunks.remove(&(*alias, *name));
                }
                (Reply::Written, true)
            }
            Call::Effect(alias, content, i) => {
                if holds {
                    self.apply(shard, *alias, content, *i, request.signed, now, answered);
                    return (Reply::Effect(Applied::Done), true);
                }
                let dead = matches!(content.effect(*i), Effect::Dead { .. });
                let fence = self.fence(*alias, content, *i, shard, now).expect("it was refused for a reason");
                (Reply::Effect(if dead { Applied::Done } else { Applied::Fenced(fence) }), false)
            }
            Call::Create(head) => {
                if holds {
                    self.heads.insert(shard, head.clone());
                }
                written(holds)
            }
            Call::Intent(pend) => {
                if holds {
                    self.accept(shard, pend.n, pend.digest, now);
                    self.older.extend(self.heads.get(&shard).map(|h| (shard, h.clone())));
                    self.heads.get_mut(&shard).expect("a head").pend = Some(pend.clone());
                }
                written(holds)
            }
            Call::Commit(_, digest, head) => {
                if holds {
                    self.commit(shard, *digest, head, now);
                }
                written(holds)
            }
            Call::Transact(content, head) => {
                if holds {
                    self.accept(shard, content.n, content.digest, now);
                    (0..content.len()).for_each(|i| self.apply(shard, 0, content, i, request.signed, now, true));
                    self.commit(shard, content.digest, head, now);
                }
                written(holds)
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one effect of one content by one request")]
    fn apply(&mut self, shard: usize, alias: u64, content: &Content, i: u32, signed: i64, now: i64, answered: bool) {
        let policy = self.policy(content);
        match content.effect(i) {
            Effect::Dead { letter, position } => {
                self.dead.insert((shard, position.to_owned()), letter.raw.clone());
            }
            Effect::Row { table, start, end, row } => {
                let key = (policy, table, start.as_millis(), row.key.clone());
                if let Some(old) = self.rows.get(&key).filter(|row| now > row.expires + SWEPT) {
                    self.expired.push((key.clone(), old.values.clone()));
                    self.rows.remove(&key);
                }
                let kept = if self.mutant == Mutant::RowsExpireEarly { MINUTE - SWEPT } else { KEPT };
                let held = self.rows.entry(key).or_default();
                held.values.resize(row.values.len(), None);
                for ((held, v), m) in
                    held.values.iter_mut().zip(&row.values).zip(&self.policies[policy].spec().measures)
                {
                    *held = fold(m.op, *held, *v).expect("ids are small");
                }
                if alias > 0 && (answered || self.mutant != Mutant::FenceApart) {
                    held.fences.insert(alias, content.n);
                }
                let expires = match self.mutant {
                    Mutant::RowsExpireEarly => end.as_millis() + kept,
                    _ => end.as_millis().max(signed) + kept,
                };
                held.expires = held.expires.max(expires);
            }
        }
    }

    fn accept(&mut self, shard: usize, n: u64, digest: [u8; 32], now: i64) {
        self.accepted.insert(shard, now);
        let history = self.history.entry(shard).or_default();
        match history.get(n as usize - 1) {
            None if history.len() as u64 + 1 == n => history.push(digest),
            Some(known) if *known == digest => {}
            _ => self.wrong.push(format!("I1: lane {shard} has a second content {n}")),
        }
    }

    fn commit(&mut self, shard: usize, digest: [u8; 32], head: &StoredHead, now: i64) {
        let history = self.history.get(&shard).cloned().unwrap_or_default();
        if history.get(head.n as usize - 1) != Some(&digest) {
            self.wrong.push(format!("lane {shard}: content {} is committed that was never accepted", head.n));
        }
        if let Some(old) = self.heads.insert(shard, head.clone()) {
            if old.n >= head.n {
                self.wrong.push(format!("lane {shard} went back from {} to {}", old.n, head.n));
            }
            self.older.insert(shard, old);
        }
        if let Some(pend) = &head.pend {
            self.accept(shard, pend.n, pend.digest, now);
        }
        if self.mutant == Mutant::FencesExpire {
            self.rows.values_mut().for_each(|row| row.fences.clear());
        }
    }
}
