//! `[trigger]` as types.

use super::super::walk::{defaults, loss};
use super::Duration;
use crate::policy::duration::Written;
use crate::policy::{Accumulation, Bundle, Emission, Late, Panes, TimestampCombiner, Trigger, limits};
use crate::time::TimeDelta;
use schemars::JsonSchema;
use serde::Serialize;
use serde::ser::Serializer;

/// When a window gives out a pane, and how the panes of one window relate.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "trigger", default)]
pub(super) struct TriggerDocument {
    /// When a window gives out a pane.
    when: WhenDocument,
    /// How the panes of one window relate.
    accumulation: Accumulation,
    /// A pane's own time. A record behind the watermark does not count for it.
    timestamp: TimestampCombiner,
    /// Added to a time that comes from records; may be negative. From -3660d to 3660d.
    timestamp_shift: Shift,
    /// Whether the pane at the window's end comes out although nothing was added.
    on_time_pane: Emission,
    /// Whether the last pane comes out although nothing was added.
    closing_pane: Emission,
    /// Whether records that no trigger has given out come out when their window expires.
    flush_on_expiry: bool,
    /// What enters whole before any trigger is asked.
    bundle: Bundle,
    /// Most windows of keys open at once in a lane; a record that would open another is rejected.
    #[schemars(range(min = 1, max = limits::OPEN_MAX))]
    open_max: u32,
    /// Says that records may be lost: because the trigger finishes while its window still takes some, or because it is
    /// `"never"` and nothing is flushed. Without it such a trigger is refused.
    may_lose_data: bool,
}

/// When a window gives out a pane: a word, or a trigger with its parts. Triggers stand in triggers, at most 12 deep and
/// 32 in all.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "when")]
enum WhenDocument {
    /// A trigger without parts.
    Word(Word),
    /// A trigger with parts.
    Rule(Rule),
}

/// A trigger without parts.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Word {
    /// At the end of the window and at every later record.
    Default,
    /// Once, at the end of the window.
    AfterWatermark,
    /// Whenever it is asked: at every record.
    Always,
    /// Never; what came comes out when the window expires.
    Never,
}

/// A trigger with parts.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Rule {
    /// At the end of the window; before it as `early` says and after it as `late` says, each again and again.
    AfterWatermark(AfterWatermark),
    /// Once, when so many records are in the pane.
    AfterCount(#[schemars(range(min = 1, max = limits::COUNT_MAX))] u64),
    /// Once, so long after the pane's first record came, by recorded ticks.
    AfterProcessingTime(AfterProcessingTime),
    /// Again and again.
    Repeatedly(Box<WhenDocument>),
    /// One after the other.
    AfterEach(#[schemars(length(min = 1))] Vec<WhenDocument>),
    /// Once, when the first of them is ready.
    AfterAny(#[schemars(length(min = 1))] Vec<WhenDocument>),
    /// Once, when all of them have been ready.
    AfterAll(#[schemars(length(min = 1))] Vec<WhenDocument>),
    /// As `main` says, until `until` is ready.
    OrFinally(Box<OrFinally>),
    /// At every period of event time since the pane's first record, at the end of the window, and at every later record.
    EveryEventTime(Duration),
}

/// At the end of the window, and around it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "after_watermark")]
struct AfterWatermark {
    /// Before the end of the window, again and again; nothing comes out then where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "WhenDocument", default)]
    early: Option<Box<WhenDocument>>,
    /// After the end of the window, again and again; where it is absent the trigger finishes at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "WhenDocument", default)]
    late: Option<Box<WhenDocument>>,
}

/// A delay, or one with an alignment.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
enum AfterProcessingTime {
    /// So long.
    Delay(Duration),
    /// So long, and then up to a round time.
    Aligned(Aligned),
}

/// A delay since the pane's first record, and then up to a round time.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "after_processing_time")]
struct Aligned {
    /// Since the first record. From 0s to 3660d.
    #[schemars(example = &"1m")]
    delay: Duration,
    /// Then up to the next multiple of this, counted from 1970-01-01T00:00:00Z.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Duration", default, example = &"5m")]
    align: Option<Duration>,
    /// Shifts the multiples; only with `align`. May be negative. From -3660d to 3660d.
    #[schemars(default = "Shift::zero")]
    align_offset: Shift,
}

/// A trigger and what ends it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "or_finally")]
struct OrFinally {
    /// What goes on.
    main: WhenDocument,
    /// What ends it.
    until: WhenDocument,
}

/// A duration that may be negative: `"-5m"`.
#[derive(Debug, JsonSchema)]
#[schemars(
    rename = "shift",
    transparent,
    extend("pattern" = "^-?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$", "minLength" = 2),
    example = &"-5m"
)]
struct Shift(#[schemars(with = "String")] TimeDelta);

impl Serialize for Shift {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&Written(self.0))
    }
}

impl Shift {
    fn zero() -> Self {
        Self(TimeDelta::ZERO)
    }
}

impl Default for TriggerDocument {
    fn default() -> Self {
        // The default trigger loses nothing, whatever is late.
        Self::of(&defaults::PANES, &defaults::LATE)
    }
}

impl TriggerDocument {
    pub(super) fn of(p: &Panes, late: &Late) -> Self {
        Self {
            when: WhenDocument::of(&p.trigger),
            accumulation: p.accumulation,
            timestamp: p.timestamp,
            timestamp_shift: Shift(p.timestamp_shift),
            on_time_pane: p.on_time,
            closing_pane: p.closing,
            flush_on_expiry: p.flush_on_expiry,
            bundle: p.bundle,
            open_max: p.open_max,
            may_lose_data: loss(p, late).is_some(),
        }
    }
}

impl WhenDocument {
    fn of(t: &Trigger) -> Self {
        let boxed = |t: &Trigger| Box::new(Self::of(t));
        let all = |triggers: &[Trigger]| triggers.iter().map(Self::of).collect();
        let ms = |ms: i64| Duration(TimeDelta::from_millis(ms));
        Self::Rule(match t {
            Trigger::Default => return Self::Word(Word::Default),
            Trigger::AfterWatermark { early: None, late: None } => return Self::Word(Word::AfterWatermark),
            Trigger::Always => return Self::Word(Word::Always),
            Trigger::Never => return Self::Word(Word::Never),
            Trigger::AfterWatermark { early, late } => Rule::AfterWatermark(AfterWatermark {
                early: early.as_deref().map(boxed),
                late: late.as_deref().map(boxed),
            }),
            Trigger::AfterCount { count } => Rule::AfterCount(*count),
            Trigger::AfterProcessingTime { delay_ms, align_ms: None, align_offset_ms: 0 } => {
                Rule::AfterProcessingTime(AfterProcessingTime::Delay(ms(*delay_ms)))
            }
            Trigger::AfterProcessingTime { delay_ms, align_ms, align_offset_ms } => {
                Rule::AfterProcessingTime(AfterProcessingTime::Aligned(Aligned {
                    delay: ms(*delay_ms),
                    align: align_ms.map(ms),
                    align_offset: Shift(TimeDelta::from_millis(*align_offset_ms)),
                }))
            }
            Trigger::Repeatedly { trigger } => Rule::Repeatedly(boxed(trigger)),
            Trigger::AfterEach { triggers } => Rule::AfterEach(all(triggers)),
            Trigger::AfterAny { triggers } => Rule::AfterAny(all(triggers)),
            Trigger::AfterAll { triggers } => Rule::AfterAll(all(triggers)),
            Trigger::OrFinally { main, until } => {
                Rule::OrFinally(Box::new(OrFinally { main: Self::of(main), until: Self::of(until) }))
            }
            Trigger::EveryEventTime { period_ms } => Rule::EveryEventTime(ms(*period_ms)),
        })
    }
}
