//! Rows of windows that overlap: a record counts in each window that holds it, together with those like it (`slices`).
//!
//! Not here: which windows those are (`window`), windows that wait for triggers (`panes`).

use super::{Engine, Hot, Taken};
use crate::policy::{LateBy, LateTo};
use crate::time::ArrivalTime;
use crate::window::{self, Window};
use crate::wire::effects::Table;

impl Engine {
    /// A record that may belong to several windows, or to none. It is late when every one of them refuses it.
    #[inline(never)]
    pub(super) fn judge_many(&mut self, taken: &Taken<'_>) {
        let (t, arrival) = (taken.time, taken.arrival);
        let spec = self.policy.spec();
        let watermark = self.tracker.watermark();
        let refused = |w: &Window| match spec.late.by {
            LateBy::Record => t < watermark,
            LateBy::Window => w.expiry(spec.late.allowed_lateness) <= watermark,
        };
        window::assign(&spec.window, t, &mut self.windows);
        if self.windows.is_empty() {
            self.account.filtered += 1;
            return;
        }
        // They come in the order in which they close: those that refuse it are the first.
        let late = self.windows.partition_point(refused);
        let (late_to, accepted) = (spec.late.to, spec.late.to == LateTo::Accept);
        if late < self.windows.len() || accepted {
            self.account.late_accepted += u64::from(late == self.windows.len());
            self.count(taken);
        } else {
            self.account.late += 1;
            self.account.late_dropped += u64::from(late_to == LateTo::Drop);
            if late_to == LateTo::DeadLetters {
                return self.bury_late(taken);
            }
        }
        let key = self.keys.intern_record(self.decoder.key(), taken.buf);
        let (refused, taking) = self.windows.split_at(if accepted { 0 } else { late });
        if late_to == LateTo::Table {
            for window in refused {
                let at = self.pending.place(*window, Table::Late { day: arrival.map(ArrivalTime::day) });
                self.pending.add(at, key, self.decoder.values());
            }
        }
        if self.budget.is_some() {
            return self.count_within_budget(refused.len(), key);
        }
        if !taking.is_empty() {
            let at = self.pending.slice(taking);
            if late == 0 {
                let spec = self.policy.spec();
                let (times, expiry) =
                    (window::alike(&spec.window, taking), taking[0].expiry(spec.late.allowed_lateness));
                self.pending.heat(t, Hot { times, expiry, at });
            }
            self.pending.add(at, key, self.decoder.values());
        }
    }

    /// Counts a record in each of its windows from this one on: a key may be in in one and out in another, so these share
    /// no slices.
    fn count_within_budget(&mut self, first: usize, key: u32) {
        let mut overflowed = false;
        for i in first..self.windows.len() {
            let window = self.windows[i];
            let at = self.pending.place(window, Table::Main);
            let row = self.within_budget(window, at, key);
            overflowed |= row != key;
            self.pending.add(at, row, self.decoder.values());
        }
        self.account.overflow += u64::from(overflowed);
    }
}
