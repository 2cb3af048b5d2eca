//! Requests that two parsers could part differently: none may reach an app as two, or with a
//! framing that the app could read in another way.

use super::*;

/// What the app must never see.
const HIDDEN: &str = "GET /hidden";

async fn attack(head_and_body: &str) -> (String, Vec<String>) {
    let shop = Backend::saying("shop").await;
    let bench = Bench::shop(vec![shop.upstream()]).await;
    let mut stream = bench.connect().await;
    stream.write_all(head_and_body.as_bytes()).await.expect("writes");
    // The proxy has refused, or has answered what it took for a whole request and now sees the end.
    stream.shutdown().await.ok();
    let answer = rest(&mut stream).await;
    let seen = shop.seen.lock().expect("no panic").clone();
    (answer, seen)
}

#[tokio::test]
async fn ambiguous_requests_are_refused() {
    let hidden = format!("{HIDDEN} HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    for (name, fields) in [
        ("two lengths", "Content-Length: 4\r\nContent-Length: 5"),
        ("a list of lengths", "Content-Length: 4, 5"),
        ("a signed length", "Content-Length: +4"),
        ("a negative length", "Content-Length: -4"),
        ("a hexadecimal length", "Content-Length: 0x4"),
        ("a length with a space", "Content-Length: 4 4"),
        ("an empty length", "Content-Length: "),
        ("a huge length", "Content-Length: 99999999999999999999999"),
        ("an unknown encoding", "Transfer-Encoding: xchunked"),
        ("identity", "Transfer-Encoding: identity"),
        ("chunked not last", "Transfer-Encoding: chunked, gzip"),
        ("an encoding before chunked", "Transfer-Encoding: gzip, chunked"),
        ("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        ("chunked and identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
        ("identity and chunked", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked"),
        ("a space before the colon", "Transfer-Encoding : chunked"),
        ("a tab before the colon", "Transfer-Encoding\t: chunked"),
        ("a vertical tab", "Transfer-Encoding: \x0bchunked"),
        ("a folded line", "Transfer-Encoding:\r\n chunked"),
        ("a folded field", "X-A: b\r\n\tTransfer-Encoding: chunked"),
        ("a bare CR", "X-A: b\rTransfer-Encoding: chunked"),
        ("a NUL", "X-A: b\0c"),
        ("a name with a space", "X A: b"),
        ("no colon", "garbage"),
        ("an empty name", ": b"),
    ] {
        let (answer, seen) =
            attack(&format!("POST / HTTP/1.1\r\nHost: shop.test\r\n{fields}\r\n\r\n0\r\n\r\n{hidden}")).await;
        assert!(seen.is_empty(), "{name}: the app saw {seen:?}");
        assert_eq!(status(&answer), 400, "{name}: {answer}");
    }
}

#[tokio::test]
async fn a_length_beside_chunks_goes_no_further_and_ends_the_connection() {
    let hidden = format!("{HIDDEN} HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Transfer-Encoding: Chunked\r\nContent-Length: 4",
        "content-length: 4\r\ntransfer-encoding: chunked",
    ] {
        let (_, seen) =
            attack(&format!("POST / HTTP/1.1\r\nHost: shop.test\r\n{fields}\r\n\r\n0\r\n\r\n{hidden}")).await;
        assert!(seen.len() <= 1, "{fields}: {seen:?}");
        for request in &seen {
            assert!(field(request, "content-length").is_none() && !request.contains(HIDDEN), "{fields}: {request}");
        }
    }
}

#[tokio::test]
async fn broken_chunks_never_become_a_whole_request() {
    let hidden = format!("{HIDDEN} HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    for (name, chunks) in [
        ("a size with a sign", "+1\r\na\r\n0\r\n\r\n"),
        ("a size with a prefix", "0x1\r\na\r\n0\r\n\r\n"),
        ("a huge size", "ffffffffffffffffff\r\na\r\n0\r\n\r\n"),
        ("no size", "\r\na\r\n0\r\n\r\n"),
        ("a short chunk", "1\r\nab\r\n0\r\n\r\n"),
        ("a bare LF after the size", "1\na\r\n0\r\n\r\n"),
        ("a bare LF after the chunk", "1\r\na\n0\r\n\r\n"),
        ("a bare CR", "1\ra\r\n0\r\n\r\n"),
        ("cut off", "5\r\nab"),
    ] {
        let (answer, seen) = attack(&format!(
            "POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{}",
            if name == "cut off" { "" } else { &hidden }
        ))
        .await;
        assert!(seen.is_empty(), "{name}: the app saw {seen:?} and the client {answer}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_routed_each() {
    let (shop, blog) = (Backend::saying("shop").await, Backend::saying("blog").await);
    let table = RouteTable::new(
        None,
        [
            (host("shop.test"), target(TargetState::Live, vec![shop.upstream()])),
            (host("blog.test"), target(TargetState::Live, vec![blog.upstream()])),
        ],
    );
    let bench = Bench::start(table, quick()).await;
    let answers = bench
        .raw(
            "POST /1 HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 3\r\n\r\nabc\
             GET /2 HTTP/1.1\r\nHost: blog.test\r\n\r\n\
             GET /3 HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n",
        )
        .await;
    let bodies: Vec<_> = answers.split("HTTP/1.1 200 OK").skip(1).map(|a| a.split("\r\n\r\n").nth(1)).collect();
    assert_eq!(bodies, [Some("shop"), Some("blog"), Some("shop")], "{answers}");
    let seen = shop.seen.lock().expect("no panic").clone();
    assert!(seen[0].starts_with("POST /1") && seen[0].ends_with("abc") && seen[1].starts_with("GET /3"), "{seen:?}");
}

#[tokio::test]
async fn clear_text_http2_is_no_way_around_the_proxy() {
    let shop = Backend::saying("shop").await;
    let bench = Bench::shop(vec![shop.upstream()]).await;
    let answer = bench
        .raw(
            "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n\
             HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
        )
        .await;
    assert_eq!(status(&answer), 200);
    let seen = shop.last();
    assert!(field(&seen, "upgrade").is_none() && field(&seen, "http2-settings").is_none(), "{seen}");
    // With prior knowledge it is the proxy that speaks it, from the first frame (SETTINGS) on.
    let mut stream = bench.connect().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("writes");
    let mut frame = [0; 9];
    soon(stream.read_exact(&mut frame)).await.expect("a frame");
    assert_eq!((frame[3], shop.requests()), (4, 1));
}
