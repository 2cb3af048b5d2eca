use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::base::secret::Secret;

/// Self-signed, for these names.
fn made(names: &[&str]) -> (Certificate, rustls::pki_types::CertificateDer<'static>) {
    let key = KeyPair::generate().expect("a key");
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = CertificateParams::new(names).expect("names").self_signed(&key).expect("signed");
    let ready = Certificate::from_pem(&certificate.pem(), &Secret::new(key.serialize_pem())).expect("it serves");
    (ready, certificate.der().clone())
}

struct Safe {
    bench: Bench,
    backend: Backend,
    roots: RootCertStore,
    address: SocketAddr,
}

impl Safe {
    /// `shop.test` and all below `wild.test` at one app; the first two names share a certificate.
    async fn start() -> Self {
        let backend = Backend::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        let target = target(TargetState::Live, vec![backend.upstream()]);
        let names = ["shop.test", "also.test", "*.wild.test", "bare.test"];
        let routes = names.map(|name| (host(name), Arc::clone(&target)));
        let ((one, a), (other, b)) = (made(&["shop.test", "also.test"]), made(&["*.wild.test"]));
        let mut roots = RootCertStore::empty();
        roots.add(a).expect("a root");
        roots.add(b).expect("a root");
        let all = [(host("shop.test"), one.clone()), (host("also.test"), one), (host("*.wild.test"), other)];
        let table = RouteTable::new(None, routes).with(Arc::new(Certificates::new(all)));
        let bench = Bench::start(table, quick()).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("has an address");
        let proxy = Proxy::new(bench.table.subscribe(), quick());
        let token = bench.shutdown.clone();
        bench.tasks.spawn(async move { proxy.serve_tls(listener, token).await.expect("serves") });
        Self { bench, backend, roots, address }
    }

    async fn connect(&self, name: &str, alpn: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder.expect("versions").with_root_certificates(self.roots.clone()).with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// The last head that the app saw, in lower case.
    fn seen(&self) -> String {
        self.backend.seen.lock().expect("no panic").last().cloned().unwrap_or_default().to_ascii_lowercase()
    }

    async fn get(&self, name: &str) -> std::io::Result<String> {
        let mut stream = self.connect(name, b"http/1.1").await?;
        let text = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await?;
        let mut all = String::new();
        stream.read_to_string(&mut all).await?;
        Ok(all)
    }
}

#[tokio::test]
async fn each_name_has_its_certificate_and_a_name_without_one_no_connection() {
    let safe = Safe::start().await;
    for name in ["shop.test", "also.test", "SHOP.test", "a.wild.test"] {
        let said = safe.get(name).await.expect(name);
        assert!(said.starts_with("HTTP/1.1 200"), "{name}: {said}");
        assert!(safe.seen().contains("x-forwarded-proto: https"), "{name}: {}", safe.seen());
    }
    for name in ["bare.test", "nobody.test", "wild.test", "a.b.wild.test", "127.0.0.1"] {
        let fault = safe.get(name).await.expect_err(name).to_string();
        assert!(!fault.contains("certificate not valid for name"), "{name}: {fault}");
    }
    // The next connection has what the table has now.
    let (fresh, root) = made(&["bare.test"]);
    let certificates = Arc::new(Certificates::new([(host("bare.test"), fresh)]));
    safe.bench.table.send_modify(|table| *table = Arc::new(table.with(certificates)));
    let mut roots = RootCertStore::empty();
    roots.add(root).expect("a root");
    let safe = Safe { roots, ..safe };
    let end = tokio::time::Instant::now() + HANG;
    while safe.get("bare.test").await.is_err() {
        assert!(tokio::time::Instant::now() < end, "the new certificate never came");
        tokio::task::yield_now().await;
    }
    assert!(safe.get("shop.test").await.is_err());
}

#[tokio::test]
async fn http_2_reaches_the_app_as_one_request_each_and_only_on_its_own_connection() {
    let safe = Safe::start().await;
    let stream = safe.connect("shop.test", b"h2").await.expect("connects");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut client, connection) =
        http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    safe.bench.tasks.spawn(async move { drop(connection.await) });
    for (name, status) in [("shop.test", 200), ("also.test", 200), ("a.wild.test", 421), ("nobody.test", 421)] {
        let request = Request::get(format!("https://{name}/x?y=1"))
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(Empty::new())
            .expect("a request");
        let answer = client.send_request(request).await.expect("an answer");
        assert_eq!(answer.status(), status, "{name}");
        answer.into_body().collect().await.expect("a body");
        let text = safe.seen();
        if status == 200 {
            for line in
                ["get /x?y=1 http/1.1", "cookie: a=1; b=2", &format!("host: {name}"), "x-forwarded-proto: https"]
            {
                assert!(text.contains(line), "{name} {line}: {text}");
            }
        }
    }
    drop(client);
    safe.bench.shutdown.cancel();
    safe.bench.tasks.close();
    tokio::time::timeout(HANG, safe.bench.tasks.wait()).await.expect("it drains");
}

#[test]
fn a_key_that_does_not_fit_is_no_certificate_and_no_key_is_printed() {
    let keys = [KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key")];
    let certificate = CertificateParams::new(vec!["a.test".to_owned()]).expect("names").self_signed(&keys[0]);
    let chain = certificate.expect("signed").pem();
    let with = |key: String| Certificate::from_pem(&chain, &Secret::new(key));
    assert!(matches!(with(keys[1].serialize_pem()), Err(TlsError::Unusable(_))));
    assert!(matches!(with("$(id)".into()), Err(TlsError::Key(_))));
    assert!(matches!(Certificate::from_pem("", &Secret::new(keys[0].serialize_pem())), Err(TlsError::Chain(_))));
    let well = with(keys[0].serialize_pem()).expect("it fits");
    assert_eq!(format!("{well:?}"), "Certificate(…)");
}

#[tokio::test]
async fn a_challenge_has_a_certificate_of_its_own_for_who_speaks_nothing_else() {
    let mut safe = Safe::start().await;
    let fault = safe.connect("shop.test", b"acme-tls/1").await.expect_err("no order is under way");
    assert!(!fault.to_string().contains("invalid peer certificate"), "{fault}");
    let (certificate, der) = made(&["shop.test"]);
    let challenge = Challenge::Name { name: host("shop.test"), certificate };
    safe.bench.table.send_modify(|table| {
        let mut all = Challenges::default();
        all.add(&challenge);
        *table = Arc::new(table.showing(Arc::new(all)));
    });
    // The usual one is not what is shown.
    soon(async {
        while !safe
            .connect("shop.test", b"acme-tls/1")
            .await
            .is_err_and(|e| e.to_string().contains("invalid peer certificate"))
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    safe.roots.add(der).expect("a root");
    let mut stream = safe.connect("shop.test", b"acme-tls/1").await.expect("a connection");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"acme-tls/1"[..]));
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all).await;
    assert!(all.is_empty(), "nothing is said inside");
    assert!(safe.get("shop.test").await.expect("as ever").starts_with("HTTP/1.1 200"));
    assert!(safe.connect("also.test", b"acme-tls/1").await.is_err());
}
