//! TLS 1.3 between nodes: both sides prove an Ed25519 key, and there is no certificate anywhere.
//!
//! The keys travel as raw public keys (RFC 7250). Sessions are never resumed: a resumed handshake
//! would skip the proof.

use std::sync::Arc;

use macula_core::SecretKey;
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, Error, ServerConfig, version};

mod pin;
mod spki;
mod verifier;

pub(super) use pin::Pin;
pub(super) use spki::decode as decode_spki;
use verifier::RawKeyVerifier;

/// The one application protocol. Versions are negotiated above: a refusal at this level is silent,
/// and the dialler would wait out its handshake.
pub(super) const ALPN: &[u8] = b"macula";

/// What a node's connections prove and check.
pub(super) struct Tls {
    provider: Arc<CryptoProvider>,
    key: Arc<CertifiedKey>,
    verifier: Arc<RawKeyVerifier>,
}

impl Tls {
    pub(super) fn new(secret_key: &SecretKey) -> Result<Self, Error> {
        let provider = aws_lc_rs::default_provider();
        gather_entropy(&provider)?;
        let signer = aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(
            spki::encode_secret(secret_key),
        ))?;
        let public = CertificateDer::from(spki::encode(&secret_key.node_id()));
        Ok(Self {
            key: Arc::new(CertifiedKey::new(vec![public], signer)),
            verifier: Arc::new(RawKeyVerifier::new(
                provider.signature_verification_algorithms,
            )),
            provider: Arc::new(provider),
        })
    }

    /// The side that is dialled.
    pub(super) fn server(&self) -> Result<ServerConfig, Error> {
        let resolver = AlwaysResolvesServerRawPublicKeys::new(Arc::clone(&self.key));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&version::TLS13])?
            .with_client_cert_verifier(Arc::clone(&self.verifier) as _)
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }

    /// The side that dials.
    pub(super) fn client(&self) -> Result<ClientConfig, Error> {
        let resolver = AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&self.key));
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&self.verifier) as _)
            .with_client_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // The server name carries the pin to the verifier and is nobody else's business.
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// Draws a random byte. The first one on a thread takes tens of milliseconds, which no dial shall
/// wait for.
fn gather_entropy(provider: &CryptoProvider) -> Result<(), Error> {
    Ok(provider.secure_random.fill(&mut [0])?)
}
