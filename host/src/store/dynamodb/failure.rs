//! What a failed request means: that it may have happened, that it never can, or that somebody must act.
//!
//! | seen | means |
//! |---|---|
//! | throttled, timeout, 5xx, broken line, no answer that can be read | unknown: it may have happened |
//! | validation, item or collection too large | never possible |
//! | not allowed | somebody must act; at the start, all that is not allowed is said at once (`rights`) |
//! | no such table, no credentials or expired ones | somebody must act |
//!
//! Not here: conditions that did not hold, which are answers (`apply`, `head`).

use crate::aws::{Unanswered, unanswered};
use crate::store::StoreError;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use plimsoll_core::lane::{Answer, Applied};
use std::error::Error;

/// Why a request has no good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It may have happened.
    Unknown(String),
    /// It was not sent: too long ago that the head was looked at.
    Expired,
    /// It can never succeed.
    Impossible(String),
    /// Not allowed.
    Denied {
        /// What was asked and answered.
        seen: String,
        /// The action and the resource to allow.
        allow: String,
    },
    /// Somebody must act.
    Refused(String),
}

/// What was asked, of which table: for messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// The service's operation, like `UpdateItem`.
    pub action: &'static str,
    /// The table's name.
    pub table: &'a str,
    /// The tables' prefix.
    pub prefix: &'a str,
    /// Where.
    pub region: &'a str,
}

impl Asked<'_> {
    /// What a request's error means.
    pub(super) fn failure<E>(&self, e: &SdkError<E, HttpResponse>) -> Failure
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match e {
            SdkError::ServiceError(s) => {
                let status = s.raw().status().as_u16();
                self.by_code(status, s.err().code().unwrap_or_default(), s.err().message().unwrap_or_default())
            }
            _ => self.unsent(unanswered(e, "DYNAMODB")),
        }
    }

    fn by_code(&self, status: u16, code: &str, message: &str) -> Failure {
        let Self { action, table, prefix, region } = self;
        let seen = format!("{action} on table {table} ({region}) was answered {status} {code}: {message}");
        match code {
            "ProvisionedThroughputExceededException"
            | "ThrottlingException"
            | "Throttling"
            | "RequestLimitExceeded"
            | "LimitExceededException"
            | "TransactionConflictException"
            | "ReplicatedWriteConflictException"
            | "RequestTimeout"
            | "RequestTimeoutException" => Failure::Unknown(seen),
            "ValidationException"
            | "ItemCollectionSizeLimitExceededException"
            | "SerializationException"
            | "RequestEntityTooLarge" => Failure::Impossible(seen),
            "ResourceNotFoundException" => Failure::Refused(format!(
                "{seen}; expected the tables of `{prefix}` there: `plimsoll tables create --dynamodb {prefix}` \
                 makes them, AWS_REGION says where"
            )),
            "AccessDeniedException" | "KMSAccessDeniedException" | "OptInRequired" => {
                Failure::Denied { seen, allow: format!("dynamodb:{action} on {}", arn(region, table)) }
            }
            // It was not executed, and the next attempt is signed anew: a machine that was asleep goes on by itself.
            "InvalidSignatureException" | "RequestTimeTooSkewed"
                if message.contains("xpired") || message.contains("current") =>
            {
                Failure::Unknown(format!("{seen}; is this machine's clock right?"))
            }
            "ExpiredTokenException"
            | "ExpiredToken"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException" => Failure::Refused(format!(
                "{seen}; expected credentials that are valid now: renew AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and \
                 AWS_SESSION_TOKEN), the profile's login or the machine's role"
            )),
            _ if status >= 500 || status == 429 => Failure::Unknown(seen),
            _ if status == 413 => Failure::Impossible(seen),
            // An error without a name comes from something between here and the service.
            "" => Failure::Unknown(seen),
            _ => Failure::Refused(seen),
        }
    }

    /// An error on this side, or no answer that can be read.
    fn unsent(&self, why: Unanswered) -> Failure {
        let Self { action, table, region, .. } = self;
        match why {
            Unanswered::Credentials(text) => Failure::Refused(format!("{action} on table {table} ({region}): {text}")),
            Unanswered::Line(text) => Failure::Unknown(format!("{action} on table {table} ({region}): {text}")),
        }
    }
}

/// A table's ARN as a policy wants it; the account is not known here.
fn arn(region: &str, table: &str) -> String {
    format!("arn:aws:dynamodb:{region}:*:table/{table}")
}

impl Failure {
    /// As the answer to a command.
    pub(super) fn answer(self) -> Result<Answer, StoreError> {
        Ok(match self {
            Self::Unknown(detail) => Answer::Unknown { detail },
            Self::Expired => Answer::Expired,
            Self::Impossible(detail) => Answer::Impossible { detail },
            refused @ (Self::Denied { .. } | Self::Refused(_)) => return Err(refused.into()),
        })
    }

    /// As the answer to one effect.
    pub(super) fn applied(self) -> Result<Applied, StoreError> {
        Ok(match self {
            Self::Unknown(detail) => Applied::Unknown(detail),
            Self::Expired => Applied::Expired,
            Self::Impossible(detail) => Applied::Impossible(detail),
            refused @ (Self::Denied { .. } | Self::Refused(_)) => return Err(refused.into()),
        })
    }
}

impl From<Failure> for StoreError {
    /// As the answer to a person, after the attempts that reading makes.
    fn from(f: Failure) -> Self {
        match f {
            Failure::Unknown(detail) => Self::Passing(detail),
            Failure::Impossible(detail) | Failure::Refused(detail) => Self::Refused(detail),
            Failure::Denied { seen, allow } => Self::Refused(format!("{seen}; allow {allow} to this role or user")),
            Failure::Expired => Self::Passing("not sent: too long ago that the lane's head was looked at".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked<'_> = Asked { action: "UpdateItem", table: "prod-rows", prefix: "prod", region: "eu-west-1" };

    #[test]
    fn what_may_have_happened_is_unknown() {
        for (status, code) in [
            (400, "ProvisionedThroughputExceededException"),
            (400, "ThrottlingException"),
            (400, "RequestLimitExceeded"),
            (500, "InternalServerError"),
            (503, "ServiceUnavailable"),
            (502, ""),
            (400, ""),
        ] {
            let f = ASKED.by_code(status, code, "try later");
            assert!(matches!(f, Failure::Unknown(_)), "{status} {code}: {f:?}");
        }
        assert!(matches!(ASKED.unsent(Unanswered::Line("closed".into())), Failure::Unknown(_)));
    }

    #[test]
    fn what_can_never_be_is_impossible() {
        for code in ["ValidationException", "ItemCollectionSizeLimitExceededException"] {
            assert!(matches!(ASKED.by_code(400, code, "Item size has exceeded"), Failure::Impossible(_)), "{code}");
        }
        assert!(matches!(ASKED.by_code(413, "", ""), Failure::Impossible(_)));
    }

    #[test]
    fn who_must_act_is_told_how() {
        let told = |f: Failure| match f {
            Failure::Refused(text) => text,
            other => panic!("{other:?}"),
        };
        let denied = ASKED.by_code(400, "AccessDeniedException", "User: x is not authorized");
        let text = StoreError::from(denied).to_string();
        assert!(text.contains("dynamodb:UpdateItem") && text.contains("table/prod-rows"), "{text}");
        let text = told(ASKED.by_code(400, "ResourceNotFoundException", "Requested resource not found"));
        assert!(text.contains("plimsoll tables create --dynamodb prod"), "{text}");
        let text = told(ASKED.by_code(400, "ExpiredTokenException", "The security token is expired"));
        assert!(text.contains("valid now"), "{text}");
        let text = told(ASKED.unsent(Unanswered::Credentials("none".into())));
        assert_eq!(text, "UpdateItem on table prod-rows (eu-west-1): none");
    }

    #[test]
    fn a_signature_that_grew_old_is_signed_again_and_a_wrong_one_is_not() {
        let old = "Signature expired: 20261123T100000Z is now earlier than 20261123T101000Z";
        assert!(matches!(ASKED.by_code(400, "InvalidSignatureException", old), Failure::Unknown(_)));
        let wrong = "The request signature we calculated does not match the signature you provided";
        assert!(matches!(ASKED.by_code(400, "InvalidSignatureException", wrong), Failure::Refused(_)));
    }
}
