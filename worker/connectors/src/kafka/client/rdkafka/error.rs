//! librdkafka's errors in our words.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::super::ClientError;

/// By what the caller must do.
pub(super) fn from(error: &KafkaError) -> ClientError {
    match error {
        // Its own text holds the value, which may be a password.
        KafkaError::ClientConfig(_, description, name, _) => ClientError::Refused(format!("{name}: {description}")),
        KafkaError::ClientCreation(text) | KafkaError::AdminOpCreation(text) => ClientError::Refused(text.clone()),
        KafkaError::Nul(_) => ClientError::Refused("a setting holds a byte 0".to_owned()),
        KafkaError::AdminOp(code) => from_code(*code, code.to_string()),
        KafkaError::Transaction(error) => from_code(error.code(), format!("{:?}: {error}", error.code())),
        error => match error.rdkafka_error_code() {
            Some(code) => from_code(code, error.to_string()),
            None => ClientError::Away(error.to_string()),
        },
    }
}

/// By what the caller must do; the text is for people.
pub(super) fn from_code(code: RDKafkaErrorCode, text: String) -> ClientError {
    use RDKafkaErrorCode as Code;
    match code {
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch | Code::TransactionCoordinatorFenced => {
            ClientError::Fenced(text)
        }
        Code::Fatal
        | Code::GaplessGuarantee
        | Code::InvalidProducerIdMapping
        | Code::InvalidTransactionalState
        | Code::OutOfOrderSequenceNumber
        | Code::UnknownProducerId => ClientError::Spent(text),
        Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition | Code::UnknownTopicId => {
            ClientError::NoTopic
        }
        Code::AutoOffsetReset | Code::NoOffset | Code::OffsetOutOfRange => ClientError::OutOfRange,
        Code::LogTruncation => ClientError::Cut(None),
        Code::BadCompression | Code::BadMessage => ClientError::Corrupt(text),
        Code::MessageBatchTooLarge | Code::MessageSizeTooLarge => ClientError::TooLarge(text),
        Code::Authentication
        | Code::ClusterAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::SaslAuthenticationFailed
        | Code::TopicAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => ClientError::Denied(text),
        Code::InvalidArgument | Code::NotConfigured | Code::UnsupportedFeature => ClientError::Refused(text),
        code if is_worth_another(code) => ClientError::Away(text),
        _ => ClientError::Refused(text),
    }
}

/// Whether the same may succeed later: what the library itself calls so is below zero, as a broker does it is listed (KIP-204's
/// and later tables of error codes).
fn is_worth_another(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    (code as i32) < 0
        || matches!(
            code,
            Code::BrokerNotAvailable
                | Code::ConcurrentTransactions
                | Code::CoordinatorLoadInProgress
                | Code::CoordinatorNotAvailable
                | Code::EligibleLeadersNotAvailable
                | Code::FencedLeaderEpoch
                | Code::InvalidMessage
                | Code::KafkaStorageError
                | Code::LeaderNotAvailable
                | Code::ListenerNotFound
                | Code::NetworkException
                | Code::NotController
                | Code::NotCoordinator
                | Code::NotEnoughReplicas
                | Code::NotEnoughReplicasAfterAppend
                | Code::NotLeaderForPartition
                | Code::OffsetNotAvailable
                | Code::PreferredLeaderNotAvailable
                | Code::RebalanceInProgress
                | Code::ReplicaNotAvailable
                | Code::RequestTimedOut
                | Code::ThrottlingQuotaExceeded
                | Code::UnknownLeaderEpoch
                | Code::UnstableOffsetCommit
        )
}

#[cfg(test)]
mod tests {
    use rdkafka::types::RDKafkaConfRes;

    use super::*;

    #[test]
    fn each_error_says_what_to_do() {
        let code = |code| from(&KafkaError::MessageProduction(code));
        assert!(matches!(code(RDKafkaErrorCode::NotLeaderForPartition), ClientError::Away(_)));
        assert!(matches!(code(RDKafkaErrorCode::BrokerTransportFailure), ClientError::Away(_)));
        assert!(matches!(code(RDKafkaErrorCode::MessageTimedOut), ClientError::Away(_)));
        assert!(matches!(code(RDKafkaErrorCode::InvalidProducerEpoch), ClientError::Fenced(_)));
        assert!(matches!(code(RDKafkaErrorCode::Fenced), ClientError::Fenced(_)));
        assert!(matches!(code(RDKafkaErrorCode::InvalidTransactionalState), ClientError::Spent(_)));
        assert!(matches!(code(RDKafkaErrorCode::MessageSizeTooLarge), ClientError::TooLarge(_)));
        assert!(matches!(code(RDKafkaErrorCode::Authentication), ClientError::Denied(_)));
        assert_eq!(code(RDKafkaErrorCode::UnknownTopicOrPartition), ClientError::NoTopic);
        assert_eq!(code(RDKafkaErrorCode::AutoOffsetReset), ClientError::OutOfRange);
        assert_eq!(code(RDKafkaErrorCode::LogTruncation), ClientError::Cut(None));
        let ClientError::Denied(text) = code(RDKafkaErrorCode::TopicAuthorizationFailed) else { panic!("denied") };
        assert!(text.contains("TopicAuthorizationFailed"), "{text}");
    }

    #[test]
    fn a_setting_that_does_not_fit_is_named_and_its_value_is_not_told() {
        let result = RDKafkaConfRes::RD_KAFKA_CONF_INVALID;
        let error = KafkaError::ClientConfig(result, "too long".into(), "sasl.password".into(), "s3cret".into());
        assert_eq!(from(&error), ClientError::Refused("sasl.password: too long".to_owned()));
    }
}
