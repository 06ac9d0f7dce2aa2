//! How the lanes of a layout stand to each other: which one holds the policy's watermark, and what it would be without it.
//!
//! Not here: the rule itself (`store::Completeness`).

use super::stored::{moment, moment_of, refused, span};
use super::{Failure, reasons};
use crate::redrive;
use crate::store::{Completeness, Layout, Store, hex};
use plimsoll_core::account::Account;
use plimsoll_core::lane::{Answer, Atomicity, Command, Head, Pin};
use plimsoll_core::time::{ArrivalTime, EventTime, TimeDelta};
use serde_json::{Value, json};

/// The lanes of a layout.
pub struct Standing {
    /// By name, each with the number of the batch that is being written.
    pub lanes: Vec<(Head, Option<u64>)>,
    /// How far the rows are complete.
    pub complete: Completeness,
    /// Which lane holds the watermark.
    holder: Option<usize>,
    /// What the watermark would be without that lane.
    otherwise: Option<EventTime>,
}

/// What a lane is doing, as far as its head tells: whether a host runs it cannot be seen here.
pub fn state(head: &Head) -> &'static str {
    match head {
        h if h.done => "done",
        h if h.idle => "idle",
        h if h.n == 0 => "new",
        _ => "running",
    }
}

impl Standing {
    /// As the store says it now.
    pub async fn read(store: &dyn Store, layout: &Layout) -> Result<Self, Failure> {
        let mut heads = store.heads(layout).await.map_err(refused)?;
        heads.sort_by(|a, b| a.key.cmp(&b.key));
        let complete = Completeness::of(&layout.policy, &heads);
        let mut lanes = Vec::new();
        for head in heads {
            // Where rows and head change in one transaction nothing is ever pending.
            let pend = match store.atomicity() {
                Atomicity::Transaction => None,
                Atomicity::Items => match store.execute(&head.key, &Command::ReadHead).await.map_err(refused)? {
                    Answer::Head { stored, .. } => stored.and_then(|h| h.pend).map(|p| p.n),
                    _ => None,
                },
            };
            lanes.push((head, pend));
        }
        let active = |h: &Head| !h.done && !h.idle && h.key.lane != redrive::LANE;
        let of_active = |but: Option<usize>| {
            let lanes = lanes.iter().enumerate().filter(|(i, (h, _))| active(h) && Some(*i) != but);
            lanes.map(|(i, (h, _))| (h.progress.watermark, i)).min()
        };
        let holder = of_active(None).map(|(_, i)| i);
        let otherwise = of_active(holder).and_then(|(w, _)| w);
        Ok(Self { lanes, complete, holder, otherwise })
    }

    /// All lanes, in order.
    pub fn heads(&self) -> impl Iterator<Item = &Head> {
        self.lanes.iter().map(|(head, _)| head)
    }

    /// The lane that holds the watermark.
    pub fn holder(&self) -> Option<&Head> {
        self.holder.map(|i| &self.lanes[i].0)
    }

    /// The sum over all lanes.
    pub fn account(&self) -> Account {
        let mut all = Account::default();
        self.heads().for_each(|h| all.add(&h.account));
        all
    }

    /// Where the watermark stands, and why there, in sentences.
    pub fn sentences(&self) -> Vec<String> {
        let mut out = Vec::new();
        let lanes = self.heads().filter(|h| h.key.lane != redrive::LANE).count();
        let watermark = self.complete.watermark();
        if lanes == 0 {
            return vec!["No lane has begun: nothing was counted under this policy and generation yet.".into()];
        }
        match (watermark, self.holder()) {
            (None, Some(h)) if h.n == 0 => out.push(format!(
                "There is no watermark: the lane {} was found and has delivered nothing. It holds every window open until \
                 it delivers or is found idle.",
                h.key.lane
            )),
            (None, Some(h)) => out.push(format!(
                "There is no watermark: the lane {} has seen too few records to claim one, and it holds every window open.",
                h.key.lane
            )),
            (None, None) => out.push("There is no watermark: no lane has seen enough records to claim one.".into()),
            (Some(w), Some(h)) => {
                out.push(format!(
                    "The watermark is {}: the lane {} holds it, the least of those that run.",
                    moment(w.as_millis()),
                    h.key.lane
                ));
                if let Some(arrival) = h.progress.arrival {
                    out.push(format!(
                        "That lane's last record arrived at {}: its watermark is {} behind.",
                        moment(arrival.as_millis()),
                        span(arrival.as_event_time() - w)
                    ));
                }
                if let Some(other) = self.otherwise.filter(|o| *o > w) {
                    out.push(format!(
                        "Without that lane the watermark would be {}, {} further.",
                        moment(other.as_millis()),
                        span(other - w)
                    ));
                }
            }
            (Some(w), None) => out.push(format!(
                "The watermark is {}: no lane runs, so it is what the furthest had reached.",
                moment(w.as_millis())
            )),
        }
        let count = |what: &str| self.heads().filter(|h| h.key.lane != redrive::LANE && state(h) == what).count();
        if let idle @ 1.. = count("idle") {
            out.push(format!(
                "{idle} of {lanes} lanes are idle: silent at their tip for the idle time-out, or at the end of their files. \
                 They hold nothing back; if one goes on, rows that are called final may still change."
            ));
        }
        if let done @ 1.. = count("done") {
            out.push(format!("{done} of {lanes} lanes have ended for good, and hold nothing back."));
        }
        let silent = self.heads().filter(|h| state(h) == "new" && Some(&h.key) != self.holder().map(|h| &h.key));
        for head in silent.filter(|h| h.key.lane != redrive::LANE) {
            out.push(format!("The lane {} was found and has never delivered.", head.key.lane));
        }
        if let Some(head) = self.heads().find(|h| h.key.lane == redrive::LANE) {
            out.push(format!(
                "Dead letters were driven again: {}. Their own lanes have read them, too; the lane `{}` takes no part in the \
                 watermark.",
                reasons::account(&head.account),
                redrive::LANE
            ));
        }
        out
    }

    /// The lanes as JSON objects.
    pub fn to_json(&self) -> Vec<Value> {
        let lane = |(i, (head, pend)): (usize, &(Head, Option<u64>))| {
            let p = head.progress;
            let ms = |t: Option<EventTime>| t.map(EventTime::as_millis);
            let mut object = json!({
                "lane": head.key.lane,
                "alias": head.alias,
                "state": state(head),
                "n": head.n,
                "pending": pend,
                "position": head.pos,
                "watermark": ms(p.watermark),
                "arrival": p.arrival.map(ArrivalTime::as_millis),
                "event": ms(p.event),
                "behind_ms": behind(head).map(TimeDelta::as_millis),
                "holds": self.holder == Some(i),
                "account": head.account,
                "reasons": reasons::counts(&head.account.reasons),
            });
            object["pin"] = head.pin.as_ref().map_or(Value::Null, pin_json);
            object
        };
        self.lanes.iter().enumerate().map(lane).collect()
    }

    /// The lanes as a table.
    pub fn to_table(&self) -> String {
        let head = [
            "",
            "lane",
            "state",
            "n",
            "watermark",
            "arrival",
            "behind",
            "read",
            "counted",
            "late",
            "future",
            "rejected",
        ];
        let rows: Vec<Vec<String>> = self
            .lanes
            .iter()
            .enumerate()
            .map(|(i, (h, pend))| {
                let a = &h.account;
                let n = pend.map_or_else(|| h.n.to_string(), |p| format!("{} ({p} is being written)", h.n));
                let mut row = vec![
                    if self.holder == Some(i) { ">" } else { "" }.to_owned(),
                    h.key.lane.clone(),
                    state(h).to_owned(),
                    n,
                    moment_of(h.progress.watermark),
                    moment_of(h.progress.arrival.map(ArrivalTime::as_event_time)),
                    behind(h).map_or_else(|| "-".to_owned(), span),
                ];
                row.extend([a.read, a.counted, a.late, a.future, a.rejected].map(|n| n.to_string()));
                row
            })
            .collect();
        super::stored::table(&head, &rows)
    }
}

impl Standing {
    /// Where each lane is in its source and what it was counted with, as a table.
    pub fn places(&self) -> String {
        let short = |digest: &[u8]| hex(&digest[..6]);
        let row = |h: &Head| {
            let policy = h.pin.as_ref().map_or_else(|| "-".into(), |p| format!("{} {}", p.name, short(&p.policy)));
            let module = match &h.pin {
                None => "-".to_owned(),
                Some(p) => p.module.map_or_else(|| "native".to_owned(), |d| short(&d)),
            };
            let position = h.pos.clone().unwrap_or_else(|| "-".into());
            vec![h.key.lane.clone(), h.alias.to_string(), policy, module, position]
        };
        super::stored::table(
            &["lane", "alias", "policy", "module", "position"],
            &self.heads().map(row).collect::<Vec<_>>(),
        )
    }
}

/// How far a lane's watermark lies behind its last arrival.
fn behind(head: &Head) -> Option<TimeDelta> {
    Some(head.progress.arrival?.as_event_time() - head.progress.watermark?)
}

/// What a lane's last batch was computed with.
pub fn pin_json(pin: &Pin) -> Value {
    json!({
        "policy": pin.name,
        "policy_sha256": hex(&pin.policy),
        "module_sha256": pin.module.map(|d| hex(&d)),
        "shape": hex(&pin.shape),
        "replay_version": pin.replay,
    })
}
