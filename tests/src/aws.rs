//! Clients of Kinesis, DynamoDB, CloudWatch and SNS for the tests' own reads and writes.
//!
//! Invariants
//! - A loopback address gets letters-only dummy credentials (some stand-ins refuse others) and no TLS; any other
//!   address gets the user's own credentials and region, from the usual places.
//! - The SDK's retries are on unless a test says [`Retries::None`], where it retries by itself.
//!
//! Not here: servers (`server`), faults (`proxy`).

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use std::process::Command;
use std::time::Duration;

/// The region of stand-ins.
pub const REGION: &str = "us-east-1";
const KEY: &str = "plimsolltests";
const SECRET: &str = "notasecret";

/// Who repeats a request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retries {
    /// The SDK, by its own rules.
    Sdk,
    /// Nobody: each failure reaches the caller.
    None,
}

/// A Kinesis client of the service at `url`.
pub async fn kinesis(url: &str, retries: Retries) -> aws_sdk_kinesis::Client {
    aws_sdk_kinesis::Client::new(&config(url, retries).await)
}

/// A DynamoDB client of the service at `url`.
pub async fn dynamodb(url: &str, retries: Retries) -> aws_sdk_dynamodb::Client {
    aws_sdk_dynamodb::Client::new(&config(url, retries).await)
}

/// A CloudWatch client of the service at `url`.
pub async fn cloudwatch(url: &str, retries: Retries) -> aws_sdk_cloudwatch::Client {
    aws_sdk_cloudwatch::Client::new(&config(url, retries).await)
}

/// An SNS client of the service at `url`.
pub async fn sns(url: &str, retries: Retries) -> aws_sdk_sns::Client {
    aws_sdk_sns::Client::new(&config(url, retries).await)
}

/// Gives a program the credentials and region that go with stand-ins; it still needs the addresses.
pub fn set_dummy_credentials(command: &mut Command) {
    command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET).env("AWS_REGION", REGION);
    command.env("AWS_EC2_METADATA_DISABLED", "true").env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN");
}

/// True for an address on this machine, where nobody checks credentials.
pub fn is_loopback(url: &str) -> bool {
    ["http://127.0.0.1", "http://localhost", "http://[::1]"].iter().any(|here| url.starts_with(here))
}

/// How the service at `url` is reached.
pub async fn config(url: &str, retries: Retries) -> SdkConfig {
    let retry = match retries {
        // Ten attempts: with one reply in three lost, chance alone does not spend them. The waits suit loopback.
        Retries::Sdk => RetryConfig::standard()
            .with_max_attempts(10)
            .with_initial_backoff(Duration::from_millis(20))
            .with_max_backoff(Duration::from_secs(1)),
        Retries::None => RetryConfig::disabled(),
    };
    let loader = aws_config::defaults(BehaviorVersion::latest()).endpoint_url(url).retry_config(retry);
    let http = aws_smithy_http_client::Builder::new();
    if is_loopback(url) {
        let credentials = aws_sdk_dynamodb::config::Credentials::new(KEY, SECRET, None, None, "plimsoll tests");
        loader.credentials_provider(credentials).region(Region::new(REGION)).http_client(http.build_http()).load().await
    } else {
        loader.http_client(http.tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()).load().await
    }
}
