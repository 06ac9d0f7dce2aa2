//! Messages to an SNS topic, from which mail, SMS, HTTP hooks and chat tools get them.
//!
//! Invariants
//! - The topic's ARN says where it is: its region counts, not `AWS_REGION`.
//! - On a FIFO topic a message whose reply got lost and which is sent again arrives once (its deduplication id).
//!
//! Not here: subscriptions, which are the topic owner's.

use super::{Channel, SEND_MAX, Undelivered};
use crate::alarm::Notice;
use crate::aws::{Unanswered, unanswered};
use crate::store::hex;
use async_trait::async_trait;
use aws_config::{Region, SdkConfig};
use aws_sdk_sns::Client;
use aws_sdk_sns::error::{ProvideErrorMetadata, SdkError};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// A topic's ARN, with its region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    arn: String,
    region: String,
}

/// Why a text is no topic. The message completes "expected ".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a topic's ARN, like \"arn:aws:sns:eu-west-1:123456789012:alarms\"")]
pub struct TopicError;

impl Topic {
    /// Reads an ARN.
    ///
    /// # Errors
    /// If it is none of SNS.
    pub fn parse(arn: &str) -> Result<Self, TopicError> {
        let parts: Vec<&str> = arn.split(':').collect();
        let ["arn", partition, "sns", region, account, name] = parts[..] else { return Err(TopicError) };
        let word =
            |t: &str, more: &str| !t.is_empty() && t.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
        let account_is = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        if !word(partition, "-") || !word(region, "-") || !account_is || !word(name, "-_.") {
            return Err(TopicError);
        }
        Ok(Self { arn: arn.into(), region: region.into() })
    }

    fn is_fifo(&self) -> bool {
        self.arn.ends_with(".fifo")
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.arn)
    }
}

pub(super) struct Sns {
    client: Client,
    topic: Topic,
}

impl Sns {
    pub(super) fn new(topic: Topic, aws: &SdkConfig) -> Self {
        let config = aws_sdk_sns::config::Builder::from(aws).region(Region::new(topic.region.clone())).build();
        Self { client: Client::from_conf(config), topic }
    }
}

#[async_trait]
impl Channel for Sns {
    fn describe(&self) -> String {
        format!("sns {}", self.topic)
    }

    async fn send(&self, notice: &Notice) -> Result<String, Undelivered> {
        let mut request =
            self.client.publish().topic_arn(&self.topic.arn).subject(notice.subject()).message(notice.text());
        if self.topic.is_fifo() {
            let digest = |text: &str| hex(&Sha256::digest(text.as_bytes()));
            request = request.message_group_id(digest(&format!("{}/{}", notice.alarm, notice.lane)));
            request = request.message_deduplication_id(digest(&notice.id));
        }
        let answer = tokio::time::timeout(SEND_MAX, request.send()).await;
        let answer = answer.map_err(|_| Undelivered::Passing(format!("no answer of SNS within {SEND_MAX:?}")))?;
        match answer {
            Ok(answer) => Ok(format!("message id {}", answer.message_id().unwrap_or("not given"))),
            Err(SdkError::ServiceError(e)) => {
                let (status, code) = (e.raw().status().as_u16(), e.err().code().unwrap_or("no code").to_owned());
                let said = format!("SNS answered {status} {code}: {}", e.err().message().unwrap_or(""));
                Err(judge(&self.topic, status, &code, &said))
            }
            Err(e) => Err(match unanswered(&e, "SNS") {
                Unanswered::Credentials(text) => Undelivered::Refused(text),
                Unanswered::Line(text) => Undelivered::Passing(text),
            }),
        }
    }
}

fn judge(topic: &Topic, status: u16, code: &str, said: &str) -> Undelivered {
    let mend = match code {
        "NotFound" | "NotFoundException" => format!("check the topic's name, region and account: {topic}"),
        "AuthorizationError" | "AuthorizationErrorException" | "AccessDenied" | "AccessDeniedException" => {
            format!("allow sns:Publish on {topic} to this role")
        }
        "ExpiredToken" | "ExpiredTokenException" | "InvalidClientTokenId" | "SignatureDoesNotMatch" => {
            "the credentials are wrong or have expired".into()
        }
        _ if status >= 500 || status == 429 || code.starts_with("Throttl") => return Undelivered::Passing(said.into()),
        _ => "the service does not take this message".into(),
    };
    Undelivered::Refused(format!("{said}; {mend}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_says_where_it_is() {
        let topic = Topic::parse("arn:aws:sns:ap-northeast-1:123456789012:plimsoll-alarms").expect("an ARN");
        assert_eq!((topic.region.as_str(), topic.is_fifo()), ("ap-northeast-1", false));
        assert!(Topic::parse("arn:aws-cn:sns:cn-north-1:123456789012:a.fifo").is_ok_and(|t| t.is_fifo()));
        for bad in [
            "",
            "alarms",
            "arn:aws:sqs:eu-west-1:123456789012:alarms",
            "arn:aws:sns::123456789012:alarms",
            "arn:aws:sns:eu-west-1:1234:alarms",
            "arn:aws:sns:eu-west-1:123456789012:",
            "arn:aws:sns:eu-west-1:123456789012:alarms:0f1e",
        ] {
            assert_eq!(Topic::parse(bad), Err(TopicError), "{bad}");
        }
    }

    #[test]
    fn who_can_mend_it() {
        let topic = Topic::parse("arn:aws:sns:eu-west-1:123456789012:alarms").expect("an ARN");
        let refused = |status, code| matches!(judge(&topic, status, code, "x"), Undelivered::Refused(_));
        assert!(refused(404, "NotFound") && refused(403, "AuthorizationError") && refused(400, "InvalidParameter"));
        assert!(!refused(503, "ServiceUnavailable") && !refused(400, "ThrottlingException"));
    }
}
