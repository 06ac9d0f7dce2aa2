//! Messages by a POST of JSON: Slack's incoming webhooks, and anybody's.
//!
//! Invariants
//! - An address is a secret: who has it can write to the channel. It is shown up to its host, nowhere whole.
//! - https, except to this machine; redirects are not followed, so that a message goes where it was told to.
//! - An answer is read up to `ANSWER_MAX`.
//!
//! Not here: proxies. Who needs one lets it forward a local http address.

use super::{Channel, SEND_MAX, Undelivered};
use crate::alarm::Notice;
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::CONTENT_TYPE;
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::fmt;
use std::net::IpAddr;

/// Bytes of an answer that are looked at.
const ANSWER_MAX: usize = 4 << 10;
/// Characters of an answer that are shown.
const SHOWN_MAX: usize = 200;

/// A web address that holds a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Uri);

/// Why a text is no address to send to. The message completes "expected "; it does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Not a web address.
    #[error("a web address, like \"https://hooks.slack.com/services/...\"")]
    Form,
    /// In the clear over a network.
    #[error("an https address (http is for this machine alone)")]
    InTheClear,
    /// A name and password in it.
    #[error("an address without a user name or password before the host")]
    UserInfo,
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// If nothing can be sent there, or should not.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let uri: Uri = text.parse().map_err(|_| AddressError::Form)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(AddressError::Form);
        };
        if authority.as_str().contains('@') {
            return Err(AddressError::UserInfo);
        }
        if authority.host().is_empty() {
            return Err(AddressError::Form);
        }
        match scheme {
            "https" => Ok(Self(uri)),
            "http" if is_loopback(authority.host()) => Ok(Self(uri)),
            "http" => Err(AddressError::InTheClear),
            _ => Err(AddressError::Form),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|a: IpAddr| a.is_loopback())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host) = (self.0.scheme_str().unwrap_or_default(), self.0.host().unwrap_or_default());
        write!(f, "{scheme}://{host}/...")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

pub(super) type Web = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

pub(super) fn client() -> Result<Web, String> {
    let tls = HttpsConnectorBuilder::new().with_native_roots();
    let tls = tls.map_err(|e| {
        format!("found no root certificates on this machine: {e}; install them (Debian: ca-certificates), or set SSL_CERT_FILE")
    })?;
    Ok(Client::builder(TokioExecutor::new()).build(tls.https_or_http().enable_http1().build()))
}

/// A webhook.
pub(super) struct Hook {
    to: Address,
    web: Web,
    kind: &'static str,
    body: fn(&Notice) -> Value,
}

impl Hook {
    pub(super) fn slack(to: Address, web: Web) -> Self {
        Self { to, web, kind: "slack", body: Notice::slack }
    }

    pub(super) fn plain(to: Address, web: Web) -> Self {
        let body = |notice: &Notice| serde_json::to_value(notice).expect("texts and numbers");
        Self { to, web, kind: "webhook", body }
    }

    async fn post(&self, body: Value) -> Result<String, Undelivered> {
        let request = Request::post(self.to.0.clone()).header(CONTENT_TYPE, "application/json");
        let request = request.body(Full::new(Bytes::from(body.to_string()))).expect("the parts were checked");
        let answer = self.web.request(request).await.map_err(|e| Undelivered::Passing(self.unanswered(&e)))?;
        let status = answer.status();
        // An answer that is too long or breaks off was an answer all the same: its status has come.
        let text = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
        let text = text.map_or_else(|_| Bytes::new(), http_body_util::Collected::to_bytes);
        judge(status, &shown(&text)).map_err(|e| match e {
            Undelivered::Refused(text) => Undelivered::Refused(format!("{}: {text}", self.to)),
            Undelivered::Passing(text) => Undelivered::Passing(format!("{}: {text}", self.to)),
        })
    }

    fn unanswered(&self, error: &dyn std::error::Error) -> String {
        format!("no answer of {}: {}; check the address and the network", self.to, crate::aws::causes(error))
    }
}

#[async_trait]
impl Channel for Hook {
    fn describe(&self) -> String {
        format!("{} {}", self.kind, self.to)
    }

    async fn send(&self, notice: &Notice) -> Result<String, Undelivered> {
        let answer = tokio::time::timeout(SEND_MAX, self.post((self.body)(notice))).await;
        answer.map_err(|_| Undelivered::Passing(format!("no answer of {} within {SEND_MAX:?}", self.to)))?
    }
}

fn judge(status: StatusCode, text: &str) -> Result<String, Undelivered> {
    let said = format!("answered {}{}{text}", status.as_u16(), if text.is_empty() { "" } else { " " });
    match status.as_u16() {
        200..=299 => Ok(said),
        300..=399 => {
            Err(Undelivered::Refused(format!("{said}; redirects are not followed: give the address it leads to")))
        }
        408 | 425 | 429 | 500.. => Err(Undelivered::Passing(said)),
        _ => Err(Undelivered::Refused(format!("{said}; check the address: webhooks are withdrawn, and made anew"))),
    }
}

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_sent_to_and_not_shown() {
        let address = Address::parse("https://hooks.slack.com/services/T0/B0/secret?x=secret").expect("an address");
        for text in [format!("{address}"), format!("{address:?}")] {
            assert_eq!(text, "https://hooks.slack.com/...");
        }
        assert!(Address::parse("http://127.0.0.1:8080/hook").is_ok() && Address::parse("http://[::1]:80/").is_ok());
        for (bad, why) in [
            ("http://example.com/hook", AddressError::InTheClear),
            ("https://me:secret@example.com/", AddressError::UserInfo),
            ("hooks.slack.com/services", AddressError::Form),
            ("ftp://example.com/", AddressError::Form),
            ("https:///hook", AddressError::Form),
            ("", AddressError::Form),
            ("https://a b/", AddressError::Form),
        ] {
            assert_eq!(Address::parse(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn what_a_status_means() {
        let of = |status| judge(StatusCode::from_u16(status).expect("a status"), "words");
        assert_eq!(of(200), Ok("answered 200 words".into()));
        for status in [408, 429, 500, 503] {
            assert!(matches!(of(status), Err(Undelivered::Passing(_))), "{status}");
        }
        for status in [302, 400, 403, 404, 410] {
            assert!(matches!(of(status), Err(Undelivered::Refused(_))), "{status}");
        }
        assert_eq!(shown(b" a\x1b[31m\nb "), "a [31m b");
    }
}
