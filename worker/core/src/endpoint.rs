//! Where a service is reached, as users write it.

use crate::error::{Error, Result};

/// Whether this means yes to the clients of object stores.
pub fn is_yes(said: &str) -> bool {
    ["1", "true", "on", "yes", "y"].contains(&said.to_lowercase().as_str())
}

/// Refuses an endpoint of an object store that is not encrypted, unless that was allowed: `allowed` is what was said of it,
/// in the words that the clients of object stores take for yes.
///
/// # Errors
/// It is a mistake of the user's.
pub fn must_be_encrypted(what: &str, endpoint: &str, allowed: Option<&str>) -> Result<()> {
    if !endpoint.to_lowercase().starts_with("http://") || allowed.is_some_and(is_yes) {
        return Ok(());
    }
    let found = format!("the endpoint `{endpoint}` is not encrypted, expected https");
    let hint = "where that is meant, set `s3.allowHttp: true` beside it, or AWS_ALLOW_HTTP=true";
    Err(Error::user(what, found).with_hint(hint))
}

/// Whether a URL names a user, or a password: `s3://KEY:SECRET@bucket/path`. What is said of it must not show it then.
pub fn has_credentials(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    rest.split('/').next().is_some_and(|host| host.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_allowed_goes_unencrypted() {
        let is_allowed = |endpoint: &str, allowed| must_be_encrypted("`s3://b`", endpoint, allowed).is_ok();
        assert!(is_allowed("https://s3.example.com", None));
        assert!(is_allowed("http://localhost:9000", Some("TRUE")));
        assert!(is_allowed("", None));
        assert!(!is_allowed("HTTP://localhost:9000", None));
        assert!(!is_allowed("http://localhost:9000", Some("no")));
    }
}
