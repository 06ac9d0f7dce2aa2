//! Figures as lines in CloudWatch's embedded metric format: where an agent or Lambda carries them from a log.
//!
//! ```text
//! {"_aws":{"Timestamp":..,"CloudWatchMetrics":[{"Namespace":..,"Dimensions":[["Policy"]],"Metrics":[{"Name":..,"Unit":..}]}]},
//!  "Policy":"impressions","CommitLag":420,..}
//! ```
//! Invariants
//! - A line is one object of one set of dimensions: a dozen figures (the format takes 100), a few KB.
//! - Lines are whole: each is written at once, with its newline.

use super::Group;
use super::figures::{LANE, POLICY};
use super::publisher::Out;
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmfTo {
    /// Standard output.
    Stdout,
    /// The end of a file.
    File(PathBuf),
}

impl fmt::Display for EmfTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("standard output"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Lines, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmfConfig {
    /// Where they go.
    pub to: EmfTo,
    /// The namespace.
    pub namespace: String,
    /// How often.
    pub every: Duration,
    /// Whether each lane has figures of its own.
    pub per_lane: bool,
}

pub(super) struct Emf {
    namespace: String,
    to: Box<dyn AsyncWrite + Send + Unpin>,
}

impl Emf {
    /// Opens where lines go.
    ///
    /// # Errors
    /// If that cannot be written to.
    pub(super) async fn open(config: &EmfConfig) -> Result<Self, String> {
        let to: Box<dyn AsyncWrite + Send + Unpin> = match &config.to {
            EmfTo::Stdout => Box::new(tokio::io::stdout()),
            EmfTo::File(path) => {
                let file = tokio::fs::OpenOptions::new().append(true).create(true).open(path).await;
                Box::new(file.map_err(|e| {
                    format!("cannot write to {}: {e}; expected a file to append to (`metrics.emf`)", path.display())
                })?)
            }
        };
        Ok(Self { namespace: config.namespace.clone(), to })
    }
}

#[async_trait]
impl Out for Emf {
    async fn put(&mut self, at_ms: i64, groups: Vec<Group>) -> Result<(), String> {
        let lines: String = groups.iter().map(|group| line(&self.namespace, at_ms, group) + "\n").collect();
        let written = async {
            self.to.write_all(lines.as_bytes()).await?;
            self.to.flush().await
        };
        written.await.map_err(|e| format!("cannot write figures: {e}"))
    }
}

fn line(namespace: &str, at_ms: i64, group: &Group) -> String {
    let mut members = Map::new();
    let metrics: Vec<Value> = group.figures.iter().map(|f| json!({ "Name": f.name, "Unit": f.unit.name() })).collect();
    let dimensions = if group.lane.is_some() { vec![POLICY, LANE] } else { vec![POLICY] };
    let directive = json!({ "Namespace": namespace, "Dimensions": [dimensions], "Metrics": metrics });
    members.insert("_aws".into(), json!({ "Timestamp": at_ms, "CloudWatchMetrics": [directive] }));
    members.insert(POLICY.into(), group.policy.as_str().into());
    members.extend(group.lane.iter().map(|lane| (LANE.to_owned(), lane.as_str().into())));
    members.extend(group.figures.iter().map(|f| (f.name.to_owned(), f.value.into())));
    Value::Object(members).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::figures::{Figures, tests::behind};
    use super::*;

    /// The format's rules, as its specification has them.
    fn validate(line: &str) -> Result<(), String> {
        let fail = |why: &str| Err(format!("{why}: {line}"));
        let root: Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
        let aws = &root["_aws"];
        if !aws["Timestamp"].is_i64() || line.len() > 1 << 20 || line.contains('\n') {
            return fail("a time in whole milliseconds, one line, at most 1 MB");
        }
        let Some(directives) = aws["CloudWatchMetrics"].as_array() else { return fail("a list of directives") };
        for directive in directives {
            if !directive["Namespace"].as_str().is_some_and(|n| (1..=1_024).contains(&n.len())) {
                return fail("a namespace");
            }
            for set in directive["Dimensions"].as_array().into_iter().flatten() {
                let names = set.as_array().ok_or("a set of names")?;
                let named = |n: &Value| n.as_str().is_some_and(|n| root[n].as_str().is_some_and(|v| !v.is_empty()));
                if names.len() > 30 || !names.iter().all(named) {
                    return fail("dimensions are texts at the root");
                }
            }
            let metrics = directive["Metrics"].as_array().ok_or("metrics")?;
            let numbered = |m: &Value| m["Name"].as_str().is_some_and(|n| root[n].is_number());
            let units = ["Milliseconds", "Count"];
            if metrics.is_empty() || metrics.len() > 100 || !metrics.iter().all(numbered) {
                return fail("1 to 100 metrics, each a number at the root");
            }
            if !metrics.iter().all(|m| m["Unit"].as_str().is_some_and(|u| units.contains(&u))) {
                return fail("units of CloudWatch");
            }
        }
        Ok(())
    }

    #[tokio::test]
    async fn lines_follow_the_rules_of_the_format() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("plimsoll.emf");
        let config = EmfConfig {
            to: EmfTo::File(path.clone()),
            namespace: "Plimsoll".into(),
            every: Duration::from_secs(60),
            per_lane: true,
        };
        let mut figures = Figures::new(behind(), true);
        for _ in 0..2 {
            let mut emf = Emf::open(&config).await.expect("a file");
            let (at, groups) = figures.take();
            emf.put(at, groups).await.expect("it is written");
        }
        let text = std::fs::read_to_string(&path).expect("lines");
        assert_eq!(text.lines().count(), 4, "a run that begins anew appends: {text}");
        for line in text.lines() {
            validate(line).unwrap_or_else(|error| panic!("{error}"));
        }
        let first: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
        assert_eq!(
            (&first["Policy"], &first["CommitLag"], &first["Counted"]),
            (&"test".into(), &10_000.into(), &5.into())
        );
        assert!(validate(&text.lines().next().expect("a line").replace("\"CommitLag\":", "\"X\":")).is_err());
        let nowhere = EmfConfig { to: EmfTo::File(dir.path().join("no/such/folder")), ..config };
        assert!(Emf::open(&nowhere).await.is_err_and(|e| e.contains("metrics.emf")));
    }
}
