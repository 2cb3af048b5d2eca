//! What a request leaves behind, and what it tells of itself on its way.

use super::*;
use crate::base::model::{AccessLog, Traffic};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn observed(upstream: Arc<Upstream>, change: impl FnOnce(&mut Traffic)) -> (Bench, Arc<AccessBook>) {
    let mut traffic = Traffic::default();
    change(&mut traffic);
    let rules = (!traffic.is_plain()).then(|| Arc::new(Rules::new(traffic)));
    let target = Arc::new(Target { rules, ..plain(TargetState::Live, vec![upstream]) });
    let book = Arc::new(AccessBook::new(100));
    let settings = ProxySettings { access: Some(Arc::clone(&book)), ..quick() };
    (Bench::start(RouteTable::new(None, [(host("shop.test"), target)]), settings).await, book)
}

fn get(fields: &str) -> String {
    format!("GET /a%22b?token=hush HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n{fields}\r\n")
}

#[tokio::test]
async fn a_trace_passes_or_begins_and_is_called_as_the_request_is() {
    let shop = Backend::saying("ok").await;
    let (bench, _) = observed(shop.upstream(), |_| {}).await;
    bench.raw(get(&format!("Traceparent: {TRACE}\r\nTracestate: a=1\r\n"))).await;
    assert_eq!(field(&shop.last(), "traceparent").as_deref(), Some(TRACE));
    assert_eq!(field(&shop.last(), "tracestate").as_deref(), Some("a=1"));
    for fields in
        ["", "Traceparent: 00-x\r\nTracestate: a=1\r\n", &format!("Traceparent: {TRACE}\r\nTraceparent: {TRACE}\r\n")]
    {
        let answer = bench.raw(get(fields)).await;
        let (id, begun) =
            (field(&answer, "x-request-id").expect("an id"), field(&shop.last(), "traceparent").expect("a trace"));
        assert_eq!(begun[3..35], id, "{fields}");
        assert_eq!(field(&shop.last(), "x-request-id"), Some(id), "{fields}");
        assert_eq!(
            (field(&shop.last(), "tracestate"), shop.last().matches("traceparent").count()),
            (None, 1),
            "{fields}"
        );
    }
}

#[tokio::test]
async fn times_are_told_where_that_is_wanted_beside_what_the_app_tells() {
    let shop = Backend::answering("HTTP/1.1 200 OK\r\nServer-Timing: db;dur=5\r\nContent-Length: 2\r\n\r\nok").await;
    let (bench, _) = observed(shop.upstream(), |_| {}).await;
    let answer = bench.raw(get("")).await;
    assert_eq!(answer.matches("server-timing").count(), 1, "{answer}");
    let (bench, _) = observed(shop.upstream(), |traffic| traffic.server_timing = true).await;
    let answer = bench.raw(get("")).await;
    let told: Vec<_> = answer.lines().filter_map(|line| line.strip_prefix("server-timing: ")).collect();
    let ["db;dur=5", ours] = told[..] else { panic!("{answer}") };
    let (proxy, app) = ours.split_once(", ").expect("two");
    for (word, start) in [(proxy, "proxy;dur="), (app, "app;dur=")] {
        let millis: f64 = word.strip_prefix(start).and_then(|millis| millis.parse().ok()).expect(ours);
        assert!((0.0..60_000.0).contains(&millis), "{ours}");
    }
}

#[tokio::test]
async fn a_line_has_details_where_that_is_wanted() {
    let shop = Backend::saying("well said").await;
    let (bench, book) = observed(shop.upstream(), |_| {}).await;
    bench.raw(get("")).await;
    until(|| book.waits() == 1).await;
    assert_eq!(book.take().0[0].details, None);
    let (bench, book) = observed(shop.upstream(), |traffic| traffic.access_log = AccessLog::Json).await;
    bench.raw(get(&format!("Traceparent: {TRACE}\r\n"))).await;
    until(|| book.waits() == 1).await;
    let line = book.take().0.remove(0);
    assert_eq!((line.path.as_str(), line.status), ("/a%22b", 200), "never the query");
    let details = *line.details.expect("details");
    assert!(details.app_took.is_some_and(|took| took <= line.took), "{details:?}");
    let details = Details { app_took: None, ..details };
    let expected = Details {
        host: "shop.test".into(),
        scheme: "http".into(),
        protocol: "HTTP/1.1".into(),
        bytes: 9,
        app_took: None,
        replica: "replica".into(),
        trace_id: TRACE[3..35].into(),
    };
    assert_eq!(details, expected);
}
