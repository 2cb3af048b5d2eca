use std::io::Write;

use super::*;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Write::write(&mut *self.0.lock().expect("no panic"), bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn each_request_leaves_one_line_without_query_and_headers() {
    // Somebody always listens: a first look by another test's thread, where nobody does, would be remembered.
    let ear = tracing_subscriber::fmt().with_writer(std::io::sink).with_env_filter("hythe::access=info").finish();
    let _ = tracing::subscriber::set_global_default(ear);
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .with_env_filter("hythe=info")
        .finish();
    // All tasks of this test run on this thread.
    let _guard = tracing::subscriber::set_default(subscriber);
    let shop = Backend::saying("ok").await;
    let upstream = shop.upstream();
    let bench = Bench::shop(vec![Arc::clone(&upstream)]).await;
    for (method, host) in [("GET", "shop.test"), ("PUT", "nobody.test")] {
        bench
            .raw(format!(
                "{method} /a/b?token=hush HTTP/1.1\r\nHost: {host}\r\nCookie: hush=1\r\nX-Request-Id: id-1\r\n\
                 Authorization: hush\r\nConnection: close\r\n\r\n"
            ))
            .await;
    }
    let text = || String::from_utf8_lossy(&captured.0.lock().expect("no panic")).into_owned();
    until(|| text().lines().count() >= 2).await;
    let text = text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    for field in ["hythe::access", "request.id=id-1", "request.app=shop", "request.method=GET", "response.status=200"] {
        assert!(lines[0].contains(field), "{field} in {text}");
    }
    assert!(lines[0].contains("request.host=shop.test") && lines[0].contains("request.path=/a/b "), "{text}");
    assert!(lines[1].contains("request.host=nobody.test") && lines[1].contains("response.status=404"), "{text}");
    assert!(!text.contains("hush"), "{text}");
}
