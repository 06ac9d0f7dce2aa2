//! One lane on one host: the real machine, the real engine, and what a driver does between them.

use super::engine::{Engines, Running};
use super::mutant::Mutant;
use super::setup::Setup;
use super::store::{Call, Made, Store};
use super::stream::{Read, Stream};
use plimsoll_core::engine::Engine;
use plimsoll_core::lane::{
    Applied, Batch, Birth, ChunkName, Config, Content, Ended, Lane, LaneKey, Pin, REPLAY_VERSION, State, Tip,
};
use plimsoll_core::policy::Policy;
use plimsoll_core::wire::effects::{self, Effects};
use std::collections::VecDeque;

/// Effects of one command that are on their way.
pub struct Gather {
    pub answers: Vec<Option<Applied>>,
    pub left: usize,
}

pub struct Task {
    pub shard: usize,
    pub lane: Lane,
    /// The host's clock when the head was last seen.
    pub looked: i64,
    /// The host's clock when it sent its last request.
    pub asked: i64,
    /// Names the command whose answer is awaited.
    pub ticket: u64,
    pub gather: Option<Gather>,
    pub engine: Option<(usize, Box<dyn Running>)>,
    /// Where the engine stands.
    tip: Option<Tip>,
    /// Computed and not yet offered.
    ready: VecDeque<Content>,
    /// A second host took the lane on purpose.
    pub rival: bool,
    /// Chunks written last.
    pub names: Vec<ChunkName>,
    /// Effects that a broken rule puts off.
    pub owed: VecDeque<Call>,
}

/// What computing came to.
pub enum Computed {
    Offered,
    Idle,
    /// The position has left the stream: whoever is there is behind.
    Trimmed,
}

/// What a task works with.
pub struct Around<'a> {
    pub setup: &'a Setup,
    pub stream: &'a Stream,
    pub store: &'a mut Store,
    pub engines: &'a dyn Engines,
    /// Which policy is wanted.
    pub wanted: usize,
    pub clock: i64,
    /// Records that a batch may hold.
    pub many: usize,
    /// How far anybody has read a shard.
    pub reader: &'a mut usize,
}

impl Task {
    /// A task for a shard, if all its parents are done.
    pub fn begin(shard: usize, setup: &Setup, stream: &Stream, store: &Store) -> Option<Self> {
        let birth = match store.heads.contains_key(&shard) {
            true => Birth::default(),
            false => birth(shard, setup, stream, store)?,
        };
        let config = Config {
            atomicity: setup.atomicity,
            limits: setup.limits,
            table: "rows".into(),
            intent_age_ms_max: super::store::KEPT - super::plan::DAY,
        };
        let key = LaneKey { app: "sim".into(), generation: String::new(), lane: shard.to_string() };
        Some(Self {
            shard,
            lane: Lane::child(key, config, birth),
            looked: i64::MIN,
            asked: i64::MIN,
            ticket: 0,
            gather: None,
            engine: None,
            tip: None,
            ready: VecDeque::new(),
            rival: false,
            names: Vec::new(),
            owed: VecDeque::new(),
        })
    }

    /// Whether a content is at hand that was written down and is not known to be committed.
    pub fn busy(&self) -> bool {
        !self.ready.is_empty() || self.lane.head().is_some() && !self.lane.wants()
    }

    /// Computes onto the base that the machine names, and offers it.
    pub fn compute(&mut self, tip: Tip, state: Option<State>, around: &mut Around<'_>) -> Computed {
        let mutant = around.store.mutant;
        let begin = self.lane.head().is_some_and(|h| h.n == 0) && tip.n == 0;
        if state.is_none() && !self.stands_at(&tip) {
            around.store.wrong.push(format!("lane {}: the engine is not where the head is", self.shard));
        }
        if let Some(state) = state.filter(|_| mutant != Mutant::EngineGoesOn || self.engine.is_none()) {
            self.ready.clear();
            self.tip = Some(tip.clone());
            self.engine = None;
            if let Some(rest) = state.rest.filter(|_| mutant != Mutant::DropsRest) {
                // What was computed under a policy is given out under it.
                let policy = around.store.made.get(&tip.digest).map_or(around.wanted, |made| made.policy);
                let batch = Batch {
                    to: tip.pos.clone(),
                    done: false,
                    effects: rest.effects,
                    places: rest.places,
                    snapshot: state.snapshot,
                    written_ms: around.clock,
                    pin: pin(&around.setup.policies[policy]),
                };
                let engine = around.engines.open(&around.setup.policies[policy], batch.snapshot.as_deref());
                self.engine = engine.map(|e| (policy, e));
                self.cut(tip.clone(), batch, policy, around);
            } else {
                let policy = &around.setup.policies[around.wanted];
                let opened = around.engines.open(policy, state.snapshot.as_deref());
                let opened = opened.or_else(|| around.engines.open(policy, None)).expect("a fresh engine");
                self.engine = Some((around.wanted, opened));
            }
        }
        if let Some(content) = self.ready.pop_front() {
            self.lane.offer(content);
            return Computed::Offered;
        }
        let mut from = position(&tip);
        match mutant {
            Mutant::ChildAtLatest if begin && !around.stream.shards[self.shard].parents.is_empty() => {
                from = around.stream.shards[self.shard].records.len();
            }
            Mutant::ReaderPosition => from = from.max(*around.reader),
            _ => {}
        }
        let (frames, many, done) = match around.stream.read(self.shard, from, around.many) {
            Read::Records(frames, many) => (frames, many, false),
            Read::End => (Vec::new(), 0, true),
            Read::Tip => return Computed::Idle,
            Read::Trimmed => return Computed::Trimmed,
        };
        *around.reader = (*around.reader).max(from + many);
        let (_, mut engine) = match self.engine.take() {
            Some(engine) if engine.0 == around.wanted => engine,
            // Another policy from here on: what was learnt begins anew.
            _ => {
                let policy = &around.setup.policies[around.wanted];
                (around.wanted, around.engines.open(policy, None).expect("a fresh engine"))
            }
        };
        engine.apply(&frames);
        let effects: Effects = effects::decode(&engine.flush()).expect("effects of the engine");
        let places = effects.dead.iter().map(|d| format!("{}:{}", self.shard, d.ordinal)).collect();
        let batch = Batch {
            to: Some((from + many).to_string()),
            done,
            effects,
            places,
            snapshot: Some(engine.snapshot()),
            written_ms: around.clock,
            pin: pin(&around.setup.policies[around.wanted]),
        };
        batch.check(Some(0)).expect("a batch that adds up");
        self.engine = Some((around.wanted, engine));
        self.cut(tip, batch, around.wanted, around);
        let content = self.ready.pop_front().expect("at least one content");
        self.lane.offer(content);
        Computed::Offered
    }

    /// Offers the next content while one is applied, if there is something to offer.
    pub fn ahead(&mut self, around: &mut Around<'_>) {
        if let Some(content) = self.ready.pop_front() {
            return self.lane.offer(content);
        }
        let Some(tip) = self.tip.clone() else { return };
        let more = position(&tip) < around.stream.shards[self.shard].records.len();
        if more && self.engine.is_some() {
            self.compute(tip, None, around);
        }
    }

    /// Whether the machine goes on where the engine stands.
    fn stands_at(&self, tip: &Tip) -> bool {
        self.ready.front().map_or(self.tip.as_ref() == Some(tip), |c| c.n == tip.n + 1 && c.prev == tip.digest)
    }

    fn cut(&mut self, tip: Tip, batch: Batch, policy: usize, around: &mut Around<'_>) {
        let contents = tip.contents(batch, &around.setup.limits);
        self.tip = contents.last().map(Content::tip);
        for c in &contents {
            let place = |pos: &Option<String>| pos.as_ref().map_or(0, |p| p.parse().expect("a position"));
            let made = Made { from: place(&c.from), to: place(&c.to), policy, done: c.done };
            around.store.made.insert(c.digest, made);
        }
        self.ready.extend(contents);
    }
}

fn position(tip: &Tip) -> usize {
    tip.pos.as_deref().map_or(0, |p| p.parse().expect("a position"))
}

fn pin(policy: &Policy) -> Pin {
    Pin {
        policy: *policy.digest(),
        module: None,
        replay: REPLAY_VERSION,
        name: policy.spec().policy.clone(),
        shape: policy.shape(),
    }
}

/// What the lane begins with; `None` while a parent is not done.
fn birth(shard: usize, setup: &Setup, stream: &Stream, store: &Store) -> Option<Birth> {
    let mut parents = stream.shards[shard].parents.clone();
    match store.mutant {
        Mutant::ChildBeforeDone => parents.retain(|p| store.heads.get(p).is_some_and(|h| h.done)),
        Mutant::FirstParentOnly => parents.truncate(1),
        _ => {}
    }
    let ended = |p: &usize| Ended::of(&p.to_string(), store.heads.get(p)).ok();
    let ends = parents.iter().map(ended).collect::<Option<Vec<_>>>()?;
    if ends.is_empty() || store.mutant == Mutant::ChildForgets {
        return Some(Birth::default());
    }
    let state = |e: &Ended| {
        let chunks = e.names().iter().flat_map(|n| store.chunk(e.alias, *n)).collect::<Vec<_>>();
        e.snapshot(&chunks).expect("the state of a lane that is done")
    };
    let states = ends.iter().map(state).collect::<Vec<_>>();
    let states = states.iter().map(Option::as_deref).collect::<Vec<_>>();
    // Parents that ended under two policies have learnt nothing in common.
    let engine = setup.policies.iter().find_map(|p| Engine::inherit(p, &states).ok());
    let snapshot = engine.map(|e| {
        let mut out = Vec::new();
        e.snapshot(&mut out);
        out
    });
    Some(Birth::after(&ends, snapshot))
}
