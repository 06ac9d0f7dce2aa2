//! The world's clock and what happens at it: requests on their way, hosts that die, sleep and wake, records that arrive.
//!
//! Invariants
//! - Events of one moment happen in the order in which they were put down; so a plan gives the same run each time.
//! - What is addressed to a host that sleeps happens when it wakes, in order; to one that died, never.
//! - Where there are several hosts, one is never gone for longer than half an hour: somebody is there to take over. A
//!   host alone may be gone for days, and then a lane may rightly wait for a person.

use super::engine::Engines;
use super::mutant::Mutant;
use super::plan::{DAY, Fault, HOUR, Last, MINUTE, Plan, SECOND};
use super::random::Random;
use super::setup::Setup;
use super::store::{Call, KEPT, Reply, Request, SIGNATURE, Store};
use super::stream::{Record, Stream, arrivals};
use super::tally::Tally;
use super::task::{Around, Computed, Gather, Task};
use plimsoll_core::lane::{Answer, Applied, Command, Content, End, Halt, Step};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;

/// The world begins at noon of some day.
const BEGIN: i64 = 20_000 * DAY + 12 * HOUR;
/// A host that waits for an answer gives up after this.
const TIMEOUT: i64 = 5 * SECOND;
/// No write is sent so long after the head was seen.
const DEADLINE: i64 = 10 * MINUTE;
/// More events than this: the hosts go round in circles.
const EVENTS_MAX: u64 = 300_000;

/// To whom an answer goes.
#[derive(Clone, Copy, Debug)]
struct Address {
    host: usize,
    /// Which life of the host.
    life: u64,
    shard: usize,
    ticket: u64,
    /// Which of several effects.
    slot: usize,
}

enum Told {
    Reply(Reply),
    Unknown(&'static str),
    Expired,
}

enum Event {
    Produce(Record),
    Close,
    Arrive { request: Request, to: Option<Address>, fault: Option<usize> },
    Reply { to: Address, told: Told },
    Step(Address),
    Resend { to: Address, call: Call },
    Watch(usize, u64),
    Up(usize),
    SetRight(usize),
}

struct Host {
    life: u64,
    up: bool,
    asleep_until: i64,
    /// How far its clock is ahead.
    clock: i64,
    tasks: BTreeMap<usize, Task>,
    /// Heads of lanes that others run, as seen last, and how often they did not move.
    seen: BTreeMap<usize, (u64, Option<u64>, u32)>,
    /// Which kind of sleep it wakes from.
    slept: Option<usize>,
    engines: BTreeMap<usize, (usize, Box<dyn super::engine::Running>)>,
}

pub struct World<'a> {
    setup: &'a Setup,
    plan: &'a Plan,
    mutant: Mutant,
    engines: &'a dyn Engines,
    pub stream: Stream,
    pub store: Store,
    pub tally: Tally,
    hosts: Vec<Host>,
    now: i64,
    events: BTreeMap<u64, Event>,
    order: BinaryHeap<Reverse<(i64, u64)>>,
    numbers: u64,
    sent: u32,
    tickets: u64,
    outage_until: i64,
    wanted: usize,
    readers: BTreeMap<usize, usize>,
    /// Lanes that wait for a person.
    pub halted: BTreeSet<usize>,
    noise: Random,
    records: Random,
}

impl<'a> World<'a> {
    pub fn new(setup: &'a Setup, plan: &'a Plan, mutant: Mutant, engines: &'a dyn Engines) -> Self {
        let host = || Host {
            life: 0,
            up: true,
            asleep_until: 0,
            clock: 0,
            tasks: BTreeMap::new(),
            seen: BTreeMap::new(),
            slept: None,
            engines: BTreeMap::new(),
        };
        let mut world = Self {
            setup,
            plan,
            mutant,
            engines,
            stream: Stream::new(),
            store: Store::new(mutant, setup.policies.clone(), Random::of(plan.seed, 3)),
            tally: Tally::default(),
            hosts: (0..setup.hosts).map(|_| host()).collect(),
            now: BEGIN,
            events: BTreeMap::new(),
            order: BinaryHeap::new(),
            numbers: 0,
            sent: 0,
            tickets: 0,
            outage_until: 0,
            wanted: 0,
            readers: BTreeMap::new(),
            halted: BTreeSet::new(),
            noise: Random::of(plan.seed, 4),
            records: Random::of(plan.seed, 5),
        };
        let times = arrivals(&mut world.records, setup.records, BEGIN);
        for at in &times {
            let record = Record::drawn(&mut world.records, *at);
            world.put(*at, Event::Produce(record));
        }
        world.put(times.last().copied().unwrap_or(BEGIN) + SECOND, Event::Close);
        (0..setup.hosts).for_each(|h| world.put(BEGIN + h as i64, Event::Watch(h, 0)));
        world
    }

    /// Until nothing moves any more.
    pub fn run(&mut self) -> Result<(), String> {
        while let Some(Reverse((at, number))) = self.order.pop() {
            let event = self.events.remove(&number).expect("put down");
            self.now = self.now.max(at);
            self.tally.events += 1;
            if self.tally.events > EVENTS_MAX {
                return Err(format!("the hosts go round in circles: {} events", self.tally.events));
            }
            if let Some(wakes) = self.asleep(&event) {
                self.put(wakes, event);
                continue;
            }
            self.happen(event);
            if let Some(wrong) = self.store.wrong.first() {
                return Err(wrong.clone());
            }
        }
        Ok(())
    }

    fn put(&mut self, at: i64, event: Event) {
        self.numbers += 1;
        self.order.push(Reverse((at, self.numbers)));
        self.events.insert(self.numbers, event);
    }

    /// When the host wakes to which it happens.
    fn asleep(&self, event: &Event) -> Option<i64> {
        let host = match event {
            Event::Reply { to, .. } | Event::Step(to) | Event::Resend { to, .. } => to.host,
            Event::Watch(host, _) => *host,
            _ => return None,
        };
        let until = self.hosts[host].asleep_until;
        (self.hosts[host].up && self.now < until).then_some(until)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Produce(record) => {
                let open = self.stream.open();
                let shard = open[self.records.below(open.len())];
                self.stream.shards[shard].records.push(Record { arrival: self.now, ..record });
            }
            Event::Close => self.stream.shards.iter_mut().for_each(|s| s.closed = true),
            Event::Arrive { request, to, fault } => self.arrive(&request, to, fault),
            Event::Reply { to, told } => {
                self.woken(to.host);
                self.reply(to, told);
            }
            Event::Step(to) => {
                self.woken(to.host);
                if let Some(task) = self.task(to) {
                    task.lane.waited();
                    self.step(to.host, to.shard);
                }
            }
            Event::Resend { to, call } => {
                if self.task(to).is_some() {
                    self.send(to, call, true);
                }
                self.woken(to.host);
            }
            Event::Watch(h, life) if life == self.hosts[h].life => self.watch(h),
            Event::Watch(..) => {}
            Event::Up(h) => {
                let host = &mut self.hosts[h];
                host.up = true;
                host.asleep_until = 0;
                self.watch(h);
            }
            Event::SetRight(h) => self.hosts[h].clock = 0,
        }
    }

    fn task(&mut self, to: Address) -> Option<&mut Task> {
        let host = &mut self.hosts[to.host];
        host.tasks.get_mut(&to.shard).filter(|t| host.up && host.life == to.life && t.ticket == to.ticket)
    }

    fn clock(&self, host: usize) -> i64 {
        self.now + self.hosts[host].clock
    }

    fn mattered(&mut self, kind: usize) {
        self.tally.mattered[kind] += 1;
    }

    /// A host that slept looks around: has anybody gone on without it?
    fn woken(&mut self, h: usize) {
        let Some(kind) = self.hosts[h].slept.take() else { return };
        let left_behind = self.hosts[h].tasks.iter().any(|(shard, task)| {
            let known = task.lane.head().map_or(0, |head| head.n);
            self.store.heads.get(shard).is_some_and(|head| head.n > known)
        });
        if left_behind {
            self.mattered(kind);
        }
    }

    /// Looks at every lane: runs its own, and those that nobody seems to run.
    fn watch(&mut self, h: usize) {
        self.woken(h);
        let done = |s: &usize, store: &Store| store.heads.get(s).is_some_and(|head| head.done && head.pend.is_none());
        let shards = 0..self.stream.shards.len();
        // A lane that waits for a person holds up its children too: nothing more is to be seen here.
        if self.stream.open().is_empty() && (!self.halted.is_empty() || shards.clone().all(|s| done(&s, &self.store))) {
            return;
        }
        if !self.hosts[h].up {
            return;
        }
        for s in shards {
            if done(&s, &self.store) || self.halted.contains(&s) || self.hosts[h].tasks.contains_key(&s) {
                continue;
            }
            let head = self.store.heads.get(&s);
            let now = (head.map_or(0, |head| head.n), head.and_then(|head| Some(head.pend.as_ref()?.n)));
            let host = &mut self.hosts[h];
            let seen = host.seen.entry(s).or_insert((u64::MAX, None, 0));
            let own = s % self.setup.hosts == h;
            let first = seen.0 == u64::MAX;
            *seen = (now.0, now.1, if (seen.0, seen.1) == now { seen.2 + 1 } else { 0 });
            // A lane at the tip of its shard does not move either; two hosts on one lane do no harm.
            if own && first || seen.2 >= 3 {
                seen.2 = 0;
                self.begin(h, s, false);
            }
            // It may have died of its first request; whoever comes up looks again.
            if !self.hosts[h].up {
                return;
            }
        }
        let wait = self.noise.range(20 * SECOND, 60 * SECOND);
        let life = self.hosts[h].life;
        self.put(self.now + wait, Event::Watch(h, life));
    }

    fn begin(&mut self, h: usize, shard: usize, rival: bool) {
        let Some(mut task) = Task::begin(shard, self.setup, &self.stream, &self.store) else {
            // Its parents are not done: look at it as new the next time.
            self.hosts[h].seen.remove(&shard);
            return;
        };
        if !self.store.heads.contains_key(&shard) {
            let parents = self.stream.shards[shard].parents.len();
            if let Some(kind) = [None, Some(Fault::Split.kind()), Some(Fault::Merge.kind())][parents] {
                self.mattered(kind);
            }
        }
        task.rival = rival;
        task.engine = self.hosts[h].engines.remove(&shard);
        self.hosts[h].tasks.insert(shard, task);
        self.step(h, shard);
    }

    fn end(&mut self, h: usize, shard: usize) {
        let task = self.hosts[h].tasks.remove(&shard).expect("a task that ends");
        if self.mutant == Mutant::EngineGoesOn {
            self.hosts[h].engines.extend(task.engine.map(|e| (shard, e)));
        }
    }

    fn address(&mut self, h: usize, shard: usize) -> Address {
        self.tickets += 1;
        let life = self.hosts[h].life;
        let task = self.hosts[h].tasks.get_mut(&shard).expect("a task that goes on");
        task.ticket = self.tickets;
        Address { host: h, life, shard, ticket: self.tickets, slot: 0 }
    }

    /// Goes on with a lane until it has to wait.
    fn step(&mut self, h: usize, shard: usize) {
        loop {
            let Some(task) = self.hosts[h].tasks.get(&shard) else { return };
            match task.lane.step() {
                Step::Do(command) => return self.issue(h, shard, command),
                Step::Wait { attempt, .. } => {
                    let most = (50i64 << attempt.min(10)).min(20 * SECOND);
                    let wait = self.noise.range(1, most);
                    let to = self.address(h, shard);
                    return self.put(self.now + wait, Event::Step(to));
                }
                Step::Compute(base) => match self.compute(h, shard, base) {
                    Computed::Offered => {}
                    Computed::Idle => {
                        let wait = self.noise.range(SECOND, 8 * SECOND);
                        let to = self.address(h, shard);
                        return self.put(self.now + wait, Event::Step(to));
                    }
                    Computed::Trimmed => {
                        self.mattered(Fault::Trim.kind());
                        return self.end(h, shard);
                    }
                },
                Step::End(End::Done) => return self.end(h, shard),
                Step::End(End::Behind) => {
                    if task.rival || self.hosts.iter().any(|o| o.tasks.get(&shard).is_some_and(|t| t.rival)) {
                        self.mattered(Fault::Rival.kind());
                    }
                    return self.left_behind(h, shard);
                }
                Step::End(End::Halted(Halt::OldIntent { .. })) if self.lay_for_days(shard) => {
                    self.halted.insert(shard);
                    self.tally.halted += 1;
                    return self.end(h, shard);
                }
                Step::End(End::Halted(why)) => {
                    self.store.wrong.push(format!("lane {shard} was halted: {why}"));
                    return;
                }
            }
        }
    }

    /// Whether a lane's intent is so old that somebody must look: rows may be gone.
    fn lay_for_days(&self, shard: usize) -> bool {
        let pending = self.store.heads.get(&shard).is_some_and(|head| head.pend.is_some());
        pending && self.store.accepted.get(&shard).is_some_and(|at| self.now - at > KEPT / 3)
    }

    fn left_behind(&mut self, h: usize, shard: usize) {
        if self.mutant == Mutant::LoserDeletesChunks {
            let alias = self.store.heads[&shard].alias;
            let names: Vec<_> = self.hosts[h].tasks[&shard].names.clone();
            let request = Request { shard, call: Call::Delete(alias, names), signed: self.clock(h) };
            self.store.execute(&request, self.now, true);
        }
        self.end(h, shard);
    }

    fn compute(&mut self, h: usize, shard: usize, base: plimsoll_core::lane::Base) -> Computed {
        let before = self.store.made.get(&base.tip.digest).map(|made| made.policy);
        let outcome = self.around(h, shard, |task, around| task.compute(base.tip, base.state, around));
        if matches!(outcome, Computed::Offered) && before.is_some_and(|p| p != self.wanted) {
            self.mattered(Fault::Swap.kind());
        }
        outcome
    }

    fn around<R>(&mut self, h: usize, shard: usize, f: impl FnOnce(&mut Task, &mut Around<'_>) -> R) -> R {
        let mut around = Around {
            setup: self.setup,
            stream: &self.stream,
            store: &mut self.store,
            engines: self.engines,
            wanted: self.wanted,
            clock: self.now + self.hosts[h].clock,
            many: self.noise.range(1, self.setup.batch) as usize,
            reader: self.readers.entry(shard).or_default(),
        };
        let task = self.hosts[h].tasks.get_mut(&shard).expect("a task that computes");
        f(task, &mut around)
    }

    fn issue(&mut self, h: usize, shard: usize, command: Command) {
        let to = self.address(h, shard);
        if self.hosts[h].tasks[&shard].lane.wants() && self.noise.percent(50) {
            self.around(h, shard, Task::ahead);
        }
        let call = match command {
            Command::ReadHead => Call::ReadHead,
            Command::AllocateAlias => Call::Allocate,
            Command::CreateHead { head } => Call::Create(head),
            Command::ListChunks { alias } => Call::List(alias),
            Command::GetChunks { alias, names } => Call::Get(alias, names),
            Command::PutChunks { alias, chunks } => {
                let task = self.hosts[h].tasks.get_mut(&shard).expect("a task that writes chunks");
                task.names = chunks.iter().map(|c| c.name).collect();
                Call::Put(alias, chunks)
            }
            Command::DeleteChunks { alias, names } => Call::Delete(alias, names),
            Command::Intent { pend } => Call::Intent(pend),
            Command::Commit { n, digest, head } => Call::Commit(n, digest, head),
            Command::Transact { content, head } => Call::Transact(content, head),
            Command::Apply { alias, content, effects } => return self.effects(to, alias, &content, &effects),
        };
        self.send(to, call, false);
    }

    /// Each effect is a request of its own.
    fn effects(&mut self, to: Address, alias: u64, content: &Arc<Content>, effects: &[u32]) {
        let task = self.hosts[to.host].tasks.get_mut(&to.shard).expect("a task that applies");
        task.gather = Some(Gather { answers: vec![None; effects.len()], left: effects.len() });
        let recovering = task.lane.recovering();
        let calls: VecDeque<Call> = effects.iter().map(|i| Call::Effect(alias, Arc::clone(content), *i)).collect();
        if self.mutant == Mutant::CommitFirst {
            task.owed.extend(calls);
            let done = Answer::Applied(vec![Applied::Done; effects.len()]);
            return self.answer(to, done);
        }
        for (slot, mut call) in calls.into_iter().enumerate() {
            if self.mutant == Mutant::RangeOnly && recovering {
                call = self.recomputed(alias, content, effects[slot]);
            }
            if self.hosts[to.host].life != to.life || !self.hosts[to.host].up {
                return;
            }
            self.send(Address { slot, ..to }, call, false);
        }
    }

    /// `RangeOnly`: the batch as the policy that is wanted now would have it.
    fn recomputed(&self, alias: u64, content: &Arc<Content>, i: u32) -> Call {
        let mut other = (**content).clone();
        let policy = &self.setup.policies[self.wanted];
        other.pin.policy = *policy.digest();
        other.pin.shape = policy.shape();
        Call::Effect(alias, Arc::new(other), i)
    }

    /// A request leaves its host, or not.
    fn send(&mut self, to: Address, call: Call, slept: bool) {
        let number = self.sent;
        self.sent += 1;
        self.tally.requests += 1;
        let fault = self.plan.faults.get(&number).copied();
        if let Some(Fault::PauseBefore(ms)) = fault {
            self.sleeps(to.host, ms, Fault::PauseBefore(ms), 0);
            let wakes = self.hosts[to.host].asleep_until;
            return self.put(wakes, Event::Resend { to, call });
        }
        let clock = self.clock(to.host);
        let bound = !matches!(call, Call::ReadHead | Call::Allocate | Call::Create(_) | Call::List(_) | Call::Get(..));
        let looked = self.hosts[to.host].tasks.get(&to.shard).map_or(clock, |t| t.looked);
        if bound && clock.saturating_sub(looked) > DEADLINE && self.mutant != Mutant::NoDeadline {
            if slept {
                self.mattered(Fault::PauseBefore(0).kind());
            }
            if self.hosts[to.host].clock != 0 {
                self.mattered(Fault::ClockJump(0).kind());
            }
            return self.put(self.now + 1, Event::Reply { to, told: Told::Expired });
        }
        if let Some(task) = self.hosts[to.host].tasks.get_mut(&to.shard) {
            task.asked = clock;
        }
        let request = Request { shard: to.shard, call, signed: clock };
        let mut r = Random::of(self.plan.seed, 1_000 + u64::from(number));
        let there = self.now + r.range(2, 60);
        if let Some(fault) = fault {
            return self.strike(to, request, there, fault);
        }
        if self.now < self.outage_until {
            if self.store.holds(&request, self.now) {
                self.mattered(Fault::Outage(0).kind());
            }
            return self.put(there, Event::Reply { to, told: Told::Unknown("out of service") });
        }
        self.put(there, Event::Arrive { request, to: Some(to), fault: None });
    }

    /// What a fault makes of a request, its host or the world.
    fn strike(&mut self, to: Address, request: Request, there: i64, fault: Fault) {
        let kind = fault.kind();
        let useful = request.call.writes() && self.store.holds(&request, self.now);
        let give_up = self.now + TIMEOUT;
        let alone = |request: Request| Event::Arrive { request, to: None, fault: Some(kind) };
        let unknown = Event::Reply { to, told: Told::Unknown("no answer") };
        match fault {
            Fault::Lost => {
                self.tally.mattered[kind] += u64::from(useful);
                self.put(give_up, unknown);
            }
            Fault::Throttled => {
                self.tally.mattered[kind] += u64::from(useful);
                self.put(there, Event::Reply { to, told: Told::Unknown("throttled") });
            }
            Fault::Outage(ms) => {
                self.outage_until = self.now + ms;
                self.put(there, Event::Reply { to, told: Told::Unknown("out of service") });
            }
            Fault::Unanswered => {
                self.put(there, alone(request));
                self.put(give_up, unknown);
            }
            Fault::Delayed(ms) | Fault::Stale(ms) => {
                self.put(self.now + ms, alone(request));
                self.put(give_up, unknown);
            }
            Fault::Doubled(ms) => {
                self.put(self.now + ms, alone(request.clone()));
                self.put(there, Event::Arrive { request, to: Some(to), fault: None });
            }
            Fault::Crash(down, last) => {
                match last {
                    Last::NotSent => {}
                    Last::Done => self.put(there, alone(request)),
                    Last::Late(ms) => self.put(self.now + ms, alone(request)),
                }
                self.crash(to.host, down);
            }
            _ => {
                if !self.disturb(to, fault) {
                    // It cannot be here and now: something else goes wrong.
                    return self.strike(to, request, there, Fault::Lost);
                }
                // A clock that was set wrong signs the request.
                let signed = self.clock(to.host);
                self.put(there, Event::Arrive { request: Request { signed, ..request }, to: Some(to), fault: None });
            }
        }
        self.tally.fired[kind] += 1;
    }

    /// A fault of the host or the world; whether it could be.
    fn disturb(&mut self, to: Address, fault: Fault) -> bool {
        let kind = fault.kind();
        match fault {
            Fault::Pause(ms) => self.sleeps(to.host, ms, fault, 0),
            Fault::Freeze(ms) => self.sleeps(to.host, ms, fault, ms),
            Fault::ClockJump(ms) => {
                self.hosts[to.host].clock += ms;
                self.put(self.now + 30 * MINUTE, Event::SetRight(to.host));
            }
            Fault::Rival => {
                let other = (to.host + 1) % self.hosts.len();
                let host = &self.hosts[other];
                if !host.up || self.now < host.asleep_until || host.tasks.contains_key(&to.shard) {
                    return false;
                }
                self.begin(other, to.shard, true);
            }
            Fault::Split => return self.stream.split(to.shard),
            Fault::Merge => return self.stream.merge(to.shard),
            Fault::Trim => {
                for (shard, head) in &self.store.heads {
                    let committed = head.pos.as_ref().map_or(0, |p| p.parse().expect("a position"));
                    let s = &mut self.stream.shards[*shard];
                    s.trimmed = s.trimmed.max(committed);
                }
            }
            Fault::Poison(many) => {
                if self.stream.shards[to.shard].closed {
                    return false;
                }
                for _ in 0..many {
                    let record = Record::drawn(&mut self.records, self.now);
                    self.stream.shards[to.shard].records.push(Record { poison: true, ..record });
                }
                self.mattered(kind);
            }
            Fault::Swap => self.wanted = 1 - self.wanted,
            _ => unreachable!("a fault of the request"),
        }
        true
    }

    fn sleeps(&mut self, h: usize, ms: i64, fault: Fault, stands: i64) {
        let soon = self.now + 30 * MINUTE;
        let alone = (0..self.hosts.len()).filter(|o| *o != h).all(|o| self.hosts[o].asleep_until > soon);
        let alone = alone && self.hosts.len() > 1;
        let (ms, stands) = if alone { (ms.min(10 * MINUTE), stands.min(10 * MINUTE)) } else { (ms, stands) };
        let host = &mut self.hosts[h];
        host.asleep_until = host.asleep_until.max(self.now + ms);
        host.slept = Some(fault.kind());
        if stands > 0 {
            host.clock -= stands;
            let wakes = host.asleep_until;
            self.put(wakes + 5 * MINUTE, Event::SetRight(h));
        }
        if matches!(fault, Fault::PauseBefore(_)) {
            self.tally.fired[fault.kind()] += 1;
        }
    }

    fn crash(&mut self, h: usize, down: i64) {
        if self.hosts[h].tasks.values().any(Task::busy) {
            self.mattered(Fault::Crash(0, Last::NotSent).kind());
        }
        let host = &mut self.hosts[h];
        host.life += 1;
        host.up = false;
        host.asleep_until = 0;
        host.slept = None;
        host.clock = 0;
        host.tasks.clear();
        host.seen.clear();
        host.engines.clear();
        self.put(self.now + down, Event::Up(h));
    }

    /// A request reaches the service.
    fn arrive(&mut self, request: &Request, to: Option<Address>, fault: Option<usize>) {
        let late = (self.now - request.signed).abs() > SIGNATURE;
        if late && self.mutant != Mutant::OldSignatures {
            if fault == Some(Fault::Stale(0).kind()) && request.call.writes() {
                self.tally.mattered[Fault::Stale(0).kind()] += u64::from(self.store.holds(request, self.now));
            }
            let Some(to) = to else { return };
            if self.hosts[to.host].clock != 0 {
                self.mattered(Fault::ClockJump(0).kind());
            }
            return self.put(self.now + 5, Event::Reply { to, told: Told::Unknown("the signature has expired") });
        }
        let (reply, changed) = self.store.execute(request, self.now, to.is_some());
        if let Some(kind) = fault.filter(|_| request.call.writes()) {
            let twice = kind == Fault::Doubled(0).kind();
            let crash = kind == Fault::Crash(0, Last::Done).kind();
            self.tally.mattered[kind] += u64::from(if twice { !changed } else { changed && !crash });
        }
        if let Some(to) = to {
            let back = self.now + self.noise.range(2, 40);
            self.put(back, Event::Reply { to, told: Told::Reply(reply) });
        }
    }

    /// An answer reaches its host.
    fn reply(&mut self, to: Address, told: Told) {
        let mutant = self.mutant;
        let clock = self.clock(to.host);
        let Some(task) = self.task(to) else { return };
        let command = task.lane.step();
        let head =
            matches!(command, Step::Do(Command::Intent { .. } | Command::Commit { .. } | Command::Transact { .. }));
        if let Some(gather) = &mut task.gather {
            let answer = match told {
                Told::Reply(Reply::Effect(Applied::Fenced(_))) if mutant == Mutant::GiveUp => {
                    Applied::Impossible("refused".into())
                }
                Told::Reply(Reply::Effect(applied)) => applied,
                Told::Reply(other) => unreachable!("an effect was answered {other:?}"),
                Told::Unknown(_) if mutant == Mutant::CommitBeforeAnswers => Applied::Done,
                Told::Unknown(why) => Applied::Unknown(why.into()),
                Told::Expired => Applied::Expired,
            };
            gather.left -= usize::from(gather.answers[to.slot].is_none());
            gather.answers[to.slot] = Some(answer);
            if gather.left > 0 {
                return;
            }
            let gather = task.gather.take().expect("there is one");
            let all = gather.answers.into_iter().map(|a| a.expect("all are answered")).collect();
            return self.answer(to, Answer::Applied(all));
        }
        let answer = match told {
            Told::Reply(reply) => match reply {
                Reply::Head(stored) => {
                    // By the time of the question: the host may have slept since.
                    task.looked = if mutant == Mutant::LateLook { clock } else { task.asked };
                    Answer::Head { stored, now_ms: task.looked }
                }
                Reply::Alias(alias) => Answer::Alias(alias),
                Reply::Names(names) => Answer::Names(names),
                Reply::Chunks(chunks) => Answer::Chunks(chunks),
                Reply::Written => {
                    if head {
                        task.looked = task.asked;
                    }
                    Answer::Written
                }
                Reply::Refused => Answer::Refused,
                Reply::Effect(_) => unreachable!("no effect was asked for"),
            },
            Told::Unknown(_) if head && mutant == Mutant::AssumeWritten => Answer::Written,
            Told::Unknown(why) => Answer::Unknown { detail: why.into() },
            Told::Expired => Answer::Expired,
        };
        let commits = matches!(command, Step::Do(Command::Commit { .. })) && answer == Answer::Written;
        self.answer(to, answer);
        if commits {
            self.pay(to);
        }
    }

    /// `CommitFirst`: what was put off is sent, and nobody waits for it.
    fn pay(&mut self, to: Address) {
        let Some(task) = self.hosts[to.host].tasks.get_mut(&to.shard) else { return };
        for call in std::mem::take(&mut task.owed) {
            let away = Address { ticket: 0, ..to };
            self.send(away, call, false);
        }
    }

    fn answer(&mut self, to: Address, answer: Answer) {
        let task = self.hosts[to.host].tasks.get_mut(&to.shard).expect("a task that was answered");
        task.gather = None;
        task.ticket = 0;
        task.lane.answer(answer);
        self.step(to.host, to.shard);
    }
}
