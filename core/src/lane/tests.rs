//! Every answer of the protocol's table has its transition.

use super::*;
use crate::account::{Account, Reason};
use crate::time::EventTime;
use crate::wire::effects::{DeadLetter, Effects, Group, Progress, Row, Table};
use std::sync::Arc;

fn config() -> Config {
    Config { atomicity: Atomicity::Items, limits: Limits::ITEMS, table: "t".into(), intent_age_ms_max: 1_000 }
}

fn key() -> LaneKey {
    LaneKey { app: "a".into(), generation: String::new(), lane: "l".into() }
}

fn fresh_head() -> Head {
    Head::new(key(), 7, "t".into(), 0)
}

/// A batch of `rows` rows with one record each, ending at `to`.
fn batch(to: &str, rows: usize) -> Batch {
    let n = rows as u64;
    let rows =
        (0..rows).map(|i| Row { key: format!("[{i:04}]").into_bytes(), values: vec![Some(1)] }).collect::<Vec<_>>();
    let group = Group { table: Table::Main, start: EventTime::from_millis(0), end: EventTime::from_millis(9), rows };
    Batch {
        to: Some(to.into()),
        done: false,
        effects: Effects {
            measures: 1,
            progress: Progress { watermark: Some(EventTime::from_millis(5)), ..Progress::default() },
            account: Account { read: n, counted: n, ..Account::default() },
            groups: if n == 0 { vec![] } else { vec![group] },
            dead: vec![],
        },
        places: vec![],
        snapshot: Some(to.as_bytes().to_vec()),
        written_ms: 0,
        pin: Pin { policy: [1; 32], module: Some([2; 32]), replay: 1, name: "a".into(), shape: [3; 8] },
    }
}

fn one(tip: &Tip, b: Batch) -> Content {
    let mut all = tip.contents(b, &Limits::ITEMS);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn pend(c: &Content) -> StoredPend {
    StoredPend { n: c.n, digest: c.digest, bytes: c.pend.clone() }
}

fn command(lane: &Lane) -> Command {
    match lane.step() {
        Step::Do(command) => command,
        other => panic!("expected a command, found {other:?}"),
    }
}

fn found(lane: &mut Lane, stored: Option<StoredHead>) {
    assert_eq!(command(lane), Command::ReadHead);
    lane.answer(Answer::Head { stored, now_ms: 500 });
}

fn silence() -> Answer {
    Answer::Unknown { detail: "timeout".into() }
}

fn halted(lane: &Lane) -> Halt {
    match lane.step() {
        Step::End(End::Halted(halt)) => halt,
        other => panic!("expected a halt, found {other:?}"),
    }
}

/// A lane that has read this head, nothing pending.
fn started(head: &Head) -> Lane {
    let mut lane = Lane::new(key(), config());
    found(&mut lane, Some(head.stored(None)));
    assert_eq!(command(&lane), Command::ListChunks { alias: head.alias });
    lane.answer(Answer::Names(vec![]));
    lane
}

/// A lane whose INTENT of two effects is to be sent.
fn offered() -> (Lane, Content) {
    let mut lane = started(&fresh_head());
    let Step::Compute(base) = lane.step() else { panic!("{:?}", lane.step()) };
    assert_eq!(base.state, Some(State::default()));
    let c = one(&base.tip, batch("1", 2));
    lane.offer(c.clone());
    assert_eq!(command(&lane), Command::Intent { pend: pend(&c) });
    (lane, c)
}

/// A lane that applies two effects.
fn applying() -> (Lane, Content) {
    let (mut lane, c) = offered();
    lane.answer(Answer::Written);
    assert_eq!(command(&lane), Command::Apply { alias: 7, content: Arc::new(c.clone()), effects: vec![0, 1] });
    (lane, c)
}

fn pended(c: &Content) -> StoredHead {
    fresh_head().stored(Some(pend(c)))
}

#[test]
fn the_first_host_makes_the_head_and_the_second_adopts_it() {
    for answer in [Answer::Written, Answer::Refused] {
        let mut lane = Lane::new(key(), config());
        found(&mut lane, None);
        assert_eq!(command(&lane), Command::AllocateAlias);
        lane.answer(Answer::Alias(9));
        let Command::CreateHead { head } = command(&lane) else { panic!() };
        assert_eq!((head.n, head.alias, Head::decode(&head.bytes).unwrap().created_ms), (0, 9, 500));
        lane.answer(answer);
        found(&mut lane, Some(fresh_head().stored(None)));
        assert_eq!(lane.head().unwrap().alias, 7, "what is stored counts, not what was sent");
    }
}

#[test]
fn commit_and_the_next_intent_are_one_write() {
    let (mut lane, c) = applying();
    assert!(lane.wants());
    let next = one(&c.tip(), batch("2", 1));
    lane.offer(next.clone());
    assert!(!lane.wants());
    lane.answer(Answer::Applied(vec![Applied::Done, Applied::Fenced(1)]));
    let head = fresh_head().after(&c);
    let commit = Command::Commit { n: 1, digest: c.digest, head: head.stored(Some(pend(&next))) };
    assert_eq!(command(&lane), commit);
    lane.answer(Answer::Written);
    assert_eq!(command(&lane), Command::Apply { alias: 7, content: Arc::new(next.clone()), effects: vec![0] });
    lane.answer(Answer::Applied(vec![Applied::Done]));
    lane.answer(Answer::Written);
    let Step::Compute(base) = lane.step() else { panic!() };
    assert_eq!((base.tip, base.state), (next.tip(), None), "the engine goes on where it is");
    assert_eq!(lane.head().unwrap().account.read, 3);
}

#[test]
fn effects_without_an_answer_are_asked_for_again() {
    let (mut lane, c) = applying();
    lane.answer(Answer::Applied(vec![Applied::Done, Applied::Unknown("throttled".into())]));
    assert_eq!(lane.step(), Step::Wait { attempt: 1, why: "throttled".into() });
    lane.waited();
    assert_eq!(command(&lane), Command::Apply { alias: 7, content: Arc::new(c), effects: vec![1] });
    lane.answer(Answer::Applied(vec![Applied::Unknown("throttled".into())]));
    assert_eq!(lane.step(), Step::Wait { attempt: 2, why: "throttled".into() });
    lane.waited();
    lane.answer(Answer::Applied(vec![Applied::Fenced(1)]));
    assert!(matches!(command(&lane), Command::Commit { .. }));
}

#[test]
fn a_fence_ahead_means_behind_or_a_restored_head() {
    let (mut lane, c) = applying();
    let mut ahead = lane.clone();
    lane.answer(Answer::Applied(vec![Applied::Done, Applied::Fenced(2)]));
    let next = one(&c.tip(), batch("2", 1));
    found(&mut lane, Some(fresh_head().after(&c).stored(Some(pend(&next)))));
    assert_eq!(lane.step(), Step::End(End::Behind));
    ahead.answer(Answer::Applied(vec![Applied::Done, Applied::Fenced(5)]));
    found(&mut ahead, Some(pended(&c)));
    assert_eq!(halted(&ahead), Halt::Fence { fence: 5, n: 1 });
}

#[test]
fn effects_past_their_deadline_wait_for_a_look_at_the_head() {
    let (mut lane, c) = applying();
    lane.answer(Answer::Applied(vec![Applied::Expired, Applied::Done]));
    found(&mut lane, Some(pended(&c)));
    assert_eq!(command(&lane), Command::Apply { alias: 7, content: Arc::new(c.clone()), effects: vec![0] });
    lane.answer(Answer::Applied(vec![Applied::Expired]));
    found(&mut lane, Some(fresh_head().after(&c).stored(None)));
    assert!(matches!(lane.step(), Step::Compute(_)), "another host has finished our batch");
}

#[test]
fn what_can_never_succeed_halts_the_lane() {
    let (mut lane, _) = applying();
    lane.answer(Answer::Applied(vec![Applied::Done, Applied::Impossible("item too large".into())]));
    assert_eq!(halted(&lane), Halt::Impossible { detail: "item too large".into() });
    let (mut lane, _) = offered();
    lane.answer(Answer::Impossible { detail: "no".into() });
    assert_eq!(halted(&lane), Halt::Impossible { detail: "no".into() });
}

#[test]
fn an_intent_without_an_answer_is_looked_up() {
    for (answer, stays) in [(silence(), true), (Answer::Refused, false), (Answer::Expired, false)] {
        let (mut lane, c) = offered();
        lane.answer(answer);
        if stays {
            assert_eq!(lane.step(), Step::Wait { attempt: 1, why: "timeout".into() });
            lane.waited();
        }
        let look = |stored| {
            let mut lane = lane.clone();
            found(&mut lane, stored);
            lane
        };
        assert_eq!(command(&look(Some(fresh_head().stored(None)))), Command::Intent { pend: pend(&c) }, "not there");
        assert!(matches!(command(&look(Some(pended(&c)))), Command::Apply { .. }), "it is ours");
        let other = one(&fresh_head().tip(), batch("3", 1));
        assert_eq!(look(Some(pended(&other))).step(), Step::End(End::Behind), "another's");
        assert_eq!(look(Some(fresh_head().after(&other).stored(None))).step(), Step::End(End::Behind));
        assert!(
            matches!(look(Some(fresh_head().after(&c).stored(None))).step(), Step::Compute(_)),
            "finished by another"
        );
        assert!(matches!(halted(&look(None)), Halt::Head { .. }), "gone");
    }
}

#[test]
fn a_commit_without_an_answer_is_looked_up() {
    let (mut lane, c) = applying();
    let next = one(&c.tip(), batch("2", 1));
    lane.offer(next.clone());
    lane.answer(Answer::Applied(vec![Applied::Done, Applied::Done]));
    let commit = command(&lane);
    lane.answer(silence());
    lane.waited();
    let look = |stored| {
        let mut lane = lane.clone();
        found(&mut lane, stored);
        lane
    };
    let after = fresh_head().after(&c);
    assert_eq!(command(&look(Some(pended(&c)))), commit, "not written: the same again");
    let both = look(Some(after.stored(Some(pend(&next)))));
    assert!(matches!(command(&both), Command::Apply { content, .. } if *content == next), "written");
    let alone = look(Some(after.stored(None)));
    assert_eq!(command(&alone), Command::Intent { pend: pend(&next) }, "committed by another host, without our next");
    let other = one(&c.tip(), batch("3", 1));
    assert_eq!(look(Some(after.stored(Some(pend(&other))))).step(), Step::End(End::Behind));
    assert_eq!(look(Some(after.after(&other).stored(None))).step(), Step::End(End::Behind));
    // What no crash explains: our intent was seen, and is gone.
    assert!(matches!(halted(&look(Some(fresh_head().stored(None)))), Halt::Head { .. }));
    let foreign = one(&fresh_head().tip(), batch("9", 1));
    assert!(matches!(halted(&look(Some(fresh_head().after(&foreign).stored(None)))), Halt::Head { .. }));
    assert!(matches!(halted(&look(None)), Halt::Head { .. }));
}

#[test]
fn a_head_of_something_else_halts_the_lane() {
    let wrong = [
        Head { table: "another".into(), ..fresh_head() },
        Head { key: LaneKey { lane: "m".into(), ..key() }, ..fresh_head() },
    ];
    for head in wrong {
        let mut lane = Lane::new(key(), config());
        found(&mut lane, Some(head.stored(None)));
        assert!(matches!(halted(&lane), Halt::Head { .. }));
    }
    let mut lane = Lane::new(key(), config());
    let mut bytes = fresh_head().stored(None);
    bytes.bytes[20] ^= 1;
    found(&mut lane, Some(bytes));
    assert!(matches!(halted(&lane), Halt::Unreadable { .. }));
}

#[test]
fn a_pending_batch_is_finished_before_anything_is_computed() {
    let c = one(&fresh_head().tip(), batch("1", 2));
    let mut lane = Lane::new(key(), config());
    found(&mut lane, Some(pended(&c)));
    lane.answer(Answer::Names(vec![]));
    assert!(lane.recovering() && !lane.wants());
    assert_eq!(command(&lane), Command::Apply { alias: 7, content: Arc::new(c.clone()), effects: vec![0, 1] });
    lane.answer(Answer::Applied(vec![Applied::Fenced(1), Applied::Done]));
    lane.answer(Answer::Written);
    let Step::Compute(base) = lane.step() else { panic!() };
    assert_eq!(base.tip, c.tip());
    assert_eq!(base.state.unwrap().snapshot.as_deref(), Some(&b"1"[..]), "the engine is restored from its state");
}

#[test]
fn a_pending_batch_that_is_too_old_is_not_applied() {
    let c = one(&fresh_head().tip(), Batch { written_ms: -501, ..batch("1", 2) });
    let mut lane = Lane::new(key(), config());
    found(&mut lane, Some(pended(&c)));
    lane.answer(Answer::Names(vec![]));
    assert_eq!(halted(&lane), Halt::OldIntent { n: 1, age_ms: 1_001, max_ms: 1_000 });
}

#[test]
fn a_host_that_slept_for_days_applies_no_old_intent_and_writes_none() {
    let aged = |lane: &mut Lane, stored| {
        assert_eq!(command(lane), Command::ReadHead);
        lane.answer(Answer::Head { stored, now_ms: 2_000 });
    };
    // Its intent is there, and too old to be applied: rows may have expired with their fences.
    let (mut lane, c) = applying();
    lane.answer(Answer::Applied(vec![Applied::Expired, Applied::Done]));
    aged(&mut lane, Some(pended(&c)));
    lane.answer(Answer::Names(vec![]));
    assert_eq!(halted(&lane), Halt::OldIntent { n: 1, age_ms: 2_000, max_ms: 1_000 });
    // Its intent was never written: the batch is computed anew.
    let (mut lane, _) = offered();
    lane.answer(Answer::Expired);
    aged(&mut lane, Some(fresh_head().stored(None)));
    lane.answer(Answer::Names(vec![]));
    let Step::Compute(base) = lane.step() else { panic!("{:?}", lane.step()) };
    assert_eq!(base.state, Some(State::default()), "from the head's state, not from the engine's");
    // The next one, offered ahead, would be written with COMMIT.
    let (mut lane, c) = applying();
    lane.offer(one(&c.tip(), Batch { written_ms: -400, ..batch("2", 1) }));
    lane.answer(Answer::Applied(vec![Applied::Done, Applied::Done]));
    lane.answer(Answer::Expired);
    found(&mut lane, Some(pended(&c)));
    lane.answer(Answer::Names(vec![]));
    assert!(lane.recovering(), "the pending one is read back, the next one forgotten");
}

#[test]
fn a_lane_that_has_ended_stays_so() {
    let c = one(&fresh_head().tip(), Batch { done: true, ..batch("1", 0) });
    assert_eq!(started(&fresh_head().after(&c)).step(), Step::End(End::Done));
}

/// Everything in chunks of 64 bytes.
fn cut() -> Limits {
    Limits { state_inline: 0, intent_inline: 0, chunk: 64, ..Limits::ITEMS }
}

#[test]
fn chunks_are_written_before_they_are_named_and_deleted_after() {
    let state = |last: u8| Some([vec![1; 300], vec![last]].concat());
    let mut lane = started(&fresh_head());
    let Step::Compute(base) = lane.step() else { panic!() };
    let first = base.tip.contents(Batch { snapshot: state(1), ..batch("1", 1) }, &cut()).remove(0);
    lane.offer(first.clone());
    let Command::PutChunks { chunks, .. } = command(&lane) else { panic!() };
    assert!(first.state.names().iter().chain(&first.pend_names).all(|n| chunks.iter().any(|c| c.name == *n)));
    lane.answer(silence());
    lane.waited();
    lane.answer(Answer::Written);
    lane.answer(Answer::Written);
    let second = first.tip().contents(Batch { snapshot: state(2), ..batch("2", 1) }, &cut()).remove(0);
    let kept = second.state.names().iter().filter(|n| n.n == 1).count();
    assert!(kept >= 3, "pieces that did not change keep their names: {kept}");
    assert!(second.chunks.iter().all(|c| c.name.n == 2), "and are not written again");
    lane.offer(second.clone());
    lane.answer(Answer::Applied(vec![Applied::Done]));
    assert!(matches!(command(&lane), Command::PutChunks { .. }), "before COMMIT names them");
    lane.answer(Answer::Written);
    assert!(matches!(command(&lane), Command::Commit { .. }));
    lane.answer(Answer::Written);
    let Command::DeleteChunks { names, .. } = command(&lane) else { panic!() };
    let mut intent = first.pend_names.clone();
    intent.sort();
    intent.dedup();
    assert_eq!(names, intent, "the intent's go, the state's are still named");
    lane.answer(silence());
    lane.answer(Answer::Applied(vec![Applied::Done]));
    lane.answer(Answer::Written);
    let Command::DeleteChunks { names, .. } = command(&lane) else { panic!() };
    assert!(names.iter().all(|n| !second.state.names().contains(n)));
    assert!(names.iter().any(|n| n.n == 1), "pieces of the state before that changed");
}

#[test]
fn who_takes_over_reads_chunks_and_sweeps_what_nobody_can_name() {
    let c = fresh_head().tip().contents(batch("1", 2), &cut()).remove(0);
    let next = c.tip().contents(batch("2", 2), &cut()).remove(0);
    let head = fresh_head().after(&c);
    let garbage = ChunkName { n: 1, digest: [9; 32] };
    let others = ChunkName { n: 2, digest: [9; 32] };
    let mut lane = Lane::new(key(), config());
    found(&mut lane, Some(head.stored(Some(pend(&next)))));
    lane.answer(Answer::Names([c.state.names(), &[garbage, others]].concat()));
    assert_eq!(
        command(&lane),
        Command::DeleteChunks { alias: 7, names: vec![garbage] },
        "batch 2 may still be written"
    );
    lane.answer(Answer::Written);
    let bytes = |names: &[ChunkName]| -> Vec<_> {
        let find = |n: &ChunkName| next.chunks.iter().find(|c| c.name == *n).map(|c| c.bytes.clone());
        names.iter().map(find).collect()
    };
    let Command::GetChunks { names, .. } = command(&lane) else { panic!() };
    assert_eq!(names, next.pend_names);
    let mut missing = lane.clone();
    lane.answer(Answer::Chunks(bytes(&names)));
    assert!(matches!(command(&lane), Command::Apply { content, .. } if content.digest == next.digest));

    missing.answer(Answer::Chunks(vec![None; names.len()]));
    let mut moved = missing.clone();
    found(&mut missing, Some(head.stored(Some(pend(&next)))));
    assert!(matches!(halted(&missing), Halt::Missing { n: 2, .. }), "still named");
    found(&mut moved, Some(head.after(&next).stored(None)));
    let named = next.state.names().contains(&names[0]);
    assert!(!named && moved.step() == Step::End(End::Behind), "committed meanwhile");
}

#[test]
fn a_batch_too_large_for_one_intent_is_given_out_in_parts() {
    let limits = Limits { intent: 36 << 10, ..Limits::ITEMS };
    let mut b = batch("1", 300);
    b.effects.account.read += 1;
    b.effects.account.reject(Reason::BadTime);
    b.effects.dead.push(DeadLetter {
        ordinal: 4,
        reason: Reason::BadTime,
        field: None,
        at: 0,
        arrival: None,
        full_len: 2_000,
        raw: vec![b'x'; 2_000],
    });
    b.places.push("f:4".into());
    b.done = true;
    let (effects, tip) = (b.effects.clone(), fresh_head().tip());
    let parts = tip.contents(b, &limits);
    assert!(parts.len() > 2);
    let mut head = fresh_head();
    let (mut rows, mut dead) = (Vec::new(), 0);
    for (i, c) in parts.iter().enumerate() {
        assert_eq!(c.to.as_deref(), Some("1"));
        assert_eq!(c.done, i + 1 == parts.len(), "the lane ends with the last part");
        head = head.after(c);
        rows.extend(c.effects.groups.iter().flat_map(|g| g.rows.clone()));
        dead += c.effects.dead.len();
    }
    assert_eq!((rows, dead), (effects.groups[0].rows.clone(), 1));
    assert_eq!(head.account, effects.account);

    // The host dies after the first part; the next one computes nothing again.
    let mut lane = Lane::new(key(), Config { limits, ..config() });
    let first = fresh_head().after(&parts[0]);
    found(&mut lane, Some(first.stored(None)));
    lane.answer(Answer::Names(parts[0].state.names().to_vec()));
    if let Step::Do(Command::GetChunks { names, .. }) = lane.step() {
        let find = |n: &ChunkName| parts[0].chunks.iter().find(|c| c.name == *n).map(|c| c.bytes.clone());
        lane.answer(Answer::Chunks(names.iter().map(find).collect()));
    }
    let Step::Compute(base) = lane.step() else { panic!("{:?}", lane.step()) };
    let rest = base.state.unwrap().rest.expect("what is still to be given out");
    let left: usize = rest.effects.groups.iter().map(|g| g.rows.len()).sum();
    assert_eq!(left + parts[0].effects.groups[0].rows.len(), 300);
}

#[test]
fn a_batch_that_does_not_add_up_is_refused() {
    assert_eq!(batch("1", 3).check(Some(0)), Ok(()));
    let lies: [fn(&mut Batch); 5] = [
        |b| b.effects.account.read += 1,
        |b| b.effects.account.reject(Reason::BadTime),
        |b| b.effects.groups[0].rows[0].values[0] = Some(2),
        |b| b.effects.groups[0].table = Table::Late { day: None },
        |b| b.places.push("nowhere".into()),
    ];
    for (i, lie) in lies.into_iter().enumerate() {
        let mut b = batch("1", 3);
        lie(&mut b);
        b.effects.account.read += u64::from(i == 1);
        assert!(b.check(Some(0)).is_err(), "lie {i}");
    }
}

#[test]
fn heads_and_contents_come_back_and_damaged_ones_do_not() {
    let c = one(&fresh_head().tip(), batch("1", 2));
    let head = fresh_head().after(&c);
    let bytes = head.encode();
    assert_eq!(Head::decode(&bytes), Ok(head));
    let body = &c.pend[1..];
    let back = Content::decode(body).unwrap();
    assert_eq!((back.digest, &back.effects, back.tip()), (c.digest, &c.effects, c.tip()));
    for i in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[i] ^= 1;
        assert!(Head::decode(&bad).is_err(), "byte {i}");
    }
    for i in 0..body.len() {
        let mut bad = body.to_vec();
        bad[i] ^= 1;
        assert!(Content::decode(&bad).is_err(), "byte {i}");
        assert!(Content::decode(&body[..i]).is_err(), "cut at {i}");
    }
}

#[test]
#[should_panic(expected = "out of turn")]
fn a_content_out_of_turn_is_a_bug() {
    let (mut lane, c) = offered();
    lane.offer(one(&c.tip(), batch("2", 1)));
}

#[test]
#[should_panic(expected = "does not join")]
fn a_content_that_does_not_join_is_a_bug() {
    let (mut lane, _) = applying();
    lane.offer(one(&fresh_head().tip(), batch("2", 1)));
}

#[test]
fn a_child_begins_where_its_parents_ended() {
    let birth = Birth {
        snapshot: Some(b"both".to_vec()),
        progress: Progress { watermark: Some(EventTime::from_millis(3)), ..Progress::default() },
    };
    let mut lane = Lane::child(key(), config(), birth.clone());
    found(&mut lane, None);
    lane.answer(Answer::Alias(9));
    let Command::CreateHead { head } = command(&lane) else { panic!() };
    let born = Head::decode(&head.bytes).unwrap();
    assert_eq!((born.n, born.progress), (0, birth.progress), "it holds back what its parents held back");
    lane.answer(Answer::Written);
    found(&mut lane, Some(head));
    lane.answer(Answer::Names(vec![]));
    let Step::Compute(base) = lane.step() else { panic!() };
    assert_eq!(base.state.unwrap().snapshot, birth.snapshot);

    let mut late = Lane::child(key(), config(), birth);
    found(&mut late, Some(fresh_head().stored(None)));
    late.answer(Answer::Names(vec![]));
    let Step::Compute(base) = late.step() else { panic!() };
    assert_eq!(base.state, Some(State::default()), "what is stored counts");
}

#[test]
fn only_a_lane_that_is_committed_to_its_end_is_a_parent() {
    let c = one(&fresh_head().tip(), Batch { done: true, ..batch("1", 1) });
    let head = fresh_head().after(&c);
    let ended = Ended::of("l", Some(&head.stored(None))).unwrap();
    assert_eq!((ended.alias, ended.progress, ended.names()), (7, head.progress, &[][..]));
    assert_eq!(ended.snapshot(&[]), Ok(Some(b"1".to_vec())));
    for stored in [None, Some(fresh_head().stored(None)), Some(pended(&c))] {
        assert_eq!(Ended::of("l", stored.as_ref()), Err(NotEnded::Open { lane: "l".into(), n: 0 }));
    }
    let mut earlier = ended.clone();
    earlier.progress = Progress::default();
    assert_eq!(Birth::after(core::slice::from_ref(&ended), None).progress, head.progress);
    assert_eq!(Birth::after(&[ended, earlier], None).progress.watermark, None, "the least claim");

    // A state in chunks.
    let first = fresh_head().tip().contents(Batch { done: true, ..batch("1", 1) }, &cut()).remove(0);
    let ended = Ended::of("l", Some(&fresh_head().after(&first).stored(None))).unwrap();
    let find = |n: &ChunkName| first.chunks.iter().find(|c| c.name == *n).unwrap().bytes.clone();
    let bytes = ended.names().iter().flat_map(find).collect::<Vec<_>>();
    assert_eq!(ended.snapshot(&bytes), Ok(Some(b"1".to_vec())));
}
