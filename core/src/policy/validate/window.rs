//! Which windows make sense.
//!
//! Not here: what a window needs of triggers (`panes`).

use super::{Problems, limits, quoted};
use crate::policy::duration::Written;
use crate::policy::{Spec, Windowing, Zone};
use crate::time::TimeDelta;
use alloc::format;

impl Problems {
    #[inline(never)]
    pub(super) fn window(&mut self, s: &Spec) {
        match &s.window {
            Windowing::Fixed { size, offset } => {
                self.span("window.fixed", *size, 1);
                self.offset(*offset, *size, "the window's size");
            }
            Windowing::Sliding { size, every, offset } => {
                self.span("window.sliding.size", *size, 1);
                self.span("window.sliding.every", *every, 1);
                self.offset(*offset, *every, "the windows' period");
                self.crowd("window.sliding.every", *size, *every);
            }
            Windowing::Cumulative { size, step, offset } => {
                self.span("window.cumulative.size", *size, 1);
                self.span("window.cumulative.step", *step, 1);
                self.offset(*offset, *size, "the window's size");
                self.crowd("window.cumulative.step", *size, *step);
                if step.as_millis() > 0 && size.as_millis() % step.as_millis() != 0 {
                    let expected = "a step of which the size holds a whole number";
                    self.value("window.cumulative.step", Written(*step), expected);
                }
            }
            Windowing::Calendar { zone, .. } => self.zone("window.calendar.zone", zone),
            Windowing::Session { gap, gap_field, .. } => {
                self.span("window.session.gap", *gap, 1);
                if let Some(p) = gap_field {
                    self.path("window.session.gap_field", p);
                }
            }
            Windowing::Global => {}
        }
    }

    #[inline(never)]
    pub(super) fn zone(&mut self, at: &str, zone: &Zone) {
        let ascending = zone.changes.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let small = |seconds: i32| seconds.unsigned_abs() < 86_400;
        if zone.changes.len() > limits::ZONE_CHANGES_MAX
            || !ascending
            || !small(zone.first)
            || !zone.changes.iter().all(|(_, offset)| small(*offset))
        {
            self.value(at, quoted(&zone.name), "a zone of at most 2000 changes in order");
        }
    }

    #[inline(never)]
    fn offset(&mut self, offset: TimeDelta, below: TimeDelta, of: &str) {
        // A size that is wrong is refused for itself.
        if offset < TimeDelta::ZERO || (offset >= below && below > TimeDelta::ZERO) {
            self.value("window.offset", Written(offset), format_args!("0s or more and less than {of}"));
        }
    }

    #[inline(never)]
    fn crowd(&mut self, field: &str, size: TimeDelta, every: TimeDelta) {
        let (size, every) = (size.as_millis(), every.as_millis());
        if size > 0 && every > 0 && size.div_euclid(every) > limits::WINDOWS_OF_A_RECORD_MAX {
            let found = format!("{} windows of a record", size.div_euclid(every));
            self.value(field, found, "at most 1000 windows that hold one instant");
        }
    }
}
