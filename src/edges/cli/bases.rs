//! The base of images, and a newer one under what runs.

use futures_util::{StreamExt, stream};
use serde::Serialize;

use super::Session;
use super::args::{BaseVerb, Rebase};
use super::delivery::follow;
use super::failure::{Failure, Result};
use super::text::{age, time};
use crate::edges::api::types::{BaseView, ChangedView, DeploymentView, GroundView};
use crate::edges::client::Client;

/// Rollouts at a time: each has the replicas of an app twice.
const AT_ONCE: usize = 3;

/// What became of one environment.
#[derive(Debug, Serialize)]
struct Report {
    app: String,
    environment: String,
    /// `rebased`, `would be rebased`, `newest`, `unfit` or `failed`.
    outcome: &'static str,
    reason: Option<String>,
}

pub(super) async fn run(s: &mut Session, verb: BaseVerb) -> Result<()> {
    match verb {
        BaseVerb::Base => show(s).await,
        BaseVerb::BaseUpdate => update(s).await,
        BaseVerb::Rebase(words) => rebase(s, &words).await,
    }
}

async fn show(s: &mut Session) -> Result<()> {
    let base = s.client.base().await?;
    if s.json {
        return Ok(s.io.json(&base).await?);
    }
    for line in lines(&base) {
        s.io.out(&line).await?;
    }
    Ok(())
}

fn lines(base: &BaseView) -> [String; 3] {
    let made = base.made_at.as_deref().zip(base.age_days).map(|(at, days)| format!("{} ({})", time(at), age(days)));
    [
        format!("base   {}", base.source),
        format!("image  {}", base.image),
        format!("made   {}", made.unwrap_or_else(|| "nobody noted when; hythe base:update makes a new one".into())),
    ]
}

async fn update(s: &mut Session) -> Result<()> {
    s.io.say("making the base anew; this takes about half a minute").await?;
    let updated = s.client.update_base().await?;
    if s.json {
        return Ok(s.io.json(&updated).await?);
    }
    for line in lines(&updated.base) {
        s.io.out(&line).await?;
    }
    let text = match updated.changes.len() {
        0 => "no package of it is another than before".to_owned(),
        n => format!("{n} packages are not as they were:"),
    };
    s.io.out(&text).await?;
    let or_none = |version: Option<String>| version.unwrap_or_else(|| "none".into());
    for ChangedView { package, from, to } in updated.changes {
        s.io.out(&format!("  {package} {} → {}", or_none(from), or_none(to))).await?;
    }
    Ok(s.io.say("what runs gets it by its next push, or without a build by: hythe rebase --all").await?)
}

async fn rebase(s: &mut Session, words: &Rebase) -> Result<()> {
    let mut grounds = match words.all {
        true => s.client.grounds().await?,
        false => s.client.ground(&s.app(words.app.as_ref())?).await?.items,
    };
    grounds.retain(|ground| words.environment.as_ref().is_none_or(|only| *only == ground.environment));
    if grounds.is_empty() {
        return Err(Failure::usage("nothing of yours is live there, so there is nothing to rebase"));
    }
    let (older, others): (Vec<_>, Vec<_>) = grounds.into_iter().partition(|ground| ground.standing == "older");
    let mut reports: Vec<Report> = others.iter().map(as_it_is).collect();
    match (words.dry_run, words.all) {
        (true, _) => reports.extend(older.iter().map(|ground| report(ground, "would be rebased", None))),
        (false, true) => all(s, older, &mut reports).await?,
        (false, false) => one_by_one(s, older, &mut reports).await?,
    }
    tell(s, reports, words.all || words.dry_run).await
}

/// The environments of one app, with what each says.
async fn one_by_one(s: &mut Session, older: Vec<GroundView>, reports: &mut Vec<Report>) -> Result<()> {
    for ground in older {
        let Some(deployment) = begun(&s.client, &ground).await? else {
            reports.push(report(&ground, "newest", None));
            continue;
        };
        let json = std::mem::take(&mut s.json);
        let ended = follow(s, &ground.app_id, &ground.environment, &deployment).await;
        s.json = json;
        ended?;
        let ended = s.client.deployment(&ground.app_id, &ground.environment, &deployment.id).await?.deployment;
        reports.push(succeeded(&ground, &ended));
    }
    Ok(())
}

async fn all(s: &mut Session, older: Vec<GroundView>, reports: &mut Vec<Report>) -> Result<()> {
    let Session { client, io, .. } = s;
    let mut ended = stream::iter(older).map(|ground| one(client, ground)).buffer_unordered(AT_ONCE);
    while let Some(report) = ended.next().await {
        io.say(&format!("{} {}: {}", report.app, report.environment, report.outcome)).await?;
        reports.push(report);
    }
    Ok(())
}

async fn one(client: &Client, ground: GroundView) -> Report {
    match rebased(client, &ground).await {
        Ok(ended) => ended,
        Err(error) => report(&ground, "failed", Some(error.to_string())),
    }
}

/// None where somebody else was faster.
async fn begun(client: &Client, ground: &GroundView) -> crate::edges::client::Result<Option<DeploymentView>> {
    let refused = match client.rebase(&ground.app_id, &ground.environment).await {
        Ok(deployment) => return Ok(Some(deployment)),
        Err(refused) => refused,
    };
    let now = client.ground(&ground.app_id).await.map(|page| page.items).unwrap_or_default();
    let is_newest = now.iter().any(|now| now.environment == ground.environment && now.standing == "newest");
    if is_newest { Ok(None) } else { Err(refused) }
}

async fn rebased(client: &Client, ground: &GroundView) -> crate::edges::client::Result<Report> {
    let (app, environment) = (&ground.app_id, &ground.environment);
    let Some(deployment) = begun(client, ground).await? else { return Ok(report(ground, "newest", None)) };
    let mut lines = client.deployment_output(app, environment, &deployment.id).await?;
    // Its last line says that it is over; what it says until then is kept with it.
    while lines.next().await.is_some_and(|line| line.is_ok()) {}
    let ended = client.deployment(app, environment, &deployment.id).await?.deployment;
    Ok(match ended.state.as_str() {
        "succeeded" => succeeded(ground, &ended),
        state => report(ground, "failed", Some(ended.reason.unwrap_or_else(|| format!("the deployment is {state}")))),
    })
}

async fn tell(s: &mut Session, mut reports: Vec<Report>, whole: bool) -> Result<()> {
    reports.sort_by(|a, b| (&a.app, &a.environment).cmp(&(&b.app, &b.environment)));
    let wrong = reports.iter().filter(|r| r.outcome == "failed" || !whole && r.outcome == "unfit").count();
    if s.json {
        s.io.json(&reports).await?;
    } else if whole || reports.iter().any(|r| r.outcome != "rebased") {
        let first = |text: &Option<String>| text.as_deref().and_then(|t| t.lines().next()).unwrap_or("").to_owned();
        let words = |outcome: &str| match outcome {
            "newest" => "on the newest base".to_owned(),
            "unfit" => "not rebasable".to_owned(),
            other => other.to_owned(),
        };
        let row = |r: &Report| vec![r.app.clone(), r.environment.clone(), words(r.outcome), first(&r.reason)];
        let rows: Vec<_> = reports.iter().map(row).collect();
        s.print(&["APP", "ENVIRONMENT", "BASE", "WHY"], &rows).await?;
    }
    match wrong {
        0 => Ok(()),
        1 => Err(Failure::new("1 was not rebased; what it ran before goes on")),
        n => Err(Failure::new(format!("{n} were not rebased; what they ran before goes on"))),
    }
}

/// One without a release found that the packages of today are those that it has.
fn succeeded(ground: &GroundView, ended: &DeploymentView) -> Report {
    report(ground, if ended.release_id.is_some() { "rebased" } else { "newest" }, None)
}

fn as_it_is(ground: &GroundView) -> Report {
    let outcome = if ground.standing == "newest" { "newest" } else { "unfit" };
    report(ground, outcome, ground.reason.clone())
}

fn report(ground: &GroundView, outcome: &'static str, reason: Option<String>) -> Report {
    Report { app: ground.app.clone(), environment: ground.environment.clone(), outcome, reason }
}
