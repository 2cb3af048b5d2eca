//! Apps, their environments, and the git remote.

use super::Session;
use super::args::{AppFlag, AppWord};
use super::failure::{Failure, Result};
use super::remote;
use super::text::time;
use crate::edges::api::types::{AppChange, EnvironmentView, NewAppBody};

impl Session {
    /// Which app is meant.
    pub(super) fn app(&self, given: Option<&String>) -> Result<String> {
        if let Some(app) = given {
            return Ok(app.clone());
        }
        self.near.as_ref().and_then(|near| near.app_of_folder()).ok_or_else(|| match self.near {
            Some(_) => Failure::usage(
                "which app? name it with -a APP, or work in a folder with its git remote (hythe git:remote -a APP)",
            ),
            None => Failure::usage("which app? name it with -a APP"),
        })
    }

    pub(super) fn app_word(&self, word: &AppWord) -> Result<String> {
        self.app(word.app.as_ref().or(word.named.as_ref()))
    }

    pub(super) fn app_flag(&self, flag: &AppFlag) -> Result<String> {
        self.app(flag.app.as_ref())
    }

    pub(super) async fn print(&mut self, head: &[&str], rows: &[Vec<String>]) -> Result<()> {
        for line in super::text::table(head, rows) {
            self.io.out(&line).await?;
        }
        Ok(())
    }
}

pub(super) async fn list(s: &mut Session) -> Result<()> {
    let apps = s.client.apps().await?;
    if s.json {
        return Ok(s.io.json(&apps).await?);
    }
    if apps.is_empty() {
        return Ok(s.io.say("no apps yet; create one with: hythe apps:create NAME").await?);
    }
    let rows: Vec<_> =
        apps.into_iter().map(|app| vec![app.name, app.organization, app.url.unwrap_or_default()]).collect();
    s.print(&["NAME", "ORGANIZATION", "URL"], &rows).await
}

pub(super) async fn create(s: &mut Session, name: String, organization: Option<String>) -> Result<()> {
    let app = s.client.create_app(&NewAppBody { name, organization }).await?;
    if s.json {
        return Ok(s.io.json(&app).await?);
    }
    s.io.say(&format!("created {}", app.name)).await?;
    s.io.out(&format!("url  {}", app.url.as_deref().unwrap_or("none"))).await?;
    s.io.out(&format!("git  {}", app.git_url)).await?;
    Ok(())
}

pub(super) async fn show(s: &mut Session, word: &AppWord) -> Result<()> {
    let detail = s.client.app(&s.app_word(word)?).await?;
    if s.json {
        return Ok(s.io.json(&detail).await?);
    }
    s.io.out(&format!(
        "{}  (organization {}, created {})",
        detail.app.name,
        detail.app.organization,
        time(&detail.app.created_at)
    ))
    .await?;
    s.io.out(&format!("git  {}", detail.app.git_url)).await?;
    for environment in &detail.environments {
        for line in summary(environment) {
            s.io.out(&line).await?;
        }
    }
    Ok(())
}

pub(super) fn summary(environment: &EnvironmentView) -> Vec<String> {
    let release = |r: &Option<crate::edges::api::types::ReleaseView>| {
        r.as_ref().map_or_else(|| "none".to_owned(), |r| format!("v{} ({})", r.number, r.description))
    };
    let mut lines = vec![format!("{}: {}, branch {}", environment.name, environment.state, environment.branch)];
    lines.push(format!("  live    {}", release(&environment.live)));
    if environment.wanted.as_ref().map(|r| r.number) != environment.live.as_ref().map(|r| r.number) {
        lines.push(format!("  wanted  {}", release(&environment.wanted)));
    }
    let ready: Vec<_> = environment.ready.iter().map(|(name, count)| format!("{name} {count}")).collect();
    if !ready.is_empty() {
        lines.push(format!("  ready   {}", ready.join(", ")));
    }
    lines.push(format!("  check   {}", environment.check.as_deref().unwrap_or("none set (see hythe checks)")));
    if environment.watch_seconds > 0 {
        lines.push(format!("  watch   {} s after a switch", environment.watch_seconds));
    }
    if environment.strategy != "blue-green" {
        let hold = environment.hold_seconds.map_or_else(String::new, |s| format!(", each step held for {s} s"));
        lines.push(format!("  rollout {}{hold}", environment.strategy));
    }
    lines.extend(environment.urls.iter().map(|url| format!("  url     {url}")));
    lines.extend(environment.reason.iter().flat_map(|r| r.lines()).map(|line| format!("  !       {line}")));
    lines
}

pub(super) async fn rename(s: &mut Session, flag: &AppFlag, name: String) -> Result<()> {
    let app = s.client.rename_app(&s.app_flag(flag)?, &AppChange { name }).await?;
    if s.json {
        return Ok(s.io.json(&app).await?);
    }
    s.io.say(&format!("renamed to {}; point git at it with: hythe git:remote -a {}", app.name, app.name)).await?;
    s.io.out(&format!("url  {}", app.url.as_deref().unwrap_or("none"))).await?;
    s.io.out(&format!("git  {}", app.git_url)).await?;
    Ok(())
}

pub(super) async fn destroy(s: &mut Session, word: &AppWord, confirm: Option<&str>) -> Result<()> {
    // What is destroyed is said, never inferred from a folder.
    let Some(app) = word.app.as_ref().or(word.named.as_ref()) else {
        return Err(Failure::usage("which app? name it: hythe apps:destroy APP --confirm APP"));
    };
    let detail = s.client.app(app).await?;
    if confirm != Some(detail.app.name.as_str()) {
        let text = format!(
            "this destroys {0} with all its releases and variables, and there is no way back\nto do it, add: --confirm {0}",
            detail.app.name
        );
        return Err(Failure::usage(text));
    }
    // By id: the name may have moved on since.
    s.client.destroy_app(&detail.app.id).await?;
    Ok(s.io.say(&format!("destroyed {}", detail.app.name)).await?)
}

pub(super) async fn open(s: &mut Session, word: &AppWord) -> Result<()> {
    let detail = s.client.app(&s.app_word(word)?).await?;
    match detail.app.url {
        Some(url) => Ok(s.io.out(&url).await?),
        None => Err(Failure::new(format!("nothing routes to {}", detail.app.name))),
    }
}

pub(super) async fn git_remote(s: &mut Session, word: &AppWord, name: &str, https: bool) -> Result<()> {
    let app = s.client.app(&s.app_word(word)?).await?.app;
    let url = if https { app.git_http_url } else { app.git_url };
    let Some(near) = &s.near else { return Ok(s.io.out(&url).await?) };
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        return Err(Failure::usage("the name of a git remote is made of letters, digits and - _ ."));
    }
    let Some(file) = remote::config_file(&near.folder) else {
        return Err(Failure::new(format!(
            "this folder is in no git repository; after git init: git remote add {name} {url}"
        )));
    };
    let failed = |e: std::io::Error| Failure::new(format!("{}: {e}", file.display()));
    let config = std::fs::read_to_string(&file).map_err(failed)?;
    if let Some(changed) = remote::with_remote(&config, name, &url) {
        // git's own lock and rename (git-config uses the same), so that the two never mix.
        let lock = file.with_file_name("config.lock");
        let mut locked = std::fs::OpenOptions::new().write(true).create_new(true).open(&lock).map_err(failed)?;
        std::io::Write::write_all(&mut locked, changed.as_bytes()).map_err(failed)?;
        std::fs::rename(&lock, &file).map_err(failed)?;
    }
    s.io.say(&format!("git push {name} main now goes to")).await?;
    Ok(s.io.out(&url).await?)
}
