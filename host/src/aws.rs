//! How the host reaches AWS: credentials, region and endpoints from the usual places, one HTTP client for all.
//!
//! Credentials come from the environment, the profile files, the container or the instance. Endpoints come from
//! `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_DYNAMODB`, `AWS_ENDPOINT_URL_KINESIS` or the profile; one that begins with
//! `http://` is spoken to without TLS.
//!
//! Invariants
//! - The SDK repeats nothing: whoever writes decides when to try again, since it alone knows what a second attempt means.
//! - Requests are signed with the clock of this machine as it is. The service refuses what was signed minutes ago or by a
//!   clock that is minutes off, and the deadline of writes rests on that; so the SDK's correction is off.
//!
//! Not here: what a service's answers mean (`source::kinesis`, `store::dynamodb`).

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use std::error::Error;
use std::time::Duration;

/// How long a connection may take.
pub const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How long one attempt may take, from the connection to the last byte: 10 MB over a slow line.
pub const ATTEMPT_MAX: Duration = Duration::from_secs(20);

/// The SDK's configuration from the environment.
pub async fn config() -> SdkConfig {
    // Takes http:// too. Root certificates are the system's.
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_MAX).operation_attempt_timeout(ATTEMPT_MAX).build();
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::disabled())
        .disable_clock_skew_correction(true)
        .load()
        .await
}

/// Why a request got no answer of the service that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// There are no credentials to sign it with. A person must act; the text says how.
    Credentials(String),
    /// Nobody answered, or not in time, or not as the service does. That may pass; the text says what to look at.
    Line(String),
}

/// What it means that a request to `service` (`KINESIS`, as in `AWS_ENDPOINT_URL_KINESIS`) was not answered.
pub fn unanswered(error: &dyn Error, service: &str) -> Unanswered {
    let text = causes(error);
    // The SDK has no types for these; it says so in words.
    if text.contains("credential provider was not enabled") {
        let profile = std::env::var("AWS_PROFILE").map_or(String::new(), |name| format!(", nor in AWS_PROFILE={name}"));
        return Unanswered::Credentials(format!(
            "found no AWS credentials{profile}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or an AWS_PROFILE that has \
             them, or run under a role"
        ));
    }
    if text.contains("credentials provider was not properly configured") {
        return Unanswered::Credentials(format!(
            "{text}; expected AWS credentials: check AWS_PROFILE and the profile files, or set AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY"
        ));
    }
    let by = [format!("AWS_ENDPOINT_URL_{service}"), "AWS_ENDPOINT_URL".to_owned()];
    let address = by.iter().find_map(|name| Some(format!("{name}={}", std::env::var(name).ok()?)));
    let look = address.map_or("the network and AWS_REGION".into(), |a| format!("whether the service is at {a}"));
    Unanswered::Line(format!("no answer: {text}; check {look}"))
}

/// An error with what caused it, without what only its authors understand.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(c) = cause {
        let more = c.to_string();
        // Some errors say what their cause says.
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = c.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("dispatch failure")]
    struct Dispatch(#[source] Cause);

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Cause(&'static str);

    #[test]
    fn no_credentials_and_wrong_profiles_are_for_a_person() {
        let nowhere =
            Dispatch(Cause("the credential provider was not enabled: no credentials found in chain. Attempted: ..."));
        let Unanswered::Credentials(text) = unanswered(&nowhere, "KINESIS") else { panic!("no credentials") };
        assert!(text.contains("AWS_ACCESS_KEY_ID") && !text.contains("Attempted"), "{text}");
        let wrong = Dispatch(Cause("the credentials provider was not properly configured"));
        let Unanswered::Credentials(text) = unanswered(&wrong, "KINESIS") else { panic!("a wrong profile") };
        assert!(
            text.starts_with("dispatch failure: the credentials provider") && text.contains("AWS_PROFILE"),
            "{text}"
        );
    }

    #[test]
    fn a_line_that_is_cut_may_be_mended_by_itself() {
        let cut = Dispatch(Cause("Connection refused"));
        let Unanswered::Line(text) = unanswered(&cut, "KINESIS") else { panic!("a line") };
        assert!(text.starts_with("no answer: dispatch failure: Connection refused; check "), "{text}");
    }
}
