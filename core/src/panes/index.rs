//! The open windows: by key, and by when they are looked at next.
//!
//! ```text
//! key id -> head: none | one window | many, in the order in which they close -> slot -> Open
//! timers: a heap of (instant, slot, turn); an entry whose turn has passed says nothing
//! ```
//! Invariants
//! - A window's timers never stand later than the instants it waits for: each has an entry at or before it.
//! - The windows of one key are found without looking at those of others; those that overlap an interval, in a number of
//!   steps that does not grow with the others but by a logarithm.
//!
//! Not here: what happens when a timer is due (`panes`).

use super::open::{NO_TICK, Open};
use crate::order::Tree;
use crate::time::EventTime;
use crate::window::Window;
use alloc::boxed::Box;
use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    slots: Vec<Slot>,
    free: Vec<u32>,
    heads: Vec<Head>,
    open: usize,
    by_event: BinaryHeap<Reverse<(EventTime, u32, u32)>>,
    by_clock: BinaryHeap<Reverse<(i64, u32, u32)>>,
}

#[derive(Clone, Debug)]
struct Slot {
    /// How often the slot was given away.
    turn: u32,
    /// Whether its window's trigger has finished.
    closed: bool,
    open: Option<Box<Open>>,
}

#[derive(Clone, Debug, Default)]
enum Head {
    #[default]
    None,
    One(u32),
    /// Those whose trigger has finished stand behind the others: whoever looks for open ones does not pass them.
    Many(Box<Tree>),
}

/// Where a window stands among those of its key: those whose trigger has finished behind the others.
fn standing(closed: bool, window: &Window) -> [i64; 4] {
    [i64::from(closed), window.end.as_millis(), window.start.as_millis(), 0]
}

impl Index {
    /// Windows open.
    pub(super) fn len(&self) -> usize {
        self.open
    }

    pub(super) fn get(&self, slot: u32) -> &Open {
        self.slots[slot as usize].open.as_ref().expect("a slot in use")
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Open {
        self.slots[slot as usize].open.as_mut().expect("a slot in use")
    }

    /// All of them, unsorted.
    pub(super) fn iter_unsorted(&self) -> impl Iterator<Item = &Open> {
        self.slots.iter().filter_map(|s| s.open.as_deref())
    }

    /// The slots of all of them, unsorted.
    pub(super) fn slots_unsorted(&self) -> impl Iterator<Item = u32> {
        let used = self.slots.iter().enumerate().filter(|(_, s)| s.open.is_some());
        used.map(|(slot, _)| slot as u32)
    }

    /// The only window of a key, where its trigger has not finished.
    #[inline(always)]
    pub(super) fn only(&mut self, key: u32) -> Option<(u32, &mut Open)> {
        let Some(Head::One(slot)) = self.heads.get(key as usize) else { return None };
        let open = self.slots[*slot as usize].open.as_mut().expect("a slot in use");
        if open.trigger.closed() { None } else { Some((*slot, open)) }
    }

    /// The slot of a key's window.
    pub(super) fn find(&self, key: u32, window: &Window) -> Option<u32> {
        match self.heads.get(key as usize)? {
            Head::None => None,
            Head::One(slot) => Some(*slot).filter(|slot| self.get(*slot).window == *window),
            Head::Many(all) => all.get(&standing(false, window)).or_else(|| all.get(&standing(true, window))).copied(),
        }
    }

    /// The open windows of a key, which do not overlap, that `joins` picks among those that end at `from` or later;
    /// they come in their order, and the first that is not picked and starts after `to` ends the search.
    pub(super) fn joining(
        &self,
        key: u32,
        from: EventTime,
        to: EventTime,
        mut joins: impl FnMut(&Window) -> bool,
        out: &mut Vec<u32>,
    ) {
        out.clear();
        match self.heads.get(key as usize) {
            None | Some(Head::None) => {}
            Some(Head::One(slot)) => {
                if !self.slots[*slot as usize].closed && joins(&self.get(*slot).window) {
                    out.push(*slot);
                }
            }
            Some(Head::Many(all)) => {
                let least = Window { start: EventTime::MIN, end: from };
                for (place, slot) in all.range(standing(false, &least)..) {
                    let window = &Window::of_millis(place[2], place[1]);
                    if place[0] != 0 {
                        break;
                    }
                    if joins(window) {
                        out.push(*slot);
                    } else if window.start > to {
                        break;
                    }
                }
            }
        }
    }

    /// Opens a window; the caller sees to it that it is not open.
    pub(super) fn insert(&mut self, open: Open) -> u32 {
        let (key, closed, window) = (open.key as usize, open.trigger.closed(), open.window);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { turn: 0, closed: false, open: None });
            self.slots.len() as u32 - 1
        });
        if self.heads.len() <= key {
            self.heads.resize_with(key + 1, Head::default);
        }
        self.slots[slot as usize].closed = closed;
        self.slots[slot as usize].open = Some(Box::new(open));
        self.open += 1;
        match &mut self.heads[key] {
            head @ Head::None => *head = Head::One(slot),
            Head::Many(all) => {
                all.insert(standing(closed, &window), slot);
            }
            Head::One(other) => {
                let other = *other;
                let mut all = Tree::new();
                all.insert(standing(self.slots[other as usize].closed, &self.get(other).window), other);
                all.insert(standing(closed, &window), slot);
                self.heads[key] = Head::Many(Box::new(all));
            }
        }
        slot
    }

    /// Closes a window.
    pub(super) fn remove(&mut self, slot: u32) -> Open {
        let s = &mut self.slots[slot as usize];
        s.turn = s.turn.wrapping_add(1);
        let (closed, open) = (s.closed, s.open.take().expect("a slot in use"));
        self.free.push(slot);
        self.open -= 1;
        let head = &mut self.heads[open.key as usize];
        match head {
            Head::None => unreachable!("an open window has a head"),
            Head::One(_) => *head = Head::None,
            Head::Many(all) => {
                all.remove(&standing(closed, &open.window));
                if all.is_empty() {
                    *head = Head::None;
                }
            }
        }
        *open
    }

    /// Gives a window other bounds; it takes the place of one whose trigger has finished.
    pub(super) fn rename(&mut self, slot: u32, window: Window) {
        let key = self.get(slot).key;
        if let Some(other) = self.find(key, &window).filter(|other| *other != slot) {
            self.remove(other);
        }
        let open = self.get_mut(slot);
        let (key, old) = (open.key as usize, core::mem::replace(&mut open.window, window));
        if let Head::Many(all) = &mut self.heads[key] {
            let closed = self.slots[slot as usize].closed;
            all.remove(&standing(closed, &old));
            all.insert(standing(closed, &window), slot);
        }
    }

    /// Its window's trigger has finished.
    pub(super) fn close(&mut self, slot: u32) {
        self.slots[slot as usize].closed = true;
        let open = self.get(slot);
        let (key, window) = (open.key as usize, open.window);
        if let Head::Many(all) = &mut self.heads[key] {
            all.remove(&standing(false, &window));
            all.insert(standing(true, &window), slot);
        }
    }

    /// Looks at a window once the watermark has come to `at`, unless it is looked at before.
    #[inline(never)]
    pub(super) fn wake_at(&mut self, slot: u32, at: EventTime) {
        let s = &mut self.slots[slot as usize];
        let open = s.open.as_mut().expect("a slot in use");
        if open.event_timer.is_none_or(|timer| at < timer) {
            open.event_timer = Some(at);
            self.by_event.push(Reverse((at, slot, s.turn)));
        }
    }

    /// Looks at a window once the clock has come to `at`, unless it is looked at before.
    pub(super) fn wake_at_tick(&mut self, slot: u32, at: i64) {
        let s = &mut self.slots[slot as usize];
        let open = s.open.as_mut().expect("a slot in use");
        if at < open.clock_timer {
            open.clock_timer = at;
            self.by_clock.push(Reverse((at, slot, s.turn)));
        }
    }

    /// Whether a window may wait for this watermark.
    #[inline]
    pub(super) fn is_due(&self, watermark: EventTime) -> bool {
        self.by_event.peek().is_some_and(|Reverse((at, _, _))| *at <= watermark)
    }

    /// The windows that wait for this watermark or an earlier one, unsorted, each once; they wait no more.
    pub(super) fn take_due_unsorted(&mut self, watermark: EventTime, out: &mut Vec<u32>) {
        while let Some(Reverse((at, slot, turn))) = self.by_event.peek().copied() {
            if at > watermark {
                break;
            }
            self.by_event.pop();
            let s = &mut self.slots[slot as usize];
            if let Some(open) = s.open.as_mut().filter(|open| s.turn == turn && open.event_timer == Some(at)) {
                open.event_timer = None;
                out.push(slot);
            }
        }
    }

    /// The windows that wait for this tick or an earlier one, unsorted, each once; they wait no more.
    pub(super) fn take_due_ticks_unsorted(&mut self, clock: i64, out: &mut Vec<u32>) {
        while let Some(Reverse((at, slot, turn))) = self.by_clock.peek().copied() {
            if at > clock {
                break;
            }
            self.by_clock.pop();
            let s = &mut self.slots[slot as usize];
            if let Some(open) = s.open.as_mut().filter(|open| s.turn == turn && open.clock_timer == at) {
                open.clock_timer = NO_TICK;
                out.push(slot);
            }
        }
    }

    /// Gives every key another id.
    pub(super) fn rekey(&mut self, mut id: impl FnMut(u32) -> u32) {
        let heads = core::mem::take(&mut self.heads);
        for (old, head) in heads.into_iter().enumerate() {
            let slots: Vec<u32> = match &head {
                Head::None => continue,
                Head::One(slot) => alloc::vec![*slot],
                Head::Many(all) => all.values().copied().collect(),
            };
            let key = id(old as u32);
            slots.iter().for_each(|slot| self.get_mut(*slot).key = key);
            if self.heads.len() <= key as usize {
                self.heads.resize_with(key as usize + 1, Head::default);
            }
            self.heads[key as usize] = head;
        }
    }
}
