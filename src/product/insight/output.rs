//! What builds and deployments print, beside the lines of what they brought live.

use std::collections::HashMap;

use tokio_util::sync::CancellationToken;

use crate::base::error::{Error, Result};
use crate::base::model::{EnvironmentId, JobId};
use crate::product::Ctx;
use crate::state::logs::JobLines;
use crate::state::logs::kept::{Record, Source};
use crate::state::store;

/// Steps of a push that make the image; whatever else a job does brings it live.
const BUILD_STEPS: [&str; 3] = ["detect", "build", "image"];
const MOST_KNOWN: usize = 256;

/// Until `shutdown`.
pub async fn keep_output(ctx: Ctx, mut lines: JobLines, shutdown: CancellationToken) {
    // None is a job of no environment.
    let mut known: HashMap<JobId, Option<EnvironmentId>> = HashMap::new();
    loop {
        let next = tokio::select! {
            next = lines.next() => next,
            () = shutdown.cancelled() => return,
        };
        let Some((lines, dropped)) = next else { return };
        if dropped > 0 {
            tracing::warn!(dropped, "jobs print faster than their lines can be kept beside their apps");
        }
        let mut records: HashMap<EnvironmentId, Vec<Record>> = HashMap::new();
        for line in lines {
            if known.len() > MOST_KNOWN {
                known.clear();
            }
            let environment = match known.get(&line.job) {
                Some(environment) => environment.clone(),
                None => {
                    let found = environment(&ctx, &line.job).await.unwrap_or_default();
                    known.insert(line.job.clone(), found.clone());
                    found
                }
            };
            let Some(environment) = environment else { continue };
            let source = if BUILD_STEPS.contains(&line.step) { Source::Build } else { Source::Deploy };
            let record = |text: &str| Record {
                at: ctx.now(),
                source,
                name: source.as_str().to_owned(),
                text: text.to_owned(),
                mark: None,
            };
            records.entry(environment).or_default().extend(line.text.lines().map(record));
        }
        let logs = ctx.insight.logs.clone();
        let kept = tokio::task::spawn_blocking(move || {
            records.iter().try_for_each(|(environment, records)| logs.append(environment, records))
        });
        if let Err(error) = kept.await.map_err(Error::internal).and_then(|kept| kept) {
            tracing::warn!(error = error.for_log(), "lines of jobs are lost to the logs of their apps");
        }
    }
}

async fn environment(ctx: &Ctx, job: &JobId) -> Result<Option<EnvironmentId>> {
    let found = store::deployments::of_job(&mut ctx.store.read().await?, job).await?;
    Ok(found.map(|deployment| deployment.environment_id))
}
