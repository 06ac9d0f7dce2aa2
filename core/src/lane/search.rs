//! An exhaustive search over the real machine: two hosts, a table in memory, lost and late requests, crashes.
//!
//! Every state that can be reached within the budget of faults is visited. In each of them
//! - no row holds a record twice, and every record before the committed position is in its row (I2, I3, I4, I5);
//! - a host that starts anew finishes the lane with no help, and the totals are right (I7).
//!
//! The mutants break one rule each; the search must find every one of them.

use super::*;
use crate::account::Account;
use crate::time::EventTime;
use crate::wire::effects::{Effects, Group, Progress, Row, Table};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// One rule broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    None,
    /// Effects are applied whatever the fence says.
    NoFence,
    /// COMMIT without its condition.
    CommitAlways,
    /// INTENT without its condition.
    IntentAlways,
    /// An effect without an answer counts as applied.
    CommitBeforeAnswers,
    /// A head write without an answer counts as written.
    AssumeWritten,
    /// An effect that an earlier attempt applied makes the host give up.
    GiveUp,
    /// Fences go when their batch is committed.
    FencesExpire,
    /// The transaction does not look at the head's number.
    TransactAlways,
}

#[derive(Clone, Copy)]
struct Setup {
    records: usize,
    faults: u8,
    atomicity: Atomicity,
    limits: Limits,
    mutant: Mutant,
}

const SMALL: Setup =
    Setup { records: 3, faults: 2, atomicity: Atomicity::Items, limits: Limits::ITEMS, mutant: Mutant::None };

/// A request that left its host: one command, or one effect.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Request {
    Create(StoredHead),
    Intent(StoredPend),
    Effect { alias: u64, content: Arc<Content>, i: u32 },
    Commit { n: u64, digest: [u8; 32], head: StoredHead },
    Transact { content: Arc<Content>, head: StoredHead },
    Put { alias: u64, chunks: Vec<Chunk> },
    Delete { alias: u64, names: Vec<ChunkName> },
}

#[derive(Clone, Default, Hash)]
struct TableRow {
    /// Record i adds 4^i: a digit above 1 is a record counted twice.
    sum: i128,
    fences: BTreeMap<u64, u64>,
}

#[derive(Clone, Default, Hash)]
struct Stored {
    head: Option<StoredHead>,
    rows: BTreeMap<Vec<u8>, TableRow>,
    chunks: BTreeMap<(u64, ChunkName), Vec<u8>>,
    flight: Vec<Request>,
}

#[derive(Clone)]
struct Host {
    setup: Setup,
    lane: Lane,
    /// What the host's next content joins onto, as its engine sees it.
    tip: Option<Tip>,
}

#[derive(Clone)]
struct World {
    setup: Setup,
    stored: Stored,
    hosts: [Host; 2],
    faults: u8,
}

fn key() -> LaneKey {
    LaneKey { app: "a".into(), generation: String::new(), lane: "l".into() }
}

fn record_key(i: usize) -> Vec<u8> {
    if i.is_multiple_of(2) { b"[\"even\"]".to_vec() } else { b"[\"odd\"]".to_vec() }
}

fn at(tip: &Tip) -> usize {
    tip.pos.as_deref().map_or(0, |p| p.parse().unwrap())
}

impl Host {
    fn new(setup: &Setup) -> Self {
        let config =
            Config { atomicity: setup.atomicity, limits: setup.limits, table: "t".into(), intent_age_ms_max: 1_000 };
        Self { setup: *setup, lane: Lane::new(key(), config), tip: None }
    }

    /// The next content of `many` records. Hosts never agree on its bytes: `who` is part of them.
    fn offer(&mut self, tip: Tip, many: usize, who: i64) {
        let setup = self.setup;
        let (from, to) = (at(&tip), (at(&tip) + many).min(setup.records));
        let mut rows: BTreeMap<Vec<u8>, i128> = BTreeMap::new();
        for i in from..to {
            *rows.entry(record_key(i)).or_default() += 1 << (2 * i);
        }
        let rows = rows.into_iter().map(|(key, v)| Row { key, values: vec![Some(v)] }).collect();
        let read = (to - from) as u64;
        let batch = Batch {
            to: Some(to.to_string()),
            done: to == setup.records,
            effects: Effects {
                measures: 1,
                progress: Progress::default(),
                account: Account { read, counted: read, ..Account::default() },
                groups: vec![Group {
                    table: Table::Main,
                    start: EventTime::from_millis(0),
                    end: EventTime::from_millis(1),
                    rows,
                }],
                dead: Vec::new(),
            },
            places: Vec::new(),
            snapshot: Some(vec![to as u8; 80]),
            written_ms: who,
            pin: Pin { policy: [0; 32], module: None, replay: 1, name: "p".into(), shape: [0; 8] },
        };
        let [content] = <[Content; 1]>::try_from(tip.contents(batch, &setup.limits)).expect("one content");
        self.tip = Some(content.tip());
        self.lane.offer(content);
    }

    fn answer(&mut self, answer: Answer) {
        self.lane.answer(answer);
        // How long a host waits changes nothing in a world without clocks, and a host that was left behind looks again.
        match self.lane.step() {
            Step::Wait { .. } => self.lane.waited(),
            Step::End(End::Behind) => *self = Self::new(&self.setup),
            _ => {}
        }
    }
}

impl World {
    fn new(setup: Setup) -> Self {
        let host = Host::new(&setup);
        Self { setup, stored: Stored::default(), hosts: [host.clone(), host], faults: setup.faults }
    }

    fn fingerprint(&self) -> u64 {
        let mut h = DefaultHasher::new();
        self.stored.hash(&mut h);
        self.faults.hash(&mut h);
        for host in &self.hosts {
            host.lane.fingerprint(&mut h);
            host.tip.hash(&mut h);
        }
        h.finish()
    }

    /// The store does it, and answers.
    fn execute(&mut self, r: &Request) -> Answer {
        let m = self.setup.mutant;
        let s = &mut self.stored;
        let write = |happened: bool| if happened { Answer::Written } else { Answer::Refused };
        match r {
            Request::Create(head) => {
                let free = s.head.is_none();
                if free {
                    s.head = Some(head.clone());
                }
                write(free)
            }
            Request::Intent(pend) => {
                let head = s.head.as_mut().unwrap();
                let free = head.n + 1 == pend.n && head.pend.is_none() || m == Mutant::IntentAlways;
                if free {
                    head.pend = Some(pend.clone());
                }
                write(free)
            }
            Request::Effect { alias, content, i } => {
                let Effect::Row { row, .. } = content.effect(*i) else { panic!("rows only") };
                let held = s.rows.entry(row.key.clone()).or_default();
                if let Some(f) = held.fences.get(alias).filter(|f| **f >= content.n && m != Mutant::NoFence) {
                    if m == Mutant::GiveUp {
                        return Answer::Impossible { detail: "refused".into() };
                    }
                    return Answer::Applied(vec![Applied::Fenced(*f)]);
                }
                held.sum += row.values[0].unwrap();
                held.fences.insert(*alias, content.n);
                Answer::Applied(vec![Applied::Done])
            }
            Request::Commit { n, digest, head } => {
                let held = s.head.as_mut().unwrap();
                let ours = held.pend.as_ref().is_some_and(|p| p.n == *n && p.digest == *digest);
                let ours = ours || m == Mutant::CommitAlways;
                if ours {
                    *held = head.clone();
                    if m == Mutant::FencesExpire {
                        s.rows.values_mut().for_each(|r| r.fences.clear());
                    }
                }
                write(ours)
            }
            Request::Transact { content, head } => {
                let next = s.head.as_ref().unwrap().n + 1 == content.n || m == Mutant::TransactAlways;
                if next {
                    for i in 0..content.len() {
                        let Effect::Row { row, .. } = content.effect(i) else { panic!("rows only") };
                        s.rows.entry(row.key.clone()).or_default().sum += row.values[0].unwrap();
                    }
                    s.head = Some(head.clone());
                }
                write(next)
            }
            Request::Put { alias, chunks } => {
                s.chunks.extend(chunks.iter().map(|c| ((*alias, c.name), c.bytes.clone())));
                Answer::Written
            }
            Request::Delete { alias, names } => {
                names.iter().for_each(|name| drop(s.chunks.remove(&(*alias, *name))));
                Answer::Written
            }
        }
    }

    /// All worlds one step on.
    fn successors(&self, out: &mut Vec<Self>) {
        for i in 0..self.stored.flight.len() {
            let mut w = self.clone();
            let late = w.stored.flight.remove(i);
            w.execute(&late);
            out.push(w);
        }
        for h in 0..2 {
            self.host_steps(h, out);
        }
    }

    fn host_steps(&self, h: usize, out: &mut Vec<Self>) {
        let host = &self.hosts[h];
        let mut with = |f: &dyn Fn(&mut Self)| {
            let mut w = self.clone();
            f(&mut w);
            out.push(w);
        };
        let (request, left) = match host.lane.step() {
            Step::End(_) => return,
            Step::Wait { .. } => unreachable!("waited at once"),
            Step::Compute(base) => {
                match &base.state {
                    None => assert_eq!(host.tip.as_ref(), Some(&base.tip), "the engine is where the head is"),
                    Some(s) => {
                        let restored = s.snapshot.as_ref().map_or(0, |s| usize::from(s[0]));
                        assert_eq!(restored, at(&base.tip), "the state belongs to the position");
                    }
                }
                for many in 1..=2.min(self.setup.records - at(&base.tip)) {
                    with(&|w| w.hosts[h].offer(base.tip.clone(), many, h as i64));
                }
                return;
            }
            // Reads, and the counter: nothing of them stays behind.
            Step::Do(Command::ReadHead) => {
                let stored = self.stored.head.clone();
                return with(&|w| w.hosts[h].answer(Answer::Head { stored: stored.clone(), now_ms: 0 }));
            }
            // Nobody else sees the counter, and only one head is ever made: a host may always get the same alias.
            Step::Do(Command::AllocateAlias) => {
                return with(&|w| w.hosts[h].answer(Answer::Alias(1 + h as u64)));
            }
            Step::Do(Command::ListChunks { alias }) => {
                let names = self.stored.chunks.keys().filter(|(a, _)| *a == alias).map(|(_, n)| *n).collect::<Vec<_>>();
                return with(&|w| w.hosts[h].answer(Answer::Names(names.clone())));
            }
            Step::Do(Command::GetChunks { alias, names }) => {
                let chunks = names.iter().map(|n| self.stored.chunks.get(&(alias, *n)).cloned()).collect::<Vec<_>>();
                return with(&|w| w.hosts[h].answer(Answer::Chunks(chunks.clone())));
            }
            Step::Do(Command::CreateHead { head }) => (Request::Create(head), 0),
            Step::Do(Command::Intent { pend }) => (Request::Intent(pend), 0),
            Step::Do(Command::Commit { n, digest, head }) => (Request::Commit { n, digest, head }, 0),
            Step::Do(Command::Transact { content, head }) => (Request::Transact { content, head }, 0),
            Step::Do(Command::PutChunks { alias, chunks }) => (Request::Put { alias, chunks }, 0),
            Step::Do(Command::DeleteChunks { alias, names }) => (Request::Delete { alias, names }, 0),
            Step::Do(Command::Apply { alias, content, effects }) => {
                // One effect at a time; the others wait, so that the other host's steps come in between.
                (Request::Effect { alias, content, i: effects[0] }, effects.len() - 1)
            }
        };
        let answered = |w: &mut Self, answer: Answer| {
            let answer = match answer {
                Answer::Applied(mut a) => {
                    a.extend((0..left).map(|_| Applied::Unknown("not sent yet".into())));
                    Answer::Applied(a)
                }
                other => other,
            };
            w.hosts[h].answer(answer);
        };
        let silent = |w: &mut Self| {
            let effect = matches!(request, Request::Effect { .. });
            let head = matches!(request, Request::Commit { .. } | Request::Intent(_) | Request::Transact { .. });
            match self.setup.mutant {
                Mutant::CommitBeforeAnswers if effect => answered(w, Answer::Applied(vec![Applied::Done])),
                Mutant::AssumeWritten if head => answered(w, Answer::Written),
                _ if effect => answered(w, Answer::Applied(vec![Applied::Unknown("silence".into())])),
                _ => answered(w, Answer::Unknown { detail: "silence".into() }),
            }
        };
        with(&|w| {
            let answer = w.execute(&request);
            answered(w, answer);
        });
        if self.setup.limits == Limits::ITEMS
            && host.lane.wants()
            && host.tip.as_ref().is_some_and(|t| at(t) < self.setup.records)
        {
            with(&|w| {
                let tip = w.hosts[h].tip.clone().unwrap();
                w.hosts[h].offer(tip, 1, h as i64);
            });
        }
        if self.faults == 0 {
            return;
        }
        let mut fault = |f: &dyn Fn(&mut Self)| {
            with(&|w| {
                w.faults -= 1;
                f(w);
            });
        };
        // Done but unanswered; lost; delayed; and the same with the death of the host.
        fault(&|w| {
            w.execute(&request);
            silent(w);
        });
        fault(&|w| silent(w));
        fault(&|w| {
            w.stored.flight.push(request.clone());
            silent(w);
        });
        fault(&|w| {
            w.execute(&request);
            w.hosts[h] = Host::new(&w.setup);
        });
        fault(&|w| w.hosts[h] = Host::new(&w.setup));
        fault(&|w| {
            w.stored.flight.push(request.clone());
            w.hosts[h] = Host::new(&w.setup);
        });
        fault(&|w| {
            let expired = match &request {
                Request::Effect { .. } => Answer::Applied(vec![Applied::Expired; left + 1]),
                _ => Answer::Expired,
            };
            w.hosts[h].answer(expired);
        });
    }

    /// What is wrong with the rows, if anything.
    fn wrong(&self) -> Option<String> {
        for host in &self.hosts {
            if let Step::End(End::Halted(why)) = host.lane.step() {
                return Some(format!("halted: {why}"));
            }
        }
        let head = self.stored.head.as_ref()?;
        let committed = head.pos.as_deref().map_or(0, |p| p.parse::<usize>().unwrap());
        for i in 0..self.setup.records {
            let sum = self.stored.rows.get(&record_key(i)).map_or(0, |r| r.sum);
            match (sum >> (2 * i)) & 3 {
                1 => {}
                0 if i >= committed => {}
                0 => return Some(format!("record {i} is committed and in no row")),
                _ => return Some(format!("record {i} was counted twice")),
            }
        }
        (self.stored.rows.values().any(|r| r.sum >> (2 * self.setup.records) != 0))
            .then(|| "a record was counted four times".to_owned())
    }

    /// A fresh host, alone, without faults: finishes the lane, and nothing that is still in flight changes the rows.
    fn finishes(&self) -> Result<(), String> {
        let mut w = self.clone();
        w.hosts[0] = Host::new(&w.setup);
        let mut out = Vec::new();
        for _ in 0..200 {
            if w.hosts[0].lane.step() == Step::End(End::Done) {
                for late in std::mem::take(&mut w.stored.flight) {
                    w.execute(&late);
                }
                let done = w.stored.head.as_ref().is_some_and(|h| h.done && h.pend.is_none());
                return w.wrong().map_or(if done { Ok(()) } else { Err("done, but the head is not".into()) }, Err);
            }
            out.clear();
            w.faults = 0;
            w.host_steps(0, &mut out);
            // The first successor is the one without a fault.
            w = out.drain(..).next().ok_or_else(|| format!("no way on: {:?}", w.hosts[0].lane.step()))?;
        }
        Err("a fresh host does not come to an end".into())
    }
}

/// Visits everything; the first thing that is wrong, and how many states there were.
fn search(setup: Setup) -> (Option<String>, usize) {
    let first = World::new(setup);
    let (mut seen, mut finished) = (BTreeSet::from([first.fingerprint()]), BTreeSet::new());
    let (mut stack, mut next) = (vec![first], Vec::new());
    while let Some(w) = stack.pop() {
        if let Some(wrong) = w.wrong() {
            return (Some(wrong), seen.len());
        }
        let mut h = DefaultHasher::new();
        w.stored.hash(&mut h);
        if finished.insert(h.finish())
            && let Err(wrong) = w.finishes()
        {
            return (Some(wrong), seen.len());
        }
        w.successors(&mut next);
        for w in next.drain(..) {
            if seen.insert(w.fingerprint()) {
                stack.push(w);
            }
        }
    }
    (None, seen.len())
}

#[test]
fn no_interleaving_of_two_hosts_and_faults_counts_wrongly_or_gets_stuck() {
    for (records, faults, least) in [(3, 1, 50_000), (2, 2, 100_000)] {
        let (wrong, states) = search(Setup { records, faults, ..SMALL });
        assert_eq!(wrong, None);
        assert!(states > least, "only {states} states: the search does not search");
    }
}

#[test]
fn the_same_with_state_and_intents_in_chunks() {
    let limits = Limits { state_inline: 0, intent_inline: 0, chunk: 4096, ..Limits::ITEMS };
    let (wrong, states) = search(Setup { records: 2, faults: 1, limits, ..SMALL });
    assert_eq!(wrong, None);
    assert!(states > 1_000, "only {states} states: the search does not search");
}

#[test]
fn the_same_with_transactions() {
    let (wrong, states) = search(Setup { atomicity: Atomicity::Transaction, limits: Limits::NONE, ..SMALL });
    assert_eq!(wrong, None);
    assert!(states > 500, "only {states} states: the search does not search");
}

#[test]
fn every_broken_rule_is_found() {
    for mutant in [
        Mutant::NoFence,
        Mutant::CommitAlways,
        Mutant::IntentAlways,
        Mutant::CommitBeforeAnswers,
        Mutant::AssumeWritten,
        Mutant::GiveUp,
        Mutant::FencesExpire,
    ] {
        let (wrong, states) = search(Setup { mutant, ..SMALL });
        assert!(wrong.is_some(), "{mutant:?} was not found in {states} states");
    }
    let setup = Setup { atomicity: Atomicity::Transaction, limits: Limits::NONE, ..SMALL };
    let (wrong, _) = search(Setup { mutant: Mutant::TransactAlways, ..setup });
    assert!(wrong.is_some(), "TransactAlways was not found");
}
