//! Measurements as tables.

use super::Session;
use super::args::{AtWord, SeriesWords};
use super::failure::Result;
use super::text::time;
use crate::edges::api::types::{MetricsPoint, MetricsView};

pub(super) async fn of_app(s: &mut Session, at: &AtWord, words: &SeriesWords) -> Result<()> {
    let (app, environment) = (s.app_word(&at.app)?, &at.environment.environment);
    let metrics = s.client.metrics(&app, environment, words.since.as_deref(), words.step).await?;
    if s.json {
        return Ok(s.io.json(&metrics).await?);
    }
    if metrics.points.is_empty() {
        return Ok(s
            .io
            .say("nothing was measured in this time yet; the first minute is shown when it is over")
            .await?);
    }
    let rows: Vec<_> = metrics.points.iter().flat_map(rows).collect();
    s.print(&["FROM (UTC)", "", "CPU", "MEMORY", "MOST", "DISK", "REQ/S", "5XX", "P50", "P95", "P99"], &rows).await
}

pub(super) async fn of_host(s: &mut Session, words: &SeriesWords) -> Result<()> {
    let metrics: MetricsView = s.client.host_metrics(words.since.as_deref(), words.step).await?;
    if s.json {
        return Ok(s.io.json(&metrics).await?);
    }
    let rows: Vec<_> = metrics
        .points
        .iter()
        .filter_map(|point| {
            let host = point.host.as_ref()?;
            let of = |used, total| format!("{} of {}", megabytes(used), megabytes(total));
            Some(vec![
                time(&point.at),
                format!("{:.1}% of {}00%", host.cpu_percent, host.processors),
                of(host.memory_bytes, host.memory_total_bytes),
                of(host.disk_bytes, host.disk_total_bytes),
            ])
        })
        .collect();
    s.print(&["FROM (UTC)", "CPU", "MEMORY", "DISK"], &rows).await
}

/// One line for the requests, one for each replica.
fn rows(point: &MetricsPoint) -> Vec<Vec<String>> {
    let none = String::new;
    let mut rows = Vec::new();
    if let Some(requests) = &point.requests {
        let millis = |time: Option<f64>| time.map_or_else(String::new, |ms| format!("{ms:.0} ms"));
        let faults = requests.statuses.get("5xx").copied().unwrap_or(0);
        let mut row = vec![time(&point.at), "requests".into(), none(), none(), none(), none()];
        row.extend([format!("{:.1}", requests.per_second), faults.to_string()]);
        row.extend([requests.p50_millis, requests.p95_millis, requests.p99_millis].map(millis));
        rows.push(row);
    }
    for (name, replica) in &point.replicas {
        rows.push(vec![
            time(&point.at),
            name.clone(),
            format!("{:.1}%", replica.cpu_percent),
            megabytes(replica.memory_bytes),
            megabytes(replica.memory_bytes_most),
            megabytes(replica.disk_bytes),
        ]);
    }
    rows
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes >> 20)
}
