//! Gives out the letters of a plan as records, each chunk with the mark after it.
//!
//! Invariants
//! - A record's number in the lane is its ordinal and begins its position, so that what fails again has a place of its own
//!   among the lane's dead letters. What follows is where the record stood first, over any number of redrives.
//! - The mark after the last letter says that the plan is finished.

use super::LANE;
use super::mark::Mark;
use super::pick::Chosen;
use crate::source::{Chunk, LaneReader, Next, Places, Positions, SourceError};
use async_trait::async_trait;
use plimsoll_core::time::ArrivalTime;
use plimsoll_core::wire::frame::{self, Kind};

/// Letters in order.
pub(super) struct Reader {
    mark: Mark,
    letters: std::vec::IntoIter<Chosen>,
}

impl Reader {
    pub(super) fn new(mark: Mark, letters: Vec<Chosen>) -> Self {
        Self { mark, letters: letters.into_iter() }
    }
}

#[async_trait]
impl LaneReader for Reader {
    async fn next(&mut self, bytes: usize) -> Result<Next, SourceError> {
        // The driver's other tasks are let in between two chunks.
        tokio::task::yield_now().await;
        let first = self.mark.read;
        let (mut frames, mut payload, mut last) = (Vec::new(), 0, None);
        let mut positions = Positions::default();
        for Chosen { letter, place } in self.letters.by_ref() {
            let arrival = place.arrival.map(ArrivalTime::from_millis);
            frame::push(&mut frames, Kind::Record, self.mark.read, arrival, &letter.raw);
            positions.push(&position(self.mark.read, &letter.lane, &letter.position));
            payload += letter.raw.len();
            self.mark.read += 1;
            last = Some(place);
            if payload >= bytes {
                break;
            }
        }
        let Some(last) = last else { return Ok(Next::End) };
        match &mut self.mark.plan {
            Some(plan) if self.letters.len() > 0 => plan.after = Some(last),
            _ => self.mark.finish(),
        }
        Ok(Next::Chunk(Chunk {
            frames,
            source_bytes: payload as u64,
            end: self.mark.position(),
            places: Places::Records { first, positions },
            behind_ms: None,
        }))
    }
}

/// `17|<lane>|<position>`: the 17th record of this lane, and where it stood first.
fn position(read: u64, lane: &str, position: &str) -> String {
    match position.split_once('|') {
        Some((_, origin)) if lane == LANE => format!("{read}|{origin}"),
        _ => format!("{read}|{lane}|{position}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_keeps_its_origin_over_any_number_of_redrives() {
        let once = position(0, "file:/a|b.ndjson", "b.ndjson:7");
        assert_eq!(once, "0|file:/a|b.ndjson|b.ndjson:7");
        assert_eq!(position(12, LANE, &once), "12|file:/a|b.ndjson|b.ndjson:7");
    }
}
