//! Who is at the other end is proved, on both ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use macula_core::Contact;
use macula_transport::{DialError, Transport};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme, version};
use s2n_quic::Client;
use s2n_quic::client::Connect;
use s2n_quic::connection::Error as QuicError;
use s2n_quic::provider::limits::Limits;
use s2n_quic::provider::tls::rustls as quic_tls;

use super::{client, connect, contact, first_use, loopback, secret, server, within};

#[tokio::test]
async fn both_ends_know_the_node_id_that_the_other_proved() {
    let (a, b) = (client(1).await, server(2).await);
    let (dialled, accepted) = connect(&a, &b).await;
    assert_eq!(dialled.peer(), secret(2).node_id());
    assert_eq!(accepted.peer(), secret(1).node_id());
    assert_eq!(dialled.remote_address(), b.local_addresses()[0]);
    assert!(accepted.remote_address().ip().is_loopback());
}

#[tokio::test]
async fn dialling_one_node_and_reaching_another_is_a_wrong_identity() {
    let (a, b) = (client(1).await, server(2).await);
    let expected = secret(3).node_id();
    let target = Contact::new(expected, b.local_addresses()).into();
    let outcome = within(a.dial(&target)).await.map(|_| ());
    let address = b.local_addresses()[0];
    assert_eq!(outcome, Err(DialError::WrongIdentity { expected, address }));
}

#[tokio::test]
async fn the_right_node_is_reached_past_an_address_of_another() {
    let (a, b, c) = (client(1).await, server(2).await, server(3).await);
    let addresses = [b.local_addresses()[0], c.local_addresses()[0]];
    let target = Contact::new(c.node_id(), addresses).into();
    let dialled = within(a.dial(&target)).await.unwrap();
    assert_eq!(dialled.peer(), c.node_id());
    assert_eq!(dialled.remote_address(), c.local_addresses()[0]);
}

#[tokio::test]
async fn first_use_learns_who_answers() {
    let (a, b) = (client(1).await, server(2).await);
    let target = first_use(b.local_addresses()[0]);
    let dialled = within(a.dial(&target)).await.unwrap();
    assert_eq!(dialled.peer(), b.node_id());
}

#[tokio::test]
async fn a_second_connection_proves_the_identity_anew() {
    let (a, b) = (client(1).await, server(2).await);
    for _ in 0..3 {
        let (dialled, accepted) = connect(&a, &b).await;
        assert_eq!(dialled.peer(), b.node_id());
        assert_eq!(accepted.peer(), a.node_id());
    }
}

#[tokio::test]
async fn a_client_that_cannot_show_a_raw_key_is_refused() {
    let node = server(2).await;
    let stranger = stranger(WantsClientKey::with_no_client_auth);
    let connect = Connect::new(node.local_addresses()[0]).with_server_name("anything");
    let outcome = within(stranger.connect(connect)).await;
    assert!(
        matches!(outcome, Err(QuicError::MaxHandshakeDurationExceeded { .. })),
        "{outcome:?}"
    );
    assert_nothing_accepted(&*node).await;
}

#[tokio::test]
async fn a_client_that_shows_no_key_is_refused() {
    let node = server(2).await;
    let stranger = stranger(|config| config.with_client_cert_resolver(Arc::new(Keyless)));
    let connect = Connect::new(node.local_addresses()[0]).with_server_name("anything");
    // A client of TLS 1.3 is done before the server has judged it, so the refusal comes later.
    let refusal = match within(stranger.connect(connect)).await {
        Ok(mut connection) => within(connection.accept()).await.map(|_| ()),
        Err(error) => Err(error),
    };
    let Err(QuicError::Transport {
        code, initiator, ..
    }) = refusal
    else {
        panic!("not refused: {refusal:?}");
    };
    assert!(initiator.is_remote());
    assert_eq!(code.as_u64(), HANDSHAKE_FAILURE);
    assert_nothing_accepted(&*node).await;
}

/// `handshake_failure` (RFC 8446 §6.2) as a QUIC error: s2n-quic tells peers nothing more precise.
const HANDSHAKE_FAILURE: u64 = 0x128;

/// A known node gets through, and nobody did before it.
async fn assert_nothing_accepted(node: &dyn Transport) {
    let friend = client(1).await;
    let target = Contact::new(node.node_id(), node.local_addresses()).into();
    let (dialled, accepted) =
        within(async { tokio::join!(friend.dial(&target), node.accept()) }).await;
    assert!(dialled.is_ok());
    assert_eq!(accepted.unwrap().peer(), friend.node_id());
}

type WantsClientKey = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

/// A QUIC client that is no node.
fn stranger(finish: impl FnOnce(WantsClientKey) -> ClientConfig) -> Client {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous));
    let mut config = finish(builder);
    config.alpn_protocols = vec![b"macula".to_vec()];
    config.enable_sni = false;
    let limits = Limits::new()
        .with_max_handshake_duration(Duration::from_secs(1))
        .unwrap();
    let any: SocketAddr = loopback();
    Client::builder()
        .with_io(any)
        .unwrap()
        .with_tls(quic_tls::Client::from(config))
        .unwrap()
        .with_limits(limits)
        .unwrap()
        .start()
        .unwrap()
}

/// Says that it would show a raw key, and then shows none.
#[derive(Debug)]
struct Keyless;

impl ResolvesClientCert for Keyless {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Believes every server.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn contact_of_a_listening_node_is_dialable_text() {
    let node = server(2).await;
    let text = contact(&node).to_string();
    let a = client(1).await;
    let dialled = within(a.dial(&text.parse().unwrap())).await.unwrap();
    assert_eq!(dialled.peer(), node.node_id());
}
