//! A state of the search as a few words, and all states that follow it.
//!
//! Invariants
//! - A request that got no answer may land at once, at any later time or never: that is lost, done but unanswered, and
//!   delayed in one. A host may die at any request, which then is one of those.
//! - Two hosts that swap their places are the same state.
//! - A step that nobody else can see (computing a content) is taken before all others: their order changes nothing.

use super::super::*;
use super::host::{Delta, Host, Plan, Request, Told};
use super::pool::{Id, Memo, Pool, Seen, fingerprint};
use super::setup::{Mutant, Setup};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct TableRow {
    sum: u16,
    /// By lane.
    fences: [u8; 2],
}

/// One state.
#[derive(Clone, Copy)]
pub(super) struct World {
    heads: [Id; 2],
    rows: [TableRow; 2],
    chunks: Id,
    hosts: [Id; 2],
    /// Requests without an answer that may still land.
    flight: [Id; 3],
    faults: u8,
    /// How far anybody has read, for the rule that is broken there.
    reader: u8,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, h: &mut H) {
        // In few words: this is where the search spends its time.
        let two = |a: Id, b: Id| u64::from(a) << 32 | u64::from(b);
        let row = |r: &TableRow| u32::from(r.sum) << 16 | u32::from(r.fences[0]) << 8 | u32::from(r.fences[1]);
        h.write_u64(two(self.heads[0], self.heads[1]));
        h.write_u64(two(row(&self.rows[0]), row(&self.rows[1])));
        h.write_u64(two(self.hosts[0], self.hosts[1]));
        h.write_u64(two(self.flight[0], self.flight[1]));
        h.write_u64(two(self.flight[2], self.chunks << 8 | Id::from(self.faults << 4 | self.reader)));
    }
}

/// A stored head and what is asked of it again and again.
struct Kept {
    stored: StoredHead,
    /// Records before this one are committed.
    committed: u8,
    pend: Option<u64>,
}

/// What a store answers.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Reply {
    Written,
    Refused,
    Done,
    Fenced(u64),
}

/// What a host is told, in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Word {
    Head(Id),
    Parent(Id),
    Names(Id),
    Bytes(Id),
    Reply(Reply),
    Silence,
    Expired,
    PutOff,
}

#[derive(Clone)]
enum Next {
    Ended,
    Wrong(String),
    Compute,
    ReadHead,
    Inherit,
    ListChunks,
    GetChunks,
    Send { request: Id, left: usize, early: bool },
}

struct Known {
    host: Host,
    next: Next,
    digests: Vec<u64>,
}

/// All things that states name by number.
pub(super) struct Space {
    setup: Setup,
    hosts: Pool<Known>,
    heads: Pool<Kept>,
    requests: Pool<Request>,
    chunks: Pool<BTreeSet<(u8, ChunkName)>>,
    bytes: BTreeMap<ChunkName, Vec<u8>>,
    told: Memo<(Id, Word), Id>,
    offered: Memo<(Id, u8, i64, Option<u8>), Id>,
    /// Heads after a write: by the head before and the request.
    written: Memo<(Id, Id), Id>,
    fresh: Id,
    finished: Seen,
}

impl Space {
    pub(super) fn new(setup: Setup) -> Self {
        let mut space = Self {
            setup,
            hosts: Pool::new(),
            heads: Pool::new(),
            requests: Pool::new(),
            chunks: Pool::new(),
            bytes: BTreeMap::new(),
            told: Memo::default(),
            offered: Memo::default(),
            written: Memo::default(),
            fresh: 0,
            finished: Seen::new(),
        };
        space.fresh = space.host(Host::new(&setup));
        space
    }

    pub(super) fn first(&mut self) -> World {
        World {
            heads: [0; 2],
            rows: [TableRow::default(); 2],
            chunks: self.chunks.id(0, BTreeSet::new),
            hosts: [self.fresh; 2],
            flight: [0; 3],
            faults: self.setup.faults,
            reader: 0,
        }
    }

    fn host(&mut self, host: Host) -> Id {
        let print = host.fingerprint();
        let requests = &mut self.requests;
        for chunk in host.chunks() {
            self.bytes.insert(chunk.name, chunk.bytes);
        }
        self.hosts.id(print, || {
            let next = match host.plan() {
                Plan::Ended => Next::Ended,
                Plan::Wrong(why) => Next::Wrong(why),
                Plan::Compute => Next::Compute,
                Plan::ReadHead => Next::ReadHead,
                Plan::Inherit => Next::Inherit,
                Plan::ListChunks => Next::ListChunks,
                Plan::GetChunks(_) => Next::GetChunks,
                Plan::Send(request, left, early) => {
                    Next::Send { request: requests.id(fingerprint(&request), || request), left, early }
                }
            };
            Known { digests: host.digests(), next, host }
        })
    }

    fn head(&mut self, strand: u8, stored: StoredHead) -> Id {
        let plain = Setup { mutant: Mutant::None, ..self.setup };
        self.heads.id(fingerprint(&stored), || Kept {
            committed: if stored.done {
                plain.range(strand).1
            } else {
                Host::at(&plain, strand, stored.pos.as_deref())
            },
            pend: stored.pend.as_ref().map(|p| short(&p.digest)),
            stored,
        })
    }

    fn kept(&self, id: Id) -> Option<&Kept> {
        (id != 0).then(|| self.heads.get(id))
    }

    /// The host after being told.
    fn tell(&mut self, host: Id, word: Word) -> Id {
        if let Some(after) = self.told.get(&(host, word)) {
            return *after;
        }
        let known = self.hosts.get(host);
        let left = if let Next::Send { left, .. } = known.next { left } else { 0 };
        let strand = known.host.strand();
        let stored = |id| self.kept(id).map(|k| k.stored.clone());
        let told = match word {
            Word::Head(id) => Told::Head(stored(id)),
            Word::Parent(id) => Told::Parent(stored(id)),
            Word::Names(id) => {
                Told::Names(self.chunks.get(id).iter().filter(|(s, _)| *s == strand).map(|(_, n)| *n).collect())
            }
            Word::Bytes(id) => {
                let Plan::GetChunks(names) = known.host.plan() else { unreachable!("chunks were asked for") };
                let there = self.chunks.get(id);
                let find = |n: &ChunkName| there.contains(&(strand, *n)).then(|| self.bytes[n].clone());
                Told::Bytes(names.iter().map(find).collect())
            }
            Word::Reply(Reply::Written) => Told::Written,
            Word::Reply(Reply::Refused) => Told::Refused,
            Word::Reply(Reply::Done) => Told::Done,
            Word::Reply(Reply::Fenced(n)) => Told::Fenced(n),
            Word::Silence => Told::Silence,
            Word::Expired => Told::Expired,
            Word::PutOff => Told::Done,
        };
        let after = match (word, known.next.clone()) {
            (Word::PutOff, Next::Send { request, .. }) => {
                let request = self.requests.get(request).clone();
                known.host.put_off(request, left)
            }
            _ => known.host.told(told, left),
        };
        let after = self.host(after);
        self.told.insert((host, word), after);
        after
    }

    /// The host after offering a content that nobody else has made.
    fn offer(&mut self, w: &World, h: usize, many: u8, from: Option<u8>) -> Id {
        let mut live: Vec<u64> = self.hosts.get(w.hosts[1 - h]).digests.clone();
        live.extend(w.heads.iter().filter_map(|id| self.kept(*id)?.pend));
        for id in w.flight.iter().filter(|id| **id != 0) {
            match self.requests.get(*id) {
                Request::Intent { pend, .. } => live.push(short(&pend.digest)),
                Request::Commit { head, .. } => live.extend(head.pend.as_ref().map(|p| short(&p.digest))),
                _ => {}
            }
        }
        for nonce in 0.. {
            let key = (w.hosts[h], many, nonce, from);
            let after = match self.offered.get(&key) {
                Some(after) => *after,
                None => {
                    let host = self.hosts.get(w.hosts[h]).host.offered(many, nonce, from);
                    let after = self.host(host);
                    self.offered.insert(key, after);
                    after
                }
            };
            let tip = self.hosts.get(after).digests.last().copied();
            if tip.is_none_or(|tip| !live.contains(&tip)) {
                return after;
            }
        }
        unreachable!("a nonce is free")
    }

    /// The store does it, and answers.
    fn execute(&mut self, w: &mut World, id: Id) -> Reply {
        let mutant = self.setup.mutant;
        let write = |happened: bool| if happened { Reply::Written } else { Reply::Refused };
        let (strand, happens) = match self.requests.get(id) {
            Request::Effect(delta) => return effect(w, *delta, mutant),
            Request::Put { .. } | Request::Delete { .. } => {
                w.chunks = self.after(w.chunks, id);
                return Reply::Written;
            }
            Request::Intent { .. } if mutant == Mutant::FenceWithoutIntent => return Reply::Written,
            Request::Create { strand, .. } => (*strand, w.heads[usize::from(*strand)] == 0),
            Request::Intent { strand, pend } => {
                let held = &self.heads.get(w.heads[usize::from(*strand)]).stored;
                let free = held.n + 1 == pend.n && held.pend.is_none();
                (*strand, free || mutant == Mutant::IntentAlways)
            }
            Request::Commit { strand, n, digest, .. } => {
                let held = &self.heads.get(w.heads[usize::from(*strand)]).stored;
                let ours = match mutant {
                    Mutant::CommitAlways => true,
                    Mutant::FenceWithoutIntent => held.n + 1 == *n,
                    _ => held.pend.as_ref().is_some_and(|p| p.n == *n && p.digest == *digest),
                };
                if ours && mutant == Mutant::FencesExpire {
                    w.rows.iter_mut().for_each(|r| r.fences = [0; 2]);
                }
                (*strand, ours)
            }
            Request::Transact { strand, n, rows, .. } => {
                let held = &self.heads.get(w.heads[usize::from(*strand)]).stored;
                let next = held.n + 1 == *n || mutant == Mutant::TransactAlways;
                for (row, sum) in rows.iter().filter(|_| next) {
                    let row = &mut w.rows[usize::from(*row)];
                    row.sum = row.sum.saturating_add(*sum);
                }
                (*strand, next)
            }
        };
        if happens {
            let at = &mut w.heads[usize::from(strand)];
            *at = self.after(*at, id);
        }
        write(happens)
    }

    /// What a request that happens makes of a head, or of the chunks.
    fn after(&mut self, before: Id, request: Id) -> Id {
        if let Some(after) = self.written.get(&(before, request)) {
            return *after;
        }
        let after = match self.requests.get(request).clone() {
            Request::Effect(_) => unreachable!("an effect changes a row"),
            Request::Create { strand, head } | Request::Transact { strand, head, .. } => self.head(strand, *head),
            Request::Intent { strand, pend } => {
                let stored = self.heads.get(before).stored.clone();
                self.head(strand, StoredHead { pend: Some(pend), ..stored })
            }
            Request::Commit { strand, mut head, .. } => {
                if self.setup.mutant == Mutant::FenceWithoutIntent {
                    head.pend = None;
                }
                self.head(strand, *head)
            }
            Request::Put { strand, names } => {
                let mut all = self.chunks.get(before).clone();
                all.extend(names.into_iter().map(|n| (strand, n)));
                self.chunk_set(all)
            }
            Request::Delete { strand, names } => {
                let mut all = self.chunks.get(before).clone();
                all.retain(|(s, name)| *s != strand || !names.contains(name));
                self.chunk_set(all)
            }
        };
        self.written.insert((before, request), after);
        after
    }

    fn chunk_set(&mut self, set: BTreeSet<(u8, ChunkName)>) -> Id {
        let print = if set.is_empty() { 0 } else { fingerprint(&set) };
        self.chunks.id(print, || set)
    }

    /// Whether a request can change nothing any more, whatever comes: numbers of heads and fences only grow.
    fn spent(&self, w: &World, id: Id) -> bool {
        let head = |strand: u8| self.kept(w.heads[usize::from(strand)]).map(|k| &k.stored);
        match self.requests.get(id) {
            Request::Create { strand, .. } => head(*strand).is_some(),
            Request::Intent { strand, pend } => head(*strand).is_some_and(|h| h.n + 1 > pend.n || h.pend.is_some()),
            Request::Effect(d) => u64::from(w.rows[usize::from(d.row)].fences[usize::from(d.strand)]) >= d.n,
            Request::Commit { strand, n, digest, .. } => head(*strand)
                .is_some_and(|h| h.n >= *n || h.n + 1 == *n && h.pend.as_ref().is_some_and(|p| p.digest != *digest)),
            Request::Transact { strand, n, .. } => head(*strand).is_some_and(|h| h.n >= *n),
            Request::Put { .. } => false,
            // What is gone at a number that is committed, no head names again.
            Request::Delete { strand, names } => head(*strand).is_some_and(|h| {
                names.iter().all(|name| name.n <= h.n && !self.chunks.get(w.chunks).contains(&(*strand, *name)))
            }),
        }
    }

    /// The one way in which a state is written down.
    pub(super) fn canonical(&self, mut w: World) -> World {
        if self.setup.mutant == Mutant::None {
            for i in 0..w.flight.len() {
                if w.flight[i] != 0 && self.spent(&w, w.flight[i]) {
                    w.flight[i] = 0;
                }
            }
        }
        w.flight.sort_unstable();
        w.hosts.sort_unstable();
        w
    }

    /// All states one step on.
    pub(super) fn successors(&mut self, w: &World, out: &mut Vec<World>) {
        if let Some(h) = (0..2).find(|h| matches!(self.hosts.get(w.hosts[*h]).next, Next::Compute)) {
            return self.host_steps(w, h, out);
        }
        for i in 0..w.flight.len() {
            if w.flight[i] != 0 {
                let mut on = *w;
                on.flight[i] = 0;
                self.execute(&mut on, w.flight[i]);
                out.push(on);
            }
        }
        for h in 0..2 {
            if h == 0 || w.hosts[0] != w.hosts[1] {
                self.host_steps(w, h, out);
            }
        }
    }

    /// The steps of one host; the first is the one without a fault.
    fn host_steps(&mut self, w: &World, h: usize, out: &mut Vec<World>) {
        let host = w.hosts[h];
        let strand = self.hosts.get(host).host.strand();
        let head = w.heads[usize::from(strand)];
        let mut told = |space: &mut Self, word| {
            let mut on = *w;
            on.hosts[h] = space.tell(host, word);
            out.push(on);
        };
        match self.hosts.get(host).next.clone() {
            Next::Ended | Next::Wrong(_) => {}
            Next::Compute => self.compute(w, h, out),
            Next::ReadHead => {
                told(self, Word::Head(head));
                if self.hosts.get(host).host.skips_parent() && self.setup.strands() > 1 {
                    told(self, Word::Parent(w.heads[0]));
                }
            }
            Next::Inherit => told(self, Word::Parent(w.heads[0])),
            Next::ListChunks => {
                let mut on = *w;
                if self.setup.mutant == Mutant::SweepsTooMuch {
                    on.chunks = self.swept(w, strand);
                }
                on.hosts[h] = self.tell(host, Word::Names(on.chunks));
                out.push(on);
            }
            Next::GetChunks => told(self, Word::Bytes(w.chunks)),
            Next::Send { request, early, .. } => self.send(w, h, request, early, out),
        }
    }

    fn compute(&mut self, w: &World, h: usize, out: &mut Vec<World>) {
        let strand = self.hosts.get(w.hosts[h]).host.strand();
        let head = self.heads.get(w.heads[usize::from(strand)]);
        let (at, end) = (head.committed, self.setup.range(strand).1);
        let from = (self.setup.mutant == Mutant::ReaderPosition).then(|| w.reader.max(at));
        for many in 1..=2.min(end - at).max(1) {
            let mut on = *w;
            on.hosts[h] = self.offer(w, h, many, from);
            if from.is_some() {
                on.reader = on.reader.max(at + many);
            }
            out.push(on);
        }
    }

    fn send(&mut self, w: &World, h: usize, request: Id, early: bool, out: &mut Vec<World>) {
        let host = w.hosts[h];
        let effect = matches!(self.requests.get(request), Request::Effect(_));
        let mut on = *w;
        if effect && self.setup.mutant == Mutant::CommitFirst && !self.hosts.get(host).host.owes() {
            on.hosts[h] = self.tell(host, Word::PutOff);
        } else {
            let reply = self.execute(&mut on, request);
            on.hosts[h] = self.tell(host, Word::Reply(reply));
        }
        out.push(on);
        if early && self.setup.ahead && self.setup.mutant != Mutant::ReaderPosition {
            let mut on = *w;
            on.hosts[h] = self.offer(w, h, 1, None);
            out.push(on);
        }
        if w.faults == 0 {
            return;
        }
        let faulty = World { faults: w.faults - 1, ..*w };
        let slot = w.flight.iter().position(|id| *id == 0).expect("no more in flight than faults");
        for after in [self.tell(host, Word::Silence), self.fresh] {
            let mut on = faulty;
            on.flight[slot] = request;
            on.hosts[h] = after;
            out.push(on);
        }
        let mut on = faulty;
        on.hosts[h] = self.tell(host, Word::Expired);
        out.push(on);
    }

    /// The chunks that the head's committed state names, and nothing else of this lane.
    fn swept(&mut self, w: &World, strand: u8) -> Id {
        let named = match self.kept(w.heads[usize::from(strand)]) {
            Some(kept) => Head::decode(&kept.stored.bytes).expect("what the machine wrote").state.names().to_vec(),
            None => Vec::new(),
        };
        let mut set = self.chunks.get(w.chunks).clone();
        set.retain(|(s, name)| *s != strand || named.contains(name));
        self.chunk_set(set)
    }

    /// What is wrong, if anything.
    pub(super) fn wrong(&self, w: &World) -> Option<String> {
        for host in w.hosts {
            if let Next::Wrong(why) = &self.hosts.get(host).next {
                return Some(why.clone());
            }
        }
        for strand in 0..self.setup.strands() {
            let (from, to) = self.setup.range(strand);
            let committed = self.kept(w.heads[usize::from(strand)]).map_or(from, |k| k.committed);
            for i in from..to {
                let times: u16 = w.rows.iter().map(|r| r.sum >> (4 * i) & 15).sum();
                match times {
                    1 => {}
                    0 if i >= committed => {}
                    0 => return Some(format!("record {i} is committed and in no row")),
                    _ => return Some(format!("record {i} was counted {times} times")),
                }
            }
        }
        None
    }

    /// A fresh host, alone, without faults: finishes all lanes, and nothing that is still in flight changes the rows.
    pub(super) fn finishes(&mut self, world: &World) -> Result<(), String> {
        let alone = World { hosts: [self.fresh; 2], faults: 0, ..*world };
        if !self.finished.insert(fingerprint(&alone)) {
            return Ok(());
        }
        let (mut w, mut out) = (alone, Vec::new());
        for _ in 0..300 {
            if matches!(self.hosts.get(w.hosts[0]).next, Next::Ended) {
                for late in std::mem::take(&mut w.flight).into_iter().filter(|id| *id != 0) {
                    self.execute(&mut w, late);
                }
                let strands = usize::from(self.setup.strands());
                let done = w.heads[..strands]
                    .iter()
                    .all(|id| self.kept(*id).is_some_and(|k| k.stored.done && k.stored.pend.is_none()));
                return self.wrong(&w).map_or(if done { Ok(()) } else { Err("done, but a head is not".into()) }, Err);
            }
            if let Some(wrong) = self.wrong(&w) {
                return Err(wrong);
            }
            out.clear();
            self.host_steps(&w, 0, &mut out);
            w = *out.first().ok_or("a host has no way on")?;
        }
        Err("a fresh host does not come to an end".into())
    }
}

fn effect(w: &mut World, d: Delta, mutant: Mutant) -> Reply {
    let (row, sum) = match mutant {
        Mutant::UnpinnedPolicy if d.adopted => (1 - d.row, d.sum),
        Mutant::UnsteadyModule if d.adopted => (d.row, d.all),
        _ => (d.row, d.sum),
    };
    let row = &mut w.rows[usize::from(row)];
    let fence = &mut row.fences[usize::from(d.strand)];
    if u64::from(*fence) >= d.n && mutant != Mutant::NoFence {
        return Reply::Fenced(u64::from(*fence));
    }
    row.sum = row.sum.saturating_add(sum);
    *fence = d.n as u8;
    Reply::Done
}

fn short(digest: &[u8; 32]) -> u64 {
    u64::from_le_bytes(digest[..8].try_into().expect("8 of 32 bytes"))
}
