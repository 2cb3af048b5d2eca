//! Upstreams that speak TLS.

use std::convert::Infallible;

use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::base::model::Protocol;

/// Says in which version it was asked, with a certificate that nobody vouches for.
async fn sealed(protocols: &[&[u8]], versions: &'static [&'static rustls::SupportedProtocolVersion]) -> Backend {
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec!["another.name".to_owned()]).expect("names").self_signed(&key);
    let chain = vec![certificate.expect("signed").der().clone()];
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("versions");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).expect("a certificate");
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Backend::start(move |stream, seen| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let is_2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let text = format!("{:?} {}", request.version(), request.uri());
                seen.lock().expect("no panic").push(text.clone());
                async move { Ok::<_, Infallible>(Response::new(Full::new(bytes::Bytes::from(text)))) }
            });
            let stream = TokioIo::new(stream);
            let _ = match is_2 {
                true => {
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(stream, service)
                        .await
                }
                false => hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await,
            };
        }
    })
    .await
}

static ONLY_12: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS12];

const SWITCH: &str = "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n";

#[tokio::test]
async fn the_replica_chooses_the_version_and_shows_whichever_certificate_it_has() {
    let both: &[&[u8]] = &[b"h2", b"http/1.1"];
    for (protocols, versions, said) in [
        (both, rustls::DEFAULT_VERSIONS, "HTTP/2.0 https://shop.test/"),
        (both, &ONLY_12, "HTTP/2.0 https://shop.test/"),
        (&[b"http/1.1"], rustls::DEFAULT_VERSIONS, "HTTP/1.1 /"),
        (&[], rustls::DEFAULT_VERSIONS, "HTTP/1.1 /"),
    ] {
        let backend = sealed(protocols, versions).await;
        let bench = Bench::shop(vec![Upstream::speaking(Protocol::Https, backend.address, "replica")]).await;
        for _ in 0..3 {
            assert_eq!(body(&bench.get("shop.test").await), said);
        }
        assert_eq!(backend.connections(), 1, "they are used again");
        if protocols == both {
            let answer = bench.raw(SWITCH).await;
            assert!(answer.contains("HTTP/1.1 /"), "a switch of protocols goes in HTTP/1.1: {answer}");
        }
    }
}

#[tokio::test]
async fn who_speaks_no_tls_or_hangs_in_it_is_no_answer() {
    let plain = Backend::saying("plain").await;
    let bench = Bench::shop(vec![Upstream::speaking(Protocol::Https, plain.address, "replica")]).await;
    assert_eq!(status(&bench.get("shop.test").await), 502);
    let silent = Backend::start(|stream, _| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let settings = ProxySettings { connect_timeout: Duration::from_millis(50), ..quick() };
    let upstream = Upstream::speaking(Protocol::Https, silent.address, "replica");
    let bench = Bench::start(table(TargetState::Live, vec![Arc::clone(&upstream)]), settings).await;
    assert_eq!(status(&bench.get("shop.test").await), 502);
    assert_eq!((upstream.in_flight(), upstream.failures()), (0, 1));
}

#[tokio::test]
async fn a_check_asks_in_what_the_replica_speaks() {
    let backend = sealed(&[b"h2"], rustls::DEFAULT_VERSIONS).await;
    assert_eq!(status_of(backend.address, Protocol::Https).await.expect("an answer"), 200);
    assert!(backend.last().starts_with("HTTP/2.0 https://127.0.0.1:"), "{}", backend.last());
    assert!(status_of(backend.address, Protocol::H2c).await.is_err());
    let plain = Backend::answering("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(status_of(plain.address, Protocol::Http1).await.expect("an answer"), 404);
}
