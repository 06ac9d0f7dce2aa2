//! What is never written, and when the rest is.

use super::idle::{Quiet, Running};
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_the_store_can_never_take_leaves_nothing_pending() {
    for (atomicity, limits) in both() {
        let (lanes, store) = (Arc::new(Lanes::new(1, 500)), Flaky::new(atomicity, limits, 0, 0));
        store.start_max.store(100_000, Ordering::Relaxed);
        let refused = drive(&lanes, &store).await.unwrap_err();
        let text = refused.to_string();
        assert!(matches!(refused, RunError::Unwritable { .. }), "{text}");
        assert!(
            text.contains("lane-0") && text.contains("the row of 1") && text.contains("nothing was written"),
            "{text}"
        );
        let head = store.heads(&Layout::new(policy())).await.unwrap().remove(0);
        assert!(head.n > 0, "what came before it is committed");
        let key = Layout::new(policy()).lane("lane-0");
        let Answer::Head { stored: Some(stored), .. } = store.execute(&key, &Command::ReadHead).await.unwrap() else {
            panic!("there is a head");
        };
        assert_eq!(stored.pend, None);
        assert!(counted(&store).await.0.keys().all(|(start, _)| *start <= 100_000), "nothing of it is there");
        // Once it can be taken, the lane goes on as if nothing had been.
        store.start_max.store(i64::MAX, Ordering::Relaxed);
        drive(&lanes, &store).await.unwrap();
        assert_eq!(counted(&store).await.0, expected(1, 500, &[]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_how_often_gets_no_batch_for_every_pause_of_the_source() {
    for (at_tip, batches) in [(AtTip::Write, 4), (AtTip::Wait, 2)] {
        let (source, store) = (Quiet::new(1), Flaky::new(Atomicity::Items, Limits::ITEMS, 0, 0));
        // So long that nothing ends a batch but the tip, or being told to stop.
        let batch = BatchLimits { interval: Duration::from_secs(3_600), at_tip, ..BatchLimits::default() };
        let run = Running::with(&source, &store, RunConfig { batch, idle_timeout: None, ..config() });
        // The first batch after a start is short whatever is said.
        source.give(0, 1);
        run.comes_to(0).await;
        for hours in 2..=4 {
            source.give(0, hours);
            let looks = source.looks();
            run.sees("two looks that find nothing more", || source.looks() >= looks + 3).await;
            if at_tip == AtTip::Write {
                run.comes_to(hours - 1).await;
            }
        }
        run.ends().await;
        let head = store.heads(&Layout::new(policy())).await.unwrap().remove(0);
        assert_eq!((head.account.counted, head.n), (4, batches), "{at_tip:?}");
    }
}
