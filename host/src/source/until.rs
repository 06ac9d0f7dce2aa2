//! A source between two moments of arrival: the records that arrived at or after one and before the other.
//!
//! ```text
//! the source's lane   --r--r--|--r--r--r--|--r--r-->     arrival
//!                            from         to: the lane's end
//! ```
//! Invariants
//! - A lane's part ends with its last record before the first one that arrived at or after `to`, or at its tip. The lane is not
//!   done with that (`goes_on`); where its own end comes first, it is.
//! - Positions are the source's own, just after the last record given out: whoever opens the lane without this goes on there.
//!
//! Where arrivals are out of order around `to`, what follows the first record beyond it is left out, whenever it arrived.
//!
//! Not here: sources whose records carry no arrival time, and a `to` that is not past for so long that nothing older can still
//! come; who asks for such a range is refused before (`cli::replay`).

use super::{Chunk, LaneInfo, LaneReader, Next, Places, Position, Source, SourceError, Unlisted};
use async_trait::async_trait;
use plimsoll_core::time::{ArrivalTime, TimeDelta};
use plimsoll_core::wire::frame::{self, Frame};
use std::sync::Arc;

/// Part of a source.
pub struct Between {
    inner: Arc<dyn Source>,
    from: Option<ArrivalTime>,
    to: ArrivalTime,
}

impl Between {
    /// The records of `inner` that arrived at or after `from` and before `to`.
    pub fn new(inner: Arc<dyn Source>, from: Option<ArrivalTime>, to: ArrivalTime) -> Self {
        Self { inner, from, to }
    }
}

#[async_trait]
impl Source for Between {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn carries_arrival(&self) -> bool {
        self.inner.carries_arrival()
    }

    fn resumable(&self) -> bool {
        self.inner.resumable()
    }

    fn finite(&self) -> bool {
        self.inner.finite()
    }

    fn begins_anew(&self, at: Option<&Position>) -> bool {
        self.inner.begins_anew(at)
    }

    async fn lanes(&self) -> Result<Vec<LaneInfo>, SourceError> {
        self.inner.lanes().await
    }

    // What the inner source knows of lanes that are gone and of its retention holds for a part of it, too: else a replay that
    // goes on after a crash would pass over a shard that has vanished meanwhile.
    fn unlisted(&self, lane: &str) -> Unlisted {
        self.inner.unlisted(lane)
    }

    fn began(&self, lanes: &[(String, i64)]) {
        self.inner.began(lanes);
    }

    fn keeps(&self) -> Option<TimeDelta> {
        self.inner.keeps()
    }

    async fn open(&self, lane: &LaneInfo, from: Option<&Position>) -> Result<Box<dyn LaneReader>, SourceError> {
        let reader = self.inner.open(lane, from).await?;
        Ok(Box::new(Reader {
            source: Arc::clone(&self.inner),
            lane: lane.clone(),
            from: self.from,
            to: self.to,
            reader,
            at: from.cloned(),
            ordinal: 0,
            base: 0,
            single: false,
            over: false,
        }))
    }
}

struct Reader {
    source: Arc<dyn Source>,
    lane: LaneInfo,
    from: Option<ArrivalTime>,
    to: ArrivalTime,
    reader: Box<dyn LaneReader>,
    /// After the last chunk given out.
    at: Option<Position>,
    /// The least ordinal that was not given out.
    ordinal: u64,
    /// Added to the inner reader's ordinals, which begin anew when it is opened again.
    base: u64,
    /// `to` is near: records are taken one by one, so that the position before it is known.
    single: bool,
    over: bool,
}

/// A chunk's records against the range.
enum Verdict {
    /// None is beyond it.
    Within,
    /// The first one is.
    Beyond,
    /// One in the middle is.
    Mixed,
}

#[async_trait]
impl LaneReader for Reader {
    async fn next(&mut self, bytes: usize) -> Result<Next, SourceError> {
        while !self.over {
            let chunk = match self.reader.next(if self.single { 1 } else { bytes }).await? {
                Next::Chunk(chunk) => chunk,
                Next::End => return Ok(Next::End),
                Next::Idle => break,
            };
            match self.verdict(&chunk) {
                Verdict::Within => {
                    self.at = Some(chunk.end.clone());
                    return Ok(Next::Chunk(self.shifted(chunk)));
                }
                Verdict::Beyond => break,
                Verdict::Mixed if self.single => {
                    return Err(SourceError::Refused(format!(
                        "lane {}: several records with different arrival times have one position, {}, so that the range \
                         cannot end between them; choose another --to",
                        self.lane.id, chunk.end.0
                    )));
                }
                Verdict::Mixed => {
                    self.reader = self.source.open(&self.lane, self.at.as_ref()).await?;
                    self.single = true;
                    self.base = self.ordinal;
                }
            }
        }
        self.over = true;
        Ok(Next::End)
    }

    fn goes_on(&self) -> bool {
        self.over
    }

    fn misplaced(&self) -> u64 {
        self.reader.misplaced()
    }
}

impl Reader {
    fn verdict(&self, chunk: &Chunk) -> Verdict {
        let mut frames = frames(&chunk.frames);
        let beyond = |f: &Frame| f.arrival.is_some_and(|at| at >= self.to);
        match frames.position(|f| beyond(&f)) {
            None => Verdict::Within,
            Some(0) => Verdict::Beyond,
            Some(_) => Verdict::Mixed,
        }
    }

    /// The chunk without what arrived before the range, its ordinals following those given out before.
    fn shifted(&mut self, mut chunk: Chunk) -> Chunk {
        let mut kept = Vec::with_capacity(chunk.frames.len());
        for f in frames(&chunk.frames) {
            let ordinal = f.ordinal + self.base;
            self.ordinal = self.ordinal.max(ordinal + 1);
            if f.arrival.is_none_or(|at| self.from.is_none_or(|from| from <= at)) {
                frame::push(&mut kept, f.kind, ordinal, f.arrival, &chunk.frames[f.from..f.to]);
            }
        }
        chunk.frames = kept;
        match &mut chunk.places {
            Places::Lines { first, count, .. } => {
                *first += self.base;
                self.ordinal = self.ordinal.max(*first + *count);
            }
            Places::Records { first, .. } => *first += self.base,
        }
        chunk
    }
}

fn frames(bytes: &[u8]) -> impl Iterator<Item = Frame> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let f = (at < bytes.len()).then(|| frame::read(bytes, at).expect("sources write frames"))?;
        at = f.to;
        Some(f)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::generator::{Devices, GeneratorSource};

    fn generator() -> Arc<dyn Source> {
        Arc::new(GeneratorSource::new(Devices::parse("devices=50,every=10s,records=3000,seed=4").unwrap()))
    }

    /// Knows of a shard that has vanished, and how long it keeps records.
    struct Trimmed(Arc<dyn Source>);

    #[async_trait]
    impl Source for Trimmed {
        fn describe(&self) -> String {
            self.0.describe()
        }

        fn carries_arrival(&self) -> bool {
            true
        }

        fn resumable(&self) -> bool {
            true
        }

        fn finite(&self) -> bool {
            false
        }

        async fn lanes(&self) -> Result<Vec<LaneInfo>, SourceError> {
            self.0.lanes().await
        }

        async fn open(&self, lane: &LaneInfo, from: Option<&Position>) -> Result<Box<dyn LaneReader>, SourceError> {
            self.0.open(lane, from).await
        }

        fn unlisted(&self, lane: &str) -> Unlisted {
            Unlisted::Replaced(lane.to_owned())
        }

        fn keeps(&self) -> Option<TimeDelta> {
            Some(TimeDelta::from_secs(86_400))
        }
    }

    #[test]
    fn what_the_source_knows_of_lost_lanes_holds_for_a_part_of_it() {
        let part = Between::new(Arc::new(Trimmed(generator())), None, ArrivalTime::from_millis(0));
        assert_eq!(part.unlisted("gone"), Unlisted::Replaced("gone".into()));
        assert_eq!(part.keeps(), Some(TimeDelta::from_secs(86_400)));
    }

    /// Arrivals and payloads of a lane, read from `from` in pieces of `bytes`; and the position after them.
    async fn read(
        source: &dyn Source,
        from: Option<Position>,
        bytes: usize,
    ) -> (Vec<(i64, Vec<u8>)>, Option<Position>) {
        let lane = source.lanes().await.unwrap().remove(0);
        let mut reader = source.open(&lane, from.as_ref()).await.unwrap();
        let (mut out, mut at, mut ordinal) = (Vec::new(), from, None);
        while let Next::Chunk(chunk) = reader.next(bytes).await.unwrap() {
            for f in frames(&chunk.frames) {
                assert!(ordinal < Some(f.ordinal), "ordinals ascend");
                ordinal = Some(f.ordinal);
                assert!(chunk.places.find(f.ordinal).is_some(), "each has its place");
                out.push((f.arrival.unwrap().as_millis(), chunk.frames[f.from..f.to].to_vec()));
            }
            at = Some(chunk.end);
        }
        (out, at)
    }

    #[tokio::test]
    async fn a_range_is_what_arrived_in_it_however_it_is_read() {
        let (all, _) = read(generator().as_ref(), None, 1 << 20).await;
        let [from, to] = [all[700].0, all[2_100].0];
        let expected: Vec<_> = all.iter().filter(|(at, _)| (from..to).contains(at)).cloned().collect();
        for bytes in [1, 1_000, 1 << 20] {
            let source = Between::new(generator(), Some(ArrivalTime::from_millis(from)), ArrivalTime::from_millis(to));
            let (part, end) = read(&source, None, bytes).await;
            assert!(part == expected, "{} records, expected {}", part.len(), expected.len());
            // Once at its end there is nothing more, and the source itself goes on just there.
            assert_eq!(read(&source, end.clone(), bytes).await, (vec![], end.clone()));
            let (rest, _) = read(generator().as_ref(), end, bytes).await;
            assert!(rest == all[all.iter().position(|(at, _)| *at >= to).unwrap()..]);
        }
    }
}
