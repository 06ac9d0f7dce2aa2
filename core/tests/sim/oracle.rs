//! What must have come of the records, computed without the engine: from the records, their order in the lanes, and which
//! piece of a lane was counted under which policy.
//!
//! Invariants
//! - Every record is in one place: a main row, a late row, or a dead letter with its bytes and position. Ids are random
//!   and summed per row, so that the swap of two records shows.
//! - The heads' accounts add up to the same (semantics S7).

use super::plan::MINUTE;
use super::setup::{Follow, MAX_FUTURE, Setup, WINDOW};
use super::store::{Made, RowKey, Store};
use super::stream::{Record, Stream};
use plimsoll_core::account::Account;
use plimsoll_core::lane::Head;
use plimsoll_core::wire::effects::Table;
use std::collections::BTreeMap;

/// What a lane has learnt: watermark, greatest event time, greatest arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Learnt {
    policy: usize,
    watermark: i64,
    event: i64,
    arrival: i64,
}

impl Learnt {
    fn nothing(policy: usize) -> Self {
        Self { policy, watermark: i64::MIN, event: i64::MIN, arrival: i64::MIN }
    }

    fn estimate(&mut self, e: i64, delay: i64) {
        if e > i64::MIN {
            self.watermark = self.watermark.max((e - delay).min(self.arrival));
        }
    }
}

#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
struct Total {
    events: i128,
    ids: i128,
    most: i128,
}

impl Total {
    fn add(&mut self, other: Self) {
        self.events += other.events;
        self.ids += other.ids;
        self.most = self.most.max(other.most);
    }
}

/// What is wrong at the end of a run.
pub fn judge(setup: &Setup, stream: &Stream, store: &Store) -> Result<(), String> {
    if let Some(wrong) = store.wrong.first() {
        return Err(wrong.clone());
    }
    let mut expected: BTreeMap<RowKey, Total> = BTreeMap::new();
    let mut dead: BTreeMap<(usize, String), Vec<u8>> = BTreeMap::new();
    let mut ends: BTreeMap<usize, Learnt> = BTreeMap::new();
    for (shard, s) in stream.shards.iter().enumerate() {
        let Some(head) = store.heads.get(&shard) else { return Err(format!("lane {shard} has no head")) };
        if !head.done || head.pend.is_some() {
            return Err(format!("lane {shard} is not done: {} and {:?}", head.n, head.pend.as_ref().map(|p| p.n)));
        }
        let mut learnt = born(&s.parents, &ends);
        let (mut at, mut account) = (0, Account::default());
        for digest in &store.history[&shard] {
            let Made { from, to, policy, .. } = store.made[digest];
            if from != at || to < from || to > s.records.len() {
                return Err(format!("I2: lane {shard} goes on from {from} to {to} where it was at {at}"));
            }
            at = to;
            // A content without a record neither begins nor learns anything.
            let mut now = learnt.filter(|l| l.policy == policy).unwrap_or(Learnt::nothing(policy));
            for (i, record) in s.records[from..to].iter().enumerate() {
                match place(setup, &mut now, record, &mut account) {
                    Some((table, window)) => {
                        let key =
                            if policy == 0 { format!("[\"a{}\"]", record.a) } else { format!("[\"b{}\"]", record.b) };
                        let id = i128::from(record.id);
                        let row = expected.entry((policy, table, window, key.into_bytes())).or_default();
                        row.add(Total { events: 1, ids: id, most: id });
                    }
                    None => {
                        dead.insert((shard, format!("{shard}:{}", from + i)), record.text().into_bytes());
                    }
                }
            }
            learnt = Some(now);
        }
        if at != s.records.len() {
            return Err(format!("lane {shard} is done at {at} of {} records", s.records.len()));
        }
        ends.extend(learnt.map(|l| (shard, l)));
        accounted(setup, shard, &Head::decode(&head.bytes).map_err(|e| e.to_string())?.account, &account)?;
    }
    compare(setup, expected, found(store))?;
    if dead != store.dead {
        return Err(format!("dead letters: expected {:?}, found {:?}", dead.keys(), store.dead.keys()));
    }
    Ok(())
}

/// A lane that goes on where others ended begins with the least of what they had learnt.
fn born(parents: &[usize], ends: &BTreeMap<usize, Learnt>) -> Option<Learnt> {
    let of = parents.iter().map(|p| ends.get(p).copied()).collect::<Option<Vec<_>>>()?;
    let first = *of.first()?;
    of.iter().all(|l| l.policy == first.policy).then(|| Learnt {
        policy: first.policy,
        watermark: of.iter().map(|l| l.watermark).min().unwrap_or(i64::MIN),
        event: of.iter().map(|l| l.event).min().unwrap_or(i64::MIN),
        arrival: of.iter().map(|l| l.arrival).min().unwrap_or(i64::MIN),
    })
}

/// Where a record belongs; `None`: to the dead letters.
fn place(setup: &Setup, l: &mut Learnt, r: &Record, account: &mut Account) -> Option<(Table, i64)> {
    account.read += 1;
    if r.poison {
        account.rejected += 1;
        return None;
    }
    l.arrival = l.arrival.max(r.arrival);
    if setup.follow == Follow::Arrival {
        l.estimate(l.arrival, setup.delay);
    }
    if r.time > r.arrival + MAX_FUTURE {
        account.future += 1;
        return None;
    }
    l.event = l.event.max(r.time);
    if setup.follow == Follow::Max {
        l.estimate(l.event, setup.delay);
    }
    let window = r.time.div_euclid(WINDOW) * WINDOW;
    let late = match setup.lateness {
        None => r.time < l.watermark,
        Some(lateness) => window + WINDOW + lateness <= l.watermark,
    };
    if late {
        account.late += 1;
        return Some((Table::Late { day: Some(r.arrival.div_euclid(24 * 60 * MINUTE)) }, window));
    }
    account.counted += 1;
    Some((Table::Main, window))
}

fn accounted(setup: &Setup, shard: usize, found: &Account, expected: &Account) -> Result<(), String> {
    let classes = |a: &Account| match setup.follow {
        Follow::Median => vec![a.read, a.counted + a.late, a.future, a.rejected, a.filtered, a.duplicate],
        _ => vec![a.read, a.counted, a.late, a.future, a.rejected, a.filtered, a.duplicate],
    };
    if classes(found) != classes(expected) {
        return Err(format!("S7: lane {shard} accounts for {found:?}, expected {expected:?}"));
    }
    Ok(())
}

fn found(store: &Store) -> BTreeMap<RowKey, Total> {
    let mut all: BTreeMap<RowKey, Total> = BTreeMap::new();
    for (key, values) in store.rows() {
        let [events, ids, most] = [0, 1, 2].map(|i| values.get(i).copied().flatten().unwrap_or(0));
        all.entry(key.clone()).or_default().add(Total { events, ids, most });
    }
    all
}

fn compare(setup: &Setup, expected: BTreeMap<RowKey, Total>, found: BTreeMap<RowKey, Total>) -> Result<(), String> {
    // Where the watermark is not recomputed here, main and late rows are taken together.
    let together = |rows: BTreeMap<RowKey, Total>| {
        let mut all: BTreeMap<RowKey, Total> = BTreeMap::new();
        for ((policy, table, window, key), total) in rows {
            let table = if setup.follow == Follow::Median { Table::Main } else { table };
            all.entry((policy, table, window, key)).or_default().add(total);
        }
        all
    };
    let (expected, found) = (together(expected), together(found));
    for key in expected.keys().chain(found.keys()) {
        let (e, f) = (expected.get(key), found.get(key));
        if e != f {
            let name = String::from_utf8_lossy(&key.3).into_owned();
            return Err(format!("row {name} of {:?} at {}: expected {e:?}, found {f:?}", key.1, key.2));
        }
    }
    Ok(())
}
