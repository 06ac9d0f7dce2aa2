//! Shards that split, merge, vanish and are trimmed: children begin with what their parents had learnt, and nothing that is
//! lost is passed over in silence.

use super::*;
use crate::source::Unlisted;
use crate::store::{GapKind, Which};

/// The test policy's delay.
const HOUR_MS: i64 = 3_600_000;

/// A stream in memory. Its records are event times in hours.
#[derive(Default)]
struct Family {
    shards: Vec<Shard>,
    /// Shards that are not listed any more.
    gone: Mutex<BTreeSet<usize>>,
    /// Whether all shards that have heads are those of an earlier stream.
    replaced: AtomicBool,
    /// Shards in the order in which they were opened.
    opened: Mutex<Vec<usize>>,
    /// What the driver said of earlier runs.
    began: Mutex<Vec<String>>,
}

#[derive(Default)]
struct Shard {
    parents: Vec<usize>,
    /// How many records there are, and whether more may come.
    records: Mutex<Vec<i64>>,
    closed: AtomicBool,
    /// So many of the first records are gone.
    trimmed: AtomicUsize,
}

impl Shard {
    fn of(parents: &[usize], records: &[i64], closed: bool) -> Self {
        Self {
            parents: parents.to_vec(),
            records: Mutex::new(records.to_vec()),
            closed: AtomicBool::new(closed),
            ..Self::default()
        }
    }
}

fn id(shard: usize) -> String {
    format!("id-{shard}")
}

fn number(lane: &str) -> usize {
    lane.strip_prefix("id-").unwrap().parse().unwrap()
}

fn lane(family: &Family, shard: usize) -> LaneInfo {
    let parents = family.shards[shard].parents.iter().map(|p| id(*p)).collect();
    LaneInfo { id: id(shard), name: format!("shard-{shard}"), parents }
}

struct Stream(Arc<Family>);

struct Strand {
    family: Arc<Family>,
    shard: usize,
    at: usize,
    gone: bool,
}

#[async_trait]
impl Source for Stream {
    fn describe(&self) -> String {
        "a family of shards".into()
    }

    fn carries_arrival(&self) -> bool {
        false
    }

    fn resumable(&self) -> bool {
        true
    }

    fn finite(&self) -> bool {
        false
    }

    async fn lanes(&self) -> Result<Vec<LaneInfo>, SourceError> {
        let gone = self.0.gone.lock().unwrap();
        Ok((0..self.0.shards.len()).filter(|s| !gone.contains(s)).map(|s| lane(&self.0, s)).collect())
    }

    async fn open(&self, lane: &LaneInfo, from: Option<&Position>) -> Result<Box<dyn LaneReader>, SourceError> {
        let shard = number(&lane.id);
        let at = from.map_or(0, |p| p.0.parse().unwrap());
        if at < self.0.shards[shard].trimmed.load(Ordering::Relaxed) && from.is_some() {
            return Err(SourceError::Gap(format!("shard {shard} has lost record {at}")));
        }
        self.0.opened.lock().unwrap().push(shard);
        Ok(Box::new(Strand { family: Arc::clone(&self.0), shard, at, gone: false }))
    }

    async fn open_past_gap(&self, lane: &LaneInfo, _: Option<&Position>) -> Result<Box<dyn LaneReader>, SourceError> {
        let shard = number(&lane.id);
        let gone = self.0.gone.lock().unwrap().contains(&shard);
        let at = self.0.shards[shard].trimmed.load(Ordering::Relaxed);
        Ok(Box::new(Strand { family: Arc::clone(&self.0), shard, at, gone }))
    }

    fn unlisted(&self, id: &str) -> Unlisted {
        match self.0.replaced.load(Ordering::Relaxed) {
            true => Unlisted::Replaced("made again, take a new --generation".into()),
            false => Unlisted::Gone(lane(&self.0, number(id)), "it is not listed".into()),
        }
    }

    fn began(&self, lanes: &[(String, i64)]) {
        let mut began = self.0.began.lock().unwrap();
        *began = lanes.iter().map(|(lane, _)| lane.clone()).collect();
        began.sort();
    }
}

#[async_trait]
impl LaneReader for Strand {
    async fn next(&mut self, _bytes: usize) -> Result<Next, SourceError> {
        tokio::task::yield_now().await;
        let shard = &self.family.shards[self.shard];
        if self.gone {
            return Ok(Next::End);
        }
        let Some(hours) = shard.records.lock().unwrap().get(self.at).copied() else {
            return Ok(if shard.closed.load(Ordering::Relaxed) { Next::End } else { Next::Idle });
        };
        self.at += 1;
        let (key, v) = (self.shard, value(self.shard, self.at));
        let record = format!("{{\"ts\":{},\"k\":\"{key}\",\"v\":{v}}}\n", hours * HOUR_MS);
        Ok(single(self.at - 1, &record))
    }
}

/// A family and its store.
struct World {
    family: Arc<Family>,
    store: Arc<Flaky>,
    config: RunConfig,
    policy: Arc<Policy>,
}

impl World {
    fn new(shards: Vec<Shard>, store: Arc<Flaky>) -> Self {
        let family = Arc::new(Family { shards, ..Family::default() });
        let config = RunConfig { once: true, first_start: Duration::ZERO, ..config() };
        Self { family, store, config, policy: policy() }
    }

    async fn run(&self) -> Result<(), RunError> {
        let none = Arc::new(Lanes::new(0, 0));
        let mut parts = parts(&none, &self.store, Arc::new(NativeEngines), Arc::clone(&self.policy));
        parts.source = Arc::new(Stream(Arc::clone(&self.family)));
        let (_keep, stop) = watch::channel(false);
        run(self.config.clone(), parts, stop).await
    }

    async fn run_accepting(&self) -> Result<(), RunError> {
        let config = RunConfig { accept_gaps: true, ..self.config.clone() };
        Self {
            config,
            family: Arc::clone(&self.family),
            store: Arc::clone(&self.store),
            policy: Arc::clone(&self.policy),
        }
        .run()
        .await
    }

    /// Shards whose records are in rows of the main or late table, with how many and the sum of their values.
    async fn counted(&self, table: Which) -> BTreeMap<usize, (i128, i128)> {
        let layout = Layout::new(Arc::clone(&self.policy));
        let mut counted: BTreeMap<usize, (i128, i128)> = BTreeMap::new();
        for r in self.store.rows(&layout, &RowQuery { table, ..RowQuery::default() }).await.unwrap() {
            let key: Vec<String> = serde_json::from_slice(&r.row.key).unwrap();
            let sums = counted.entry(key[0].parse().unwrap()).or_default();
            (sums.0, sums.1) = (sums.0 + r.row.values[0].unwrap(), sums.1 + r.row.values[1].unwrap());
        }
        counted
    }

    async fn gaps(&self) -> Vec<(usize, GapKind, Option<String>, bool)> {
        let gaps = self.store.gaps(&Layout::new(policy())).await.unwrap();
        gaps.into_iter().map(|g| (number(&g.lane), g.kind, g.position, g.accepted_ms.is_some())).collect()
    }

    async fn head(&self, shard: usize) -> Option<Head> {
        let heads = self.store.heads(&Layout::new(policy())).await.unwrap();
        heads.into_iter().find(|head| head.key.lane == id(shard))
    }
}

fn sums(shard: usize, records: std::ops::Range<usize>) -> (i128, i128) {
    (records.len() as i128, records.map(|i| i128::from(value(shard, i + 1))).sum())
}

/// Two shards, of which one splits; a half of it merges with the other: 0 -> 2 and 3, 1 and 3 -> 4, and 4 goes on.
fn splits_and_merges() -> Vec<Shard> {
    vec![
        Shard::of(&[], &[100, 100], true),
        Shard::of(&[], &[50, 40], true),
        Shard::of(&[0], &[60, 101], false),
        Shard::of(&[0], &[90, 100], true),
        Shard::of(&[3, 1], &[48, 49, 60], false),
    ]
}

fn all_stores() -> Vec<(Atomicity, Limits)> {
    // The smallest go through chunks, the parents' states too.
    let small = Limits { state_inline: 20, intent_inline: 200, intent: 33 << 10, chunk: 24 };
    both().into_iter().chain([(Atomicity::Items, small)]).collect()
}

/// The watermarks are an hour behind: 99 after shard 0, 49 after shard 1, and 49 where 4 begins.
async fn judge_splits_and_merges(world: &World) {
    let late = world.counted(Which::Late).await;
    let one = |shard, at| (1, i128::from(value(shard, at)));
    // 40 is behind 49; 60 and 90 are behind 99 in the children of 0; of 4's records only 48 is behind what both knew.
    assert_eq!(late, BTreeMap::from([(1, one(1, 2)), (2, one(2, 1)), (3, one(3, 1)), (4, one(4, 1))]));
    let main = world.counted(Which::Main).await;
    let of_4 = (2, i128::from(value(4, 2) + value(4, 3)));
    assert_eq!(main, BTreeMap::from([(0, sums(0, 0..2)), (1, one(1, 1)), (2, one(2, 2)), (3, one(3, 2)), (4, of_4)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_begin_with_the_least_of_what_their_parents_knew() {
    for (atomicity, limits) in all_stores() {
        let world = World::new(splits_and_merges(), Flaky::new(atomicity, limits, 0, 0));
        world.run().await.unwrap();
        judge_splits_and_merges(&world).await;
        let opened = world.family.opened.lock().unwrap().clone();
        let at = |shard| opened.iter().position(|s| *s == shard).unwrap();
        assert!(at(0) < at(2) && at(0) < at(3) && at(3) < at(4) && at(1) < at(4), "{opened:?}");
        assert_eq!(*world.family.began.lock().unwrap(), Vec::<String>::new(), "a first start");
        for shard in 0..5 {
            assert_eq!(world.head(shard).await.unwrap().done, [true, true, false, true, false][shard]);
        }
        // Nothing is new, and nothing is done twice.
        world.run().await.unwrap();
        judge_splits_and_merges(&world).await;
        assert_eq!(*world.family.began.lock().unwrap(), (0..5).map(id).collect::<Vec<_>>());
        assert_eq!(world.gaps().await, []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn families_are_judged_alike_by_two_hosts_that_are_cut_off_anywhere() {
    for (atomicity, limits) in all_stores() {
        let store = Flaky::new(atomicity, limits, 3, 20);
        let world = World::new(splits_and_merges(), Arc::clone(&store));
        let mut random = ChaCha8Rng::seed_from_u64(11);
        let mut cut = 0;
        loop {
            store.left.store(random.random_range(0..60), Ordering::Relaxed);
            tokio::select! {
                (a, b) = async { tokio::join!(world.run(), world.run()) } => {
                    a.unwrap();
                    b.unwrap();
                    break;
                }
                () = store.cut_off.notified() => cut += 1,
            }
            assert!(cut < 1_000, "it comes to no end");
        }
        assert!(cut > 1, "cut off only {cut} times");
        store.left.store(usize::MAX, Ordering::Relaxed);
        world.run().await.unwrap();
        judge_splits_and_merges(&world).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_triggers_is_given_out_with_the_end_of_its_shard() {
    let text = "policy = \"test\"\n[input]\nformat = \"json\"\ntime = { field = \"ts\", unit = \"ms\", unit_check = false }\n\
         key = [\"k\"]\n[window]\nfixed = \"10s\"\n[watermark]\nmax = true\ndelay = \"1h\"\n[trigger]\nwhen = { repeatedly = { after_count = 100 } }\n\
         [measures]\nn = \"count\"\nsum = { sum = \"v\" }\n";
    let policy = Arc::new(parse(text, Syntax::Toml).unwrap_or_else(|e| panic!("{}", e.in_file("test"))));
    let shards = vec![Shard::of(&[], &[5, 5, 5], true), Shard::of(&[0], &[5, 5], false)];
    let store = Flaky::new(Atomicity::Items, Limits::ITEMS, 0, 0);
    let world = World { policy, ..World::new(shards, store) };
    world.run().await.unwrap();
    assert_eq!(world.counted(Which::Main).await, BTreeMap::from([(0, sums(0, 0..3))]), "the child's wait for theirs");
    world.family.shards[1].closed.store(true, Ordering::Relaxed);
    world.run().await.unwrap();
    assert_eq!(world.counted(Which::Main).await, BTreeMap::from([(0, sums(0, 0..3)), (1, sums(1, 0..2))]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_vanishes_unread_is_a_gap_until_it_is_accepted() {
    for (atomicity, limits) in both() {
        let shards = vec![Shard::of(&[], &[7, 8], false), Shard::of(&[], &[7], false), Shard::of(&[0], &[6, 9], false)];
        let world = World::new(shards, Flaky::new(atomicity, limits, 0, 0));
        world.family.gone.lock().unwrap().insert(2);
        world.run().await.unwrap();
        // Shard 0 had more, was closed, and is gone; 2 goes on from it, 1 has nothing to do with it.
        *world.family.gone.lock().unwrap() = BTreeSet::from([0]);
        world.family.shards[1].records.lock().unwrap().push(8);
        for _ in 0..2 {
            let why = world.run().await.unwrap_err();
            assert!(matches!(&why, RunError::Source { error: SourceError::Gap(_), .. }), "{why}");
            let text = why.to_string();
            assert!(text.contains("shard-0: it is not listed") && text.contains("--accept-gaps"), "{text}");
            assert_eq!(world.gaps().await, [(0, GapKind::Vanished, Some("2".into()), false)]);
            assert_eq!(world.counted(Which::Main).await, BTreeMap::from([(0, sums(0, 0..2)), (1, sums(1, 0..2))]));
            assert!(world.head(2).await.is_none(), "the child waits");
        }
        world.run_accepting().await.unwrap();
        assert_eq!(world.gaps().await, [(0, GapKind::Vanished, Some("2".into()), true)]);
        assert!(world.head(0).await.unwrap().done, "nobody waits for it for ever");
        assert_eq!(world.counted(Which::Late).await, BTreeMap::from([(2, (1, i128::from(value(2, 1))))]));
        assert_eq!(world.counted(Which::Main).await[&2], (1, i128::from(value(2, 2))), "it knew what its parent knew");
        world.run().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trimmed_position_stops_its_lane_alone_until_it_is_accepted() {
    for (atomicity, limits) in both() {
        let shards = vec![Shard::of(&[], &[5, 5], false), Shard::of(&[], &[5], false)];
        let world = World::new(shards, Flaky::new(atomicity, limits, 0, 0));
        world.run().await.unwrap();
        let first = &world.family.shards[0];
        first.records.lock().unwrap().extend([5; 4]);
        first.trimmed.store(4, Ordering::Relaxed);
        world.family.shards[1].records.lock().unwrap().push(5);
        for _ in 0..2 {
            let text = world.run().await.unwrap_err().to_string();
            assert!(text.contains("shard 0 has lost record 2") && text.contains("--accept-gaps"), "{text}");
            assert_eq!(world.gaps().await, [(0, GapKind::Trimmed, Some("2".into()), false)]);
            assert_eq!(world.counted(Which::Main).await, BTreeMap::from([(0, sums(0, 0..2)), (1, sums(1, 0..2))]));
        }
        // A host that dies after the word was given leaves it in the ledger: the next needs none.
        world.store.left.store(0, Ordering::Relaxed);
        tokio::select! {
            _ = world.run_accepting() => panic!("it was cut off"),
            () = world.store.cut_off.notified() => {}
        }
        world.store.left.store(usize::MAX, Ordering::Relaxed);
        world.run_accepting().await.unwrap();
        let (two, rest) = (sums(0, 0..2), sums(0, 4..6));
        let expected = BTreeMap::from([(0, (two.0 + rest.0, two.1 + rest.1)), (1, sums(1, 0..2))]);
        assert_eq!(world.counted(Which::Main).await, expected);
        assert_eq!(world.gaps().await, [(0, GapKind::Trimmed, Some("2".into()), true)]);
        // It happens again, further on: another gap, which nobody has accepted.
        first.records.lock().unwrap().extend([5; 4]);
        first.trimmed.store(9, Ordering::Relaxed);
        world.run().await.unwrap_err();
        assert_eq!(world.gaps().await[1], (0, GapKind::Trimmed, Some("6".into()), false));
        assert_eq!(world.counted(Which::Main).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_came_and_went_unread_is_a_gap_but_not_at_a_first_start() {
    let shards = || {
        vec![
            Shard::of(&[], &[7], true),
            Shard::of(&[0], &[8], true),
            Shard::of(&[1], &[9], false),
            Shard::of(&[], &[7], false),
        ]
    };
    let store = || Flaky::new(Atomicity::Items, Limits::ITEMS, 0, 0);
    // Counted from the start on: what was gone before is nobody's.
    let world = World::new(shards(), store());
    *world.family.gone.lock().unwrap() = BTreeSet::from([0, 1]);
    world.run().await.unwrap();
    assert_eq!((world.gaps().await, world.counted(Which::Main).await.len()), (vec![], 2));
    // So it is where the first start was interrupted before all heads were made.
    let mut world = World::new(shards(), store());
    *world.family.gone.lock().unwrap() = BTreeSet::from([0, 1, 2]);
    world.run().await.unwrap();
    *world.family.gone.lock().unwrap() = BTreeSet::from([0, 1]);
    world.config.first_start = Duration::from_secs(3_600);
    world.run().await.unwrap();
    assert_eq!((world.gaps().await, world.counted(Which::Main).await.len()), (vec![], 2));
    // Later it is one that was missed.
    let world = World::new(shards(), store());
    *world.family.gone.lock().unwrap() = BTreeSet::from([0, 1, 2]);
    world.run().await.unwrap();
    *world.family.gone.lock().unwrap() = BTreeSet::from([0, 1]);
    let why = world.run().await.unwrap_err().to_string();
    assert!(why.contains("shard-2") && why.contains("id-1") && why.contains("never counted"), "{why}");
    assert_eq!(world.gaps().await, [(1, GapKind::Unread, None, false)]);
    assert!(world.head(2).await.is_none());
    world.run_accepting().await.unwrap();
    assert_eq!(world.counted(Which::Main).await[&2], sums(2, 0..1));
    world.run().await.unwrap();
    assert_eq!(world.gaps().await, [(1, GapKind::Unread, None, true)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_made_again_is_refused_as_long_as_old_heads_are_there() {
    let world = World::new(
        vec![Shard::of(&[], &[7], false), Shard::of(&[], &[7], false)],
        Flaky::new(Atomicity::Items, Limits::ITEMS, 0, 0),
    );
    world.family.gone.lock().unwrap().insert(1);
    world.run().await.unwrap();
    *world.family.gone.lock().unwrap() = BTreeSet::from([0]);
    world.family.replaced.store(true, Ordering::Relaxed);
    for attempt in [world.run().await, world.run_accepting().await] {
        let why = attempt.unwrap_err();
        assert!(matches!(&why, RunError::Source { error: SourceError::Refused(_), .. }), "{why}");
        assert!(why.to_string().contains("--generation"), "{why}");
    }
    assert_eq!(world.gaps().await[0].1, GapKind::Replaced);
    assert!(world.head(1).await.is_none(), "nothing of the new one is counted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_does_not_go_on_from_parents_of_another_policy() {
    let world = World::new(
        vec![Shard::of(&[], &[7], true), Shard::of(&[0], &[8], false)],
        Flaky::new(Atomicity::Items, Limits::ITEMS, 0, 0),
    );
    world.family.gone.lock().unwrap().insert(1);
    world.run().await.unwrap();
    world.family.gone.lock().unwrap().clear();
    let other = World { policy: policy_of("n = \"count\""), ..world };
    let why = other.run().await.unwrap_err();
    assert!(matches!(&why, RunError::Pin { .. }), "{why}");
}
