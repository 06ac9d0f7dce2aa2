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
//! Not here: what a service's errors mean (`source::kinesis`, `store::dynamodb`).

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
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
