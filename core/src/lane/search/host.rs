//! A host of the search: the real machine, and the little a driver adds to it.
//!
//! Invariant: what a host does next depends on the host alone, never on the store; so its plan can be remembered.

use super::super::*;
use super::pool::Fold;
use super::setup::{Mutant, Setup};
use crate::account::Account;
use crate::time::EventTime;
use crate::wire::effects::{Effects, Group, Progress, Row, Table};
use std::hash::{Hash, Hasher};

/// A request that left its host: one command, or one effect.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Request {
    Create { strand: u8, head: Box<StoredHead> },
    Intent { strand: u8, pend: StoredPend },
    Effect(Delta),
    Commit { strand: u8, n: u64, digest: [u8; 32], head: Box<StoredHead> },
    Transact { strand: u8, n: u64, rows: Vec<(u8, u16)>, head: Box<StoredHead> },
    Put { strand: u8, names: Vec<ChunkName> },
    Delete { strand: u8, names: Vec<ChunkName> },
}

/// What one effect does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Delta {
    pub strand: u8,
    pub n: u64,
    pub row: u8,
    pub sum: u16,
    /// All records of its content, for a module that gives something else each time.
    pub all: u16,
    /// Whether the content was read back from the head.
    pub adopted: bool,
}

/// What a host does next.
#[derive(Clone)]
pub(super) enum Plan {
    /// Every lane is done.
    Ended,
    /// Something is wrong.
    Wrong(String),
    /// Offer a content: how many records there are to choose from.
    Compute,
    ReadHead,
    /// Reads the parent's head and goes on with the child.
    Inherit,
    ListChunks,
    GetChunks(Vec<ChunkName>),
    /// The request, how many effects wait behind it, whether a content could be offered first.
    Send(Request, usize, bool),
}

/// What a host is told.
#[derive(Clone, Debug)]
pub(super) enum Told {
    Head(Option<StoredHead>),
    Parent(Option<StoredHead>),
    Names(Vec<ChunkName>),
    Bytes(Vec<Option<Vec<u8>>>),
    Written,
    Refused,
    Done,
    Fenced(u64),
    Silence,
    Expired,
}

#[derive(Clone)]
pub(super) struct Host {
    setup: Setup,
    strand: u8,
    lane: Lane,
    /// What the host's next content joins onto, as its engine sees it.
    tip: Option<Tip>,
    /// Requests that a broken rule puts off, or adds.
    owed: Vec<Request>,
    /// Nothing was read or written yet: a broken rule may go another way.
    fresh: bool,
}

/// Record i adds 16^i: a digit above 1 is a record counted twice.
fn weight(i: u8) -> u16 {
    1 << (4 * i)
}

/// Two records to the first row, the third to the second.
pub(super) fn row_of(i: u8) -> u8 {
    u8::from(i >= 2)
}

impl Host {
    pub(super) fn new(setup: &Setup) -> Self {
        Self::on(setup, 0, Birth::default()).settled()
    }

    fn on(setup: &Setup, strand: u8, birth: Birth) -> Self {
        let config =
            Config { atomicity: setup.atomicity, limits: setup.limits, table: "t".into(), intent_age_ms_max: 1_000 };
        let key = LaneKey { app: "a".into(), generation: String::new(), lane: format!("l{strand}") };
        let lane = Lane::child(key, config, birth);
        Self { setup: *setup, strand, lane, tip: None, owed: Vec::new(), fresh: strand == 0 }
    }

    pub(super) fn strand(&self) -> u8 {
        self.strand
    }

    pub(super) fn fingerprint(&self) -> u64 {
        let mut h = Fold::default();
        self.lane.fingerprint(&mut h);
        (self.strand, &self.tip, &self.owed, self.fresh && self.setup.mutant == Mutant::ChildBeforeDone).hash(&mut h);
        h.finish()
    }

    /// First bytes of the digests of the contents that it holds.
    pub(super) fn digests(&self) -> Vec<u64> {
        let short = |d: [u8; 32]| u64::from_le_bytes(d[..8].try_into().unwrap());
        self.lane.digests().chain(self.tip.as_ref().map(|t| t.digest)).map(short).collect()
    }

    /// The lane's position in the records.
    pub(super) fn at(setup: &Setup, strand: u8, pos: Option<&str>) -> u8 {
        let begin = match (strand, setup.mutant) {
            (1, Mutant::ChildAtLatest) => setup.records,
            _ => setup.range(strand).0,
        };
        pos.map_or(begin, |p| p.parse().unwrap())
    }

    /// What needs nobody else: waiting, since there are no clocks here; the counter of aliases, since only one head is
    /// ever made; the names of chunks where there are none. A host that was left behind looks again.
    fn settled(mut self) -> Self {
        loop {
            match self.lane.step() {
                Step::Wait { .. } => self.lane.waited(),
                Step::End(End::Behind) => {
                    let owed = std::mem::take(&mut self.owed);
                    self = Self::on(&self.setup, 0, Birth::default());
                    self.owed = owed;
                }
                Step::Do(Command::AllocateAlias) => self.lane.answer(Answer::Alias(1 + u64::from(self.strand))),
                Step::Do(Command::ListChunks { .. }) if !self.setup.chunked() => {
                    self.lane.answer(Answer::Names(Vec::new()));
                }
                _ => return self,
            }
        }
    }

    pub(super) fn plan(&self) -> Plan {
        let strand = self.strand;
        let wants = self.lane.wants();
        let send = |r| Plan::Send(r, 0, false);
        if let Some(owed) = self.owed.first()
            && !matches!(self.lane.step(), Step::Do(Command::Commit { .. } | Command::Apply { .. }))
        {
            return send(owed.clone());
        }
        match self.lane.step() {
            Step::End(End::Done) if strand + 1 < self.setup.strands() => Plan::Inherit,
            Step::End(End::Done) => Plan::Ended,
            Step::End(End::Halted(why)) => Plan::Wrong(format!("halted: {why}")),
            Step::End(End::Behind) | Step::Wait { .. } => unreachable!("settled"),
            Step::Compute(base) => match self.misplaced(&base) {
                Some(wrong) => Plan::Wrong(wrong),
                None => Plan::Compute,
            },
            Step::Do(command) => match command {
                Command::ReadHead => Plan::ReadHead,
                Command::AllocateAlias => unreachable!("settled"),
                Command::ListChunks { .. } => Plan::ListChunks,
                Command::GetChunks { names, .. } => Plan::GetChunks(names),
                Command::CreateHead { head } => send(Request::Create { strand, head: head.into() }),
                Command::Intent { pend } => send(Request::Intent { strand, pend }),
                Command::Commit { n, digest, head } => send(Request::Commit { strand, n, digest, head: head.into() }),
                Command::Transact { content, head } => {
                    let rows = (0..content.len()).map(|i| self.delta(&content, i)).map(|d| (d.row, d.sum)).collect();
                    send(Request::Transact { strand, n: content.n, rows, head: head.into() })
                }
                Command::PutChunks { chunks, .. } => {
                    send(Request::Put { strand, names: chunks.iter().map(|c| c.name).collect() })
                }
                Command::DeleteChunks { names, .. } => send(Request::Delete { strand, names }),
                Command::Apply { content, effects, .. } => {
                    // One effect at a time; the others wait, so that the other host's steps come in between.
                    let request = Request::Effect(self.delta(&content, effects[0]));
                    let more = self.tip.as_ref().is_some_and(|t| self.position(t) < self.setup.range(strand).1);
                    Plan::Send(request, effects.len() - 1, wants && more)
                }
            },
        }
    }

    /// The chunks that it writes next, with their bytes.
    pub(super) fn chunks(&self) -> Vec<Chunk> {
        match self.lane.step() {
            Step::Do(Command::PutChunks { chunks, .. }) => chunks,
            _ => Vec::new(),
        }
    }

    fn position(&self, tip: &Tip) -> u8 {
        Self::at(&self.setup, self.strand, tip.pos.as_deref())
    }

    /// An engine or a state that is not the tip's.
    fn misplaced(&self, base: &Base) -> Option<String> {
        let Some(state) = &base.state else {
            return (self.tip.as_ref() != Some(&base.tip)).then(|| "the engine is not where the head is".to_owned());
        };
        let restored = state.snapshot.as_ref().map_or(0, |s| s[0]);
        let expected = Self::at(&Setup { mutant: Mutant::None, ..self.setup }, self.strand, base.tip.pos.as_deref());
        (restored != expected).then(|| format!("the state of position {restored} at position {expected}"))
    }

    fn delta(&self, content: &Content, i: u32) -> Delta {
        let of = |i| match content.effect(i) {
            Effect::Row { row, .. } => (row.key[0] - b'0', row.values[0].unwrap() as u16),
            Effect::Dead { .. } => unreachable!("rows only"),
        };
        let (row, sum) = of(i);
        let all = (0..content.len()).map(|i| of(i).1).sum();
        Delta { strand: self.strand, n: content.n, row, sum, all, adopted: self.lane.recovering() }
    }

    /// After offering a content of `many` records from `from` on, or from where its tip is. Contents that were computed
    /// apart never have the same bytes: `nonce` is part of them.
    pub(super) fn offered(&self, many: u8, nonce: i64, from: Option<u8>) -> Self {
        let mut host = self.clone();
        let setup = self.setup;
        let tip = match self.lane.step() {
            Step::Compute(base) => base.tip,
            _ => self.tip.clone().unwrap(),
        };
        let (from, end) = (from.unwrap_or(self.position(&tip)), setup.range(self.strand).1);
        let to = (from + many).min(end);
        let sums = [0, 1].map(|row| (from..to).filter(|i| row_of(*i) == row).map(weight).sum::<u16>());
        let rows = (b'0'..).zip(sums).filter(|(_, sum)| *sum > 0);
        let rows = rows.map(|(row, sum)| Row { key: vec![row], values: vec![Some(sum.into())] }).collect::<Vec<_>>();
        let read = u64::from(to - from);
        let (start, end_of_window) = (EventTime::from_millis(0), EventTime::from_millis(1));
        let group = Group { table: Table::Main, start, end: end_of_window, rows };
        let batch = Batch {
            to: Some(to.to_string()),
            done: to == end,
            effects: Effects {
                measures: 1,
                progress: Progress::default(),
                account: Account { read, counted: read, ..Account::default() },
                groups: if group.rows.is_empty() { vec![] } else { vec![group] },
                dead: Vec::new(),
            },
            places: Vec::new(),
            snapshot: Some(vec![to; 80]),
            written_ms: nonce,
            pin: Pin { policy: [0; 32], module: None, replay: 1, name: "p".into(), shape: [0; 8] },
        };
        let [content] = <[Content; 1]>::try_from(tip.contents(batch, &setup.limits)).expect("one content");
        host.tip = Some(content.tip());
        host.lane.offer(content);
        host.settled()
    }

    /// After being told something.
    pub(super) fn told(&self, told: Told, left: usize) -> Self {
        let mut host = self.clone();
        host.fresh = false;
        let mutant = self.setup.mutant;
        let effect = matches!(self.lane.step(), Step::Do(Command::Apply { .. }));
        let answered = |a| match effect {
            true => Answer::Applied([vec![a], vec![Applied::Unknown("not sent yet".into()); left]].concat()),
            false => unreachable!("no effect was asked for"),
        };
        if let Plan::Send(request, ..) = self.plan()
            && self.owed.first() == Some(&request)
        {
            host.owed.remove(0);
            return host.settled();
        }
        let answer = match told {
            Told::Parent(stored) => {
                return Self::on(&self.setup, 1, self.birth(stored.as_ref())).settled();
            }
            Told::Head(stored) => Answer::Head { stored, now_ms: 0 },
            Told::Names(names) => Answer::Names(names),
            Told::Bytes(bytes) => Answer::Chunks(bytes),
            Told::Written => Answer::Written,
            Told::Refused => Answer::Refused,
            Told::Done => answered(Applied::Done),
            Told::Fenced(_) if mutant == Mutant::GiveUp => answered(Applied::Impossible("refused".into())),
            Told::Fenced(n) => answered(Applied::Fenced(n)),
            Told::Expired if effect => Answer::Applied(vec![Applied::Expired; left + 1]),
            Told::Expired => Answer::Expired,
            Told::Silence if effect && mutant == Mutant::CommitBeforeAnswers => answered(Applied::Done),
            Told::Silence if effect => answered(Applied::Unknown("silence".into())),
            Told::Silence => match (mutant, self.lane.step()) {
                (
                    Mutant::AssumeWritten,
                    Step::Do(Command::Commit { .. } | Command::Intent { .. } | Command::Transact { .. }),
                ) => Answer::Written,
                (Mutant::ChunksNotAwaited, Step::Do(Command::PutChunks { .. })) => Answer::Written,
                _ => Answer::Unknown { detail: "silence".into() },
            },
        };
        let mine = host.tip.clone();
        host.lane.answer(answer);
        if mutant == Mutant::LoserDeletesChunks
            && host.lane.step() == Step::End(End::Behind)
            && let Some(tip) = mine.filter(|tip| !tip.state.names().is_empty())
        {
            host.owed.push(Request::Delete { strand: self.strand, names: tip.state.names().to_vec() });
        }
        host.settled()
    }

    /// `CommitFirst`: the effect is put off until COMMIT was answered.
    pub(super) fn put_off(&self, request: Request, left: usize) -> Self {
        let mut host = self.told(Told::Done, left);
        host.owed.push(request);
        host
    }

    /// Whether what it sends next was put off before.
    pub(super) fn owes(&self) -> bool {
        matches!(self.plan(), Plan::Send(r, ..) if self.owed.first() == Some(&r))
    }

    /// `ChildBeforeDone`: what a host may do instead of reading its parent's lane.
    pub(super) fn skips_parent(&self) -> bool {
        self.fresh && self.setup.mutant == Mutant::ChildBeforeDone
    }

    fn birth(&self, stored: Option<&StoredHead>) -> Birth {
        if self.setup.mutant == Mutant::ChildBeforeDone {
            let snapshot = stored.and_then(|s| s.pos.as_deref()).map(|p| vec![p.parse::<u8>().unwrap(); 80]);
            return Birth { snapshot, ..Birth::default() };
        }
        let ended = Ended::of("l0", stored).expect("the lane was seen done");
        let snapshot = ended.snapshot(&[]).expect("its state stands in the head");
        Birth::after(&[ended], snapshot)
    }
}
