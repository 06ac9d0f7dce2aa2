//! Dead letters driven again: cut off anywhere, twice, two at once, under other policies. Each record counts once.

use super::*;
use crate::redrive::{LANE, Ledger, Redrive, Wish};

const RECORDS: usize = 150;

/// Some records have a key that is too long for the first policy, and some are no JSON at all.
fn lanes() -> Arc<Lanes> {
    let mut lanes = Lanes::new(2, 0);
    for (lane, (_, records)) in lanes.lanes.iter_mut().enumerate() {
        *records = (0..RECORDS).map(|i| troubled(lane, i)).collect();
    }
    Arc::new(lanes)
}

fn is_broken(i: usize) -> bool {
    i % 11 == 5
}

fn has_long_key(i: usize) -> bool {
    i % 3 == 1
}

fn key(i: usize) -> String {
    if has_long_key(i) { format!("a-long-key-{}", i % 5) } else { (i % 5).to_string() }
}

fn troubled(lane: usize, i: usize) -> String {
    let record = format!("{{\"ts\":{},\"k\":\"{}\",\"v\":{}}}", i * 700, key(i), value(lane, i));
    if is_broken(i) { record[..20].to_owned() } else { record }
}

/// The tests' policy with other limits and delay: another digest, the same rows.
fn amended(key_bytes: u32, delay_ms: u32) -> Arc<Policy> {
    let text = String::from_utf8(policy().canonical().to_vec()).unwrap();
    let text = text.replacen("\"key_bytes\":1024", &format!("\"key_bytes\":{key_bytes}"), 1);
    let text = text.replacen("\"delay\":3600000", &format!("\"delay\":{delay_ms}"), 1);
    let policy = Arc::new(Policy::from_canonical(text.as_bytes()).unwrap());
    assert_eq!(policy.shape(), super::policy().shape());
    policy
}

/// The policy that is wrong: long keys are rejected.
fn first() -> Arc<Policy> {
    amended(10, 3_600_000)
}

fn mended() -> Arc<Policy> {
    amended(1_000, 3_600_000)
}

fn third() -> Arc<Policy> {
    amended(1_000, 7_200_000)
}

async fn filled(atomicity: Atomicity, limits: Limits) -> Arc<Flaky> {
    let store = Flaky::new(atomicity, limits, 0, 0);
    let (_keep, stop) = watch::channel(false);
    let config = RunConfig { accept_poison: true, ..config() };
    run(config, parts(&lanes(), &store, Arc::new(NativeEngines), first()), stop).await.unwrap();
    assert_eq!(counted(&store).await.0, rows(|i| !has_long_key(i)));
    store
}

fn rows(counts: impl Fn(usize) -> bool) -> BTreeMap<(i64, String), (i128, i128)> {
    let mut rows: BTreeMap<_, (i128, i128)> = BTreeMap::new();
    for lane in 0..2 {
        for i in (0..RECORDS).filter(|i| !is_broken(*i) && counts(*i)) {
            let start = (i as i64 * 700).div_euclid(10_000) * 10_000;
            let row = rows.entry((start, format!("[\"{}\"]", key(i)))).or_default();
            row.0 += 1;
            row.1 += i128::from(value(lane, i));
        }
    }
    rows
}

/// One `redrive` of all that was rejected.
async fn redrive(store: &Arc<Flaky>, policy: &Arc<Policy>, wish: Wish) -> Result<(), RunError> {
    let shared: Arc<dyn Store> = store.clone();
    let source = Arc::new(Redrive::new(shared, Layout::new(Arc::clone(policy)), wish).await?);
    let (_keep, stop) = watch::channel(false);
    // A few letters a batch.
    let batch = BatchLimits { bytes: 400, ..BatchLimits::default() };
    let config = RunConfig { accept_poison: true, batch, ..config() };
    loop {
        let parts = Parts { source: source.clone(), ..parts(&lanes(), store, Arc::new(NativeEngines), policy.clone()) };
        run(config.clone(), parts, stop.clone()).await?;
        let left = source.choice().await.map_err(|error| RunError::Source { lane: LANE.into(), error })?;
        if left.letters().len() == 0 {
            return Ok(());
        }
    }
}

/// Every record is counted once or has one letter that is still open, and the accounts say so.
async fn settled(store: &Arc<Flaky>) {
    assert_eq!(counted(store).await.0, rows(|_| true));
    let layout = Layout::new(mended());
    let heads = store.heads(&layout).await.unwrap();
    let ledger = Ledger::of(&heads).unwrap();
    let letters = store.dead_letters(&layout, usize::MAX).await.unwrap();
    let open: BTreeSet<_> = letters.iter().filter(|l| !ledger.redriven(l)).map(|l| l.position.clone()).collect();
    let broken = (0..RECORDS).filter(|i| is_broken(*i)).count();
    let origins: BTreeSet<_> = open.iter().map(|p| p.split_once('|').expect("of the redrive's lane").1).collect();
    assert_eq!((open.len(), origins.len()), (2 * broken, 2 * broken), "{open:?}");
    assert!(!ledger.is_under_way());
    for head in &heads {
        assert!(head.account.balanced(), "{head:?}");
        let own = letters.iter().filter(|l| l.lane == head.key.lane).count() as u64;
        assert_eq!(own, head.account.rejected, "{}", head.key.lane);
    }
    let sum = |of: fn(&plimsoll_core::account::Account) -> u64| heads.iter().map(|h| of(&h.account)).sum::<u64>();
    let in_rows: i128 = counted(store).await.0.values().map(|(n, _)| n).sum();
    assert_eq!(i128::from(sum(|a| a.counted)), in_rows);
    assert!(heads.iter().all(|h| h.account.late == 0), "an old record is not late among old ones");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_letter_is_driven_once_whatever_policies_follow() {
    for (atomicity, limits) in both() {
        let store = filled(atomicity, limits).await;
        redrive(&store, &mended(), Wish::rejected()).await.unwrap();
        settled(&store).await;
        let read = |heads: &[Head]| heads.iter().find(|h| h.key.lane == LANE).unwrap().account.read;
        let once = read(&store.heads(&Layout::new(mended())).await.unwrap());
        // Only what failed again is driven again, under whichever policy.
        for (nth, policy) in [third(), first(), mended()].into_iter().enumerate() {
            redrive(&store, &policy, Wish::rejected()).await.unwrap();
            settled(&store).await;
            let broken = 2 * (0..RECORDS).filter(|i| is_broken(*i)).count() as u64;
            let now = read(&store.heads(&Layout::new(mended())).await.unwrap());
            assert_eq!(now, once + (nth as u64 + 1) * broken);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_leave_the_others_for_another_day() {
    let store = filled(Atomicity::Items, Limits::ITEMS).await;
    let wish = |reason, lane: Option<&str>| Wish { reasons: BTreeSet::from([reason]), lane: lane.map(Into::into) };
    redrive(&store, &mended(), wish(Reason::Malformed, None)).await.unwrap();
    assert_eq!(counted(&store).await.0, rows(|i| !has_long_key(i)), "none of these can be counted");
    redrive(&store, &mended(), wish(Reason::KeyTooLong, Some("lane-1"))).await.unwrap();
    redrive(&store, &third(), wish(Reason::KeyTooLong, Some("lane-1"))).await.unwrap();
    let one = counted(&store).await.0;
    redrive(&store, &third(), wish(Reason::KeyTooLong, Some("lane-0"))).await.unwrap();
    assert_ne!(counted(&store).await.0, one);
    redrive(&store, &mended(), wish(Reason::KeyTooLong, None)).await.unwrap();
    settled(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redrive_cut_off_at_any_request_is_finished_by_the_next() {
    for (atomicity, limits) in both() {
        let (mut cut, mut inside) = (0, 0);
        loop {
            let store = filled(atomicity, limits).await;
            store.left.store(cut, Ordering::Relaxed);
            let policy = mended();
            let whole = tokio::select! {
                ended = redrive(&store, &policy, Wish::rejected()) => { ended.unwrap(); true }
                () = store.cut_off.notified() => false,
            };
            store.left.store(usize::MAX, Ordering::Relaxed);
            let heads = store.heads(&Layout::new(mended())).await.unwrap();
            if !whole && Ledger::of(&heads).unwrap().is_under_way() {
                // It began under one policy and ends under it: which records are late must not depend on a crash. Where only
                // its last batch was still to be written there is nothing left to be computed.
                match redrive(&store, &third(), Wish::rejected()).await {
                    Err(RunError::Pin { .. }) => inside += 1,
                    other => other.unwrap(),
                }
            }
            redrive(&store, &mended(), Wish::rejected()).await.unwrap();
            settled(&store).await;
            if whole {
                break;
            }
            cut += if atomicity == Atomicity::Items { 3 } else { 1 };
        }
        assert!(cut > 4 && inside > 2, "cut off at {cut} requests, {inside} of them between two batches");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_redrives_at_once_count_once() {
    for (atomicity, limits) in both() {
        let store = filled(atomicity, limits).await;
        let (wish, mended) = (Wish::rejected, mended());
        let (a, b) = tokio::join!(redrive(&store, &mended, wish()), redrive(&store, &mended, wish()));
        a.unwrap();
        b.unwrap();
        assert_eq!(counted(&store).await.0, rows(|_| true));
        redrive(&store, &third(), wish()).await.unwrap();
        settled(&store).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_of_a_batch_that_is_being_written_are_not_passed_over() {
    let store = Flaky::new(Atomicity::Items, Limits::ITEMS, 0, 0);
    let mut whole = 0;
    let fill = async || {
        let (_keep, stop) = watch::channel(false);
        let config = RunConfig { accept_poison: true, ..config() };
        run(config, parts(&lanes(), &store, Arc::new(NativeEngines), first()), stop).await.unwrap();
    };
    // The host that counts stops in the middle of writing a batch, again and again; each time letters are driven.
    for round in 0..200 {
        store.left.store(30 + 7 * (round % 25), Ordering::Relaxed);
        tokio::select! {
            () = fill() => whole += 1,
            () = store.cut_off.notified() => {}
        }
        store.left.store(usize::MAX, Ordering::Relaxed);
        redrive(&store, &mended(), Wish::rejected()).await.unwrap();
        if whole > 0 {
            break;
        }
    }
    assert_eq!(whole, 1, "it comes to no end");
    fill().await;
    redrive(&store, &mended(), Wish::rejected()).await.unwrap();
    settled(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_mostly_bad_again_writes_nothing() {
    let store = filled(Atomicity::Items, Limits::ITEMS).await;
    let shared: Arc<dyn Store> = store.clone();
    let layout = Layout::new(first());
    let source = Redrive::new(shared, layout.clone(), Wish::rejected()).await.unwrap();
    let (_keep, stop) = watch::channel(false);
    let parts = Parts { source: Arc::new(source), ..parts(&lanes(), &store, Arc::new(NativeEngines), first()) };
    let paused = run(RunConfig { accept_poison: false, ..config() }, parts, stop).await;
    assert!(matches!(paused, Err(RunError::Poison { .. })), "{paused:?}");
    let heads = store.heads(&layout).await.unwrap();
    let head = heads.iter().find(|h| h.key.lane == LANE).unwrap();
    assert_eq!((head.n, head.account.read), (0, 0));
    // A redrive that has not begun says nothing of the time.
    let complete = crate::store::Completeness::of(&first(), &heads);
    let without: Vec<_> = heads.iter().filter(|h| h.key.lane != LANE).cloned().collect();
    assert_eq!(complete.watermark(), crate::store::Completeness::of(&first(), &without).watermark());
    assert!(complete.watermark().is_some());
    redrive(&store, &mended(), Wish::rejected()).await.unwrap();
    settled(&store).await;
}
