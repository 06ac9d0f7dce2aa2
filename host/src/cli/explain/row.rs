//! Why a number is what it is: which lanes wrote the row, what came late, and what was set aside that may belong there.
//!
//! A dead letter belongs to a row for sure where the policy can read its time and key, as that of a quarantined record; else
//! it may belong there if all values of the key stand in its text.

use super::sentences;
use crate::cli::dead::DeadLine;
use crate::cli::standing::Standing;
use crate::cli::stored::{moment, refused, unreadable};
use crate::cli::{Failure, reasons};
use crate::redrive::{Ledger, by_place, read_record};
use crate::store::{Fences, Layout, RowQuery, Store, StoredDeadLetter, StoredRow, Which};
use plimsoll_core::account::Reason;
use plimsoll_core::decode::{Decoder, Passed};
use plimsoll_core::policy::{Op, Policy};
use plimsoll_core::rows::{figure_text, key_parts, write_late_row, write_row};
use plimsoll_core::time::TimeDelta;
use plimsoll_core::window::{Window, assign};
use plimsoll_core::wire::effects::Table;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// So many letters are shown whole; all are counted.
const LETTERS_SHOWN: usize = 10;

/// What a row is made of.
pub struct Number {
    row: Option<StoredRow>,
    late: Vec<StoredRow>,
    /// Lane and last batch of it in this row; nothing where the store does not keep it.
    lanes: Option<Vec<(String, u64)>>,
    letters: Vec<(StoredDeadLetter, Belongs)>,
    /// In sentences.
    pub why: Vec<String>,
}

/// How sure it is that a letter's record would have counted in the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Belongs {
    Surely,
    Perhaps,
}

impl Number {
    /// As the store says it now.
    pub async fn read(
        store: &dyn Store,
        layout: &Layout,
        standing: &Standing,
        window: Window,
        key: &[u8],
    ) -> Result<Self, Failure> {
        let to = Some(window.start + TimeDelta::from_millis(1));
        let query = |table| RowQuery { table, key: Some(key.to_vec()), from: Some(window.start), to, limit: None };
        let of_window = async |table| {
            let mut rows = store.rows(layout, &query(table)).await.map_err(refused)?;
            rows.retain(|r| r.window == window);
            Ok::<_, Failure>(rows)
        };
        let row = of_window(Which::Main).await?.pop();
        let late = of_window(Which::Late).await?;
        let fences = store.fences(layout, &window, key).await.map_err(refused)?;
        let heads: Vec<_> = standing.heads().cloned().collect();
        let ledger = Ledger::of(&heads).map_err(unreadable)?;
        let mut letters: Vec<_> = store
            .dead_letters(layout, usize::MAX)
            .await
            .map_err(refused)?
            .into_iter()
            .filter(|l| !ledger.redriven(l))
            .collect();
        letters.sort_by(by_place);
        let mut decoder = Decoder::new(&layout.policy);
        let letters: Vec<_> = letters
            .into_iter()
            .filter_map(|l| belongs(&layout.policy, &mut decoder, &l, window, key).map(|how| (l, how)))
            .collect();
        let lanes = fences.map(|fences| named(&fences, standing));
        let mut number = Self { row, late, lanes, letters, why: Vec::new() };
        number.say(&layout.policy);
        Ok(number)
    }

    fn say(&mut self, policy: &Policy) {
        let spec = policy.spec();
        let mut why = Vec::new();
        match &self.row {
            None => why.push("There is no row of this key and window: no record of it was counted in time.".into()),
            Some(r) => {
                let figures = spec.measures.iter().zip(&r.row.values).map(|(m, v)| {
                    let v = v.map_or_else(|| "nothing".to_owned(), |v| figure_text(v, m.decimals()));
                    format!("{} {v}", m.name)
                });
                let figures = figures.collect::<Vec<_>>().join(", ");
                why.push(format!("Its row says {figures}; it was written {} times.", r.version));
            }
        }
        match (&self.lanes, &self.row) {
            (Some(lanes), Some(_)) => {
                let lanes: Vec<_> = lanes.iter().map(|(lane, n)| format!("{lane} up to batch {n}")).collect();
                why.push(format!("Written by {}.", lanes.join(", ")));
            }
            (None, Some(_)) => why.push(
                "This store writes rows and heads in one transaction, so the row holds all that the lanes' heads have read; \
                 it keeps no mark of each lane."
                    .into(),
            ),
            _ => {}
        }
        let count = policy.count_column();
        if !self.late.is_empty() {
            let records: Option<i128> = count.map(|i| self.late.iter().filter_map(|r| r.row.values[i]).sum());
            why.push(match records {
                Some(n) => format!("Came late, and in the late table instead (plimsoll late): {n} of its records."),
                None => format!("Came late, and in the late table instead (plimsoll late): {} rows.", self.late.len()),
            });
        }
        for (reason, (surely, perhaps)) in self.by_reason() {
            let mut parts = Vec::new();
            if surely > 0 {
                parts.push(format!("{surely} of this key and window"));
            }
            if perhaps > 0 {
                parts.push(format!("{perhaps} that name this key"));
            }
            why.push(format!(
                "Set aside, and not counted: {} ({}), {}. {}",
                reason.name(),
                reason as u16,
                parts.join(" and "),
                reasons::meaning(reason)
            ));
        }
        if let Some((l, _)) = self.letters.first() {
            let arrived = l.arrival.map_or_else(String::new, |at| format!(", arrived at {}", moment(at.as_millis())));
            why.push(format!("The first of them: {} of lane {}{arrived}: {}.", l.position, l.lane, l.detail));
        }
        if self.late.is_empty() && self.letters.is_empty() {
            why.push(
                "Nothing of this key and window came late or was set aside, as far as records can be read.".into(),
            );
        }
        let extremes = spec.measures.iter().any(|m| matches!(m.op, Op::Min | Op::Max));
        if extremes && self.row.is_some() && self.lanes.is_some() {
            why.push("A minimum or maximum is written by itself: `written` counts such writes, too.".into());
        }
        self.why = why;
    }

    fn by_reason(&self) -> BTreeMap<Reason, (u64, u64)> {
        let mut out: BTreeMap<Reason, (u64, u64)> = BTreeMap::new();
        for (l, how) in &self.letters {
            let (surely, perhaps) = out.entry(l.reason).or_default();
            *if *how == Belongs::Surely { surely } else { perhaps } += 1;
        }
        out
    }

    /// As an object. Rows are those of `plimsoll rows`, as text: their integers may be longer than other programs read.
    pub fn to_json(&self, policy: &Policy) -> Value {
        let line = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            write(&mut out);
            String::from_utf8_lossy(&out).trim_end().to_owned()
        };
        let row = self.row.as_ref().map(|r| line(&|out| write_row(policy, &r.window, None, &r.row, out)));
        let late = self.late.iter().map(|r| {
            let Table::Late { day } = r.table else { return String::new() };
            line(&|out| write_late_row(policy, &r.window, day, &r.row, out))
        });
        json!({
            "row": row,
            "version": self.row.as_ref().map(|r| r.version),
            "lanes": self.lanes.as_ref().map(|lanes| {
                lanes.iter().map(|(lane, n)| json!({ "lane": lane, "n": n })).collect::<Vec<_>>()
            }),
            "late": late.collect::<Vec<_>>(),
            "reasons": self.by_reason().into_iter().map(|(reason, (surely, perhaps))| json!({
                "code": reason as u16, "reason": reason.name(), "surely": surely, "perhaps": perhaps,
                "meaning": reasons::meaning(reason),
            })).collect::<Vec<_>>(),
            "dead_letters": self.letters.iter().take(LETTERS_SHOWN).map(|(l, _)| DeadLine::of(l)).collect::<Vec<_>>(),
            "why": sentences(&self.why),
        })
    }
}

/// The lanes that fences belong to.
fn named(fences: &Fences, standing: &Standing) -> Vec<(String, u64)> {
    let lane = |alias: u64| {
        let head = standing.heads().find(|h| h.alias == alias);
        head.map_or_else(|| format!("a lane that is gone (alias {alias})"), |h| h.key.lane.clone())
    };
    fences.iter().map(|(alias, n)| (lane(*alias), *n)).collect()
}

/// Whether a letter's record belongs to the key and window.
fn belongs(
    policy: &Policy,
    decoder: &mut Decoder,
    letter: &StoredDeadLetter,
    window: Window,
    key: &[u8],
) -> Option<Belongs> {
    if let Some((event, its_key)) = read_record(decoder, letter, letter.arrival) {
        let mut windows = Vec::new();
        assign(&policy.spec().window, event.time, &mut windows);
        // Sessions grow: the record's time tells enough.
        let there = windows.contains(&window) || (windows.is_empty() && window.holds(event.time));
        let here = event.passed == Passed::Yes && there && its_key == key;
        return here.then_some(Belongs::Surely);
    }
    // A text with its quotes: else the key `p` would stand in every record that says `placement`.
    let names = |part: &[u8]| memchr::memmem::find(&letter.raw, part).is_some();
    key_parts(key).all(names).then_some(Belongs::Perhaps)
}
