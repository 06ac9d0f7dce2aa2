//! Metrics and logs: the only place that names metrics.
//!
//! ```text
//! StatusHub -> Metrics::encode -> OpenMetrics text, which Prometheus reads
//! ```
//! Everything is read from the hub at the moment of the scrape, so that page, readiness and metrics cannot disagree.
//!
//! Invariants
//! - Names and labels are stable: appended, never renamed. Counters count since the process started.
//! - Times are seconds since the epoch, durations seconds, as Prometheus has them. What is not known has no sample.
//!
//! Not here: what is measured (`live`), serving it (`http`).

use crate::live::{LaneStatus, StatusHub, hex};
use plimsoll_core::account::Account;
use plimsoll_core::time::{ArrivalTime, EventTime};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::io::IsTerminal as _;
use std::sync::Arc;
use tracing_subscriber::EnvFilter;

/// The media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How logs look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: a line each, coloured on a terminal.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Sends logs to standard error from here on. `PLIMSOLL_LOG` chooses what is logged, like `info` (the default), `debug` or
/// `plimsoll=trace,warn`.
///
/// # Errors
/// When `PLIMSOLL_LOG` cannot be read as such a filter.
pub fn log_to_stderr(format: LogFormat) -> Result<(), String> {
    let wanted = std::env::var("PLIMSOLL_LOG").unwrap_or_else(|_| "info".into());
    let filter = EnvFilter::try_new(&wanted).map_err(|e| {
        format!("PLIMSOLL_LOG is `{wanted}`: {e}; expected a level like `info`, or `plimsoll=debug,warn`")
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A second call (tests in one process) keeps the first subscriber: there is nothing to mend.
    let _ = match format {
        LogFormat::Human => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}

/// All metrics of a host.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// Metrics that are read from `hub`.
    pub fn new(hub: Arc<StatusHub>) -> Self {
        let mut registry = Registry::with_prefix("plimsoll");
        registry.register(
            "batch_seconds",
            "Time from a batch's first record read to its commit",
            hub.batch_seconds().clone(),
        );
        registry.register_collector(Box::new(FromHub(hub)));
        Self { registry }
    }

    /// The text of a scrape.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("writing to a string does not fail");
        out
    }
}

struct FromHub(Arc<StatusHub>);

impl fmt::Debug for FromHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromHub")
    }
}

type Labels<'a> = Vec<(&'static str, &'a str)>;
type Samples<'a, N> = Vec<(Labels<'a>, N)>;

impl Collector for FromHub {
    fn encode(&self, mut to: DescriptorEncoder) -> fmt::Result {
        let (lanes, stats) = (self.0.lanes(), self.0.stats());
        let per_lane = |value: fn(&LaneStatus) -> u64| -> Samples<'_, u64> {
            lanes.iter().map(|l| (vec![("lane", l.lane.as_str())], value(l))).collect()
        };
        let records = lanes.iter().flat_map(|l| {
            classes(&l.account).into_iter().map(|(class, n)| (vec![("lane", l.lane.as_str()), ("class", class)], n))
        });
        let rejected = lanes.iter().flat_map(|l| {
            let reasons = l.account.reasons.iter();
            reasons.map(|(reason, n)| (vec![("lane", l.lane.as_str()), ("reason", reason.name())], *n))
        });
        counter(&mut to, "records", "Records read, by what became of them", records.collect())?;
        counter(&mut to, "rejected", "Records set aside, by reason", rejected.collect())?;
        let overflow = per_lane(|l| l.account.overflow);
        counter(
            &mut to,
            "overflow",
            "Of the records counted: in overflow rows, of keys beyond a window's budget",
            overflow,
        )?;
        counter(&mut to, "batches", "Batches committed", per_lane(|l| l.batches))?;
        counter(&mut to, "rows_written", "Rows written to the store", per_lane(|l| l.rows_written))?;
        counter(&mut to, "read_bytes", "Bytes read, as the source stores them", per_lane(|l| l.bytes_read))?;
        counter(&mut to, "module_traps", "Times the module trapped or did not end", per_lane(|l| l.traps))?;

        let help =
            "Aggregated records left out since the lane was opened: they are another shard's, which has them too";
        counter(&mut to, "misplaced", help, per_lane(|l| l.misplaced))?;

        let time = |at: fn(&LaneStatus) -> Option<i64>| -> Samples<'_, f64> {
            lanes.iter().filter_map(|l| Some((vec![("lane", l.lane.as_str())], seconds(at(l)?)))).collect()
        };
        let watermark = time(|l| l.progress.watermark.map(EventTime::as_millis));
        gauge(&mut to, "lane_watermark_seconds", "A lane's watermark, since the epoch", watermark)?;
        let arrival = time(|l| l.progress.arrival.map(ArrivalTime::as_millis));
        gauge(&mut to, "lane_arrival_seconds", "A lane's greatest arrival time, since the epoch", arrival)?;
        let states = lanes.iter().map(|l| (vec![("lane", l.lane.as_str()), ("state", l.state.name())], 1.0));
        gauge(&mut to, "lane_state", "What a lane is doing: 1 for the state it is in", states.collect())?;

        let idle = lanes.iter().map(|l| (vec![("lane", l.lane.as_str())], f64::from(u8::from(l.idle))));
        let help = "1 for a lane that is left out of the policy's watermark: silent at its tip for the idle time-out";
        gauge(&mut to, "lane_idle", help, idle.collect())?;

        let all = stats.watermark.map(|w| (vec![], seconds(w))).into_iter().collect();
        gauge(&mut to, "watermark_seconds", "The policy's watermark, since the epoch", all)?;
        let lags = [
            ("read", stats.lag.read_ms.and_then(|ms| i64::try_from(ms).ok())),
            ("commit", stats.lag.commit_ms),
            ("watermark", stats.lag.watermark_ms),
            ("close", stats.lag.close_ms),
        ];
        let lags = lags.into_iter().filter_map(|(kind, ms)| Some((vec![("kind", kind)], seconds(ms?))));
        let help =
            "How far behind: reading behind the source's tip, the last commit, the watermark, the last window's close";
        gauge(&mut to, "lag_seconds", help, lags.collect())?;

        let module = self.0.about().module.map_or_else(|| "native".into(), |d| hex(&d));
        let policy = hex(self.0.policy().digest());
        let info = vec![
            ("version", env!("CARGO_PKG_VERSION")),
            ("module", module.as_str()),
            ("policy", self.0.policy().spec().policy.as_str()),
            ("policy_sha256", policy.as_str()),
        ];
        gauge(&mut to, "build", "Which engine and policy run here: always 1", vec![(info, 1.0)])
    }
}

fn classes(a: &Account) -> [(&'static str, u64); 6] {
    [
        ("counted", a.counted),
        ("late", a.late),
        ("future", a.future),
        ("rejected", a.rejected),
        ("filtered", a.filtered),
        ("duplicate", a.duplicate),
    ]
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}

fn counter(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, samples: Samples<'_, u64>) -> fmt::Result {
    family(to, name, help, samples.into_iter().map(|(labels, n)| (labels, ConstCounter::new(n))))
}

fn gauge(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, samples: Samples<'_, f64>) -> fmt::Result {
    family(to, name, help, samples.into_iter().map(|(labels, v)| (labels, ConstGauge::new(v))))
}

fn family<'a, M: EncodeMetric>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    samples: impl Iterator<Item = (Labels<'a>, M)>,
) -> fmt::Result {
    let mut samples = samples.peekable();
    let Some(first) = samples.peek() else { return Ok(()) };
    let mut metric = to.encode_descriptor(name, help, None, first.1.metric_type())?;
    for (labels, value) in samples {
        if labels.is_empty() {
            return value.encode(metric);
        }
        value.encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::tests::{hub, lane};
    use plimsoll_core::account::Reason;
    use std::time::Duration;

    #[test]
    fn a_scrape_says_what_the_hub_knows() {
        let (hub, _) = hub();
        let mut status = lane("shard \"0\"", Some(-2_500), 5);
        status.account.read += 1;
        status.account.reject(Reason::BadTime);
        status.rows_written = 7;
        hub.lane(status);
        hub.batch_took(Duration::from_millis(20));
        let text = Metrics::new(hub).encode();
        let lane = r#"lane="shard \"0\"""#;
        for line in [
            format!("plimsoll_records_total{{{lane},class=\"counted\"}} 5"),
            format!("plimsoll_records_total{{{lane},class=\"late\"}} 0"),
            format!("plimsoll_rejected_total{{{lane},reason=\"bad_time\"}} 1"),
            format!("plimsoll_overflow_total{{{lane}}} 0"),
            format!("plimsoll_lane_idle{{{lane}}} 0.0"),
            format!("plimsoll_misplaced_total{{{lane}}} 0"),
            format!("plimsoll_rows_written_total{{{lane}}} 7"),
            format!("plimsoll_lane_watermark_seconds{{{lane}}} -2.5"),
            format!("plimsoll_lane_state{{{lane},state=\"running\"}} 1.0"),
            "plimsoll_watermark_seconds -2.5".into(),
            "plimsoll_lag_seconds{kind=\"watermark\"} 3.5".into(),
            "plimsoll_batch_seconds_count 1".into(),
            "# TYPE plimsoll_records counter".into(),
            "# EOF".into(),
        ] {
            assert!(text.lines().any(|l| l == line), "`{line}` is missing in\n{text}");
        }
        assert!(!text.contains("plimsoll_lane_arrival_seconds{"), "an unknown arrival has no sample");
    }
}
