//! All that is measured now, in the text format of Prometheus (version 0.0.4), for those who run the platform.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::PoisonError;

use super::sampler::Latest;
use crate::base::access::Actor;
use crate::base::error::Result;
use crate::base::model::{EnvironmentId, LATENCY_MILLIS};
use crate::product::Ctx;
use crate::state::store;

/// App and environment, as labels.
type Places = BTreeMap<EnvironmentId, String>;

pub async fn prometheus(ctx: &Ctx, actor: &Actor) -> Result<String> {
    actor.may_manage_platform()?;
    let all = store::environments::all(&mut ctx.store.read().await?).await?;
    let places: Places = all
        .into_iter()
        .map(|(environment, app)| {
            let labels = format!("app=\"{}\",app_id=\"{}\",environment=\"{}\"", app.name, app.id, environment.name);
            (environment.id, labels)
        })
        .collect();
    let latest = ctx.insight.latest.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(text(&latest, &places))
}

/// Names and ids have a grammar that needs no escape in a label.
fn text(latest: &Latest, places: &Places) -> String {
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, lines: Vec<(String, String)>| {
        if lines.is_empty() {
            return;
        }
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in lines {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    };
    let replicas = |value: &dyn Fn(&str, &crate::machinery::runtime::Usage) -> String| -> Vec<(String, String)> {
        let line = |(replica, usage): &(crate::base::model::Replica, _)| {
            let place = places.get(&replica.workload.environment)?;
            let process = format!("{}.{}", replica.workload.process, replica.ordinal);
            let generation = replica.generation;
            Some((format!("{{{place},process=\"{process}\",rollout=\"{generation}\"}}"), value(&replica.id, usage)))
        };
        latest.replicas.iter().filter_map(line).collect()
    };
    let cpu = replicas(&|_, usage| format!("{:.3}", usage.cpu_nanos as f64 / 1e9));
    family("hythe_replica_cpu_seconds_total", "counter", "Processor time of a replica.", cpu);
    let memory = replicas(&|_, usage| usage.memory_bytes.to_string());
    family("hythe_replica_memory_bytes", "gauge", "Memory that a replica uses.", memory);
    let disk = |id: &str| latest.measured.replicas.get(id).map_or(0, |sample| sample.disk_bytes);
    let written = replicas(&|id, _| disk(id).to_string());
    family("hythe_replica_disk_bytes", "gauge", "What a replica wrote to its own file system.", written);

    let requests = || latest.requests.iter().filter_map(|(id, reading)| Some((places.get(id)?, reading)));
    let counts = requests().flat_map(|(place, reading)| {
        reading
            .statuses
            .iter()
            .enumerate()
            .map(move |(class, count)| (format!("{{{place},status=\"{}xx\"}}", class + 1), count.to_string()))
    });
    family("hythe_requests_total", "counter", "Requests that were answered for an app.", counts.collect());
    let flying = requests().map(|(place, reading)| (format!("{{{place}}}"), reading.in_flight.to_string()));
    family("hythe_requests_in_flight", "gauge", "Requests under way.", flying.collect());
    latency(&mut out, requests());

    if let Some(host) = &latest.host {
        let ticks = host.ticks.max(1) as f64;
        let share = host.busy as f64 / ticks * host.processors as f64;
        for (name, help, value) in [
            ("hythe_host_processors", "Processors of the machine.", host.processors.to_string()),
            ("hythe_host_load_processors", "Processors in use, on average since its start.", format!("{share:.3}")),
            ("hythe_host_memory_bytes", "Memory in use.", host.memory_bytes.to_string()),
            ("hythe_host_memory_total_bytes", "Memory of the machine.", host.memory_total.to_string()),
            ("hythe_host_disk_bytes", "Disk in use, where the data directory is.", host.disk_bytes.to_string()),
            ("hythe_host_disk_total_bytes", "Size of that disk.", host.disk_total.to_string()),
        ] {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
    }
    out
}

fn latency<'a>(out: &mut String, requests: impl Iterator<Item = (&'a String, &'a crate::machinery::proxy::Reading)>) {
    const NAME: &str = "hythe_request_seconds";
    let mut begun = false;
    for (place, reading) in requests {
        if !std::mem::replace(&mut begun, true) {
            let _ = writeln!(out, "# HELP {NAME} Time from request to the end of its answer.\n# TYPE {NAME} histogram");
        }
        let mut sum = 0;
        for (class, count) in reading.latency.iter().enumerate() {
            sum += count;
            let bound = LATENCY_MILLIS.get(class).map_or("+Inf".to_owned(), |ms| (*ms as f64 / 1000.0).to_string());
            let _ = writeln!(out, "{NAME}_bucket{{{place},le=\"{bound}\"}} {sum}");
        }
        let _ = writeln!(out, "{NAME}_sum{{{place}}} {:.6}", reading.micros as f64 / 1e6);
        let _ = writeln!(out, "{NAME}_count{{{place}}} {sum}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::model::Id;
    use crate::machinery::proxy::Reading;

    #[test]
    fn counts_and_classes_add_up() {
        let id = EnvironmentId::fresh();
        let mut reading = Reading { statuses: [0, 3, 0, 1, 0], micros: 2_500_000, ..Reading::default() };
        (reading.latency[0], reading.latency[11]) = (3, 1);
        let latest = Latest { requests: [(id.clone(), reading)].into(), ..Latest::default() };
        let text = text(&latest, &[(id, "app=\"shop\"".to_owned())].into());
        for line in [
            "hythe_requests_total{app=\"shop\",status=\"2xx\"} 3",
            "hythe_request_seconds_bucket{app=\"shop\",le=\"0.005\"} 3",
            "hythe_request_seconds_bucket{app=\"shop\",le=\"+Inf\"} 4",
            "hythe_request_seconds_sum{app=\"shop\"} 2.500000",
            "hythe_request_seconds_count{app=\"shop\"} 4",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        assert!(text.lines().all(|l| l.starts_with('#') || l.split(' ').count() == 2), "{text}");
    }
}
