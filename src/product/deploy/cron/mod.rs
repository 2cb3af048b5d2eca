//! Schedules of an environment: what `app.json` of the live release says, and what people add by hand. Each time that is
//! due becomes one command, whoever looks: the row of the schedule moves on from exactly that time, and no two commands
//! can have the same schedule and time.
//!
//! Choices: a time that was missed (the server was down) is made up for once if it is not longer ago than an hour, and
//! passed over otherwise; a schedule whose last run still goes is passed over; it runs what is live when it is due.

mod keeper;
mod schedule;

use crate::base::access::{Action, Actor};
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{
    App, Command, CommandKind, CommandState, Cron, CronId, CronOrigin, Environment, Id, Manifest, Process, Release,
    UserId,
};
use crate::product::Ctx;
use crate::state::store::{self, Tx};

pub use keeper::CronKeeper;
use schedule::{Schedule, UTC};

const MOST_CRONS: usize = 100;
const LONGEST_COMMAND: usize = 4096;
const LONGEST_NAME: usize = 100;

/// A schedule as a person writes it.
#[derive(Debug, Clone)]
pub struct NewCron {
    /// None: its command stands for it.
    pub name: Option<String>,
    pub schedule: String,
    pub command: String,
    /// None is UTC.
    pub timezone: Option<String>,
}

/// By name, each with its last run.
pub async fn crons(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
) -> Result<Vec<(Cron, Option<Command>)>> {
    actor.may(Action::ViewApp, &app.into())?;
    let mut tx = ctx.store.read().await?;
    let mut all = Vec::new();
    for cron in store::crons::of_environment(&mut tx, &environment.id).await? {
        let last = store::commands::of_cron(&mut tx, &cron.id, 1).await?.into_iter().next();
        all.push((cron, last));
    }
    Ok(all)
}

/// One schedule with its runs, newest first.
pub async fn cron(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    name: &str,
    limit: i64,
) -> Result<(Cron, Vec<Command>)> {
    actor.may(Action::ViewApp, &app.into())?;
    let mut tx = ctx.store.read().await?;
    let cron = find(&mut tx, environment, name).await?;
    let runs = store::commands::of_cron(&mut tx, &cron.id, limit).await?;
    Ok((cron, runs))
}

pub async fn add_cron(ctx: &Ctx, actor: &Actor, app: &App, environment: &Environment, new: NewCron) -> Result<Cron> {
    actor.may(Action::Deploy, &app.into())?;
    let timezone = new.timezone.unwrap_or_else(|| UTC.to_owned());
    let schedule = Schedule::parse(&new.schedule, &timezone).map_err(|fault| Error::invalid("schedule", fault))?;
    let name = new.name.unwrap_or_else(|| named_after(&new.command));
    if new.command.trim().is_empty() || new.command.len() > LONGEST_COMMAND || new.command.contains('\0') {
        return Err(Error::invalid("command", format!("must be 1 to {LONGEST_COMMAND} bytes without NUL")));
    }
    if !is_name(&name) {
        return Err(Error::invalid(
            "name",
            format!("must be 1 to {LONGEST_NAME} characters without control characters, not starting with a dash"),
        ));
    }
    let cron = Cron {
        id: CronId::fresh(),
        environment_id: environment.id.clone(),
        name,
        schedule: new.schedule,
        command: new.command,
        timezone,
        origin: CronOrigin::Person,
        next_due: schedule.next(ctx.now()),
        created_at: ctx.now(),
    };
    let mut tx = ctx.store.begin().await?;
    if store::crons::of_environment(&mut tx, &environment.id).await?.len() >= MOST_CRONS {
        return Err(Error::limit(format!("an environment has at most {MOST_CRONS} schedules")));
    }
    store::crons::insert(&mut tx, &cron).await.map_err(|error| {
        let text =
            format!("a schedule named \"{}\" already exists; remove it first, or give another --name", cron.name);
        error.said(text)
    })?;
    tx.commit().await?;
    ctx.desk.cron_wake();
    Ok(cron)
}

pub async fn remove_cron(ctx: &Ctx, actor: &Actor, app: &App, environment: &Environment, name: &str) -> Result<()> {
    actor.may(Action::Deploy, &app.into())?;
    let mut tx = ctx.store.begin().await?;
    let cron = find(&mut tx, environment, name).await?;
    if cron.origin == CronOrigin::Manifest {
        return Err(Error::conflict(format!("\"{name}\" stands in app.json; take it out there and push")));
    }
    store::crons::delete(&mut tx, &cron.id).await?;
    tx.commit().await
}

/// Now, beside its schedule.
pub async fn run_cron(ctx: &Ctx, actor: &Actor, app: &App, environment: &Environment, name: &str) -> Result<Command> {
    actor.may(Action::Deploy, &app.into())?;
    let mut tx = ctx.store.begin().await?;
    let cron = find(&mut tx, environment, name).await?;
    let Some(release) = super::releases::live(&mut tx, &environment.id).await? else {
        return Err(Error::conflict("nothing was deployed here yet, so there is nothing to run; push first"));
    };
    if store::commands::cron_is_busy(&mut tx, &cron.id).await? {
        return Err(Error::conflict(format!("\"{name}\" runs already")));
    }
    let command = run_of(&cron, &release, ctx.now(), Some(actor.user.id.clone()));
    store::commands::insert(&mut tx, &command, None).await?;
    tx.commit().await?;
    ctx.desk.wake();
    Ok(command)
}

/// Whether every schedule of the manifest is understood; the first that is not, for the pusher.
pub(super) fn check(manifest: &Manifest) -> Result<(), String> {
    for (index, entry) in manifest.cron.iter().enumerate() {
        let zone = entry.timezone.as_deref().unwrap_or(UTC);
        Schedule::parse(&entry.schedule, zone).map_err(|fault| format!("app.json: cron[{index}]: {fault}"))?;
    }
    Ok(())
}

/// The release is live: its schedules replace those of the release before. One that stays keeps its history and, when
/// its times are the same, its next time.
pub(super) async fn take_over(ctx: &Ctx, release: &Release) -> Result<()> {
    let now = ctx.now();
    let mut tx = ctx.store.begin().await?;
    let before = store::crons::of_environment(&mut tx, &release.environment_id).await?;
    let mut kept = Vec::new();
    for entry in &release.manifest.cron {
        let timezone = entry.timezone.clone().unwrap_or_else(|| UTC.to_owned());
        let Ok(schedule) = Schedule::parse(&entry.schedule, &timezone) else { continue };
        let base = entry.name.clone().filter(|name| is_name(name)).unwrap_or_else(|| named_after(&entry.command));
        // Two of one name are told apart; a person's keeps its own.
        let taken = |name: &String| {
            kept.contains(name) || before.iter().any(|c| c.name == *name && c.origin == CronOrigin::Person)
        };
        let names = std::iter::once(base.clone()).chain((2..).map(|n| format!("{base} ({n})")));
        let Some(name) = names.into_iter().find(|name| !taken(name)) else { continue };
        let same = before.iter().find(|cron| cron.name == name);
        let unchanged = same.filter(|cron| cron.schedule == entry.schedule && cron.timezone == timezone);
        let cron = Cron {
            id: same.map_or_else(CronId::fresh, |cron| cron.id.clone()),
            environment_id: release.environment_id.clone(),
            name: name.clone(),
            schedule: entry.schedule.clone(),
            command: entry.command.clone(),
            timezone,
            origin: CronOrigin::Manifest,
            next_due: unchanged.map_or_else(|| schedule.next(now), |cron| cron.next_due),
            created_at: same.map_or(now, |cron| cron.created_at),
        };
        match same {
            Some(_) => store::crons::update(&mut tx, &cron).await?,
            None => store::crons::insert(&mut tx, &cron).await?,
        }
        kept.push(name);
    }
    for gone in before.iter().filter(|c| c.origin == CronOrigin::Manifest && !kept.contains(&c.name)) {
        store::crons::delete(&mut tx, &gone.id).await?;
    }
    tx.commit().await?;
    ctx.desk.cron_wake();
    Ok(())
}

async fn find(tx: &mut Tx, environment: &Environment, name: &str) -> Result<Cron> {
    store::crons::by_name(tx, &environment.id, name).await?.ok_or_else(|| Error::not_found("schedule"))
}

fn run_of(cron: &Cron, release: &Release, now: Timestamp, by: Option<UserId>) -> Command {
    Command {
        id: Id::fresh(),
        environment_id: cron.environment_id.clone(),
        release_id: Some(release.id.clone()),
        kind: CommandKind::Cron,
        process: Process { command: super::commands::of_line(&cron.command), working_dir: None, port: None },
        state: CommandState::Queued,
        exit_code: None,
        reason: None,
        deployment_id: None,
        cron_id: Some(cron.id.clone()),
        due_at: None,
        created_by: by,
        created_at: now,
        started_at: None,
        finished_at: None,
    }
}

fn named_after(command: &str) -> String {
    let plain: String = command.chars().map(|c| if c.is_control() { ' ' } else { c }).take(60).collect();
    plain.trim().trim_start_matches('-').trim().to_owned()
}

fn is_name(text: &str) -> bool {
    !text.trim().is_empty()
        && text.chars().count() <= LONGEST_NAME
        && !text.starts_with('-')
        && !text.chars().any(|c| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}
