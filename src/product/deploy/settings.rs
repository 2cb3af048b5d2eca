//! Changes of what runs that start no new rollout: how many replicas, which checks. Each is a release all the same, so
//! that a release is the whole state and going back to one brings its numbers and checks back. And restarts, which are
//! a rollout of the release that is there.

use std::collections::BTreeMap;

use super::releases::{self, NewRelease};
use super::shape::{self, Shape};
use crate::base::access::{Action, Actor, Place};
use crate::base::error::{Error, Kind, Result};
use crate::base::model::{
    App, CheckKind, Checks, Environment, EnvironmentSpec, EnvironmentState, Formation, Generation, Happened,
    HealthCheck, MOST_CHECKS, ProcessName, Release, ReleaseId, ReleaseKind, overlaid,
};
use crate::product::Ctx;
use crate::product::apps::{self, MOST_REPLICAS};
use crate::product::converge::default_check;
use crate::state::store::{self, Tx};

/// Sets the numbers given and leaves the others. Before the first release any name is taken on trust.
pub async fn scale(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    numbers: &Formation,
) -> Result<Environment> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let mut tx = ctx.store.begin().await?;
    let environment = find(&mut tx, actor, app, environment).await?;
    let current = good(&mut tx, &environment).await?;
    let fault = |(name, count): (&ProcessName, &u32)| {
        Some((name.to_string(), number_fault(&environment, current.as_ref(), name, *count)?))
    };
    refuse(numbers.iter().filter_map(fault))?;
    let before = |name: &ProcessName| {
        environment.spec.formation.get(name).copied().unwrap_or_else(|| u32::from(name.as_str() == "web"))
    };
    let changed = numbers.iter().filter(|(name, count)| before(name) != **count);
    let changed: BTreeMap<_, _> = changed.map(|(name, count)| (name.to_string(), (before(name), *count))).collect();
    if !changed.is_empty() {
        apps::tell(&mut tx, ctx, actor, &environment, Happened::Scaled { numbers: changed }).await?;
    }
    let mut spec = environment.spec.clone();
    spec.formation.extend(numbers.iter().map(|(name, count)| (name.clone(), *count)));
    let words: Vec<_> = numbers.iter().map(|(name, count)| format!("{name}={count}")).collect();
    settle(ctx, tx, actor, environment, current, spec, format!("scale {}", words.join(" "))).await
}

/// Why the process type cannot have that many replicas.
pub(super) fn number_fault(
    environment: &Environment,
    current: Option<&Release>,
    name: &ProcessName,
    count: u32,
) -> Option<String> {
    if count > MOST_REPLICAS {
        return Some(format!("must be 0 to {MOST_REPLICAS}"));
    }
    if name.as_str() == "release" {
        return Some("runs once per release and is not scaled".into());
    }
    let scaling = environment.spec.scaling.get(name).map(|scaling| {
        let (min, max) = (scaling.min, scaling.max);
        format!("is scaled by the platform, {min} to {max}; first: hythe ps:autoscale {name} --off")
    });
    unknown_process(current, name).or(scaling).or_else(|| shape::crowd_fault(&environment.spec.mounts, name, count))
}

/// A check in effect, and who said so.
#[derive(Debug, Clone)]
pub struct CheckView {
    pub process: ProcessName,
    pub check: HealthCheck,
    pub origin: CheckOrigin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckOrigin {
    Set,
    Manifest,
    /// What every process type has that nobody said anything of.
    Default,
}

/// Those of the process types of the release that shall be live, and those that were set for others.
pub async fn checks(ctx: &Ctx, actor: &Actor, app: &App, environment: &Environment) -> Result<Vec<CheckView>> {
    actor.may(Action::ViewApp, &Place::from(app))?;
    let mut tx = ctx.store.read().await?;
    let release = good(&mut tx, environment).await?;
    let wished = release.as_ref().map(|r| r.manifest.healthchecks.clone()).unwrap_or_default();
    let said = &environment.spec.checks;
    let mut all = Vec::new();
    let of_set = |process: &ProcessName, check: &HealthCheck| said.get(process).is_some_and(|s| s.contains(check));
    let effective = overlaid(&wished, said);
    for (process, checks) in &effective {
        for check in checks {
            let origin = if of_set(process, check) { CheckOrigin::Set } else { CheckOrigin::Manifest };
            all.push(CheckView { process: process.clone(), check: check.clone(), origin });
        }
    }
    for process in release.iter().flat_map(|r| r.processes.keys()).filter(|p| p.as_str() != "release") {
        let gated = effective.get(process).is_some_and(|c| c.iter().any(|c| c.kind != CheckKind::Liveness));
        if !gated {
            let check = default_check(process);
            all.push(CheckView { process: process.clone(), check, origin: CheckOrigin::Default });
        }
    }
    all.sort_by(|a, b| (&a.process, a.check.kind).cmp(&(&b.process, b.check.kind)));
    Ok(all)
}

/// What stands for a process type and kind takes the place of what `app.json` has there; none returns to that.
pub type CheckChanges = BTreeMap<ProcessName, BTreeMap<CheckKind, Option<HealthCheck>>>;

/// They are asked from now on, of the replicas that run.
pub async fn set_checks(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    changes: &CheckChanges,
) -> Result<Environment> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let mut tx = ctx.store.begin().await?;
    let environment = find(&mut tx, actor, app, environment).await?;
    let current = good(&mut tx, &environment).await?;
    let mut faults = Vec::new();
    let mut spec = environment.spec.clone();
    for (process, kinds) in changes {
        faults.extend(unknown_process(current.as_ref(), process).map(|text| (process.to_string(), text)));
        let place = spec.checks.entry(process.clone()).or_default();
        for (kind, check) in kinds {
            place.retain(|c| c.kind != *kind);
            place.extend(check.clone());
            let fault = check.as_ref().and_then(HealthCheck::fault);
            faults.extend(fault.map(|(field, text)| (format!("{process}.{kind}.{field}"), text)));
        }
        place.sort_by_key(|check| check.kind);
        if place.len() > MOST_CHECKS {
            faults.push((process.to_string(), format!("has more than {MOST_CHECKS} checks")));
        }
    }
    refuse(faults)?;
    spec.checks.retain(|_, checks| !checks.is_empty());
    let what = vec!["checks".to_owned()];
    apps::tell(&mut tx, ctx, actor, &environment, Happened::EnvironmentChanged { what }).await?;
    settle(ctx, tx, actor, environment, current, spec, describe(changes)).await
}

fn describe(changes: &CheckChanges) -> String {
    let words = |set: bool| {
        let each = |(process, kinds): (&ProcessName, &BTreeMap<CheckKind, Option<HealthCheck>>)| {
            let kinds = kinds.iter().filter(move |(_, check)| check.is_some() == set);
            kinds.map(|(kind, _)| format!("{process} {kind}")).collect::<Vec<_>>()
        };
        changes.iter().flat_map(each).collect::<Vec<_>>().join(", ")
    };
    let parts = [("set check", words(true)), ("unset check", words(false))];
    let parts = parts.iter().filter(|(_, words)| !words.is_empty());
    parts.map(|(verb, words)| format!("{verb} {words}")).collect::<Vec<_>>().join("; ")
}

/// New replicas of the release that is live take over from the ones that run, without a gap. A release that could not
/// become live is not tried again by this.
pub async fn restart(ctx: &Ctx, actor: &Actor, app: &App, environment: &Environment) -> Result<Environment> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let mut tx = ctx.store.begin().await?;
    let environment = find(&mut tx, actor, app, environment).await?;
    let Some(release) = good(&mut tx, &environment).await? else {
        return Err(Error::conflict("nothing was deployed here yet; push first"));
    };
    nothing_under_way(&mut tx, &environment).await?;
    let mut spec = environment.spec.clone();
    spec.release = Some(release.id);
    // The number of the spec that asks for it: no rollout, given up or not, ever had it.
    spec.rollout = Generation(environment.generation + 1);
    let environment = write(&mut tx, environment, spec).await?;
    apps::tell(&mut tx, ctx, actor, &environment, Happened::Restarted {}).await?;
    tx.commit().await?;
    ctx.wake.notify_one();
    Ok(environment)
}

/// Writes the spec and, where something is live, the release that says the same. Its replicas run on.
pub(super) async fn settle(
    ctx: &Ctx,
    tx: Tx,
    actor: &Actor,
    environment: Environment,
    current: Option<Release>,
    spec: EnvironmentSpec,
    description: String,
) -> Result<Environment> {
    if spec == environment.spec {
        return Ok(environment);
    }
    record(ctx, tx, actor, environment, current, spec, description).await
}

/// As `settle` where something else that a release has was changed, in the same transaction.
pub(super) async fn record(
    ctx: &Ctx,
    mut tx: Tx,
    actor: &Actor,
    environment: Environment,
    current: Option<Release>,
    mut spec: EnvironmentSpec,
    description: String,
) -> Result<Environment> {
    if let Some(current) = current {
        nothing_under_way(&mut tx, &environment).await?;
        if is_blocked(&environment) {
            spec.rollout = environment.status.live;
        }
        let new = NewRelease {
            build_id: current.build_id,
            commit: current.commit,
            image: current.image,
            processes: current.processes,
            variables_version: current.variables_version,
            shape: Shape { sizes: current.sizes, mounts: current.mounts, ..Shape::of_spec(&spec) },
            manifest: current.manifest,
            kind: ReleaseKind::Settings,
            description,
            created_by: Some(actor.user.id.clone()),
        };
        spec.release = Some(releases::make(&mut tx, &environment, new, ctx.now()).await?.id);
    }
    let environment = write(&mut tx, environment, spec).await?;
    tx.commit().await?;
    ctx.wake.notify_one();
    Ok(environment)
}

pub(super) async fn write(tx: &mut Tx, environment: Environment, spec: EnvironmentSpec) -> Result<Environment> {
    if !store::environments::write_spec(tx, &environment.id, environment.generation, &spec).await? {
        return Err(Error::conflict("the environment was changed at the same moment; try again"));
    }
    Ok(Environment { spec, generation: environment.generation + 1, ..environment })
}

/// As it is now.
pub(super) async fn find(tx: &mut Tx, actor: &Actor, app: &App, environment: &Environment) -> Result<Environment> {
    let found = store::environments::find(tx, &actor.scope(), &environment.id).await?;
    found.filter(|e| e.app_id == app.id).ok_or_else(|| Error::not_found("environment"))
}

/// The release that settings are of: the one wanted, or the one that is live where the wanted one could not become so.
pub(super) async fn good(tx: &mut Tx, environment: &Environment) -> Result<Option<Release>> {
    let id: Option<&ReleaseId> = match is_blocked(environment) {
        true => environment.status.live_release.as_ref(),
        false => environment.spec.release.as_ref(),
    };
    match id {
        Some(id) => super::activate::find_release(tx, id).await.map(Some),
        None => Ok(None),
    }
}

fn is_blocked(environment: &Environment) -> bool {
    let status = &environment.status;
    status.state == EnvironmentState::Blocked
        && status.observed_generation == environment.generation
        && status.live != environment.spec.rollout
        && status.live_release.is_some()
}

/// A deployment may fail and take its numbers with it, or succeed with the old ones: who changes them meanwhile waits.
pub(super) async fn nothing_under_way(tx: &mut Tx, environment: &Environment) -> Result<()> {
    let Some(deployment) = store::deployments::rolling_out(tx, &environment.id).await? else { return Ok(()) };
    let release = match &deployment.release_id {
        Some(id) => format!("v{}", super::activate::find_release(tx, id).await?.number),
        None => "a release".to_owned(),
    };
    Err(Error::conflict(format!("{release} is being rolled out; try again when that has ended (hythe deployments)")))
}

pub(super) fn unknown_process(release: Option<&Release>, name: &ProcessName) -> Option<String> {
    let known = &release?.processes;
    if known.contains_key(name) && name.as_str() != "release" {
        return None;
    }
    let names: Vec<_> = known.keys().map(ProcessName::as_str).filter(|n| *n != "release").collect();
    Some(format!("is no process type of this app; it has {}", names.join(", ")))
}

pub(super) fn refuse(faults: impl IntoIterator<Item = (String, String)>) -> Result<()> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (field, text) in faults {
        all.entry(field).or_default().push(text);
    }
    match all.first_key_value() {
        None => Ok(()),
        Some((name, texts)) => {
            let public = format!("{name}: {}", texts.join("; "));
            Err(Error::new(Kind::Invalid(all), public))
        }
    }
}

/// The checks of a release, `app.json` and set ones together.
pub(super) fn effective(release: &Release) -> Checks {
    overlaid(&release.manifest.healthchecks, &release.checks)
}
