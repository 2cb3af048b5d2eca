//! Requests that the proxy answered, as lines in the kept logs of their apps: few enough that a busy app does not push
//! its own words out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::bucket::Bucket;
use crate::base::clock::Timestamp;
use crate::base::error::Error;
use crate::base::model::EnvironmentId;
use crate::machinery::proxy::{Access, AccessBook, Details};
use crate::product::Ctx;
use crate::state::logs::kept::{Record, Source};

/// Lines that may wait for the next round.
pub const BOOK: usize = 8192;
const ROUND: Duration = Duration::from_millis(250);
/// Of the lines that a replica may write.
const SHARE: f64 = 0.1;
const TELL_MILLIS: i64 = 10_000;
/// Apps that are known by their rate before the idle ones are forgotten.
const MOST_KNOWN: usize = 10_000;

struct Known {
    bucket: Bucket,
    left_out: u64,
    told_at: Timestamp,
}

/// Until `shutdown`; what waits then is kept.
pub async fn keep_access(ctx: Ctx, book: Arc<AccessBook>, shutdown: CancellationToken) {
    let mut known: HashMap<EnvironmentId, Known> = HashMap::new();
    let mut over = false;
    while !over {
        tokio::select! {
            () = tokio::time::sleep(ROUND) => {}
            () = book.half_full() => {}
            () = shutdown.cancelled() => over = true,
        }
        let (lines, dropped) = book.take();
        if dropped > 0 {
            tracing::warn!(dropped, "requests came faster than their lines could be kept");
        }
        let mut records: HashMap<EnvironmentId, Vec<Record>> = HashMap::new();
        let now = ctx.now();
        for line in lines {
            let Ok(environment) = line.environment.environment().parse::<EnvironmentId>() else { continue };
            let rate = f64::from(ctx.config.logs.lines_per_second) * SHARE;
            let fresh = || Known { bucket: Bucket::new(rate, now), left_out: 0, told_at: Timestamp(0) };
            let known = known.entry(environment.clone()).or_insert_with(fresh);
            if known.bucket.takes(1.0, now) {
                records.entry(environment).or_default().push(record(&line));
            } else {
                known.left_out += 1;
            }
        }
        for (environment, known) in &mut known {
            if known.left_out > 0 && (over || now.since(known.told_at) >= TELL_MILLIS) {
                known.told_at = now;
                let count = std::mem::take(&mut known.left_out);
                let text = format!("{count} requests were answered without a line each; the metrics count them");
                let name = Source::System.as_str().to_owned();
                let told = Record { at: now, source: Source::System, name, text, mark: None };
                records.entry(environment.clone()).or_default().push(told);
            }
        }
        if known.len() > MOST_KNOWN {
            known.retain(|_, known| known.left_out > 0);
        }
        if !records.is_empty() {
            keep(&ctx, records).await;
        }
    }
}

async fn keep(ctx: &Ctx, records: HashMap<EnvironmentId, Vec<Record>>) {
    let logs = ctx.insight.logs.clone();
    let kept = tokio::task::spawn_blocking(move || {
        records.iter().try_for_each(|(environment, records)| logs.append(environment, records))
    });
    if let Err(error) = kept.await.map_err(Error::internal).and_then(|kept| kept) {
        tracing::warn!(error = error.for_log(), "lines of requests are lost");
    }
}

fn record(line: &Access) -> Record {
    let text = line.details.as_ref().map_or_else(|| plain(line), |details| json(line, details));
    let name = Source::Proxy.as_str().to_owned();
    Record { at: line.at, source: Source::Proxy, name, text, mark: None }
}

fn plain(line: &Access) -> String {
    let millis = line.took.as_secs_f64() * 1000.0;
    format!(
        "{} {} status={} ms={millis:.1} client={} request_id={}",
        line.method, line.path, line.status, line.client, line.request_id
    )
}

/// One object in one line, whatever a client sent.
fn json(line: &Access, details: &Details) -> String {
    let millis = |took: Duration| (took.as_secs_f64() * 10_000.0).round() / 10.0;
    serde_json::json!({
        "time": line.at.to_string(),
        "method": line.method.as_str(),
        "scheme": details.scheme,
        "host": details.host,
        "path": line.path,
        "protocol": details.protocol,
        "status": line.status,
        "bytes": details.bytes,
        "ms": millis(line.took),
        "app_ms": details.app_took.map(millis),
        "client": line.client,
        "replica": details.replica,
        "request_id": line.request_id,
        "trace_id": details.trace_id,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machinery::proxy::Meter;

    #[test]
    fn a_line_of_json_is_one_object_in_one_line_whatever_was_sent() {
        let hostile = "/a\"},\n{\"status\":200,\u{2028}\u{7f}\\".to_owned();
        let details = Details {
            host: "shop.test".into(),
            scheme: "https".into(),
            protocol: "HTTP/2.0".into(),
            bytes: 7,
            app_took: Some(Duration::from_micros(1234)),
            replica: "r1".into(),
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".into(),
        };
        let line = Access {
            environment: Arc::new(Meter::new("env")),
            at: Timestamp(0),
            method: "GET".parse().expect("a method"),
            path: hostile.clone(),
            status: 404,
            took: Duration::from_micros(2345),
            client: "192.0.2.1".into(),
            request_id: "id".into(),
            details: Some(Box::new(details)),
        };
        let text = record(&line).text;
        assert!(!text.contains('\n'), "{text}");
        let read: serde_json::Value = serde_json::from_str(&text).expect("one object");
        assert_eq!((&read["path"], &read["status"], &read["bytes"]), (&hostile.into(), &404.into(), &7.into()));
        assert_eq!((&read["ms"], &read["app_ms"]), (&2.3.into(), &1.2.into()));
        assert_eq!(read.as_object().expect("an object").len(), 14);
        let text = record(&Access { details: None, ..line }).text;
        assert!(text.starts_with("GET /a") && text.contains("status=404"), "{text}");
    }
}
