//! Variables.

use std::collections::BTreeMap;

use super::Session;
use super::args::{AtFlag, AtWord};
use super::failure::{Failure, Result};

pub(super) async fn list(s: &mut Session, at: &AtWord) -> Result<()> {
    let set = s.client.variables(&s.app_word(&at.app)?, &at.environment.environment).await?;
    if s.json {
        return Ok(s.io.json(&set.values).await?);
    }
    if set.values.is_empty() {
        return Ok(s.io.say("no variables; set one with: hythe config:set NAME=VALUE").await?);
    }
    for (name, value) in &set.values {
        // Quoted where it must be, so that the lines can be read back.
        let value = shlex::try_quote(value).map_or_else(|_| value.clone(), Into::into);
        s.io.out(&format!("{name}={value}")).await?;
    }
    Ok(())
}

pub(super) async fn get(s: &mut Session, at: &AtFlag, name: &str) -> Result<()> {
    let app = s.app_flag(&at.app)?;
    let mut set = s.client.variables(&app, &at.environment.environment).await?;
    let value = set.values.remove(name).ok_or_else(|| Failure::new(format!("{name} is not set")))?;
    if s.json {
        return Ok(s.io.json(&value).await?);
    }
    Ok(s.io.raw(&value).await?)
}

pub(super) async fn set(s: &mut Session, at: &AtFlag, values: &[String]) -> Result<()> {
    let mut changes = BTreeMap::new();
    for word in values {
        let (name, value) =
            word.split_once('=').ok_or_else(|| Failure::usage(format!("\"{word}\" has no value; write NAME=VALUE")))?;
        changes.insert(name.to_owned(), Some(value.to_owned()));
    }
    change(s, at, changes).await
}

pub(super) async fn unset(s: &mut Session, at: &AtFlag, names: Vec<String>) -> Result<()> {
    change(s, at, names.into_iter().map(|name| (name, None)).collect()).await
}

async fn change(s: &mut Session, at: &AtFlag, changes: BTreeMap<String, Option<String>>) -> Result<()> {
    let (app, environment) = (s.app_flag(&at.app)?, &at.environment.environment);
    let before = s.client.variables(&app, environment).await?.version;
    let changed = s.client.change_variables(&app, environment, &changes).await?;
    if changed.version == before {
        return Ok(s.io.say("nothing to change").await?);
    }
    match &changed.deployment {
        Some(deployment) => super::delivery::follow(s, &app, environment, deployment).await,
        None => Ok(s.io.say("kept for the first release").await?),
    }
}
