//! WebSocket over HTTP/2, from the extended CONNECT of a client to a replica of HTTP/1.1.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::ext::Protocol;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;

async fn client(bench: &Bench) -> SendRequest<Empty<Bytes>> {
    let stream = TokioIo::new(bench.connect().await);
    let (client, connection) = http2::handshake(TokioExecutor::new(), stream).await.expect("HTTP/2");
    bench.tasks.spawn(async move { drop(connection.await) });
    client
}

fn connect(target: &str, protocol: Option<&'static str>) -> Request<Empty<Bytes>> {
    let mut request =
        Request::connect(target).header("sec-websocket-protocol", "chat").body(Empty::new()).expect("a request");
    protocol.map(|protocol| request.extensions_mut().insert(Protocol::from_static(protocol)));
    request
}

async fn asked(
    client: &mut SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
) -> Response<hyper::body::Incoming> {
    // The settings of the other side, which allow it, come before any answer.
    let first = Request::get("http://nobody.test/").body(Empty::new()).expect("a request");
    soon(client.send_request(first)).await.expect("an answer").into_body().collect().await.expect("a body");
    soon(client.send_request(request)).await.expect("an answer")
}

#[tokio::test]
async fn a_client_of_http_2_talks_over_websocket_to_a_replica_of_http_1() {
    let shop = Backend::start(|stream, seen| async move {
        #[expect(clippy::result_large_err, reason = "tungstenite's own type")]
        let note = |request: &tokio_tungstenite::tungstenite::handshake::server::Request, answer| {
            seen.lock().expect("no panic").push(format!("{request:?}").to_ascii_lowercase());
            Ok(answer)
        };
        let mut socket = tokio_tungstenite::accept_hdr_async(stream, note).await.expect("a handshake");
        while let Some(Ok(message)) = socket.next().await {
            if !message.is_close() && socket.send(message).await.is_err() {
                return;
            }
        }
    })
    .await;
    let upstream = shop.upstream();
    let bench = Bench::shop(vec![Arc::clone(&upstream)]).await;
    let mut client = client(&bench).await;
    let answer = asked(&mut client, connect("http://shop.test/chat?room=1", Some("websocket"))).await;
    assert_eq!(answer.status(), 200);
    for name in ["sec-websocket-accept", "upgrade", "connection", "transfer-encoding", "content-length"] {
        assert!(!answer.headers().contains_key(name), "{name}");
    }
    let seen = shop.last();
    for words in [
        "get",
        "/chat?room=1",
        "\"upgrade\": \"websocket\"",
        "\"sec-websocket-protocol\": \"chat\"",
        "\"host\": \"shop.test\"",
        "\"sec-websocket-version\": \"13\"",
    ] {
        assert!(seen.contains(words), "{words}: {seen}");
    }
    let upgraded = hyper::upgrade::on(answer).await.expect("a stream");
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await;
    for message in [Message::text("hello"), Message::binary(vec![7; 1 << 20]), Message::text("")] {
        soon(socket.send(message.clone())).await.expect("sent");
        assert_eq!(soon(socket.next()).await.expect("an echo").expect("an echo"), message);
    }
    // Beside it, on the same connection.
    let beside = Request::get("http://nobody.test/").body(Empty::new()).expect("a request");
    assert_eq!(soon(client.send_request(beside)).await.expect("an answer").status(), 404);
    assert_eq!(upstream.in_flight(), 1);
    soon(socket.close(None)).await.expect("closed");
    while soon(socket.next()).await.is_some_and(|message| message.is_ok()) {}
    drop(socket);
    until(|| upstream.in_flight() == 0).await;
}

#[tokio::test]
async fn connect_is_for_websocket_alone_and_for_who_really_switches() {
    let shop = Backend::saying("no socket").await;
    let bench = Bench::shop(vec![shop.upstream()]).await;
    for (target, protocol, status) in [
        ("shop.test:80", None, 405),
        ("http://shop.test/", Some("connect-udp"), 405),
        ("http://nobody.test/", Some("websocket"), 404),
        // An answer of 200 would be taken for an open socket.
        ("http://shop.test/", Some("websocket"), 502),
    ] {
        let mut client = client(&bench).await;
        let answer = asked(&mut client, connect(target, protocol)).await;
        assert_eq!(answer.status(), status, "{target} {protocol:?}");
    }
    assert_eq!(shop.requests(), 1);
    for (head, status) in [
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403),
        ("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", 502),
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            502,
        ),
    ] {
        let shop = Backend::answering(head).await;
        let bench = Bench::shop(vec![shop.upstream()]).await;
        let answer = asked(&mut client(&bench).await, connect("http://shop.test/", Some("websocket"))).await;
        assert_eq!(answer.status(), status, "{head}");
    }
}
