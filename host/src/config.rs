//! The host's configuration file: which alarms, whom they reach, which figures go where. CONFIG.md is its reference.
//!
//! Invariants
//! - All that is wrong with a file is said at once, each with line, column and the mend; nothing is half taken.
//! - A file that says nothing of something leaves it as it is without a file.
//! - A secret may come from the environment and is nowhere shown.
//!
//! Not here: how a field is read (`plimsoll_core::policy::text::document`), what to count (the policy).

mod walk;

use crate::alarm::channel::Target;
use crate::alarm::{Rule, written};
use crate::telemetry::{CloudWatchConfig, EmfConfig};
use plimsoll_core::policy::text::{Diagnostics, Syntax, document};
use std::path::Path;

/// What a configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What is watched.
    pub alarms: Vec<Rule>,
    /// Who is told, beside the log.
    pub notify: Vec<Target>,
    /// Figures for CloudWatch, by its API.
    pub cloudwatch: Option<CloudWatchConfig>,
    /// Figures in the embedded metric format.
    pub emf: Option<EmfConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self { alarms: Rule::defaults(), notify: Vec::new(), cloudwatch: None, emf: None }
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {file}: {why}; expected a TOML or JSON file (host/CONFIG.md)")]
    File {
        /// Which file.
        file: String,
        /// Why.
        why: String,
    },
    /// What it says is wrong.
    #[error("the configuration is refused:\n{0}")]
    Text(Diagnostics),
}

impl Config {
    /// Reads a configuration. `env` looks up a variable of the environment.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(text: &str, syntax: Syntax, env: impl Fn(&str) -> Option<String>) -> Result<Self, Diagnostics> {
        document::read(text, syntax, &walk::ROOT, |r, s| walk::config(r, s, &env))
    }

    /// Reads a file, with the environment of this process.
    ///
    /// # Errors
    /// If it cannot be read, or something is wrong with it.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let name = file.display().to_string();
        let text = std::fs::read(file).map_err(|e| ConfigError::File { file: name.clone(), why: e.to_string() })?;
        let text = String::from_utf8(text).map_err(|e| ConfigError::File {
            file: name.clone(),
            why: format!("not UTF-8 at byte {}", e.utf8_error().valid_up_to()),
        })?;
        let env = |variable: &str| std::env::var(variable).ok();
        Self::parse(&text, Syntax::guess(&name, &text), env).map_err(|d| ConfigError::Text(d.in_file(&name)))
    }

    /// What it comes to, a sentence a line.
    pub fn explain(&self) -> String {
        let mut lines = Vec::new();
        if self.alarms.is_empty() {
            lines.push("No alarm is watched.".into());
        }
        for rule in &self.alarms {
            let of = rule.points;
            let lanes = match rule.lanes.as_str() {
                "*" => "each lane".into(),
                pattern => format!("each lane like `{pattern}`"),
            };
            lines.push(format!(
                "Alarm `{}` on {lanes}: {}, in {} of {} points, one every {}.",
                rule.name,
                rule.condition(),
                of.points(),
                of.of(),
                written(rule.every)
            ));
        }
        lines.push("Alarms go to the log.".into());
        for target in &self.notify {
            lines.push(match target {
                Target::Sns(topic) => format!("Alarms go to the SNS topic {topic}."),
                Target::Slack(to) => format!("Alarms go to Slack by {to}."),
                Target::Webhook(to) => format!("Alarms go to the webhook {to}."),
            });
        }
        if let Some(c) = &self.cloudwatch {
            lines.push(format!("Figures go to CloudWatch, namespace `{}`, every {}.", c.namespace, written(c.every)));
        }
        if let Some(e) = &self.emf {
            let (namespace, every) = (&e.namespace, written(e.every));
            lines.push(format!(
                "Figures go to {} in the embedded metric format, namespace `{namespace}`, every {every}.",
                e.to
            ));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests;
