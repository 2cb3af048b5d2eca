//! Commands beside the replicas that go on by themselves, and schedules.

use futures_util::StreamExt;

use super::Session;
use super::args::{AtFlag, AtWord, CommandVerb, replica_first};
use super::attached;
use super::failure::{Failure, Result};
use super::text::time;
use crate::edges::api::types::{CommandView, CronView, NewCommandBody, NewCronBody};

pub(super) async fn run(s: &mut Session, verb: CommandVerb) -> Result<()> {
    match verb {
        CommandVerb::Run { at, words } => attached::run(s, &at, &words, None).await,
        CommandVerb::RunDetached { at, words } => detached(s, &at, &words).await,
        CommandVerb::RunList(at) => list(s, &at).await,
        CommandVerb::RunLogs { at, id, tail } => logs(s, &at, &id, tail).await,
        CommandVerb::RunStop { at, id } => stop(s, &at, &id).await,
        CommandVerb::PsExec { at, words } => {
            let (replica, words) = replica_first(&words);
            attached::run(s, &at, words, Some(replica.to_owned())).await
        }
        CommandVerb::Cron(at) => crons(s, &at).await,
        CommandVerb::CronAdd { at, name, timezone, schedule, command } => {
            let command = line(&command);
            cron_add(s, &at, NewCronBody { name, schedule, command, timezone }).await
        }
        CommandVerb::CronRemove { at, name } => cron_remove(s, &at, &name).await,
        CommandVerb::CronRun { at, name } => cron_run(s, &at, &name).await,
        CommandVerb::CronRuns { at, name } => cron_runs(s, &at, &name).await,
    }
}

/// Prints the id, and nothing else, on stdout.
pub(super) async fn detached(s: &mut Session, at: &AtFlag, words: &[String]) -> Result<()> {
    let app = s.app_flag(&at.app)?;
    let body = NewCommandBody { command: words.to_vec() };
    let command = s.client.start_command(&app, &at.environment.environment, &body).await?;
    started(s, &command).await
}

async fn started(s: &mut Session, command: &CommandView) -> Result<()> {
    if s.json {
        return Ok(s.io.json(command).await?);
    }
    s.io.say(&format!("it runs by itself; see what it writes with: hythe run:logs {}", command.id)).await?;
    Ok(s.io.out(&command.id).await?)
}

pub(super) async fn list(s: &mut Session, at: &AtWord) -> Result<()> {
    let all = s.client.commands(&s.app_word(&at.app)?, &at.environment.environment, 50).await?;
    if s.json {
        return Ok(s.io.json(&all.items).await?);
    }
    let rows: Vec<_> = all.items.iter().map(row).collect();
    s.print(&HEAD, &rows).await
}

const HEAD: [&str; 6] = ["ID", "STARTED", "KIND", "STATE", "TOOK", "COMMAND"];

fn row(command: &CommandView) -> Vec<String> {
    let took = command.duration.map(|millis| format!("{:.1}s", millis as f64 / 1000.0)).unwrap_or_default();
    let at = command.started_at.as_ref().or(command.due_at.as_ref()).unwrap_or(&command.created_at);
    vec![command.id.clone(), time(at), command.kind.clone(), ended(command), took, line(&command.command)]
}

/// `failed (3)`: the code where there is one.
pub(super) fn ended(command: &CommandView) -> String {
    match (command.exit_code, command.reason.as_deref()) {
        (Some(code), _) if code != 0 => format!("{} ({code})", command.state),
        (None, Some(reason)) => format!("{}: {reason}", command.state),
        _ => command.state.clone(),
    }
}

/// As it was typed, as far as that can be told; a single word may be a whole line.
pub(super) fn line(words: &[String]) -> String {
    match words {
        [line] => line.clone(),
        [_, flag, line] if flag == "-c" => line.clone(),
        _ => shlex::try_join(words.iter().map(String::as_str)).unwrap_or_default(),
    }
}

/// Success is the command's own, once it has ended.
pub(super) async fn logs(s: &mut Session, at: &AtFlag, id: &str, follow: bool) -> Result<()> {
    let app = s.app_flag(&at.app)?;
    let mut lines = s.client.command_output(&app, &at.environment.environment, id, follow).await?;
    while let Some(line) = lines.next().await {
        s.io.out(&line?).await?;
    }
    let command = s.client.command(&app, &at.environment.environment, id).await?;
    match command.state.as_str() {
        "failed" => Err(Failure::exit(command.exit_code.unwrap_or(1), command.reason.unwrap_or_default())),
        "queued" | "running" if !follow => Ok(s.io.say("it runs still; go on with: -t").await?),
        _ => Ok(()),
    }
}

pub(super) async fn stop(s: &mut Session, at: &AtFlag, id: &str) -> Result<()> {
    s.client.stop_command(&s.app_flag(&at.app)?, &at.environment.environment, id).await?;
    Ok(s.io.say("it is asked to end").await?)
}

pub(super) async fn crons(s: &mut Session, at: &AtWord) -> Result<()> {
    let all = s.client.crons(&s.app_word(&at.app)?, &at.environment.environment).await?;
    if s.json {
        return Ok(s.io.json(&all.items).await?);
    }
    if all.items.is_empty() {
        return Ok(s.io.say("no schedules; add one with: hythe cron:add '0 3 * * *' 'COMMAND'").await?);
    }
    let rows: Vec<_> = all.items.iter().map(cron_row).collect();
    s.print(&["NAME", "SCHEDULE", "ZONE", "FROM", "NEXT", "LAST", "COMMAND"], &rows).await
}

fn cron_row(cron: &CronView) -> Vec<String> {
    let last = cron.last_run.as_ref().map(|run| {
        let at = run.started_at.as_ref().or(run.due_at.as_ref()).unwrap_or(&run.created_at);
        format!("{} {}", time(at), ended(run))
    });
    vec![
        cron.name.clone(),
        cron.schedule.clone(),
        cron.timezone.clone(),
        cron.origin.clone(),
        cron.next_due.as_deref().map_or_else(|| "never".to_owned(), time),
        last.unwrap_or_default(),
        cron.command.clone(),
    ]
}

pub(super) async fn cron_add(s: &mut Session, at: &AtFlag, body: NewCronBody) -> Result<()> {
    let cron = s.client.add_cron(&s.app_flag(&at.app)?, &at.environment.environment, &body).await?;
    if s.json {
        return Ok(s.io.json(&cron).await?);
    }
    let next = cron.next_due.as_deref().map_or_else(|| "never".to_owned(), time);
    Ok(s.io.say(&format!("\"{}\" is added; it is due next at {next} UTC", cron.name)).await?)
}

pub(super) async fn cron_remove(s: &mut Session, at: &AtFlag, name: &str) -> Result<()> {
    s.client.remove_cron(&s.app_flag(&at.app)?, &at.environment.environment, name).await?;
    Ok(s.io.say(&format!("\"{name}\" is removed")).await?)
}

pub(super) async fn cron_run(s: &mut Session, at: &AtFlag, name: &str) -> Result<()> {
    let command = s.client.run_cron(&s.app_flag(&at.app)?, &at.environment.environment, name).await?;
    started(s, &command).await
}

pub(super) async fn cron_runs(s: &mut Session, at: &AtFlag, name: &str) -> Result<()> {
    let detail = s.client.cron(&s.app_flag(&at.app)?, &at.environment.environment, name, 50).await?;
    if s.json {
        return Ok(s.io.json(&detail.runs).await?);
    }
    let rows: Vec<_> = detail.runs.iter().map(row).collect();
    s.print(&HEAD, &rows).await
}
