//! krafka's errors in our words.

use krafka::KrafkaError;
use krafka::error::ErrorCode;

use super::ClientError;

/// By what the caller must do.
pub(super) fn from(error: &KrafkaError) -> ClientError {
    let text = error.to_string();
    match error {
        KrafkaError::Fenced { .. } => ClientError::Fenced(text),
        KrafkaError::UnknownTopic { .. } => ClientError::NoTopic,
        KrafkaError::NoOffset { .. } => ClientError::OutOfRange,
        KrafkaError::Broker { code, .. } => from_code(*code, text),
        _ if error.requires_abort() => abortable(text),
        // A batch that cannot be decompressed comes as an answer that is malformed, which would be worth another attempt.
        KrafkaError::Protocol { .. } if text.contains(UNDECODABLE) => ClientError::Corrupt(undecodable(&text)),
        KrafkaError::Auth { .. } => ClientError::Denied(text),
        KrafkaError::Config { .. } => ClientError::Refused(text),
        KrafkaError::Protocol { .. } | KrafkaError::Compression { .. } if !error.is_retriable() => {
            ClientError::Corrupt(text)
        }
        KrafkaError::IllegalState { .. } | KrafkaError::Closed { .. } => ClientError::Spent(text),
        _ if is_tls_refusal(&text) => ClientError::Denied(text),
        _ => ClientError::Away(text),
    }
}

/// How the library begins when a batch that it was given makes no records.
const UNDECODABLE: &str = "undecodable record batch";

/// What is wrong with the batch; the rest of the text is advice for those who call the library.
fn undecodable(text: &str) -> String {
    let cause = text.split_once("Underlying error: ").map_or(text, |(_, cause)| cause);
    format!("a batch cannot be read: {cause}")
}

fn from_code(code: ErrorCode, text: String) -> ClientError {
    match code {
        ErrorCode::ProducerFenced | ErrorCode::InvalidProducerEpoch | ErrorCode::TransactionCoordinatorFenced => {
            ClientError::Fenced(text)
        }
        ErrorCode::InvalidTxnState | ErrorCode::InvalidProducerIdMapping | ErrorCode::UnknownProducerId => {
            ClientError::Spent(text)
        }
        ErrorCode::TransactionAbortable => abortable(text),
        ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => ClientError::NoTopic,
        ErrorCode::OffsetOutOfRange => ClientError::OutOfRange,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => ClientError::TooLarge(text),
        ErrorCode::TopicAuthorizationFailed
        | ErrorCode::GroupAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed
        | ErrorCode::TransactionalIdAuthorizationFailed
        | ErrorCode::SaslAuthenticationFailed => ClientError::Denied(text),
        code if code.is_retriable() => ClientError::Away(text),
        _ => ClientError::Refused(text),
    }
}

/// The first failure of a transaction comes as text only; what asks for another answer than a new attempt is told apart
/// by the broker's code in it.
fn abortable(text: String) -> ClientError {
    let says = |code: ErrorCode| text.contains(&format!("{code:?}"));
    if says(ErrorCode::MessageTooLarge) || says(ErrorCode::RecordListTooLarge) {
        return ClientError::TooLarge(text);
    }
    if says(ErrorCode::TopicAuthorizationFailed) {
        return ClientError::Denied(text);
    }
    ClientError::Abortable(text)
}

/// A certificate that one side does not take ends the connection, which a library may tell as a broken network.
fn is_tls_refusal(text: &str) -> bool {
    text.contains("invalid peer certificate") || text.contains("received fatal alert")
}

#[cfg(test)]
mod tests {
    use krafka::error::ProtocolErrorKind;

    use super::*;

    #[test]
    fn each_error_says_what_to_do() {
        let broker = |code| from(&KrafkaError::broker(code, "x"));
        assert!(matches!(broker(ErrorCode::NotLeaderForPartition), ClientError::Away(_)));
        assert!(matches!(broker(ErrorCode::InvalidProducerEpoch), ClientError::Fenced(_)));
        assert!(matches!(broker(ErrorCode::InvalidTxnState), ClientError::Spent(_)));
        assert!(matches!(broker(ErrorCode::TopicAuthorizationFailed), ClientError::Denied(_)));
        assert_eq!(broker(ErrorCode::UnknownTopicOrPartition), ClientError::NoTopic);
        assert!(matches!(from(&KrafkaError::auth("wrong password")), ClientError::Denied(_)));
        assert!(matches!(from(&KrafkaError::timeout("commit")), ClientError::Away(_)));
        let alert = std::io::Error::other("received fatal alert: BadCertificate");
        assert!(matches!(from(&KrafkaError::network(alert)), ClientError::Denied(_)));
    }

    #[test]
    fn a_batch_that_cannot_be_read_is_corrupt_whatever_is_wrong_with_it() {
        let told =
            "undecodable record batch at t-0 offset 7; seek(t-0) past it. Underlying error: compression error: bad";
        for kind in [ProtocolErrorKind::Malformed, ProtocolErrorKind::CrcMismatch] {
            let found = from(&KrafkaError::protocol_kind(kind, told));
            assert_eq!(found, ClientError::Corrupt("a batch cannot be read: compression error: bad".to_owned()));
        }
    }

    #[test]
    fn a_transaction_with_a_record_that_is_too_large_is_not_tried_again() {
        let failed = "a send failed: broker error: MessageTooLarge - too large";
        assert!(matches!(from(&KrafkaError::transaction_abortable(failed)), ClientError::TooLarge(_)));
        assert!(matches!(from(&KrafkaError::transaction_abortable("timed out")), ClientError::Abortable(_)));
    }
}
