//! What goes wrong in one run, and when: all of it follows from the seed, and can be printed, cut down and run again.

use super::random::Random;
use super::setup::Setup;
use std::collections::BTreeMap;
use std::fmt;

pub const SECOND: i64 = 1_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;

/// What becomes of the request during which a host dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    NotSent,
    Done,
    Late(i64),
}

/// One thing that goes wrong, when a certain request is about to be sent. Times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It never arrives.
    Lost,
    /// It is done, and the answer is lost.
    Unanswered,
    /// It arrives after its host has given it up.
    Delayed(i64),
    /// The same, when its signature is no longer valid.
    Stale(i64),
    /// It arrives twice.
    Doubled(i64),
    /// The service has no room for it.
    Throttled,
    /// Nor for anything else for a while.
    Outage(i64),
    /// Its host dies, and is back after that time.
    Crash(i64, Last),
    /// Its host sleeps after sending it.
    Pause(i64),
    /// The same, and the host's clock stands still meanwhile.
    Freeze(i64),
    /// Its host sleeps before sending it.
    PauseBefore(i64),
    /// Its host's clock is set wrong, and right again half an hour later.
    ClockJump(i64),
    /// A second host takes the lane.
    Rival,
    /// The shard is split.
    Split,
    /// The shard is merged with another.
    Merge,
    /// All that is committed leaves the stream.
    Trim,
    /// Records that are none.
    Poison(u8),
    /// The other policy is wanted from now on.
    Swap,
}

impl Fault {
    pub const KINDS: usize = 18;

    pub const NAMES: [&'static str; Self::KINDS] = [
        "lost",
        "unanswered",
        "delayed",
        "stale",
        "doubled",
        "throttled",
        "outage",
        "crash",
        "pause",
        "freeze",
        "pause_before",
        "clock_jump",
        "rival",
        "split",
        "merge",
        "trim",
        "poison",
        "swap",
    ];

    pub fn kind(self) -> usize {
        match self {
            Self::Lost => 0,
            Self::Unanswered => 1,
            Self::Delayed(_) => 2,
            Self::Stale(_) => 3,
            Self::Doubled(_) => 4,
            Self::Throttled => 5,
            Self::Outage(_) => 6,
            Self::Crash(..) => 7,
            Self::Pause(_) => 8,
            Self::Freeze(_) => 9,
            Self::PauseBefore(_) => 10,
            Self::ClockJump(_) => 11,
            Self::Rival => 12,
            Self::Split => 13,
            Self::Merge => 14,
            Self::Trim => 15,
            Self::Poison(_) => 16,
            Self::Swap => 17,
        }
    }

    fn draw(r: &mut Random) -> Self {
        let span = |r: &mut Random| match r.below(4) {
            0 => r.range(5 * SECOND, MINUTE),
            1 => r.range(MINUTE, 30 * MINUTE),
            2 => r.range(HOUR, DAY),
            _ => r.range(9 * DAY, 12 * DAY),
        };
        match r.below(25) {
            0 | 1 => Self::Lost,
            2 | 3 => Self::Unanswered,
            4 | 5 => Self::Delayed(r.range(6 * SECOND, 14 * MINUTE)),
            6 => Self::Stale(span(r).max(16 * MINUTE)),
            7 => Self::Doubled(r.range(10, 10 * MINUTE)),
            8 => Self::Throttled,
            9 => Self::Outage(r.range(SECOND, 2 * MINUTE)),
            10..=12 => {
                let last = match r.below(3) {
                    0 => Last::NotSent,
                    1 => Last::Done,
                    _ => Last::Late(r.range(SECOND, 14 * MINUTE)),
                };
                Self::Crash(r.range(SECOND, 10 * MINUTE), last)
            }
            13 => Self::Pause(span(r)),
            14 => Self::Freeze(span(r)),
            15 | 16 => Self::PauseBefore(span(r)),
            17 => Self::ClockJump(match r.below(3) {
                0 => r.range(-14 * MINUTE, 14 * MINUTE),
                1 => r.range(-3 * HOUR, 3 * HOUR),
                _ => r.range(-3 * DAY, 3 * DAY),
            }),
            18 => Self::Rival,
            19 | 20 => Self::Split,
            21 => Self::Merge,
            22 => Self::Trim,
            23 => Self::Poison(r.range(1, 3) as u8),
            _ => Self::Swap,
        }
    }
}

/// One run.
#[derive(Clone, PartialEq, Eq)]
pub struct Plan {
    pub seed: u64,
    /// By the number of the request at which it happens.
    pub faults: BTreeMap<u32, Fault>,
}

impl Plan {
    /// So many faults, a few requests apart.
    pub fn drawn(seed: u64, many: usize) -> Self {
        let mut r = Random::of(seed, 1);
        let apart = if Setup::in_transactions(seed) { 2 } else { 5 };
        let mut at = r.range(0, 8) as u32;
        let mut faults = BTreeMap::new();
        for _ in 0..many {
            faults.insert(at, Fault::draw(&mut r));
            at += r.range(1, apart) as u32;
        }
        Self { seed, faults }
    }

    pub fn quiet(seed: u64) -> Self {
        Self { seed, faults: BTreeMap::new() }
    }

    /// The plan with as few faults as still fail.
    pub fn shrunk(&self, fails: impl Fn(&Self) -> bool) -> Self {
        let mut plan = self.clone();
        // Large parts first, then one by one until none can be spared.
        let mut part = plan.faults.len().div_ceil(2).max(1);
        loop {
            let mut spared = false;
            let places: Vec<u32> = plan.faults.keys().copied().collect();
            for places in places.chunks(part) {
                let mut less = plan.clone();
                less.faults.retain(|at, _| !places.contains(at));
                if less.faults.len() < plan.faults.len() && fails(&less) {
                    plan = less;
                    spared = true;
                }
            }
            if part == 1 && !spared {
                return plan;
            }
            if !spared {
                part = part.div_ceil(2);
            }
        }
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "PLIMSOLL_SEED={}, {} faults", self.seed, self.faults.len())?;
        self.faults.iter().try_for_each(|(at, fault)| writeln!(f, "  at request {at}: {fault:?}"))
    }
}
