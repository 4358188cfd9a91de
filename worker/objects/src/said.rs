//! What a bucket's refusal means to whoever named the bucket.
//!
//! Source of the codes: Amazon S3 API Reference, "Error responses" (`API/ErrorResponses.html`), whose XML the client
//! hands on as text.

use std::error::Error as StdError;

use object_store::Error as StoreError;
use thalweg_core::error::{Cause, Error, ErrorKind};

use crate::http::refused;

/// What was said, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Said {
    kind: ErrorKind,
    detail: String,
    hint: Option<String>,
    cause: Option<Cause>,
}

/// An error of a bucket that happened to `what`, which names the URL.
pub fn error(what: impl Into<String>, error: &StoreError) -> Error {
    Said::of(error).about(what)
}

impl Said {
    /// What an error of a bucket says.
    pub fn of(error: &StoreError) -> Self {
        if let Some(refused) = refused(error) {
            let (detail, hint) = (refused.to_string(), Some(refused.hint()));
            return Self { kind: ErrorKind::User, detail, hint, cause: None };
        }
        let causes = causes(error);
        let kind = match error {
            StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => Meaning::Refused,
            StoreError::InvalidPath { .. } | StoreError::NotSupported { .. } | StoreError::NotImplemented { .. } => {
                Meaning::Other(ErrorKind::User)
            }
            _ => Meaning::Other(ErrorKind::External),
        };
        let (text, root) = (causes.first().map_or("", String::as_str), causes.last().map_or("", String::as_str));
        match asked(text) {
            Some(host) => Self::by(host, kind, text, root),
            None => Self { kind: kind.said(None).kind, detail: joined(text, root), hint: None, cause: None },
        }
    }

    /// The error that happened to `what`.
    pub fn about(&self, what: impl Into<String>) -> Error {
        let error = Error { cause: self.cause, ..Error::new(self.kind, what, &self.detail) };
        match &self.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    /// What `host` said. `text`: the whole error, as its outermost layer tells it. `root`: what its innermost one does.
    fn by(host: &str, or: Meaning, text: &str, root: &str) -> Self {
        if let Some(code) = tag(text, "Code") {
            let meaning = Meaning::of_code(code).unwrap_or(or);
            let region = tag(text, "Region").or_else(|| tag(text, "BucketRegion"));
            let said = tag(text, "Message").map(|message| format!(": {message}")).unwrap_or_default();
            return Self { detail: format!("`{host}` says {code}{said}"), ..meaning.said(region) };
        }
        if text.contains("Received redirect without LOCATION") {
            let detail = format!("`{host}` sends elsewhere, as it does for a bucket of another region");
            return Self { detail, ..Meaning::Region.said(None) };
        }
        if let Some((_, status)) = text.split_once("non-2xx status code: ") {
            let detail = format!("`{host}` says {}", status.trim_end_matches([':', ' ']));
            return Self { detail, ..or.said(None) };
        }
        if !text.contains("HTTP error: ") {
            return Self { detail: joined(text, root), ..or.said(None) };
        }
        // Machines of a cloud are asked for their credentials last.
        let meaning = if host.contains("//169.254.") { Meaning::NoKeys } else { Meaning::Silent };
        Self { detail: format!("`{host}` does not answer: {root}"), ..meaning.said(None) }
    }
}

/// What to think of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    NoBucket,
    Refused,
    WrongKeys,
    NoKeys,
    Region,
    Clock,
    Silent,
    Other(ErrorKind),
}

impl Meaning {
    fn of_code(code: &str) -> Option<Self> {
        Some(match code {
            "NoSuchBucket" | "InvalidBucketName" => Self::NoBucket,
            "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => Self::Refused,
            "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "ExpiredToken" => Self::WrongKeys,
            "AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect" => Self::Region,
            "IllegalLocationConstraintException" => Self::Region,
            "RequestTimeTooSkewed" => Self::Clock,
            _ => return None,
        })
    }

    fn said(self, region: Option<&str>) -> Said {
        let hint = match self {
            Self::NoBucket => {
                "create the bucket, or mend its name in the URL; `s3.endpoint`, or AWS_ENDPOINT, says where it is looked for"
            }
            Self::Refused => {
                "let the key do it, by the bucket's policy or that of the key's owner; the key is that of \
                 `s3.accessKeyFrom`, or AWS_ACCESS_KEY_ID"
            }
            Self::WrongKeys => {
                "mend the keys: `s3.accessKeyFrom` and `s3.secretKeyFrom`, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            }
            Self::NoKeys => {
                "no credentials were found: name a Secret by `s3.accessKeyFrom` and `s3.secretKeyFrom`, or set \
                 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            }
            Self::Region => "name the bucket's region: `s3.region`, or AWS_REGION",
            Self::Clock => "set the clock of this machine",
            Self::Silent => {
                "see that the endpoint is right and can be reached from here: `s3.endpoint`, or AWS_ENDPOINT"
            }
            Self::Other(_) => "",
        };
        let kind = match self {
            Self::Other(kind) => kind,
            Self::Silent | Self::NoKeys | Self::Clock => ErrorKind::External,
            _ => ErrorKind::User,
        };
        let hint = match region {
            Some(region) if self == Self::Region => format!("{hint}; it is in `{region}`"),
            _ => hint.to_owned(),
        };
        let cause = matches!(self, Self::Refused | Self::WrongKeys | Self::NoKeys).then_some(Cause::Denied);
        Said { kind, detail: String::new(), hint: (!hint.is_empty()).then_some(hint), cause }
    }
}

/// An error and what caused it, each in its own words.
fn causes(error: &(dyn StdError + 'static)) -> Vec<String> {
    let mut found = vec![error.to_string()];
    let mut within = error.source();
    while let Some(cause) = within {
        found.push(cause.to_string());
        within = cause.source();
    }
    found
}

/// The text, and its root where the text leaves that out.
fn joined(text: &str, root: &str) -> String {
    if text.contains(root) { text.to_owned() } else { format!("{text}: {root}") }
}

/// Scheme, host and port of the address that was asked: `Error performing GET http://host:9000/bucket?prefix=a in …`.
fn asked(text: &str) -> Option<&str> {
    let (_, asked) = text.rsplit_once("Error performing ")?;
    let address = asked.split_whitespace().nth(1)?;
    let host = address.find("://")? + "://".len();
    let end = address[host..].find(['/', '?']).map_or(address.len(), |end| host + end);
    Some(&address[..end])
}

/// What stands in an element of the XML in a text.
fn tag<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, inside) = text.split_once(&format!("<{name}>"))?;
    Some(inside.split_once("</")?.0.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: String,
        source: Option<Box<dyn StdError + Send + Sync>>,
    }

    fn layers(texts: &[&str]) -> Option<Box<dyn StdError + Send + Sync>> {
        let (first, rest) = texts.split_first()?;
        Some(Box::new(Layer { text: (*first).to_owned(), source: layers(rest) }))
    }

    fn generic(texts: &[&str]) -> Error {
        let source = layers(texts).expect("a cause");
        error("listing `s3://trips/in/*.json`", &StoreError::Generic { store: "S3", source })
    }

    fn answered(body: &str) -> Error {
        let got = "Error performing list request: Error performing GET https://s3.example.com/trips?list-type=2 in 3ms";
        generic(&[&format!("{got} - Server returned non-2xx status code: 403 Forbidden: {body}")])
    }

    fn xml(code: &str, more: &str) -> String {
        format!("<?xml version=\"1.0\"?>\n<Error>\n <Code>{code}</Code> <Message>Not so.</Message>{more}</Error>")
    }

    #[test]
    fn a_code_is_told_in_a_line_with_what_to_do() {
        let start = "listing `s3://trips/in/*.json`: `https://s3.example.com` says";
        for (code, hint) in [
            ("NoSuchBucket", "create the bucket"),
            ("AccessDenied", "let the key do it"),
            ("SignatureDoesNotMatch", "mend the keys"),
            ("PermanentRedirect", "name the bucket's region"),
        ] {
            let said = answered(&xml(code, ""));
            assert!(said.to_string().starts_with(&format!("{start} {code}: Not so. (")), "{said}");
            assert!(said.hint.as_deref().is_some_and(|said| said.starts_with(hint)), "{said}");
            assert_eq!(said.kind, ErrorKind::User, "{said}");
        }
        let slow = answered(&xml("SlowDown", ""));
        assert_eq!((slow.kind, slow.hint), (ErrorKind::External, None));
    }

    #[test]
    fn the_region_that_a_bucket_is_in_is_named() {
        let said = answered(&xml("AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"));
        assert!(said.to_string().contains("AWS_REGION; it is in `eu-west-1`"), "{said}");
        let redirect = "Error performing GET https://s3.example.com/trips in 3ms - Received redirect without LOCATION, this \
                        normally indicates an incorrectly configured region";
        assert!(generic(&[redirect]).to_string().contains("`s3.region`"));
    }

    #[test]
    fn who_does_not_answer_is_named_with_the_last_cause() {
        let said = |host: &str| {
            let sent = format!(
                "Error performing GET {host}/b?list-type=2 in 9s, after 10 retries - HTTP error: error sending"
            );
            generic(&[
                &sent,
                "HTTP error: error sending",
                "client error (Connect)",
                "Connection refused (os error 111)",
            ])
        };
        let refused = said("http://localhost:9");
        let expected = "`http://localhost:9` does not answer: Connection refused (os error 111) (see that the endpoint";
        assert!(refused.to_string().contains(expected), "{refused}");
        assert_eq!(refused.kind, ErrorKind::External);
        let no_keys = said("http://169.254.169.254");
        assert!(no_keys.hint.is_some_and(|hint| hint.contains("AWS_ACCESS_KEY_ID")));
    }

    #[test]
    fn a_refusal_without_a_body_keeps_its_status() {
        let said = answered("");
        assert!(said.to_string().ends_with("`https://s3.example.com` says 403 Forbidden"), "{said}");
    }
}
