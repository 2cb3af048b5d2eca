//! Environments of an app, and promotion from one to another.

use super::Session;
use super::apps::summary;
use super::args::{AppFlag, AppWord, AtFlag};
use super::delivery::follow;
use super::failure::{Failure, Result};
use crate::edges::api::types::{EnvironmentChangeBody, EnvironmentView, NewEnvironmentBody, PromoteBody};

pub(super) async fn list(s: &mut Session, word: &AppWord) -> Result<()> {
    let detail = s.client.app(&s.app_word(word)?).await?;
    if s.json {
        return Ok(s.io.json(&detail.environments).await?);
    }
    let rows: Vec<_> = detail
        .environments
        .into_iter()
        .map(|e| {
            let live = e.live.map_or_else(|| "none".to_owned(), |r| format!("v{}", r.number));
            vec![e.name, e.branch, e.state, live, e.urls.join(" ")]
        })
        .collect();
    s.print(&["NAME", "BRANCH", "STATE", "LIVE", "URL"], &rows).await
}

pub(super) async fn create(s: &mut Session, app: &AppFlag, name: String, branch: Option<String>) -> Result<()> {
    let app = s.app_flag(app)?;
    let environment = s.client.create_environment(&app, &NewEnvironmentBody { name, branch }).await?;
    if !s.json {
        let branch = &environment.branch;
        s.io.say(&format!("created {}; deploy there with: git push hythe {branch}", environment.name)).await?;
    }
    show(s, &environment).await
}

pub(super) async fn destroy(s: &mut Session, app: &AppFlag, name: &str, confirm: Option<&str>) -> Result<()> {
    let app = s.app_flag(app)?;
    if confirm != Some(name) {
        return Err(Failure::usage(format!(
            "this destroys {name} of {app} with its variables and releases; to do it, add --confirm {name}"
        )));
    }
    s.client.destroy_environment(&app, name).await?;
    Ok(s.io.say(&format!("destroyed {name}")).await?)
}

pub(super) async fn change(
    s: &mut Session,
    at: &AtFlag,
    check: Option<String>,
    change: EnvironmentChangeBody,
) -> Result<()> {
    let check = check.map(|path| Some(path).filter(|path| path != "none"));
    let body = EnvironmentChangeBody { check, ..change };
    if body == EnvironmentChangeBody::default() {
        return Err(Failure::usage("nothing to set: give --branch, --check, --watch or --strategy"));
    }
    let environment = s.client.change_environment(&s.app_flag(&at.app)?, &at.environment.environment, &body).await?;
    show(s, &environment).await
}

pub(super) async fn promote(s: &mut Session, app: &AppFlag, from: String, to: &str) -> Result<()> {
    let app = s.app_flag(app)?;
    let deployment = s.client.promote(&app, to, &PromoteBody { from }).await?;
    follow(s, &app, to, &deployment).await
}

async fn show(s: &mut Session, environment: &EnvironmentView) -> Result<()> {
    if s.json {
        return Ok(s.io.json(environment).await?);
    }
    for line in summary(environment) {
        s.io.out(&line).await?;
    }
    Ok(())
}
