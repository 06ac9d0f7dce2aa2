//! Figures to CloudWatch by PutMetricData.
//!
//! Invariants
//! - A call holds at most `CALL_FIGURES` figures and `CALL_BYTES` bytes; the service takes 1,000 and 1 MB.
//! - What could not be put waits with its own time, at most `WAITING_MAX` figures; the oldest are dropped first.
//!
//! Not here: which figures (`figures`), when (`publisher`).

use super::Group;
use super::figures::{Figure, LANE, POLICY, Unit};
use super::publisher::Out;
use crate::aws::{Unanswered, unanswered};
use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};
use std::collections::VecDeque;
use std::time::Duration;

/// Figures of a call.
const CALL_FIGURES: usize = 1_000;
/// Bytes of a call, as they are estimated; the service takes a million.
const CALL_BYTES: usize = 900_000;
/// A figure's bytes beside its dimensions, by far.
const FIGURE_BYTES: usize = 300;
/// Figures that wait for a service that does not answer: an hour of 64 lanes.
const WAITING_MAX: usize = 20_000;
/// How long one call may take.
const CALL_MAX: Duration = Duration::from_secs(20);

/// Where figures go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudWatchConfig {
    /// The namespace.
    pub namespace: String,
    /// How often.
    pub every: Duration,
    /// Whether each lane has figures of its own: custom metrics are paid for one by one.
    pub per_lane: bool,
}

pub(super) struct CloudWatch {
    client: Client,
    namespace: String,
    waiting: VecDeque<Datum>,
}

/// A figure at its time, with its bytes.
struct Datum {
    datum: MetricDatum,
    bytes: usize,
}

impl CloudWatch {
    pub(super) fn new(namespace: &str, aws: &SdkConfig) -> Self {
        Self { client: Client::new(aws), namespace: namespace.into(), waiting: VecDeque::new() }
    }

    async fn call(&self, data: Vec<MetricDatum>) -> Result<(), String> {
        let request = self.client.put_metric_data().namespace(&self.namespace).set_metric_data(Some(data));
        let answer = tokio::time::timeout(CALL_MAX, request.send()).await;
        match answer.map_err(|_| format!("PutMetricData: no answer within {CALL_MAX:?}"))? {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(e)) => {
                let (code, message) = (e.err().code().unwrap_or("no code"), e.err().message().unwrap_or(""));
                let status = e.raw().status().as_u16();
                Err(format!(
                    "PutMetricData was answered {status} {code}: {message}; expected the right cloudwatch:PutMetricData for \
                     namespace {} (condition cloudwatch:namespace)",
                    self.namespace
                ))
            }
            Err(e) => Err(match unanswered(&e, "CLOUDWATCH") {
                Unanswered::Credentials(text) | Unanswered::Line(text) => format!("PutMetricData: {text}"),
            }),
        }
    }
}

#[async_trait]
impl Out for CloudWatch {
    async fn put(&mut self, at_ms: i64, groups: Vec<Group>) -> Result<(), String> {
        self.waiting.extend(groups.iter().flat_map(|group| group.figures.iter().map(|f| datum(at_ms, group, f))));
        let too_many = self.waiting.len().saturating_sub(WAITING_MAX);
        self.waiting.drain(..too_many);
        while !self.waiting.is_empty() {
            let count = part(self.waiting.iter().map(|d| d.bytes));
            let data = self.waiting.iter().take(count).map(|d| d.datum.clone()).collect();
            self.call(data).await?;
            self.waiting.drain(..count);
        }
        Ok(())
    }
}

fn datum(at_ms: i64, group: &Group, figure: &Figure) -> Datum {
    let dimension = |name: &str, value: &str| Dimension::builder().name(name).value(value).build();
    let unit = match figure.unit {
        Unit::Milliseconds => StandardUnit::Milliseconds,
        Unit::Count => StandardUnit::Count,
    };
    let datum = MetricDatum::builder().metric_name(figure.name).unit(unit).value(figure.value as f64);
    let datum = datum.timestamp(DateTime::from_millis(at_ms)).dimensions(dimension(POLICY, &group.policy));
    let lane = group.lane.as_deref();
    let datum = match lane {
        Some(lane) => datum.dimensions(dimension(LANE, lane)),
        None => datum,
    };
    // A name may be escaped on its way: three bytes for one.
    let bytes = FIGURE_BYTES + 3 * (group.policy.len() + lane.map_or(0, str::len));
    Datum { datum: datum.build(), bytes }
}

/// How many of these fit into one call: one at least.
fn part(bytes: impl Iterator<Item = usize>) -> usize {
    let mut total = 0;
    let fits = |bytes: &usize| {
        total += bytes;
        total <= CALL_BYTES
    };
    bytes.take(CALL_FIGURES).take_while(fits).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_call_is_as_large_as_the_service_takes(bytes in prop::collection::vec(300usize..7_000, 1..3_000)) {
            let (mut at, mut calls) = (0, 0);
            while at < bytes.len() {
                let count = part(bytes[at..].iter().copied());
                let sum: usize = bytes[at..at + count].iter().sum();
                prop_assert!((1..=CALL_FIGURES).contains(&count) && sum <= CALL_BYTES);
                let more = bytes.get(at + count);
                prop_assert!(more.is_none_or(|m| count == CALL_FIGURES || sum + m > CALL_BYTES), "half empty");
                (at, calls) = (at + count, calls + 1);
            }
            prop_assert!(calls <= bytes.len());
        }
    }
}
