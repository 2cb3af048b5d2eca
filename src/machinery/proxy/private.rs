//! TLS to replicas. A replica is known by the address that the engine gave it, inside a network of its own, and has no name
//! that anybody could vouch for: whichever certificate it shows is taken, as long as it has the key. So what is said there
//! is hidden from who listens, and nothing more is promised than without TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::tls::{HTTP_1, HTTP_2};

/// `shares`: HTTP/2 will do. Whether the replica has chosen it is for [`speaks_http_2`] to say.
pub(super) async fn connect(stream: TcpStream, address: SocketAddr, shares: bool) -> io::Result<TlsStream<TcpStream>> {
    static EITHER: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    static SINGLE: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let (place, protocols): (_, &[&[u8]]) = if shares { (&EITHER, &[HTTP_2, HTTP_1]) } else { (&SINGLE, &[HTTP_1]) };
    let config = match place.get() {
        Some(config) => Arc::clone(config),
        None => {
            let made = config(protocols)?;
            Arc::clone(place.get_or_init(|| made))
        }
    };
    TlsConnector::from(config).connect(ServerName::from(address.ip()), stream).await
}

pub(super) fn speaks_http_2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP_2)
}

fn config(protocols: &[&[u8]]) -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let any = Arc::new(Any(Arc::clone(&provider)));
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(io::Error::other)?.dangerous().with_custom_certificate_verifier(any);
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    // An address may be another replica's the next time.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Any(Arc<CryptoProvider>);

impl ServerCertVerifier for Any {
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
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
