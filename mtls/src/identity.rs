//! A process's key, and peers that are known by theirs: TLS 1.3 in both directions, each side pinned to the SHA-256 of the
//! other's public key. No authority signs anything, and no name or date is checked. A worker makes its key at its start, and
//! its Lease and the assignment say which; the operator's is a file that its installation gave it.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error as TlsError, ServerConfig,
    SignatureScheme,
};

/// SHA-256 of a public key (its SubjectPublicKeyInfo, RFC 5280), in hexadecimal where it is written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected the SHA-256 of a key as 64 hexadecimal digits, found `{0}`")]
pub struct ParseFingerprintError(String);

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseFingerprintError(text.to_owned());
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(refused());
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| refused())?;
        }
        Ok(Self(bytes))
    }
}

impl Fingerprint {
    /// The fingerprint of a certificate's key.
    ///
    /// # Errors
    /// The certificate cannot be parsed.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, TlsError> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let hash = sha256(parsed.subject_public_key_info().as_ref())?;
        <[u8; 32]>::try_from(hash.as_slice()).map(Self).map_err(|_| TlsError::General("not a SHA-256".to_owned()))
    }
}

fn sha256(bytes: &[u8]) -> Result<Vec<u8>, TlsError> {
    let suite = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13();
    let suite = suite.ok_or_else(|| TlsError::General("no TLS 1.3".to_owned()))?;
    Ok(suite.common.hash_provider.hash(bytes).as_ref().to_vec())
}

/// The key of this process, and its certificate.
#[derive(Clone)]
pub struct Identity {
    key: Arc<SingleCertAndKey>,
    fingerprint: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.fingerprint)
    }
}

/// Making or reading a key, or what TLS needs of it, failed.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The key, or its certificate.
    #[error("making a key: {0}")]
    Key(#[from] rcgen::Error),
    /// What TLS makes of it.
    #[error("setting up TLS: {0}")]
    Tls(#[from] TlsError),
    /// The file of a key, or of its certificate.
    #[error("reading {path}: {error}")]
    File {
        /// The file.
        path: String,
        /// What is amiss with it.
        error: pem::Error,
    },
}

impl Identity {
    /// Makes a key that no other process has. It is never written anywhere.
    ///
    /// # Errors
    /// The machine has no randomness to give.
    pub fn generate() -> Result<Self, IdentityError> {
        let key = rcgen::KeyPair::generate()?;
        let certificate = rcgen::CertificateParams::new(vec![NAME.to_owned()])?.self_signed(&key)?.der().clone();
        Self::new(certificate, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }

    /// Reads `tls.crt` and `tls.key` in a folder, as Kubernetes mounts a Secret of the type `kubernetes.io/tls`: PEM, a
    /// certificate and its ECDSA, RSA or Ed25519 key.
    ///
    /// # Errors
    /// A file is not there or holds something else, or one does not belong to the other.
    pub fn read(folder: &Path) -> Result<Self, IdentityError> {
        let certificate = read_pem(&folder.join("tls.crt"))?;
        Self::new(certificate, read_pem(&folder.join("tls.key"))?)
    }

    fn new(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Result<Self, IdentityError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let fingerprint = Fingerprint::of(&certificate)?;
        let key = CertifiedKey::from_der(vec![certificate], key, &provider)?;
        Ok(Self { key: Arc::new(key.into()), fingerprint, provider })
    }

    /// What others pin.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Serves the peers that are known when they come.
    ///
    /// # Errors
    /// TLS refuses the key.
    pub fn server_config(&self, peers: Peers) -> Result<Arc<ServerConfig>, IdentityError> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(self.pinned(Some(peers)))
            .with_cert_resolver(self.key.clone());
        // A session that is resumed is not checked again: a peer that the assignment names no more could go on.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// Talks to the one peer that has this key; to any, where none is named.
    ///
    /// # Errors
    /// TLS refuses the key.
    pub fn client_config(&self, peer: impl Into<Option<Fingerprint>>) -> Result<Arc<ClientConfig>, IdentityError> {
        let peers = peer.into().map(|peer| {
            let peers = Peers::default();
            peers.replace([peer]);
            peers
        });
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(self.pinned(peers))
            .with_client_cert_resolver(self.key.clone());
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    fn pinned(&self, peers: Option<Peers>) -> Arc<Pinned> {
        Arc::new(Pinned { peers, algorithms: self.provider.signature_verification_algorithms })
    }
}

fn read_pem<T: PemObject>(path: &Path) -> Result<T, IdentityError> {
    T::from_pem_file(path).map_err(|error| IdentityError::File { path: path.display().to_string(), error })
}

/// The name in every certificate; nobody checks it.
const NAME: &str = "thalweg";

/// The name that a client asks for.
pub fn server_name() -> ServerName<'static> {
    ServerName::try_from(NAME).expect("it is a valid DNS name")
}

/// Keys that are known. They change while connections come.
#[derive(Clone, Debug, Default)]
pub struct Peers(Arc<RwLock<BTreeSet<Fingerprint>>>);

impl Peers {
    /// Knows these peers, and no others, from now on. Connections that stand are not ended.
    pub fn replace(&self, peers: impl IntoIterator<Item = Fingerprint>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = peers.into_iter().collect();
    }

    /// Whether a peer is known.
    pub fn knows(&self, peer: Fingerprint) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&peer)
    }
}

/// Accepts whoever proves to have a key that is known, or any key.
#[derive(Debug)]
struct Pinned {
    peers: Option<Peers>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), TlsError> {
        let key = Fingerprint::of(certificate)?;
        if self.peers.as_ref().is_none_or(|peers| peers.knows(key)) {
            Ok(())
        } else {
            Err(TlsError::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }
}

/// Only TLS 1.3 is offered, so this is never asked.
fn no_tls12() -> TlsError {
    TlsError::General("TLS 1.2 is not offered".to_owned())
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_it_is_written() {
        let fingerprint = Identity::generate().expect("a key").fingerprint();
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        let error = "abc".parse::<Fingerprint>().expect_err("too short");
        assert_eq!(error.to_string(), "expected the SHA-256 of a key as 64 hexadecimal digits, found `abc`");
        assert!("é".repeat(32).parse::<Fingerprint>().is_err());
    }

    #[test]
    fn no_two_processes_have_one_key() {
        let make = || Identity::generate().expect("a key").fingerprint();
        assert_ne!(make(), make());
    }
}
