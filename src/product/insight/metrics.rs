//! Measurements of an environment, or of the machine, over time.

use super::logs::moment;
use super::sampler::{HOST, Latest, STEPS};
use crate::base::access::{Action, Actor};
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{App, Environment, Sample};
use crate::product::Ctx;
use crate::state::store::metrics as rows;

const MOST_POINTS: i64 = 1500;

#[derive(Debug, Clone, Default)]
pub struct MetricsQuery {
    /// A time (RFC 3339), or how long ago; an hour when it is left out.
    pub since: Option<String>,
    /// Seconds; the finest that is kept so far back when it is left out.
    pub step: Option<i64>,
}

/// The step in seconds, and the samples of the steps that something was measured in.
pub type Series = (i64, Vec<(Timestamp, Sample)>);

pub async fn metrics(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    query: &MetricsQuery,
) -> Result<Series> {
    actor.may(Action::ViewApp, &app.into())?;
    series(ctx, Latest::subject(&environment.id), query).await
}

/// For those who run the platform.
pub async fn host_metrics(ctx: &Ctx, actor: &Actor, query: &MetricsQuery) -> Result<Series> {
    actor.may_manage_platform()?;
    series(ctx, HOST, query).await
}

async fn series(ctx: &Ctx, subject: &str, query: &MetricsQuery) -> Result<Series> {
    let now = ctx.now();
    let since = moment("since", query.since.as_deref().unwrap_or("1h"), now)?;
    let (kept, step) = steps(query.step, now.since(since) / 1000)?;
    let begin = Timestamp(since.0 - since.0.rem_euclid(step * 1000));
    let found = rows::list(&mut ctx.store.read().await?, subject, kept, (begin, now.plus_millis(1))).await?;
    Ok((step, grouped(found, step)))
}

/// The step that is read and the one that is answered, in seconds.
fn steps(wanted: Option<i64>, back: i64) -> Result<(i64, i64)> {
    let finest = STEPS.iter().find(|(_, reach)| back <= *reach).map_or(STEPS[STEPS.len() - 1].0, |(step, _)| *step);
    let step = match wanted {
        Some(step) if step < 60 || step % 60 != 0 => {
            return Err(Error::invalid("step", "must be a multiple of 60 seconds"));
        }
        Some(step) => step.max(finest),
        None => finest,
    };
    if back / step > MOST_POINTS {
        return Err(Error::invalid("step", format!("gives more than {MOST_POINTS} points; ask for a longer step")));
    }
    // The longest kept step that the answer is a multiple of.
    let kept = STEPS.iter().rev().map(|(kept, _)| *kept).find(|kept| *kept >= finest && step % kept == 0);
    kept.map(|kept| (kept, step))
        .ok_or_else(|| Error::invalid("step", format!("must be a multiple of {finest} seconds")))
}

fn grouped(samples: Vec<(Timestamp, Sample)>, step: i64) -> Vec<(Timestamp, Sample)> {
    let mut groups: Vec<(Timestamp, Sample)> = Vec::new();
    for (at, sample) in samples {
        let at = Timestamp(at.0 - at.0.rem_euclid(step * 1000));
        match groups.last_mut().filter(|(begin, _)| *begin == at) {
            Some((_, sum)) => sum.add(&sample),
            None => groups.push((at, sample)),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_finest_step_that_reaches_back_is_read() {
        assert_eq!(steps(None, 3600).ok(), Some((60, 60)));
        assert_eq!(steps(Some(600), 3600).ok(), Some((600, 600)));
        assert_eq!(steps(Some(300), 3600).ok(), Some((60, 300)));
        assert_eq!(steps(Some(60), 7 * 86_400).ok(), Some((600, 600)));
        assert_eq!(steps(Some(3600), 30 * 86_400).ok(), Some((600, 3600)));
        assert!(steps(Some(660), 7 * 86_400).is_err());
        assert!(steps(Some(61), 10).is_err() && steps(Some(0), 10).is_err() && steps(Some(-60), 10).is_err());
        assert!(steps(None, 30 * 86_400).is_err(), "too many points");
    }
}
