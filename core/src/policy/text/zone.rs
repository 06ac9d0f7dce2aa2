//! The name of a time zone → its offsets from UTC, as the engine needs them.
//!
//! The data is that of the IANA database which comes along with the crate `jiff`; the machine's own is never read, so a
//! document means the same everywhere. What was found becomes part of the policy and of its identity: an engine that
//! knows a newer database computes what was agreed on.
//!
//! Limits: offsets are exact from 1970-01-01 to 2100-01-01; before and after that the nearest of them holds.

use super::reader::nearest;
use crate::policy::Zone;
use jiff::Timestamp;
use jiff::tz::TimeZoneDatabase;

/// 1970-01-01T00:00:00Z, in seconds.
const FROM_S: i64 = 0;
/// 2100-01-01T00:00:00Z, in seconds.
const TO_S: i64 = 4_102_444_800;
/// Names of the database that are no place's time.
const NO_ZONES: [&str; 2] = ["Factory", "Etc/Unknown"];

/// The zone of just this name, or the name that was probably meant.
pub(super) fn resolve(name: &str) -> Result<Zone, Option<String>> {
    let db = TimeZoneDatabase::bundled();
    let found = db.get(name).ok();
    let Some((zone, known)) = found.as_ref().and_then(|z| Some((z, z.iana_name()?))) else {
        return Err(meant(&db, name));
    };
    if known != name {
        return Err(Some(known.into()));
    }
    if NO_ZONES.contains(&known) {
        return Err(None);
    }
    let from = Timestamp::from_second(FROM_S).expect("1970 is a year that it knows");
    let first = zone.to_offset(from).seconds();
    let mut changes: Vec<(i64, i32)> = Vec::new();
    for change in zone.following(from).take_while(|c| c.timestamp().as_second() < TO_S) {
        let offset = change.offset().seconds();
        // Others change the name of the time alone.
        if offset != changes.last().map_or(first, |(_, last)| *last) {
            changes.push((change.timestamp().as_second(), offset));
        }
    }
    Ok(Zone { name: name.into(), first, changes })
}

/// The nearest name: of the same place ("Tokyo"), or of nearly the same letters ("Asia/Tokio").
fn meant(db: &TimeZoneDatabase, name: &str) -> Option<String> {
    let names: Vec<_> = db.available().collect();
    let names: Vec<&str> = names.iter().map(|n| n.as_str()).filter(|n| !NO_ZONES.contains(n)).collect();
    let place = |n: &str| n.rsplit('/').next().unwrap_or(n).to_lowercase();
    let wanted = place(name).replace(' ', "_");
    let same = names.iter().find(|n| place(n) == wanted).copied();
    same.or_else(|| nearest(name, &names)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> Zone {
        resolve(name).unwrap_or_else(|meant| panic!("no zone {name}: {meant:?}"))
    }

    #[test]
    fn offsets_are_those_of_the_places() {
        assert_eq!(zone("UTC"), Zone { name: "UTC".into(), first: 0, changes: vec![] });
        assert_eq!(zone("Asia/Tokyo"), Zone { name: "Asia/Tokyo".into(), first: 32_400, changes: vec![] });
        let berlin = zone("Europe/Berlin");
        assert_eq!(berlin.first, 3_600);
        // 2026-03-29 and 2026-10-25, both at 01:00 UTC; the first summer time after the war was in 1980.
        assert!(berlin.changes.contains(&(1_774_746_000, 7_200)) && berlin.changes.contains(&(1_792_890_000, 3_600)));
        assert_eq!(berlin.changes[0], (323_830_800, 7_200));
        // To the last year: 2099-10-25.
        assert_eq!(berlin.changes.last(), Some(&(4_096_573_200, 3_600)));
        // Half an hour of summer time, and a quarter in the offset.
        let steps = |name: &str| zone(name).changes.iter().map(|(_, offset)| *offset).rev().take(2).collect::<Vec<_>>();
        assert_eq!(steps("Australia/Lord_Howe"), [39_600, 37_800]);
        assert_eq!(zone("Asia/Kathmandu").changes, [(504_901_800, 20_700)]);
    }

    #[test]
    fn every_zone_of_the_database_is_one_that_an_engine_takes() {
        use crate::policy::limits::ZONE_CHANGES_MAX;
        let names: Vec<String> = TimeZoneDatabase::bundled().available().map(|n| n.as_str().to_owned()).collect();
        assert!(names.len() > 400, "{} zones", names.len());
        for name in names.iter().filter(|n| !NO_ZONES.contains(&n.as_str())) {
            let zone = zone(name);
            assert!(zone.changes.len() <= ZONE_CHANGES_MAX, "{name}");
            assert!(zone.changes.is_sorted_by(|a, b| a.0 < b.0 && a.1 != b.1), "{name}");
        }
    }

    #[test]
    fn the_name_that_was_meant() {
        let cases = [
            ("Asia/Tokio", Some("Asia/Tokyo")),
            ("asia/tokyo", Some("Asia/Tokyo")),
            ("Tokyo", Some("Asia/Tokyo")),
            ("new york", Some("America/New_York")),
            ("Europe/Berln", Some("Europe/Berlin")),
            ("utc", Some("UTC")),
            ("", None),
            ("Factory", None),
            ("+09:00", None),
            ("Atlantis/Poseidonis", None),
        ];
        for (name, meant) in cases {
            assert_eq!(resolve(name), Err(meant.map(str::to_owned)), "{name}");
        }
    }
}
