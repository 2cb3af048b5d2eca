//! Startup, readiness and liveness checks.

use super::Session;
use super::args::{AtFlag, AtWord, ChecksSet};
use super::failure::{Failure, Result};
use crate::base::model::CheckKind;
use crate::edges::api::types::{CheckBody, CheckItem, ProcessChecksBody};

pub(super) async fn list(s: &mut Session, at: &AtWord) -> Result<()> {
    let checks = s.client.checks(&s.app_word(&at.app)?, &at.environment.environment).await?;
    show(s, checks.items).await
}

pub(super) async fn set(s: &mut Session, verb: ChecksSet) -> Result<()> {
    let command = verb
        .command
        .as_deref()
        .map(|line| shlex::split(line).ok_or_else(|| Failure::usage(format!("the command has an open quote: {line}"))));
    let check = CheckBody {
        path: verb.path,
        status: verb.status,
        tcp: verb.tcp.then_some(true),
        command: command.transpose()?,
        uptime: verb.uptime,
        every: verb.every,
        timeout: verb.timeout,
        attempts: verb.attempts,
        delay: verb.delay,
    };
    change(s, &verb.at, &verb.kind, verb.process, Some(check)).await
}

pub(super) async fn unset(s: &mut Session, at: &AtFlag, kind: &str, process: String) -> Result<()> {
    change(s, at, kind, process, None).await
}

async fn change(s: &mut Session, at: &AtFlag, kind: &str, process: String, check: Option<CheckBody>) -> Result<()> {
    let kind: CheckKind = kind.parse().map_err(|e| Failure::usage(format!("the kind of a check {e}")))?;
    let changes = [(process, ProcessChecksBody::of(kind, check))].into();
    let checks = s.client.change_checks(&s.app_flag(&at.app)?, &at.environment.environment, &changes).await?;
    show(s, checks.items).await
}

async fn show(s: &mut Session, checks: Vec<CheckItem>) -> Result<()> {
    if s.json {
        return Ok(s.io.json(&checks).await?);
    }
    if checks.is_empty() {
        return Ok(s.io.say("nothing was deployed yet, and no check was set").await?);
    }
    let rows: Vec<_> = checks.into_iter().map(|c| vec![c.process, c.kind, c.origin, c.text]).collect();
    s.print(&["PROCESS", "KIND", "FROM", "CHECK"], &rows).await
}
