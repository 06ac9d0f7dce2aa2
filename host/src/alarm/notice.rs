//! What is said when an alarm opens or recovers: for people, for Slack, for programs.
//!
//! ```text
//! subject   [Plimsoll] opened: commit-lag of lane shardId-000000000003 (impressions)
//! text      what was found and what was expected, the lane, its position, and what to do
//! json      the same, a field each; stable: appended, never renamed
//! ```
//! Invariants
//! - Texts that come from outside (names of lanes, positions) cannot speak to a terminal, nor to everybody in a channel.
//! - Every text is bounded: services refuse longer ones, and an alarm that is refused helps nobody.
//!
//! Not here: when it is said (`board`), how it gets there (`channel`).

use super::rule::{Rule, written};
use crate::live::Sight;
use serde::Serialize;
use serde_json::{Value, json};

/// Longest subject; SNS takes 100 characters.
const SUBJECT_MAX: usize = 100;
/// Longest of the parts that come from outside, in characters.
const PART_MAX: usize = 1_000;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It is an alarm now.
    Opened,
    /// It is none any more.
    Recovered,
    /// Somebody tries the channels.
    Test,
}

impl Kind {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Recovered => "recovered",
            Self::Test => "test",
        }
    }
}

/// One message. Its JSON is what a webhook gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// What happened.
    pub kind: Kind,
    /// The same for each delivery of this message, and for no other message: a reply that is lost may double it.
    pub id: String,
    /// The rule's name.
    pub alarm: String,
    /// The policy.
    pub policy: String,
    /// The lane.
    pub lane: String,
    /// The host's clock, in ms since the epoch.
    pub at_ms: i64,
    /// When it opened.
    pub since_ms: i64,
    /// What a breach is: `commit lag >= 10m`.
    pub condition: String,
    /// What was found: `commit lag 12m30s`.
    pub found: String,
    /// When breaches are an alarm: `3 of 5 points, one every 1m`.
    pub points: String,
    /// What the lane is doing.
    pub state: Option<&'static str>,
    /// Why it stands still, and the mend.
    pub reason: Option<String>,
    /// The last position that is durable.
    pub position: Option<String>,
    /// What a person does about it.
    pub to_do: String,
}

impl Notice {
    pub(super) fn of_lane(
        rule: &Rule,
        kind: Kind,
        policy: &str,
        (lane, sight): (&str, Option<&Sight>),
        (at_ms, since_ms): (i64, i64),
        found: String,
    ) -> Self {
        let status = sight.map(|s| &s.status);
        let points = rule.points;
        Self {
            kind,
            id: format!("{policy}/{}/{lane}/{since_ms}/{}", rule.name, kind.name()),
            alarm: rule.name.clone(),
            policy: policy.into(),
            lane: part(lane),
            at_ms,
            since_ms,
            condition: rule.condition(),
            found: part(&found),
            points: format!("{} of {} points, one every {}", points.points(), points.of(), written(rule.every)),
            state: status.map(|s| s.state.name()),
            reason: status.and_then(|s| s.state.reason()).map(part),
            position: status.and_then(|s| s.position.as_ref()).map(|p| part(&p.0)),
            to_do: match kind {
                Kind::Opened => rule.to_do().into(),
                Kind::Recovered | Kind::Test => "nothing".into(),
            },
        }
    }

    /// One that says of itself that it means nothing.
    pub fn test(at_ms: i64) -> Self {
        Self {
            kind: Kind::Test,
            id: format!("test/{at_ms}"),
            alarm: "test".into(),
            policy: "none".into(),
            lane: "none".into(),
            at_ms,
            since_ms: at_ms,
            condition: "somebody calls `plimsoll alarms test`".into(),
            found: "a test of this channel".into(),
            points: "1 of 1 points".into(),
            state: None,
            reason: None,
            position: None,
            to_do: "nothing: this is how an alarm will look".into(),
        }
    }

    /// One line; printable ASCII, as SNS asks of a subject.
    pub fn subject(&self) -> String {
        let line = match self.kind {
            Kind::Test => "[Plimsoll] test: this is no alarm".into(),
            kind => format!("[Plimsoll] {}: {} of lane {} ({})", kind.name(), self.alarm, self.lane, self.policy),
        };
        line.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).take(SUBJECT_MAX).collect()
    }

    /// For people, a few lines.
    pub fn text(&self) -> String {
        let mut lines = vec![self.subject(), String::new()];
        lines.push(format!("found     {}", self.found));
        lines.push(format!("expected  not: {} ({})", self.condition, self.points));
        lines.push(format!("lane      {}{}", self.lane, self.state.map_or(String::new(), |s| format!(", {s}"))));
        lines.extend(self.reason.iter().map(|reason| format!("reason    {reason}")));
        lines.extend(self.position.iter().map(|position| format!("position  {position}")));
        if self.kind == Kind::Recovered {
            let ms = self.at_ms.saturating_sub(self.since_ms).max(0);
            lines.push(format!("open for  {} s", ms / 1_000));
        }
        lines.push(format!("to do     {}", self.to_do));
        lines.join("\n")
    }

    /// For Slack's incoming webhooks.
    pub fn slack(&self) -> Value {
        let sign = match self.kind {
            Kind::Opened => ":red_circle:",
            Kind::Recovered => ":large_green_circle:",
            Kind::Test => ":white_circle:",
        };
        let text = self.text();
        let (subject, rest) = text.split_once("\n\n").expect("a subject stands before the text");
        // `<!channel>` in the name of a lane calls everybody, and three backticks end the block.
        let escaped = |t: &str| t.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace("```", "'''");
        json!({ "text": format!("{sign} *{}*\n```{}```", escaped(subject), escaped(rest)) })
    }
}

/// A part from outside: printable, and not too long.
fn part(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().take(PART_MAX) {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    if text.chars().nth(PART_MAX).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarm::rule::{LagKind, Watched};
    use crate::live::{LaneState, LaneStatus};
    use crate::source::Position;
    use std::time::Duration;

    fn notice(kind: Kind, lane: &str) -> Notice {
        let rule = Rule::of(Watched::Lag { lag: LagKind::Commit, at_least: Duration::from_secs(600) });
        let status = LaneStatus {
            lane: lane.into(),
            state: LaneState::Paused("21 records in a row are rejected".into()),
            position: Some(Position("49545115/0".into())),
            ..LaneStatus::default()
        };
        let sight = Sight { status, ..Sight::default() };
        Notice::of_lane(&rule, kind, "impressions", (lane, Some(&sight)), (90_000, 30_000), "commit lag 12m30s".into())
    }

    #[test]
    fn a_message_says_cause_lane_and_what_to_do() {
        let text = notice(Kind::Opened, "shard-3").text();
        let lines = [
            "[Plimsoll] opened: commit-lag of lane shard-3 (impressions)",
            "found     commit lag 12m30s",
            "expected  not: commit lag >= 10m (3 of 5 points, one every 1m)",
            "lane      shard-3, paused",
            "reason    21 records in a row are rejected",
            "position  49545115/0",
        ];
        for line in lines {
            assert!(text.lines().any(|l| l == line), "`{line}` is missing in\n{text}");
        }
        assert!(text.contains("to do     what arrived is not counted yet"));
        let recovered = notice(Kind::Recovered, "shard-3");
        assert!(recovered.text().contains("open for  60 s"));
        assert_ne!(recovered.id, notice(Kind::Opened, "shard-3").id);
    }

    #[test]
    fn a_lane_with_a_wild_name_calls_nobody_and_breaks_nothing() {
        let wild = format!("<!channel> ```\u{1b}[31m\nSubject: é & {}", "x".repeat(5_000));
        let notice = notice(Kind::Opened, &wild);
        let subject = notice.subject();
        assert!(subject.len() <= SUBJECT_MAX && subject.bytes().all(|b| (b' '..=b'~').contains(&b)), "{subject}");
        let slack = notice.slack()["text"].as_str().expect("text").to_owned();
        assert!(!slack.contains("<!") && slack.contains("&lt;!channel&gt;") && !slack.contains('\u{1b}'));
        assert_eq!(slack.matches("```").count(), 2, "the block ends where it should");
        assert!(notice.text().len() < 8 * PART_MAX);
    }

    #[test]
    fn a_program_finds_every_part() {
        let json = serde_json::to_value(notice(Kind::Opened, "a")).expect("plain values");
        assert_eq!(
            (&json["kind"], &json["alarm"], &json["state"]),
            (&"opened".into(), &"commit-lag".into(), &"paused".into())
        );
        assert_eq!(json["found"], "commit lag 12m30s");
    }
}
