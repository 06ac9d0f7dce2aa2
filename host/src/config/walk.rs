//! The fields of a configuration, their types, bounds and defaults.

use super::Config;
use crate::alarm::channel::{Address, Target, Topic};
use crate::alarm::{LagKind, Points, Rule, Standstill, Watched, written};
use crate::telemetry::{CloudWatchConfig, EmfConfig, EmfTo, NAMESPACE};
use glob::Pattern;
use plimsoll_core::policy::text::Code;
use plimsoll_core::policy::text::document::{Field, Reader, Section, Shape};
use std::collections::BTreeSet;
use std::time::Duration;

pub(super) const ROOT: Shape = fields(&["alarm", "metrics", "notify"]);
const ALARM: Shape = fields(&["name", "lag", "at_least", "state", "poison", "gap", "points", "of", "every", "lane"]);
const METRICS: Shape = fields(&["cloudwatch", "emf"]);
const CLOUDWATCH: Shape = fields(&["namespace", "every", "per_lane"]);
const EMF: Shape = fields(&["to", "namespace", "every", "per_lane"]);
const NOTIFY: Shape = fields(&["sns", "slack", "webhook"]);
const SECRET: Shape = fields(&["env"]);

/// Shortest and longest periods: tests want short ones, and a day without a look is none.
const EVERY_MIN: Duration = Duration::from_millis(50);
const EVERY_MAX: Duration = Duration::from_secs(86_400);
/// Most alarms of a file, and most channels of a kind.
const ALARMS_MAX: usize = 100;
const CHANNELS_MAX: usize = 16;
/// Longest name of an alarm, and of a namespace (CloudWatch takes 255).
const NAME_MAX: usize = 64;
const NAMESPACE_MAX: usize = 255;

const fn fields(fields: &'static [&'static str]) -> Shape {
    Shape { fields }
}

type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

pub(super) fn config(r: &mut Reader, root: &Section<'_>, env: Env<'_>) -> Config {
    let alarms = root.optional("alarm").map_or_else(|| Some(Rule::defaults()), |f| alarms(r, &f));
    let metrics = root.optional("metrics").and_then(|f| r.section(&f, &METRICS));
    let of_metrics = |name: &str| metrics.as_ref().and_then(|s| s.optional(name));
    Config {
        alarms: alarms.unwrap_or_default(),
        cloudwatch: of_metrics("cloudwatch").and_then(|f| cloudwatch(r, &f)),
        emf: of_metrics("emf").and_then(|f| emf(r, &f)),
        notify: root.optional("notify").map(|f| notify(r, &f, env)).unwrap_or_default(),
    }
}

fn alarms(r: &mut Reader, f: &Field<'_>) -> Option<Vec<Rule>> {
    let list = r.list(f, "alarms, each under [[alarm]]", None)?;
    if list.len() > ALARMS_MAX {
        r.refuse(Code::WrongValue, f, &format!("at most {ALARMS_MAX} alarms"), None);
        return None;
    }
    let mut names = BTreeSet::new();
    let mut rules = Vec::new();
    for f in list {
        let Some((rule, named)) = alarm(r, &f) else { continue };
        if !names.insert(rule.name.clone()) {
            let expected = format!("a `name` that no other alarm has: `{}` is taken", rule.name);
            let at = named.as_ref().unwrap_or(&f);
            r.refuse(Code::Conflict, at, &expected, Some("like name = \"commit-lag-of-orders\"".into()));
        }
        rules.push(rule);
    }
    Some(rules)
}

/// An alarm, and the field of its name, where it has one.
fn alarm<'n>(r: &mut Reader, f: &Field<'n>) -> Option<(Rule, Option<Field<'n>>)> {
    let s = r.section(f, &ALARM)?;
    let kinds = ["lag", "state", "poison", "gap"];
    let like = ["lag = \"commit\" with at_least = \"10m\"", "\"lag\": \"commit\""];
    let chosen = r.one_of(&s, &kinds, "an alarm watches one thing", "make two alarms of it", like);
    let at_least = s.optional("at_least");
    let watched = chosen.and_then(|(kind, f)| match kind {
        "lag" => {
            let lags = [LagKind::Read, LagKind::Commit, LagKind::Watermark, LagKind::Close].map(|k| (k.name(), k));
            let lag = r.choice(&f, &lags);
            let at_least = match &at_least {
                Some(f) => period(r, f, Duration::from_millis(1)..=Duration::from_secs(366 * 86_400)),
                None => {
                    let expected = "`at_least` beside it: how large a lag is a breach";
                    r.refuse(Code::MissingField, &f, expected, Some("like at_least = \"10m\"".into()));
                    None
                }
            };
            Some(Watched::Lag { lag: lag?, at_least: at_least? })
        }
        "state" => {
            let states = [Standstill::Paused, Standstill::Halted].map(|s| (s.name(), s));
            r.choice(&f, &states).map(Watched::State)
        }
        "poison" => whole(r, &f, 1..=u32::MAX, "1 or more records rejected from one point to the next")
            .map(|n| Watched::Poison(n.into())),
        _ => match r.flag(&f) {
            Some(false) => {
                r.refuse(Code::WrongValue, &f, "true, or no such field", None);
                None
            }
            flag => flag.map(|_| Watched::Gap),
        },
    });
    if let Some(f) = at_least.filter(|_| s.optional("lag").is_none()) {
        r.refuse(Code::Conflict, &f, "no such field: only a lag has it", None);
    }
    let name = s.optional("name");
    let given = name.as_ref().and_then(|f| {
        let word = |t: &str| {
            !t.is_empty() && t.len() <= NAME_MAX && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        let expected = format!("a name of 1 to {NAME_MAX} letters, digits, `-` and `_`");
        let text = r.text(f, &expected, None)?.to_owned();
        if !word(&text) {
            r.refuse(Code::WrongValue, f, &expected, None);
        }
        Some(text)
    });
    let lanes = s.optional("lane").and_then(|f| {
        let expected = "a lane's name, or a pattern with `*` and `?`";
        let text = r.text(&f, expected, None)?.to_owned();
        let pattern = Pattern::new(&text).ok().filter(|_| !text.is_empty());
        if pattern.is_none() {
            r.refuse(Code::WrongValue, &f, expected, None);
        }
        pattern
    });
    let (points, of) = (s.optional("points"), s.optional("of"));
    let most = crate::alarm::OF_MAX;
    let of = of.and_then(|f| whole(r, &f, 1..=most, &format!("1 to {most} points")));
    let expected = "1 up to `of`, the points that are looked back on";
    let number = points.as_ref().and_then(|f| whole(r, f, 1..=most, expected));
    let every = s.optional("every").and_then(|f| period(r, &f, EVERY_MIN..=EVERY_MAX));

    let mut rule = Rule::of(watched?);
    let of = of.unwrap_or_else(|| number.unwrap_or(0).max(rule.points.of()));
    let number = number.unwrap_or_else(|| rule.points.points().min(of));
    match (Points::new(number, of), &points) {
        (Some(points), _) => rule.points = points,
        (None, Some(f)) => r.refuse(Code::WrongValue, f, &format!("{expected}: 1 to {of}"), None),
        (None, None) => unreachable!("without `points` it fits `of`"),
    }
    rule.name = given.unwrap_or(rule.name);
    rule.lanes = lanes.unwrap_or(rule.lanes);
    rule.every = every.unwrap_or(rule.every);
    Some((rule, name))
}

fn cloudwatch(r: &mut Reader, f: &Field<'_>) -> Option<CloudWatchConfig> {
    let s = r.section(f, &CLOUDWATCH)?;
    let (namespace, every, per_lane) = figures(r, &s);
    Some(CloudWatchConfig { namespace, every, per_lane })
}

/// `"stdout"`, a file, or a group of fields with `to`.
fn emf(r: &mut Reader, f: &Field<'_>) -> Option<EmfConfig> {
    let expected = "\"stdout\", or a file's name";
    let to = |r: &mut Reader, f: &Field<'_>| {
        let text = r.text(f, expected, None)?;
        match text {
            "" => {
                r.refuse(Code::WrongValue, f, expected, None);
                None
            }
            "stdout" => Some(EmfTo::Stdout),
            file => Some(EmfTo::File(file.into())),
        }
    };
    if !f.is_group() {
        let to = to(r, f)?;
        return Some(EmfConfig { to, namespace: NAMESPACE.into(), every: Duration::from_secs(60), per_lane: true });
    }
    let s = r.section(f, &EMF)?;
    let (namespace, every, per_lane) = figures(r, &s);
    let to = match s.optional("to") {
        Some(f) => to(r, &f),
        None => {
            r.refuse(Code::MissingField, f, "a field `to` in it", Some("like to = \"stdout\"".into()));
            None
        }
    };
    Some(EmfConfig { to: to?, namespace, every, per_lane })
}

fn figures(r: &mut Reader, s: &Section<'_>) -> (String, Duration, bool) {
    let namespace = s.optional("namespace").and_then(|f| {
        let fits = |t: &str| {
            (1..=NAMESPACE_MAX).contains(&t.len())
                && !t.starts_with([':', ' '])
                && !t.starts_with("AWS/")
                && t.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_/#:".contains(&b))
        };
        let expected = format!(
            "a namespace of 1 to {NAMESPACE_MAX} letters, digits and `.-_/#:` that does not begin with `:` or `AWS/`"
        );
        let text = r.text(&f, &expected, None)?.to_owned();
        if !fits(&text) {
            r.refuse(Code::WrongValue, &f, &expected, Some("like \"Plimsoll\"".into()));
        }
        Some(text)
    });
    let every = s.optional("every").and_then(|f| period(r, &f, EVERY_MIN..=EVERY_MAX));
    let per_lane = s.optional("per_lane").and_then(|f| r.flag(&f));
    (namespace.unwrap_or_else(|| NAMESPACE.into()), every.unwrap_or(Duration::from_secs(60)), per_lane.unwrap_or(true))
}

fn notify(r: &mut Reader, f: &Field<'_>, env: Env<'_>) -> Vec<Target> {
    let Some(s) = r.section(f, &NOTIFY) else { return Vec::new() };
    let mut targets = Vec::new();
    for f in each(r, s.optional("sns")) {
        let Some(arn) = secret(r, &f, env, "a topic's ARN") else { continue };
        match Topic::parse(&arn) {
            Ok(topic) => targets.push(Target::Sns(topic)),
            Err(e) => r.refuse(Code::WrongValue, &f, &e.to_string(), None),
        }
    }
    for (name, target) in [("slack", Target::Slack as fn(Address) -> Target), ("webhook", Target::Webhook)] {
        for f in each(r, s.optional(name)) {
            let Some(address) = secret(r, &f, env, "a web address") else { continue };
            match Address::parse(&address) {
                Ok(address) => targets.push(target(address)),
                // What was found is a secret that somebody mistyped: it is not repeated.
                Err(e) => r.refuse_secret(&f, &e.to_string()),
            }
        }
    }
    targets
}

/// No value, one, or a list of them.
fn each<'n>(r: &mut Reader, f: Option<Field<'n>>) -> Vec<Field<'n>> {
    let Some(f) = f else { return Vec::new() };
    if !f.is_list() {
        return vec![f];
    }
    let all = r.list(&f, "a list", None).unwrap_or_default();
    if all.len() > CHANNELS_MAX {
        r.refuse(Code::WrongValue, &f, &format!("at most {CHANNELS_MAX} of them"), None);
    }
    all
}

/// A text, or `{ env = "NAME" }` for one that the environment has.
fn secret(r: &mut Reader, f: &Field<'_>, env: Env<'_>, expected: &str) -> Option<String> {
    if !f.is_group() {
        return r.text(f, &format!("{expected}, or {{ env = \"NAME\" }}"), None).map(str::to_owned);
    }
    let s = r.section(f, &SECRET)?;
    let Some(name) = s.optional("env") else {
        r.refuse(Code::MissingField, f, "a field `env` in it", Some("like { env = \"SLACK_URL\" }".into()));
        return None;
    };
    let variable = r.text(&name, "the name of a variable of the environment", None)?;
    let value = env(variable).filter(|value| !value.is_empty());
    if value.is_none() {
        r.refuse(
            Code::WrongValue,
            &name,
            "a variable that is set",
            Some(format!("{variable} is empty or not set here")),
        );
    }
    value
}

fn period(r: &mut Reader, f: &Field<'_>, within: std::ops::RangeInclusive<Duration>) -> Option<Duration> {
    let d = r.duration(f)?;
    let d = u64::try_from(d.as_millis()).ok().map(Duration::from_millis).filter(|d| within.contains(d));
    if d.is_none() {
        let expected = format!("{} to {}", written(*within.start()), written(*within.end()));
        r.refuse(Code::WrongValue, f, &expected, None);
    }
    d
}

fn whole(r: &mut Reader, f: &Field<'_>, within: std::ops::RangeInclusive<u32>, expected: &str) -> Option<u32> {
    let n = r.whole::<u32>(f, expected)?;
    if !within.contains(&n) {
        r.refuse(Code::WrongValue, f, expected, None);
        return None;
    }
    Some(n)
}
