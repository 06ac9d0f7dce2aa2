//! The gap ledger's part of the contract.

use super::{Hosts, layout};
use crate::store::{Gap, GapKind, Layout};

pub(super) async fn are_noted_once_and_stay_accepted([store, other]: Hosts) {
    let layout = layout();
    store.prepare(&layout).await.expect("the store is as it must be");
    other.prepare(&layout).await.expect("the store is as it must be");
    assert_eq!(store.gaps(&layout).await.expect("gaps can be read"), []);
    let gap = |lane: &str, position: Option<&str>, found_ms| Gap {
        lane: lane.to_owned(),
        kind: GapKind::Trimmed,
        position: position.map(str::to_owned),
        found: "the oldest record there is now 7, \"quoted\"".to_owned(),
        found_ms,
        accepted_ms: None,
    };
    let first = gap("a", Some("5/0"), 1_000);
    assert_eq!(store.note_gap(&layout, &first).await.expect("it is noted"), first);
    // Another host finds the same, later and in other words: what was written first stands.
    let again = Gap { found: "something else".to_owned(), found_ms: 2_000, ..first.clone() };
    assert_eq!(other.note_gap(&layout, &again).await.expect("it is noted"), first);
    let accepted = Gap { accepted_ms: Some(3_000), ..first.clone() };
    assert_eq!(other.note_gap(&layout, &Gap { accepted_ms: Some(3_000), ..again }).await.expect("noted"), accepted);
    let later = Gap { accepted_ms: Some(9_000), ..first.clone() };
    assert_eq!(store.note_gap(&layout, &later).await.expect("it is noted"), accepted, "accepted once");
    assert_eq!(store.note_gap(&layout, &first).await.expect("it is noted"), accepted, "and for good");

    // Lanes, kinds, positions and generations stand apart.
    let others = [
        gap("a", None, 500),
        gap("a", Some("6/0"), 600),
        gap("b", Some("5/0"), 700),
        Gap { kind: GapKind::Vanished, ..gap("a", Some("5/0"), 800) },
        Gap { kind: GapKind::Unread, ..gap("long".repeat(400).as_str(), None, 900) },
    ];
    for gap in &others {
        assert_eq!(&store.note_gap(&layout, gap).await.expect("it is noted"), gap);
    }
    let second = Layout { generation: "second".into(), ..layout.clone() };
    assert_eq!(store.gaps(&second).await.expect("gaps can be read"), []);
    let all: Vec<Gap> = others.into_iter().chain([accepted]).collect();
    assert_eq!(other.gaps(&layout).await.expect("gaps can be read"), all);
}
