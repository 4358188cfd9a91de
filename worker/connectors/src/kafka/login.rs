//! How a client logs in, over SASL.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use krafka::KrafkaError;
use krafka::auth::{AuthConfig, AwsMskIamCredentials, OAuthBearerToken};
use object_store::aws::{AmazonS3Builder, AwsCredentialProvider};
use thalweg_core::clock::{Clock, SystemClock};
use thalweg_core::error::{Error, Result};
use thalweg_crds::secret::{Sasl, SaslMechanism, ValueFrom};

use crate::registry::{ReadAgain, Values};

/// The library asks for another token 30 s before one expires, and does not pause where it gets one that is as old: what it
/// is told is at least this far ahead.
const LEAST_LIFE_MILLIS: i64 = 35_000;

/// How a client logs in.
#[derive(Clone, PartialEq)]
pub(super) enum Login {
    Password { mechanism: SaslMechanism, username: String, password: String },
    Token(Token),
    Aws(Aws),
}

/// A token that somebody else renews where it is kept.
#[derive(Clone)]
pub(super) struct Token {
    from: ValueFrom,
    read: ReadAgain,
}

/// The place is what counts: what stands there changes.
impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.from == other.from
    }
}

/// The identity of this process in AWS.
#[derive(Clone)]
pub(super) struct Aws {
    region: String,
    credentials: AwsCredentialProvider,
}

impl PartialEq for Aws {
    fn eq(&self, other: &Self) -> bool {
        self.region == other.region
    }
}

impl Login {
    /// Reads what is kept elsewhere. The schema keeps settings to their mechanisms.
    ///
    /// # Errors
    /// *User*: a value is not there, or is no text.
    pub fn resolve(sasl: &Sasl, values: &dyn Values) -> Result<Self> {
        match sasl.mechanism {
            SaslMechanism::Plain | SaslMechanism::ScramSha256 | SaslMechanism::ScramSha512 => {
                let username = wanted(sasl.username.as_ref(), "username")?.clone();
                let from = wanted(sasl.password_from.as_ref(), "passwordFrom")?;
                let password = text(values.read(from)?, "passwordFrom")?;
                Ok(Self::Password { mechanism: sasl.mechanism, username, password })
            }
            SaslMechanism::OAuthBearer => {
                let from = wanted(sasl.token_from.as_ref(), "tokenFrom")?;
                let token = Token { from: from.clone(), read: values.read_again(from) };
                token.text()?;
                Ok(Self::Token(token))
            }
            SaslMechanism::AwsMskIam => Ok(Self::Aws(Aws::in_region(wanted(sasl.region.as_ref(), "region")?.clone())?)),
        }
    }

    /// In the words of the client library.
    pub fn to_krafka(&self) -> AuthConfig {
        match self {
            Self::Password { mechanism, username, password } => match mechanism {
                SaslMechanism::ScramSha256 => AuthConfig::sasl_scram_sha256(username, password),
                SaslMechanism::ScramSha512 => AuthConfig::sasl_scram_sha512(username, password),
                _ => AuthConfig::sasl_plain(username, password),
            },
            Self::Token(token) => {
                let (token, clock) = (token.clone(), Arc::new(SystemClock::new()));
                AuthConfig::sasl_oauthbearer_provider(move || {
                    let token = token.for_krafka(clock.wall_millis());
                    async move { token.map_err(|error| KrafkaError::auth(error.to_string())) }
                })
            }
            Self::Aws(aws) => {
                let aws = aws.clone();
                AuthConfig::aws_msk_iam_provider(move || {
                    let aws = aws.clone();
                    async move { aws.for_krafka().await }
                })
            }
        }
    }
}

impl Token {
    fn text(&self) -> Result<String> {
        text((self.read)()?, "tokenFrom")
    }

    /// The token as it stands now, and, where it says when it expires, until when it is not to be read again, in milliseconds
    /// since 1970.
    pub(super) fn now(&self, now_millis: i64) -> Result<(String, Option<i64>)> {
        let text = self.text()?;
        let until = expiry_millis(&text).map(|expiry| expiry.max(now_millis + LEAST_LIFE_MILLIS));
        Ok((text, until))
    }

    fn for_krafka(&self, now_millis: i64) -> Result<OAuthBearerToken> {
        let (text, until) = self.now(now_millis)?;
        Ok(until.into_iter().fold(OAuthBearerToken::new(&text), OAuthBearerToken::with_lifetime_ms))
    }
}

impl Aws {
    /// The identity that the environment gives, as the tools of AWS look for it: keys, a web identity (IRSA), a container's or a
    /// machine's role. Nothing is asked for yet.
    fn in_region(region: String) -> Result<Self> {
        // The crate of object stores has what looks for it; the bucket is none.
        let builder = AmazonS3Builder::from_env().with_region(&region).with_bucket_name("none");
        let found = builder.build().map_err(|error| Error::user("`sasl.mechanism`: `AwsMskIam`", error))?;
        Ok(Self { region, credentials: found.credentials().clone() })
    }

    async fn for_krafka(&self) -> krafka::Result<AwsMskIamCredentials> {
        let found = self.credentials.get_credential().await;
        let found = found.map_err(|error| {
            // Who gives identities may be away for a moment.
            KrafkaError::network(std::io::Error::other(format!("the identity in AWS: {error}")))
        })?;
        let credentials = AwsMskIamCredentials::new(&found.key_id, &found.secret_key, &self.region);
        Ok(match &found.token {
            Some(token) => credentials.with_session_token(token),
            None => credentials,
        })
    }
}

fn wanted<'a, T>(value: Option<&'a T>, field: &str) -> Result<&'a T> {
    value.ok_or_else(|| Error::user(format!("`sasl.{field}`"), "is missing; the mechanism needs it"))
}

fn text(value: Vec<u8>, field: &str) -> Result<String> {
    let text = String::from_utf8(value)
        .map_err(|_| Error::user(format!("`sasl.{field}`"), "expected text, found other bytes"))?;
    // Editors end files with a newline.
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// When a token expires, in milliseconds since 1970, as its claim `exp` says (RFC 7519, in seconds); `None` where it is no JWT
/// or says nothing.
fn expiry_millis(token: &str) -> Option<i64> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    let seconds = claims.get("exp")?.as_f64()?;
    i64::try_from(std::time::Duration::try_from_secs_f64(seconds).ok()?.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::json;

    use super::*;

    fn jwt(claims: serde_json::Value) -> String {
        let encoded = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.", encoded(json!({"alg": "none"})), encoded(claims))
    }

    /// A token, and where somebody renews it.
    fn kept(token: &str) -> (Token, Arc<Mutex<String>>) {
        let place = Arc::new(Mutex::new(token.to_owned()));
        let stands = place.clone();
        let read: ReadAgain = Arc::new(move || Ok(stands.lock().expect("whole").clone().into_bytes()));
        let from = ValueFrom { secret_key_ref: None, config_map_key_ref: None };
        (Token { from, read }, place)
    }

    #[test]
    fn a_token_counts_until_it_expires_and_then_what_stands_there_by_then() {
        let (token, place) = kept(&format!("{}\n", jwt(json!({"sub": "app", "exp": 1_000}))));
        assert_eq!(token.for_krafka(0).expect("read").lifetime_ms(), Some(1_000_000));
        *place.lock().expect("whole") = jwt(json!({"sub": "app", "exp": 2_000.5}));
        assert_eq!(token.for_krafka(990_000).expect("read").lifetime_ms(), Some(2_000_500));
    }

    #[test]
    fn a_token_that_nobody_has_renewed_is_asked_for_again_after_a_while_and_not_at_once() {
        let (token, _) = kept(&jwt(json!({"exp": 1_000})));
        assert_eq!(token.for_krafka(2_000_000).expect("read").lifetime_ms(), Some(2_000_000 + LEAST_LIFE_MILLIS));
    }

    #[test]
    fn a_token_that_says_nothing_of_its_end_has_none() {
        for opaque in ["opaque", "a.b.c", &jwt(json!({"sub": "app"})), &jwt(json!({"exp": "soon"}))] {
            assert_eq!(expiry_millis(opaque), None, "{opaque}");
        }
        for odd in [-1.0, f64::MAX] {
            assert_eq!(expiry_millis(&jwt(json!({"exp": odd}))), None, "{odd}");
        }
    }
}
