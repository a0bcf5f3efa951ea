//! Certificates and keys of the control API: PEM files → [`TlsFiles`], tried out at once, so that `check-config` finds
//! a key that does not belong to its certificate before a start does.
//!
//! One crypto provider (ring), TLS 1.2 and 1.3 as rustls has them by default. With a client CA, only clients whose
//! certificate it has signed get through the handshake.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// What a TLS server needs.
#[derive(Clone, PartialEq)]
pub struct TlsFiles {
    /// Its certificate first, then those between it and the CA.
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
    /// Whose clients are let in; empty = everybody.
    client_cas: Vec<CertificateDer<'static>>,
}

impl TlsFiles {
    /// From the text of PEM files. Not yet tried out: see [`server_config`](Self::server_config).
    ///
    /// # Errors
    /// Which of them is not what it should be, and why; nothing of the content is shown.
    pub fn from_pem(certificate: &[u8], key: &[u8], client_ca: Option<&[u8]>) -> Result<Self, (TlsFile, String)> {
        let chain = certificates(certificate).map_err(|text| (TlsFile::Certificate, text))?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| (TlsFile::Key, "holds no private key in PEM (PKCS#8, PKCS#1 or SEC1)".to_owned()))?;
        let client_cas = client_ca.map_or(Ok(Vec::new()), certificates).map_err(|text| (TlsFile::ClientCa, text))?;
        Ok(Self { chain, key: Arc::new(key), client_cas })
    }

    /// Whether clients need a certificate.
    pub fn is_mutual(&self) -> bool {
        !self.client_cas.is_empty()
    }

    /// What rustls, tokio-rustls and tonic take; `alpn` as `b"http/1.1"` or `b"h2"`.
    ///
    /// # Errors
    /// When certificate and key do not belong together, or rustls cannot use them.
    pub fn server_config(&self, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let builder = if self.is_mutual() {
            let mut roots = RootCertStore::empty();
            for ca in &self.client_cas {
                roots.add(ca.clone())?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| rustls::Error::General(error.to_string()))?)
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_single_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

/// Which file is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFile {
    /// Certificate chain.
    Certificate,
    /// Private key.
    Key,
    /// CA of clients.
    ClientCa,
}

impl TlsFile {
    /// Its key in `[http]`.
    pub const fn config_key(self) -> &'static str {
        match self {
            Self::Certificate => "tls_certificate",
            Self::Key => "tls_key",
            Self::ClientCa => "client_ca",
        }
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    all.ok().filter(|all| !all.is_empty()).ok_or_else(|| "holds no certificate in PEM".to_owned())
}

impl fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = (self.chain.len(), self.client_cas.len());
        f.debug_struct("TlsFiles")
            .field("certificates", &counts.0)
            .field("client_cas", &counts.1)
            .finish_non_exhaustive()
    }
}
