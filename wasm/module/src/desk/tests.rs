use super::*;
use plimsoll_core::policy::{
    Format, Future, Input, Late, LateBy, LateTo, Limits, Measure, Op, Spec, Strategy, TimeField, TimeUnit, Watermark,
    Windowing,
};
use plimsoll_core::time::{ArrivalTime, TimeDelta};
use plimsoll_core::wire::effects;
use plimsoll_core::wire::frame::{self, Kind};

fn policy() -> Policy {
    Policy::new(Spec {
        v: 1,
        policy: "desk".into(),
        filter: None,
        input: Input {
            format: Format::Json,
            time: TimeField { field: vec!["t".into()], unit: TimeUnit::Ms, unit_check: false },
            arrival: None,
            key: vec![vec!["k".into()]],
            source: None,
        },
        fields: Vec::new(),
        window: Windowing::Fixed { size: TimeDelta::from_secs(10), offset: TimeDelta::ZERO },
        watermark: Watermark {
            strategy: Strategy::Max,
            delay: TimeDelta::from_secs(5),
            max_future: None,
            future: Future::Accept,
        },
        late: Late { by: LateBy::Record, allowed_lateness: TimeDelta::ZERO, to: LateTo::Table },
        measures: vec![Measure { name: "events".into(), op: Op::Count, field: None, scale: None }],
        derived: Vec::new(),
        kept: Vec::new(),
        panes: None,
        rollup: None,
        limits: Limits { record_bytes: 1_000, key_bytes: 100, dead_letter_bytes: 100, keys_per_window: None },
    })
    .unwrap()
}

impl Desk {
    fn give(&mut self, bytes: &[u8]) -> (usize, usize) {
        let address = self.alloc(bytes.len()).unwrap();
        let at = self.buffer(address, bytes.len()).unwrap();
        self.buffers[at][..bytes.len()].copy_from_slice(bytes);
        (address, bytes.len())
    }

    fn feed(&mut self, handle: i32, ordinal: u64, lines: &str) -> Answer<()> {
        let mut frames = Vec::new();
        frame::push(&mut frames, Kind::Lines, ordinal, Some(ArrivalTime::from_millis(0)), lines.as_bytes());
        self.input(handle, frames.len()).unwrap().copy_from_slice(&frames);
        self.apply(handle, frames.len())
    }

    fn effects(&mut self, handle: i32) -> effects::Effects {
        self.flush(handle, 0).unwrap();
        effects::decode(self.output(handle)).unwrap()
    }
}

fn refused<T: std::fmt::Debug>(answer: Answer<T>) -> Status {
    let refusal = answer.unwrap_err();
    assert!(!refusal.detail.is_empty());
    refusal.status
}

#[test]
fn a_batch_goes_in_and_its_effects_come_out() {
    let mut d = Desk::default();
    let p = d.give(policy().canonical());
    let h = d.open(p).unwrap();
    d.feed(h, 1, "{\"t\":1,\"k\":\"a\"}\n{\"t\":2,\"k\":\"a\"}\n").unwrap();
    assert!(d.pending(h).unwrap() > 0);
    let e = d.effects(h);
    assert_eq!((e.account.read, e.account.counted), (2, 2));
    assert_eq!(d.pending(h), Ok(0));
}

#[test]
fn two_handles_share_nothing_and_a_number_is_never_used_twice() {
    let mut d = Desk::default();
    let p = d.give(policy().canonical());
    let (a, b) = (d.open(p).unwrap(), d.open(p).unwrap());
    d.feed(a, 1, "{\"t\":1,\"k\":\"a\"}\n").unwrap();
    assert_eq!(d.effects(b).account.read, 0);
    assert_eq!(d.effects(a).account.read, 1);
    d.close(a).unwrap();
    assert_eq!(refused(d.close(a)), Status::BadHandle);
    assert!(d.output(a).is_empty());
    let c = d.open(p).unwrap();
    assert!(c != a && c != b);
    assert_eq!(refused(d.pending(a)), Status::BadHandle);
}

#[test]
fn an_engine_goes_on_from_its_snapshot() {
    let mut d = Desk::default();
    let p = d.give(policy().canonical());
    let a = d.open(p).unwrap();
    d.feed(a, 1, "{\"t\":1,\"k\":\"a\"}\n").unwrap();
    d.effects(a);
    d.snapshot(a).unwrap();
    let state = d.output(a).to_vec();
    let s = d.give(&state);
    let b = d.restore(p, s).unwrap();
    d.snapshot(b).unwrap();
    assert_eq!(d.output(b), state);
    assert_eq!(refused(d.restore(p, p)), Status::BadSnapshot);
    assert_eq!(refused(d.restore(s, s)), Status::BadPolicy);
}

#[test]
fn buffers_are_known_by_address_and_length() {
    let mut d = Desk::default();
    let text = policy().canonical().to_vec();
    let (at, len) = d.give(&text);
    for wrong in [(at + 1, len), (at, len - 1), (at, len + 1), (0, len), (usize::MAX, usize::MAX)] {
        assert_eq!(refused(d.open(wrong)), Status::BadArgument);
        assert_eq!(refused(d.free(wrong.0, wrong.1)), Status::BadArgument);
    }
    d.free(at, len).unwrap();
    assert_eq!(refused(d.open((at, len))), Status::BadArgument, "freed");
    assert_eq!(refused(d.alloc(usize::MAX)), Status::NoMemory);
    assert_eq!(refused(d.alloc(isize::MAX as usize)), Status::NoMemory);
    let (empty, _) = d.give(&[]);
    assert_ne!(empty, 0, "0 would say that there is no memory");
}

#[test]
fn a_shorter_input_is_followed_by_zeros_all_the_same() {
    let mut d = Desk::default();
    let p = d.give(policy().canonical());
    let h = d.open(p).unwrap();
    d.input(h, 500).unwrap().fill(0xff);
    let before = d.input(h, 500).unwrap().as_ptr();
    assert_eq!(d.input(h, 100).unwrap().as_ptr(), before, "the buffer is used again");
    assert_eq!(d.slot(h).unwrap().input[100..100 + PADDING], [0; PADDING]);
    assert_eq!(d.slot(h).unwrap().input[99], 0xff);
    // Fewer bytes than asked for.
    d.input(h, 500).unwrap().fill(0xff);
    assert_eq!(refused(d.apply(h, 200)), Status::BadFrame);
    assert_eq!(d.slot(h).unwrap().input[200..200 + PADDING], [0; PADDING]);
}

#[test]
fn bad_arguments_change_nothing() {
    let mut d = Desk::default();
    let p = d.give(policy().canonical());
    let h = d.open(p).unwrap();
    d.feed(h, 1, "{\"t\":1,\"k\":\"a\"}\n").unwrap();
    assert_eq!(refused(d.apply(h, usize::MAX)), Status::BadArgument);
    assert_eq!(refused(d.flush(h, 3)), Status::BadArgument);
    assert_eq!(refused(d.flush(h, -1)), Status::BadArgument);
    d.input(h, 24).unwrap().fill(9);
    assert_eq!(refused(d.apply(h, 24)), Status::BadFrame);
    assert_eq!(d.effects(h).account.read, 1);
}

#[test]
fn the_table_of_handles_has_an_end() {
    let mut d = Desk::default();
    let p = d.give(policy().canonical());
    let first = d.open(p).unwrap();
    for _ in 1..HANDLES_MAX {
        d.open(p).unwrap();
    }
    assert_eq!(refused(d.open(p)), Status::TooManyHandles);
    d.close(first).unwrap();
    d.open(p).unwrap();
}

#[test]
fn a_refusal_leaves_its_text() {
    let mut d = Desk::default();
    let refusal = d.pending(12).unwrap_err();
    assert_eq!(d.refused(refusal), Status::BadHandle);
    assert!(d.error().contains("12"), "{}", d.error());
}
