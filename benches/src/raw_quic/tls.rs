//! The keys of the floor: one raw Ed25519 key, which the client knows.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_eddsa_type};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerIncompatible, ServerConfig,
    SignatureScheme,
};
use s2n_quic::provider::tls::rustls::{Client, Server};

/// The name the client asks for; the key is what is checked.
pub(super) const SERVER_NAME: &str = "echo";

const PROTOCOL: &[u8] = b"echo";

/// DER of an Ed25519 key in PKCS #8, up to its 32 secret bytes (RFC 8410).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Any secret will do: the key protects an echo on loopback.
const SECRET: [u8; 32] = [0x5a; 32];

/// The server's key, and what the client knows of it.
pub(super) struct EchoKey {
    provider: Arc<CryptoProvider>,
    key: Arc<CertifiedKey>,
}

impl EchoKey {
    pub(super) fn new() -> Result<Self, Error> {
        let der = [&PKCS8_PREFIX[..], &SECRET].concat();
        let signer = any_eddsa_type(&PrivatePkcs8KeyDer::from(der))?;
        let public = signer
            .public_key()
            .ok_or_else(|| Error::General("a key without its public half".to_owned()))?;
        let certificate = CertificateDer::from(public.as_ref().to_vec());
        Ok(Self {
            provider: Arc::new(default_provider()),
            key: Arc::new(CertifiedKey::new(vec![certificate], signer)),
        })
    }

    pub(super) fn server(&self) -> Result<Server, Error> {
        let resolver = AlwaysResolvesServerRawPublicKeys::new(self.key.clone());
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(config.into())
    }

    pub(super) fn client(&self) -> Result<Client, Error> {
        let verifier = Pinned {
            provider: self.provider.clone(),
            key: self.key.end_entity_cert()?.clone().into_owned(),
        };
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(config.into())
    }
}

/// Accepts the one key it was given.
#[derive(Debug)]
struct Pinned {
    provider: Arc<CryptoProvider>,
    key: CertificateDer<'static>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if end_entity.as_ref() != self.key.as_ref() {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature_with_raw_key(
            message,
            &SubjectPublicKeyInfoDer::from(certificate.as_ref()),
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
