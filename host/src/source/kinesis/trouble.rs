//! What the service's errors mean: who can mend them, and how.
//!
//! Invariants
//! - What a repetition may mend is `Passing`: errors of the service, a connection that broke or took too long; and `Throttled`,
//!   which asks for fewer requests as well.
//! - What only a person can mend is `Refused`, and the message says what that person does.
//! - An error that is not known here is `Refused`, with the service's own words: repeating it would hide it.
//!
//! Not here: who repeats (the driver), and how an expired iterator is replaced (`reader`).

use crate::aws::{Unanswered, unanswered};
use crate::source::SourceError;
use aws_sdk_kinesis::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use std::fmt;

/// What was asked, of which stream, for messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    /// The operation, like `GetRecords`.
    pub(super) action: &'static str,
    /// The stream's name or ARN, as it was given.
    pub(super) stream: &'a str,
    pub(super) region: &'a str,
}

impl Call<'_> {
    /// What a policy of IAM names: of a name alone nobody has said the account.
    fn arn(&self) -> String {
        match self.stream {
            arn if arn.starts_with("arn:") => arn.to_owned(),
            name => format!("arn:aws:kinesis:{}:*:stream/{name}", self.region),
        }
    }
}

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kinesis:{} on {} ({})", self.action, self.stream, self.region)
    }
}

/// One failed call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// May pass.
    Passing(String),
    /// Asked too often, or for too much: others read the stream, too. It passes by asking less.
    Throttled(String),
    /// A person must act.
    Refused(String),
    /// There is no such stream, or no such shard in it.
    Missing(String),
    /// The iterator is no longer valid; its position is.
    Expired(String),
    /// The service does not take what was asked, such as a sequence number it no longer knows.
    Argument(String),
}

impl Trouble {
    /// What an error of the SDK means.
    pub(super) fn of<E>(call: &Call<'_>, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        match error {
            SdkError::ServiceError(service) => {
                let code = service.err().code().unwrap_or("");
                Self::by_code(call, code, service.err().message().unwrap_or(""), status)
            }
            _ => Self::unsent(call, unanswered(error, "KINESIS"), status),
        }
    }

    /// What an error in a stream of events means.
    pub(super) fn of_event<E, R>(call: &Call<'_>, error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: fmt::Debug,
    {
        match error.as_service_error() {
            Some(error) => Self::by_code(call, error.code().unwrap_or(""), error.message().unwrap_or(""), None),
            // The line was cut, or what came cannot be read: the subscription is made anew.
            None => Self::Passing(format!("{call}: the stream of events broke: {}", DisplayErrorContext(error))),
        }
    }

    /// The service answered with an error.
    fn by_code(call: &Call<'_>, code: &str, message: &str, status: Option<u16>) -> Self {
        let Call { action, region, .. } = call;
        let said = if message.is_empty() { code.to_owned() } else { format!("{code}: {message}") };
        let refused = |mend: String| Self::Refused(format!("{call}: {said}; {mend}"));
        match code {
            "ExpiredIteratorException" => Self::Expired(format!("{call}: {said}")),
            "InvalidArgumentException" => Self::Argument(format!("{call}: {said}")),
            "ResourceNotFoundException" => Self::Missing(format!(
                "{call}: {said}; check the stream's name, and whether it lives in region {region} (AWS_REGION) and in the account of these credentials"
            )),
            "AccessDeniedException" | "AccessDenied" => refused(format!("allow kinesis:{action} on {} to this role", call.arn())),
            "ExpiredTokenException" | "ExpiredToken" | "RequestExpired" => {
                refused("the credentials have expired: get new ones (a role's are renewed by themselves) and start again".into())
            }
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "NotAuthorized" => refused(
                "the credentials are wrong: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN or the profile, and this machine's clock".into(),
            ),
            "KMSAccessDeniedException" | "KMSDisabledException" | "KMSInvalidStateException" | "KMSNotFoundException"
            | "KMSOptInRequired" => {
                refused("the stream is encrypted: enable its KMS key and allow kms:Decrypt on it to this role".into())
            }
            "ProvisionedThroughputExceededException"
            | "LimitExceededException"
            | "KMSThrottlingException"
            | "ThrottlingException"
            | "Throttling" => Self::Throttled(format!("{call}: {said}")),
            "RequestTimeout"
            | "RequestTimeoutException"
            | "ResourceInUseException"
            | "ExpiredNextTokenException" => Self::Passing(format!("{call}: {said}")),
            _ if status.is_none_or(|s| s >= 500 || s == 408 || s == 429) => {
                let status = status.map_or(String::new(), |s| format!("HTTP {s} "));
                Self::Passing(format!("{call}: {status}{said}"))
            }
            _ => refused("the service does not take this request".into()),
        }
    }

    /// No answer of the service came, or none that can be read.
    fn unsent(call: &Call<'_>, why: Unanswered, status: Option<u16>) -> Self {
        match (why, status) {
            (Unanswered::Credentials(text), _) => Self::Refused(format!("{call}: {text}")),
            (Unanswered::Line(text), Some(status)) if status < 500 && status != 408 && status != 429 => {
                Self::Refused(format!("{call}: the answer (HTTP {status}) is not the service's: {text}"))
            }
            (Unanswered::Line(text), _) => Self::Passing(format!("{call}: {text}")),
        }
    }

    /// As a source's error, where no special care was taken of it before.
    pub(super) fn into_source(self) -> SourceError {
        match self {
            Self::Passing(text) | Self::Throttled(text) | Self::Expired(text) => SourceError::Passing(text),
            Self::Refused(text) | Self::Missing(text) | Self::Argument(text) => SourceError::Refused(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Call<'_> = Call { action: "GetRecords", stream: "impressions", region: "eu-west-1" };

    #[test]
    fn throttling_and_the_services_own_trouble_pass() {
        for (code, status) in [
            ("ProvisionedThroughputExceededException", Some(400)),
            ("LimitExceededException", Some(400)),
            ("InternalFailureException", Some(500)),
            ("ServiceUnavailable", Some(503)),
            ("", Some(500)),
            ("", Some(429)),
            ("", None),
        ] {
            let trouble = Trouble::by_code(&CALL, code, "slow down", status);
            assert!(matches!(trouble.into_source(), SourceError::Passing(_)), "{code} {status:?}");
        }
    }

    #[test]
    fn refusals_name_the_action_the_stream_and_the_mend() {
        for (code, mend) in [
            ("AccessDeniedException", "allow kinesis:GetRecords on arn:aws:kinesis:eu-west-1:*:stream/impressions to"),
            ("ExpiredTokenException", "get new ones"),
            ("UnrecognizedClientException", "AWS_ACCESS_KEY_ID"),
            ("InvalidSignatureException", "clock"),
            ("KMSDisabledException", "kms:Decrypt"),
            ("ValidationException", "does not take this request"),
        ] {
            let Trouble::Refused(text) = Trouble::by_code(&CALL, code, "no", Some(400)) else { panic!("{code}") };
            assert!(text.starts_with("kinesis:GetRecords on impressions (eu-west-1): "), "{text}");
            assert!(text.contains(code) && text.contains(mend), "{text}");
        }
        let Trouble::Missing(text) = Trouble::by_code(&CALL, "ResourceNotFoundException", "no such", Some(400)) else {
            panic!("missing")
        };
        assert!(text.contains("impressions") && text.contains("eu-west-1") && text.contains("AWS_REGION"), "{text}");
    }

    #[test]
    fn without_an_answer_it_passes_unless_credentials_are_nowhere() {
        let line = || Unanswered::Line("no answer".into());
        assert!(matches!(Trouble::unsent(&CALL, line(), None), Trouble::Passing(_)));
        assert!(matches!(Trouble::unsent(&CALL, line(), Some(502)), Trouble::Passing(_)));
        assert!(matches!(Trouble::unsent(&CALL, line(), Some(404)), Trouble::Refused(_)));
        let nowhere = Trouble::unsent(&CALL, Unanswered::Credentials("none".into()), None);
        assert_eq!(nowhere, Trouble::Refused(format!("{CALL}: none")));
    }
}
