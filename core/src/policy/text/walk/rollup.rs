//! `[rollup]` → hours and days.
//!
//! Not here: which windows and measures make hours (`validate`).

use super::window::named_zone;
use super::{DAY, ROLLUP};
use crate::policy::Rollup;
use crate::policy::text::reader::{Reader, Section};

pub(super) fn rollup(r: &mut Reader, root: &Section<'_>) -> Option<Rollup> {
    let f = root.optional("rollup")?;
    let s = r.group(&f, &ROLLUP, ["{ hour = true }", "{\"hour\": true}"])?;
    // Days are made of hours, so there are none without.
    if let Some(hour) = r.required(&s, "hour", "hour = true", "\"hour\": true") {
        r.sign(&hour);
    }
    let day = s.optional("day").and_then(|f| {
        let s = r.group(&f, &DAY, ["{ zone = \"Asia/Tokyo\" }", "{\"zone\": \"Asia/Tokyo\"}"])?;
        let zone = r.required(&s, "zone", "zone = \"Asia/Tokyo\"", "\"zone\": \"Asia/Tokyo\"");
        zone.and_then(|f| named_zone(r, &f))
    });
    Some(Rollup { day })
}
