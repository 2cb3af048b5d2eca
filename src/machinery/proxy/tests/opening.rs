use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n";

async fn behind_a_balancer(shop: &Backend, settings: ProxySettings) -> Bench {
    let settings = ProxySettings { balancers: vec![host("127.0.0.0/8")], ..settings };
    Bench::start(table(TargetState::Live, vec![shop.upstream()]), settings).await
}

#[tokio::test]
async fn a_balancer_says_who_its_client_is() {
    let shop = Backend::saying("ok").await;
    let bench = behind_a_balancer(&shop, quick()).await;
    for (header, client) in [
        (&b"PROXY TCP4 192.0.2.7 10.0.0.1 32768 80\r\n"[..], "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 32768 80\r\n", "2001:db8::7"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\x80\0\0\x50", "192.0.2.7"),
        // Its own, to see whether somebody is here.
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", "127.0.0.1"),
    ] {
        let answer = bench.raw([header, GET.as_bytes()].concat()).await;
        assert_eq!(status(&answer), 200, "{answer}");
        assert_eq!(field(&shop.last(), "x-forwarded-for").as_deref(), Some(client));
        // In pieces, as the network brings it.
        let mut stream = bench.connect().await;
        for byte in [header, GET.as_bytes()].concat() {
            stream.write_all(&[byte]).await.expect("writes");
            stream.flush().await.expect("flushes");
        }
        assert_eq!(status(&rest(&mut stream).await), 200);
    }
}

#[tokio::test]
async fn a_balancer_that_does_not_say_it_is_not_served_and_nobody_else_may_say_it() {
    let shop = Backend::saying("ok").await;
    let settings = ProxySettings { header_timeout: Duration::from_millis(100), ..quick() };
    let bench = behind_a_balancer(&shop, settings).await;
    for bytes in [GET, "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", "PROXY TCP4 ", ""] {
        assert_eq!(bench.raw(bytes).await, "", "{bytes}");
    }
    let open = Bench::shop(vec![shop.upstream()]).await;
    let answer = open.raw(format!("PROXY TCP4 192.0.2.7 10.0.0.1 32768 80\r\n{GET}")).await;
    assert_eq!(status(&answer), 400, "{answer}");
    assert_eq!(shop.requests(), 0);
}

#[tokio::test]
async fn bounds_by_address_are_those_of_the_client_behind_the_balancer() {
    let shop = Backend::saying("ok").await;
    let settings = ProxySettings { max_connections_per_address: 1, ..quick() };
    let bench = behind_a_balancer(&shop, settings).await;
    let open = |client: &'static str| {
        let bench = &bench;
        async move {
            let mut stream = bench.connect().await;
            let text = format!("PROXY TCP4 {client} 10.0.0.1 1 80\r\nGET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
            stream.write_all(text.as_bytes()).await.expect("writes");
            stream
        }
    };
    let mut first = open("192.0.2.7").await;
    assert_eq!(status(&read_to(&mut first, "ok").await), 200);
    assert_eq!(rest(&mut open("192.0.2.7").await).await, "", "one too many");
    assert_eq!(status(&read_to(&mut open("192.0.2.8").await, "ok").await), 200);
    drop(first);
    until(|| shop.connections() > 0).await;
    let mut again;
    loop {
        again = open("192.0.2.7").await;
        let mut start = [0; 4];
        if soon(again.read_exact(&mut start)).await.is_ok() {
            break assert_eq!(&start, b"HTTP");
        }
    }
}

#[tokio::test]
async fn http_2_needs_no_tls_from_a_client_that_knows() {
    let shop = Backend::saying("ok").await;
    let bench = Bench::shop(vec![shop.upstream()]).await;
    let stream = TokioIo::new(bench.connect().await);
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), stream).await.expect("HTTP/2");
    let driven = bench.tasks.spawn(async move { drop(connection.await) });
    for (asked, expected) in [("shop.test", StatusCode::OK), ("other.test", StatusCode::NOT_FOUND)] {
        let request = Request::get(format!("http://{asked}/")).body(Empty::<Bytes>::new()).expect("a request");
        let answer = soon(client.send_request(request)).await.expect("an answer");
        assert_eq!(answer.status(), expected);
        soon(answer.into_body().collect()).await.expect("a body");
    }
    assert_eq!(field(&shop.last(), "x-forwarded-proto").as_deref(), Some("http"));
    drop(client);
    bench.shutdown.cancel();
    soon(driven).await.expect("it ends");
}
