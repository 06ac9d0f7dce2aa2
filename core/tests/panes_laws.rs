//! The laws of panes: what holds for every policy and every stream.
//!
//! Each test is a sentence about two runs, or about all that one run gave out. Streams have disorder, late records, ticks
//! and watermarks of every strategy; policies have every window, trigger, accumulation, lateness and option.
//!
//! Not here: which panes a policy gives for a stream (`reference`).

mod support;

use plimsoll_core::engine::{Engine, FlushMode};
use plimsoll_core::policy::{
    Accumulation, Bundle, Emission, Future, LateTo, Panes as Rules, Policy, Spec, Strategy as Follow, Trigger,
    Watermark, Windowing,
};
use plimsoll_core::time::TimeDelta;
use plimsoll_core::wire::frame::{self, Kind};
use plimsoll_core::wire::panes::{Pane, Timing};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use std::collections::BTreeMap;
use support::{Case, Rec, Run, Step, check, frame_of};

const STEPS: usize = 50;

fn any_windows() -> impl Strategy<Value = (Windowing, i64)> {
    prop_oneof![3 => support::windows(), 2 => support::sessions()]
}

fn any_case() -> impl Strategy<Value = Case> {
    support::cases(support::policies(any_windows(), support::triggers()), STEPS)
}

/// The same policy with other rules.
fn with(case: &Case, change: impl FnOnce(&mut Spec)) -> Case {
    let mut spec = case.policy.spec().clone();
    change(&mut spec);
    Case { policy: Policy::new(spec).expect("as valid as the one it came from"), steps: case.steps.clone() }
}

fn rules(spec: &mut Spec) -> &mut Rules {
    spec.panes.as_mut().expect("policies with panes")
}

/// A trigger that never finishes, so that no record is refused because of it.
fn forever(spec: &mut Spec) {
    let trigger = rules(spec).trigger.clone();
    rules(spec).trigger = Trigger::Repeatedly { trigger: Box::new(trigger) };
}

fn is_session(case: &Case) -> bool {
    matches!(case.policy.spec().window, Windowing::Session { .. })
}

fn same(a: &Run, b: &Run) -> TestCaseResult {
    prop_assert_eq!(&a.panes, &b.panes, "panes");
    prop_assert_eq!((a.expired, a.closed), (b.expired, b.closed), "refusals");
    prop_assert_eq!(a.told(), b.told(), "rows, late rows, accounts");
    Ok(())
}

#[test]
fn how_a_stream_is_cut_changes_nothing() {
    let cuts = vec((0u8..6, any::<bool>()), STEPS);
    check("cuts", 3_000, &(any_case(), cuts), |(case, cuts)| {
        let whole = Run::of(&case);
        let mut cut = Run::new(&case.policy);
        let mut held = Vec::new();
        for (i, (step, (what, ask))) in case.steps.iter().zip(cuts).enumerate() {
            held.extend(frame_of(i, step));
            if what > 1 {
                cut.apply(&std::mem::take(&mut held));
                match what {
                    2 => cut.flush(FlushMode::All),
                    3 => cut.flush(FlushMode::Final),
                    _ if ask => cut.ask(),
                    _ => {}
                }
            }
        }
        cut.apply(&held);
        cut.end();
        same(&whole, &cut)
    });
}

#[test]
fn lines_of_one_frame_are_records_one_by_one() {
    check("lines", 1_500, &any_case(), |case| {
        let whole = Run::of(&case);
        let mut lines = Run::new(&case.policy);
        let mut i = 0;
        while i < case.steps.len() {
            let Step::Record(first) = &case.steps[i] else {
                lines.apply(&frame_of(i, &case.steps[i]));
                i += 1;
                continue;
            };
            let mut text = String::new();
            let from = i;
            // Lines of a frame share their arrival.
            while let Some(Step::Record(r)) = case.steps.get(i).filter(|_| i - from < 5) {
                if r.arrival != first.arrival {
                    break;
                }
                text += &(support::line(r) + "\n");
                i += 1;
            }
            let mut out = Vec::new();
            let arrival = first.arrival.map(plimsoll_core::time::ArrivalTime::from_millis);
            frame::push(&mut out, Kind::Lines, from as u64, arrival, text.as_bytes());
            lines.apply(&out);
        }
        lines.end();
        same(&whole, &lines)
    });
}

#[test]
fn a_restart_anywhere_changes_nothing() {
    let restarts = vec(prop_oneof![2 => Just(0u8), 1 => Just(1), 1 => Just(2)], STEPS);
    check("restarts", 3_000, &(any_case(), restarts), |(case, restarts)| {
        let (mut whole, mut cut) = (Run::new(&case.policy), Run::new(&case.policy));
        for (i, (step, restart)) in case.steps.iter().zip(restarts).enumerate() {
            for run in [&mut whole, &mut cut] {
                run.apply(&frame_of(i, step));
                run.ask();
                if restart == 2 {
                    run.flush(FlushMode::All);
                }
            }
            if restart > 0 {
                cut.restore();
            }
            prop_assert_eq!(&whole.panes, &cut.panes, "panes after step {}", i);
            prop_assert_eq!(whole.snapshot(), cut.snapshot(), "snapshots after step {}", i);
        }
        whole.end();
        cut.end();
        same(&whole, &cut)
    });
}

/// A key, and a window's start and end.
type Place<'p> = (&'p [u8], i64, i64);

/// The panes of each key and window in order, retractions apart. A session that is made anew is another.
fn stories(panes: &[Pane]) -> Vec<Vec<&Pane>> {
    let mut stories: BTreeMap<Place<'_>, Vec<Vec<&Pane>>> = BTreeMap::new();
    for pane in panes.iter().filter(|p| !p.retraction) {
        let at = (&pane.key[..], pane.window.start.as_millis(), pane.window.end.as_millis());
        let of_window = stories.entry(at).or_default();
        if pane.index == 0 {
            of_window.push(Vec::new());
        }
        if let Some(story) = of_window.last_mut() {
            story.push(pane);
        }
    }
    stories.into_values().flatten().collect()
}

#[test]
fn panes_are_early_then_on_time_then_late() {
    check("grammar", 3_000, &any_case(), |case| {
        let run = Run::of(&case);
        let stories = stories(&run.panes);
        let told: usize = stories.iter().map(Vec::len).sum();
        prop_assert_eq!(told, run.panes.iter().filter(|p| !p.retraction).count(), "a window's first pane has index 0");
        let mut windows: Vec<_> = stories.iter().map(|s| (&s[0].key, s[0].window)).collect();
        windows.sort();
        windows.dedup();
        prop_assert!(is_session(&case) || windows.len() == stories.len(), "a window has one story");
        for story in stories {
            let mut settled = 0;
            for (i, pane) in story.iter().enumerate() {
                prop_assert_eq!(pane.index, i as u64, "indexes count from 0");
                prop_assert_eq!(pane.first, i == 0, "the first is the first");
                prop_assert!(!pane.last || i + 1 == story.len(), "nothing comes after the last");
                if i > 0 {
                    let before = story[i - 1].timing;
                    prop_assert!(before <= pane.timing, "early, on time, late");
                    prop_assert!(pane.timing != Timing::OnTime || before != Timing::OnTime, "on time is once");
                }
                let early = pane.timing == Timing::Early;
                prop_assert_eq!(pane.settled_index, (!early).then_some(settled), "what is not early counts from 0");
                settled += u64::from(!early);
                let ended = pane.watermark.is_some_and(|w| w >= pane.window.end);
                prop_assert_eq!(ended, !early, "early is before the watermark reaches the end");
            }
        }
        Ok(())
    });
}

fn add(held: &mut [Option<i128>], more: &[Option<i128>]) {
    for (i, (held, more)) in held.iter_mut().zip(more).enumerate() {
        *held = match (*held, *more) {
            (Some(a), Some(b)) if i == 3 => Some(a.min(b)),
            (Some(a), Some(b)) if i == 4 => Some(a.max(b)),
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
    }
}

#[test]
fn discarding_panes_add_up_to_the_accumulating_one() {
    check("adding up", 2_500, &any_case(), |case| {
        // A period by itself says again what there is, new or not: of that, discarding has nothing.
        if matches!(case.policy.spec().panes.as_ref().map(|p| &p.trigger), Some(Trigger::EveryEventTime { .. })) {
            return Ok(());
        }
        let of = |accumulation| Run::of(&with(&case, |spec| rules(spec).accumulation = accumulation));
        let (discarding, accumulating) = (of(Accumulation::Discarding), of(Accumulation::Accumulating));
        let blank = |p: &Pane| Pane { columns: Vec::new(), kept: Vec::new(), ..p.clone() };
        let bare = |run: &Run| run.panes.iter().map(blank).collect::<Vec<_>>();
        prop_assert_eq!(bare(&discarding), bare(&accumulating), "they speak at the same instants");
        prop_assert_eq!(discarding.told(), accumulating.told(), "rows");
        let mut sums: BTreeMap<Place<'_>, Vec<Option<i128>>> = BTreeMap::new();
        for (new, all) in discarding.panes.iter().zip(&accumulating.panes) {
            let (start, end) = (new.window.start.as_millis(), new.window.end.as_millis());
            // Sessions take over what others have said, which panes do not tell: `reference` follows them.
            if !is_session(&case) {
                let sum = sums.entry((&new.key[..], start, end)).or_insert_with(|| vec![None; new.columns.len()]);
                add(sum, &new.columns);
                prop_assert_eq!(&*sum, &all.columns, "the sum of {:?}", new);
            }
        }
        Ok(())
    });
}

#[test]
fn a_retraction_takes_back_what_was_said_and_all_but_the_last_is_taken_back() {
    check("retractions", 2_500, &any_case(), |case| {
        let of = |accumulation| Run::of(&with(&case, |spec| rules(spec).accumulation = accumulation));
        let (retracting, accumulating) = (of(Accumulation::Retracting), of(Accumulation::Accumulating));
        let told: Vec<Pane> = retracting.panes.iter().filter(|p| !p.retraction).cloned().collect();
        prop_assert_eq!(&told, &accumulating.panes, "beside retractions they are the accumulating panes");
        let mut standing: Vec<Pane> = Vec::new();
        for pane in &retracting.panes {
            if pane.retraction {
                let said = |p: &Pane| Pane { retraction: true, watermark: pane.watermark, ..p.clone() };
                let found = standing.iter().position(|p| said(p) == *pane);
                prop_assert!(found.is_some(), "nothing like it stands: {:?}", pane);
                standing.remove(found.expect("just seen"));
            } else {
                standing.push(pane.clone());
            }
        }
        // Of a window the last pane stands, and no other: for each key, values minus retractions are the last values.
        let mut last: BTreeMap<(Vec<u8>, i64, i64), Vec<Pane>> = BTreeMap::new();
        for pane in standing {
            let at = (pane.key.clone(), pane.window.start.as_millis(), pane.window.end.as_millis());
            last.entry(at).or_default().push(pane);
        }
        for panes in last.values() {
            let open = panes.iter().filter(|p| !p.last).count();
            prop_assert!(open <= 1 && (is_session(&case) || panes.len() == 1), "two stand: {:?}", panes);
        }
        Ok(())
    });
}

#[test]
fn rows_do_not_depend_on_triggers_and_accumulation() {
    let other = (support::triggers(), 0usize..3, any::<bool>());
    check("rows", 2_500, &(any_case(), other), |(case, (trigger, accumulation, flush))| {
        let one = with(&case, forever);
        let accumulation =
            [Accumulation::Discarding, Accumulation::Accumulating, Accumulation::Retracting][accumulation];
        let two = with(&case, |spec| {
            let rules = rules(spec);
            (rules.trigger, rules.accumulation) = (trigger, accumulation);
            rules.flush_on_expiry = flush;
            rules.closing = Emission::IfNonEmpty;
            forever(spec);
        });
        let (one, two) = (Run::of(&one), Run::of(&two));
        prop_assert_eq!(one.told(), two.told());
        Ok(())
    });
}

#[test]
fn rows_are_those_of_an_engine_without_panes() {
    let cases = support::cases(support::policies(support::windows(), support::triggers()), STEPS);
    check("rows without panes", 2_500, &cases, |case| {
        let paned = Run::of(&with(&case, forever));
        let plain = Run::of(&with(&case, |spec| {
            spec.panes = None;
            spec.kept.clear();
        }));
        prop_assert_eq!(paned.told(), plain.told());
        Ok(())
    });
}

#[test]
fn every_record_has_one_fate_and_the_watermark_never_goes_back() {
    check("conservation", 2_500, &any_case(), |case| {
        let mut run = Run::new(&case.policy);
        let mut watermark = None;
        for (i, step) in case.steps.iter().enumerate() {
            run.apply(&frame_of(i, step));
            run.flush(FlushMode::All);
            let now = run.engine.progress();
            prop_assert!(now.watermark >= watermark, "{:?} after {:?}", now.watermark, watermark);
            let given = case.policy.spec().watermark.strategy == Follow::Given;
            if let (Some(w), Some(at)) = (now.watermark, now.arrival.filter(|_| !given)) {
                // Before the first arrival nothing bounds it.
                prop_assert!(w <= at.as_event_time() || watermark == now.watermark, "ahead of every arrival");
            }
            watermark = now.watermark;
            let records = case.steps[..=i].iter().filter(|s| matches!(s, Step::Record(_))).count();
            prop_assert!(run.rows.account().balanced());
            prop_assert_eq!(run.rows.account().read, records as u64);
        }
        run.end();
        let account = run.rows.account().clone();
        let sum = |rows: &mut dyn Iterator<Item = i128>| rows.sum::<i128>();
        let counted = sum(&mut run.rows.main().filter_map(|(_, row)| row.values[0]));
        let late = sum(&mut run.rows.late().filter_map(|(_, _, row)| row.values[0]));
        if matches!(case.policy.spec().window, Windowing::Session { .. } | Windowing::Fixed { .. }) {
            prop_assert_eq!(counted, i128::from(account.counted), "each counted record is in one row");
            let to_table = case.policy.spec().late.to == LateTo::Table;
            prop_assert_eq!(late, if to_table { i128::from(account.late) } else { 0 });
        }
        prop_assert!(run.engine.held().iter().all(|held| held.closed), "nothing is open after the end");
        Ok(())
    });
}

/// Records in another order between two watermarks: none of them is behind the watermark.
fn shuffled(case: &Case, order: &[u32]) -> Case {
    let mut steps = case.steps.clone();
    let (mut watermark, mut from) = (i64::MIN, 0);
    for i in 0..=steps.len() {
        match steps.get_mut(i) {
            Some(Step::Record(r)) => {
                r.t = r.t.max(watermark);
                // A session without extent at the watermark is over as it begins.
                r.gap = r.gap.map(|gap| gap.max(1));
            }
            found => {
                if let Some(Step::Watermark(w)) = found {
                    // Nothing comes behind the end of time.
                    *w = (*w).min(1 << 50);
                    watermark = watermark.max(*w);
                }
                let mut part: Vec<(u32, Step)> = (from..i).map(|i| (order[i], steps[i].clone())).collect();
                part.sort_by_key(|(place, _)| *place);
                part.into_iter().enumerate().for_each(|(n, (_, step))| steps[from + n] = step);
                from = i + 1;
            }
        }
    }
    Case { policy: case.policy.clone(), steps }
}

#[test]
fn the_order_of_records_that_are_on_time_changes_no_row() {
    check("order", 3_000, &(any_case(), vec(any::<u32>(), STEPS)), |(case, order)| {
        let case = with(&case, |spec| {
            forever(spec);
            // Which keys are in follows the order of records.
            spec.limits.keys_per_window = None;
            spec.watermark = Watermark { strategy: Follow::Given, max_future: None, ..spec.watermark };
        });
        let straight: Vec<u32> = (0..STEPS as u32).collect();
        let (one, two) = (Run::of(&shuffled(&case, &straight)), Run::of(&shuffled(&case, &order)));
        prop_assert_eq!(one.rows.account().late, 0);
        prop_assert_eq!(one.told(), two.told());
        Ok(())
    });
}

#[test]
fn disorder_up_to_the_delay_makes_nothing_late() {
    let records = vec((0i64..60, 0u8..3, 0i64..11, 0i64..11), 1..STEPS);
    let policies = support::policies(any_windows(), support::triggers());
    check("disorder", 2_000, &(policies, records), |((policy, unit), records)| {
        let case = with(&Case { policy, steps: Vec::new() }, |spec| {
            forever(spec);
            // Which keys are in follows the order of records.
            spec.limits.keys_per_window = None;
            let delay = TimeDelta::from_millis(10 * unit);
            spec.watermark = Watermark { strategy: Follow::Max, delay, max_future: None, future: Future::Accept };
        });
        let run = |jitter: fn(&(i64, u8, i64, i64)) -> i64| {
            let mut order: Vec<_> = records.iter().collect();
            order.sort_by_key(|r| (r.0 + jitter(r), r.0, r.1));
            let record = |r: &(i64, u8, i64, i64)| {
                Step::Record(Rec { key: r.1, t: r.0 * unit, v: Some(r.0), gap: None, arrival: None })
            };
            Run::of(&Case { policy: case.policy.clone(), steps: order.into_iter().map(record).collect() })
        };
        let (one, two) = (run(|r| r.2), run(|r| r.3));
        let rows = |run: &Run| {
            let mut out = Vec::new();
            run.rows.write_main(&mut out);
            (String::from_utf8(out).expect("text"), run.rows.account().clone())
        };
        prop_assert_eq!(one.rows.account().late, 0);
        prop_assert_eq!(rows(&one), rows(&two));
        Ok(())
    });
}

const YEAR: i64 = 366 * 86_400_000;
const LIAR: u8 = 9;

/// What a run says of everyone but the liar.
fn of_the_honest(run: &Run) -> (Vec<Pane>, Vec<String>) {
    let liar = support::key_text(LIAR);
    let panes = run.panes.iter().filter(|p| p.key != liar).cloned().collect();
    let main = run.rows.main().filter(|(_, row)| row.key != liar).map(|row| format!("{row:?}"));
    let late = run.rows.late().filter(|(_, _, row)| row.key != liar).map(|row| format!("{row:?}"));
    (panes, main.chain(late).collect())
}

#[test]
fn one_device_a_year_ahead_changes_no_other_verdict() {
    check("one liar", 2_500, &(any_case(), vec(0u8..3, STEPS), 0usize..3), |(case, lies, future)| {
        let case = with(&case, |spec| {
            let future = [Future::Quarantine, Future::Clamp, Future::Accept][future];
            let max_future = Some(TimeDelta::from_millis(1 << 24));
            spec.watermark = Watermark { max_future, future, ..spec.watermark };
            // A key that is in first keeps another one out, whoever has sent it.
            spec.limits.keys_per_window = None;
            // Late rows tell whose records were late.
            spec.late.to = LateTo::Table;
        });
        // Everything arrives with a time, the liar's records just before those of others.
        let (mut honest, mut with_liar, mut at) = (Vec::new(), Vec::new(), 0);
        for (step, lie) in case.steps.iter().zip(lies) {
            let mut step = step.clone();
            if let Step::Record(r) = &mut step {
                at = r.arrival.unwrap_or(at).max(at);
                r.arrival = Some(at);
                if lie == 0 {
                    let lie = Rec { key: LIAR, t: at + YEAR, arrival: Some(at), ..r.clone() };
                    with_liar.push(Step::Record(lie));
                }
            }
            honest.push(step.clone());
            with_liar.push(step);
        }
        let run = |steps| Run::of(&Case { policy: case.policy.clone(), steps });
        let (honest, with_liar) = (run(honest), run(with_liar));
        prop_assert_eq!(honest.engine.progress().watermark, with_liar.engine.progress().watermark);
        prop_assert_eq!(of_the_honest(&honest), of_the_honest(&with_liar));
        Ok(())
    });
}

/// Under the median without any check of arrivals: `liars` of every `sample` records are a year ahead.
fn late_under_the_median(sample: u32, liars: usize, lags: &[i64]) -> u64 {
    let window = Windowing::Fixed { size: TimeDelta::from_millis(10), offset: TimeDelta::ZERO };
    let mut spec = support::spec(window, support::panes(Trigger::Default, Accumulation::Discarding));
    let delay = TimeDelta::from_millis(20);
    let strategy = Follow::Quantile { q_milli: 500, sample, min_sample: sample, per_source: None };
    spec.watermark = Watermark { strategy, delay, max_future: None, future: Future::Accept };
    let record = |(i, lag): (usize, &i64)| {
        let now = i as i64;
        let lies = i % (sample as usize) < liars;
        let (key, t) = if lies { (LIAR, now + YEAR) } else { (0, now - lag) };
        Step::Record(Rec { key, t, v: None, gap: None, arrival: None })
    };
    let steps = lags.iter().enumerate().map(record).collect();
    Run::of(&Case { policy: Policy::new(spec).expect("valid"), steps }).rows.account().late
}

#[test]
fn the_median_holds_while_fewer_than_half_lie_and_no_longer() {
    let cases = (1u32..8, vec(0i64..20, 60..200));
    check("median", 1_500, &cases, |(half, lags)| {
        let sample = 2 * half + 1;
        prop_assert_eq!(late_under_the_median(sample, half as usize, &lags), 0, "half lie, nobody is late");
        prop_assert!(late_under_the_median(sample, half as usize + 1, &lags) > 0, "one more and all are");
        Ok(())
    });
}

#[test]
fn frames_that_enter_whole_hold_the_same_laws() {
    check("bundles", 2_000, &(any_case(), vec(any::<bool>(), STEPS)), |(case, cuts)| {
        let whole = with(&case, |spec| rules(spec).bundle = Bundle::Frame);
        // A bundle of one is what a record by itself is.
        let single = |case: &Case| {
            let mut run = Run::new(&case.policy);
            for (i, step) in case.steps.iter().enumerate() {
                match step {
                    Step::Record(r) => run.apply(&lines(i, &[r])),
                    other => run.apply(&frame_of(i, other)),
                }
            }
            run.end();
            run
        };
        same(&single(&whole), &single(&case))?;
        // Larger ones: each record has one fate, and a restart shows nowhere.
        let (mut run, mut restarted) = (Run::new(&whole.policy), Run::new(&whole.policy));
        let mut held: Vec<&Rec> = Vec::new();
        for (i, (step, cut)) in whole.steps.iter().zip(cuts).enumerate() {
            let mut frames = Vec::new();
            match step {
                Step::Record(r) if held.first().is_none_or(|h| h.arrival == r.arrival) => held.push(r),
                other => {
                    frames.extend(lines(i - held.len(), &std::mem::take(&mut held)));
                    frames.extend(frame_of(i, other));
                }
            }
            if cut {
                frames.extend(lines(i + 1 - held.len(), &std::mem::take(&mut held)));
            }
            run.apply(&frames);
            restarted.apply(&frames);
            restarted.restore();
        }
        let rest = lines(whole.steps.len() - held.len(), &held);
        for run in [&mut run, &mut restarted] {
            run.apply(&rest);
            run.end();
        }
        let records = whole.steps.iter().filter(|s| matches!(s, Step::Record(_))).count();
        prop_assert_eq!(run.rows.account().read, records as u64);
        same(&run, &restarted)
    });
}

/// Records as one frame of lines; no frame where there are none.
fn lines(ordinal: usize, records: &[&Rec]) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(first) = records.first() {
        let text: String = records.iter().map(|r| support::line(r) + "\n").collect();
        let arrival = first.arrival.map(plimsoll_core::time::ArrivalTime::from_millis);
        frame::push(&mut out, Kind::Lines, ordinal as u64, arrival, text.as_bytes());
    }
    out
}

#[test]
fn engines_of_one_policy_and_stream_are_one() {
    check("sameness", 500, &any_case(), |case| {
        let run = |policy: Policy| {
            let mut engine = Run::new(&policy);
            engine.engine = Engine::new(policy);
            case.steps.iter().enumerate().for_each(|(i, step)| engine.apply(&frame_of(i, step)));
            engine.ask();
            (engine.snapshot(), engine.panes)
        };
        let again = Policy::from_canonical(case.policy.canonical()).expect("its own form");
        prop_assert_eq!(run(case.policy.clone()), run(again));
        Ok(())
    });
}
