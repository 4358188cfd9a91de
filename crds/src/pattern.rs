//! The patterns of texts, each with the sentence that a user reads where a text does not match.

/// A name in SQL that needs no quotes.
pub const SQL_NAME: &str = r"^[A-Za-z_][A-Za-z0-9_]*$";
/// A column, or a part of the date of a timestamp column.
pub const PARTITION: &str = r"^([A-Za-z_][A-Za-z0-9_]*|(date|hour)\([A-Za-z_][A-Za-z0-9_]*\))$";
/// `host:port`.
pub const HOST_PORT: &str = r"^[^\s:/]+:[0-9]{1,5}$";
/// A region of an object store; its name becomes part of a host, so that it holds no other character.
pub const REGION: &str = r"^[A-Za-z0-9_-]+$";
/// A region of AWS.
pub const AWS_REGION: &str = r"^[a-z0-9-]+$";
/// A name of a Kafka topic.
pub const TOPIC: &str = r"^[a-zA-Z0-9._-]+$";
/// A point in time, RFC 3339.
pub const RFC3339: &str =
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})$";
/// A URL of HTTP; a name and a password stand in no resource.
pub const HTTP_URL: &str = r"^https?://[^\s/@]+(/[^\s@]*)?$";
/// A name of an object of Kubernetes.
pub const OBJECT_NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// A key of a Secret or ConfigMap.
pub const OBJECT_KEY: &str = r"^[-._a-zA-Z0-9]+$";
/// One printable ASCII character, or a tab.
pub const ONE_CHARACTER: &str = r"^[ -~\t]$";
/// The beginning of a column's type.
pub const TYPE_NAME: &str = r"^\s*[A-Za-z]";

/// What is expected of a text that must match a pattern.
pub fn expected(pattern: &str) -> Option<&'static str> {
    Some(match pattern {
        SQL_NAME => "letters, digits and `_`, such as trips_2018",
        PARTITION => "a column, date(column) or hour(column)",
        HOST_PORT => "host:port, such as kafka:9092",
        REGION => "letters, digits, `_` and `-`, such as eu-central-1",
        AWS_REGION => "small letters, digits and `-`, such as eu-central-1",
        TOPIC => "letters, digits, `.`, `_` and `-`",
        RFC3339 => "a time such as 2018-01-01T00:00:00Z",
        HTTP_URL => "a URL such as https://s3.example.com",
        OBJECT_NAME => "small letters, digits, `-` and `.`, such as kafka-login",
        OBJECT_KEY => "letters, digits, `.`, `_` and `-`",
        ONE_CHARACTER => "one printable ASCII character or a tab",
        TYPE_NAME => "one of Flink's types, such as STRING, BIGINT or TIMESTAMP(3)",
        crate::duration::PATTERN => "a duration such as 30s",
        crate::duration::MILLISECOND_PATTERN => "a duration of at least 1ms, such as 30s",
        crate::address::PATTERN => "CIDR, such as 10.1.0.0/16, or an address",
        crate::quantity::PATTERN | crate::quantity::POSITIVE_PATTERN => "a quantity of bytes such as 10Mi",
        _ => return None,
    })
}
