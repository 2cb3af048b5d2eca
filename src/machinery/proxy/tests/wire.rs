use super::*;

#[tokio::test]
async fn what_ends_at_a_hop_ends_here() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Inner\r\nX-Inner: 1\r\nKeep-Alive: timeout=5\r\n\
                  Proxy-Authenticate: Basic\r\nUpgrade: foo\r\nX-Kept: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nok";
    let shop = Backend::answering(answer).await;
    let bench = Bench::shop(vec![shop.upstream()]).await;
    let answer = bench
        .raw(
            "GET /a%2Fb/../c?q=1&r=%20 HTTP/1.1\r\nHost: shop.test:8080\r\nConnection: close, X-Named, X-Forwarded-For, Host\r\n\
             X-Named: 1\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\nTE: gzip, trailers\r\n\
             Trailer: X-T\r\nUpgrade: foo\r\nCookie: a=1\r\nAuthorization: Bearer t\r\nX-Kept: 1\r\n\r\n",
        )
        .await;
    let seen = shop.last();
    assert!(seen.starts_with("GET /a%2Fb/../c?q=1&r=%20 HTTP/1.1\r\n"), "the target passes byte for byte: {seen}");
    for gone in [
        "connection",
        "x-named",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "upgrade",
        "transfer-encoding",
    ] {
        assert_eq!(field(&seen, gone), None, "{gone} in {seen}");
    }
    for (name, value) in [
        ("te", "trailers"),
        ("cookie", "a=1"),
        ("authorization", "Bearer t"),
        ("x-kept", "1"),
        ("host", "shop.test:8080"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "shop.test:8080"),
        ("x-forwarded-port", &bench.address.port().to_string()),
    ] {
        assert_eq!(field(&seen, name).as_deref(), Some(value), "{name} in {seen}");
    }
    for gone in ["x-inner", "keep-alive", "proxy-authenticate", "upgrade"] {
        assert_eq!(field(&answer, gone), None, "{gone} in {answer}");
    }
    assert_eq!(field(&answer, "x-kept").as_deref(), Some("1"));
    assert_eq!(answer.matches("set-cookie: ").count(), 2, "{answer}");
    assert_eq!(field(&answer, "x-request-id"), field(&seen, "x-request-id"));
}

#[tokio::test]
async fn a_client_is_not_believed_about_itself() {
    let shop = Backend::saying("ok").await;
    let bench = Bench::shop(vec![shop.upstream()]).await;
    bench
        .raw(
            "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 6.6.6.7\r\n\
             X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Port: 6\r\nX-Forwarded-Prefix: /evil\r\n\
             Forwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nX-Forwarded_Host: evil.test\r\n\
             Client-IP: 6.6.6.6\r\nProxy: http://evil.test\r\nContent_Length: 66\r\nX_Kept: 1\r\n\r\n",
        )
        .await;
    let seen = shop.last();
    assert!(!seen.contains("6.6.6") && !seen.contains("evil") && !seen.contains(": 66"), "{seen}");
    assert_eq!(seen.matches("x-forwarded-").count(), 4, "{seen}");
    assert_eq!(field(&seen, "x_kept").as_deref(), Some("1"), "other names with _ pass");
}

#[tokio::test]
async fn request_ids_are_kept_when_sane_and_made_when_not() {
    let shop = Backend::saying("ok").await;
    let bench = Bench::shop(vec![shop.upstream()]).await;
    let with = async |lines: &str| {
        let answer = bench.raw(format!("GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n{lines}\r\n")).await;
        let id = field(&shop.last(), "x-request-id").expect("an id");
        assert_eq!(field(&answer, "x-request-id").as_ref(), Some(&id));
        assert_eq!(shop.last().matches("x-request-id").count(), 1);
        id
    };
    assert_eq!(with("X-Request-Id: 01J-x_y.z\r\n").await, "01J-x_y.z");
    let long = format!("X-Request-Id: {}\r\n", "x".repeat(129));
    let mut made = std::collections::HashSet::new();
    for lines in
        ["", "X-Request-Id: <script>\r\n", "X-Request-Id: a\r\nX-Request-Id: b\r\n", "X-Request-Id:\r\n", &long]
    {
        let id = with(lines).await;
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{lines}: {id}");
        assert!(made.insert(id));
    }
}

#[tokio::test]
async fn answers_without_a_body_keep_the_connection_in_step() {
    let shop = Backend::start(|mut stream, _| async move {
        while let Some(request) = request(&mut stream).await {
            let answer = match request.split(' ').nth(1) {
                Some("/204") => "HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n".to_owned(),
                Some("/304") => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n".to_owned(),
                Some("/head") => "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".to_owned(),
                Some("/early") => {
                    "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\ne".into()
                }
                _ => ok("end"),
            };
            stream.write_all(answer.as_bytes()).await.expect("writes");
        }
    })
    .await;
    let bench = Bench::shop(vec![shop.upstream()]).await;
    let all = bench
        .raw(
            "GET /204 HTTP/1.1\r\nHost: shop.test\r\n\r\nGET /304 HTTP/1.1\r\nHost: shop.test\r\n\r\n\
             HEAD /head HTTP/1.1\r\nHost: shop.test\r\n\r\nGET /early HTTP/1.1\r\nHost: shop.test\r\n\r\n\
             GET /end HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n",
        )
        .await;
    let heads: Vec<_> = all.split("HTTP/1.1 ").skip(1).collect();
    let codes: Vec<_> = heads.iter().map(|head| &head[..3]).collect();
    assert_eq!(codes, ["204", "304", "200", "200", "200"], "{all}");
    assert!(heads[2].contains("content-length: 1000000") && heads[2].ends_with("\r\n\r\n"), "{all}");
    assert!(heads[4].ends_with("end"), "{all}");
    assert_eq!(shop.connections(), 1, "one connection served them all");
}

#[tokio::test]
async fn expect_continue_is_answered_when_an_upstream_is_found() {
    let shop = Backend::saying("took it").await;
    let bench = Bench::shop(vec![shop.upstream()]).await;
    let mut stream = bench.connect().await;
    let head =
        "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("writes");
    let interim = read_to(&mut stream, "\r\n\r\n").await;
    assert_eq!(status(&interim), 100);
    stream.write_all(b"body").await.expect("writes");
    assert_eq!(body(&rest(&mut stream).await), "took it");
    assert!(shop.last().ends_with("\r\n\r\nbody") && field(&shop.last(), "expect").is_none(), "{}", shop.last());

    let unknown = head.replace("shop.test", "nobody.test");
    let answer = bench.raw(unknown).await;
    assert_eq!(status(&answer), 404, "no body is asked for when there is nobody to take it: {answer}");
}

#[tokio::test]
async fn chunks_and_trailers_pass_both_ways() {
    let shop = Backend::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n",
    )
    .await;
    let bench = Bench::shop(vec![shop.upstream()]).await;
    let answer = bench
        .raw(
            "POST / HTTP/1.1\r\nHost: shop.test\r\nTE: trailers\r\nConnection: TE, close\r\nTransfer-Encoding: chunked\r\n\r\n\
             2\r\nhi\r\n0\r\n\r\n",
        )
        .await;
    assert!(answer.contains("3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n"), "{answer}");
    assert!(
        shop.last().contains("transfer-encoding: chunked") && shop.last().contains("2\r\nhi\r\n"),
        "{}",
        shop.last()
    );
    let get = "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    assert_eq!(status(&bench.raw(get).await), 200);
    assert!(shop.last().contains("2\r\nhi\r\n"), "a GET keeps its body: {}", shop.last());
}

#[tokio::test]
async fn old_clients_and_old_servers_are_served() {
    let shop = Backend::start(|mut stream, _| async move {
        request(&mut stream).await;
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nuntil the end").await.expect("writes");
    })
    .await;
    let bench = Bench::shop(vec![shop.upstream()]).await;
    let answer = bench.raw("GET / HTTP/1.0\r\nHost: shop.test\r\n\r\n").await;
    assert_eq!((status(&answer), body(&answer)), (200, "until the end"));
    let answer = bench.get("shop.test").await;
    assert!(answer.contains("transfer-encoding: chunked") && answer.contains("until the end"), "{answer}");
}

#[tokio::test]
async fn answers_that_are_none_become_a_page() {
    for answer in [
        "garbage\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".into(),
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n".into(),
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n".into(),
        format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(100_000)),
        format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(1000)),
    ] {
        let shop = Backend::answering(answer.clone()).await;
        let bench = Bench::shop(vec![shop.upstream()]).await;
        assert_eq!(status(&bench.get("shop.test").await), 502, "{:?}", &answer[..40.min(answer.len())]);
    }
}
