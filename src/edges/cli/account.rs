//! setup, login, logout, whoami, keys, tokens.

use std::path::{Path, PathBuf};

use super::args::{KeysAdd, Login, Setup};
use super::failure::{Failure, Result};
use super::near::{Near, checked, public_key};
use super::text::time;
use super::{Client, Session, Transport};
use crate::base::secret::Secret;
use crate::edges::api::types::{NewKeyBody, NewTokenBody, SetupBody};

pub(super) async fn setup(s: &mut Session, verb: Setup) -> Result<()> {
    let near = near(s)?;
    let url = trimmed(verb.url.clone().unwrap_or_else(|| near.url()));
    let ssh_key = verb.key.as_deref().map(public_key).transpose()?;
    let body = SetupBody { token: verb.token, name: verb.name, email: verb.email, ssh_key };
    let made = Client::new(Transport::http(&url, None)?).setup(&body).await?;
    keep(s, &url, &made.token).await?;
    s.io.say(&format!("{} is the first administrator and logged in at {url}", made.user.name)).await?;
    if verb.key.is_none() {
        s.io.say("add a key before the first push: hythe keys:add").await?;
    }
    Ok(())
}

pub(super) async fn login(s: &mut Session, verb: Login) -> Result<()> {
    let near = near(s)?;
    let url = trimmed(verb.url.unwrap_or_else(|| near.url()));
    let token = match verb.token.or_else(|| near.token.clone()) {
        Some(token) => token,
        None => {
            if s.io.stdin_is_terminal {
                s.io.say(&format!(
                    "paste an API token for {url}; one is made with: ssh -p PORT git@HOST tokens:create NAME"
                ))
                .await?;
            }
            s.io.read_line().await?
        }
    };
    if token.is_empty() {
        return Err(Failure::usage("no token was given"));
    }
    let name = keep(s, &url, &token).await?;
    s.io.say(&format!("logged in at {url} as {name}")).await?;
    Ok(())
}

/// Only a token that works is kept.
async fn keep(s: &mut Session, url: &str, token: &str) -> Result<String> {
    let client = Client::new(Transport::http(url, Some(Secret::new(token.to_owned())))?);
    let user = client.whoami().await?;
    let platform = client.platform().await?;
    let near = s.near.as_mut().ok_or_else(far)?;
    near.settings.url = Some(url.to_owned());
    near.settings.token = Some(token.to_owned());
    near.settings.git_host = Some(platform.git_host);
    near.settings.save(&near.settings_file)?;
    Ok(user.name)
}

pub(super) async fn logout(s: &mut Session) -> Result<()> {
    let near = s.near.as_mut().ok_or_else(far)?;
    if near.settings.token.take().is_some() {
        near.settings.save(&near.settings_file)?;
    }
    s.io.say("logged out; the token itself stays good until it is removed or expires (tokens:remove)").await?;
    Ok(())
}

pub(super) async fn whoami(s: &mut Session) -> Result<()> {
    let user = s.client.whoami().await?;
    if s.json {
        return Ok(s.io.json(&user).await?);
    }
    let office = if user.platform_admin { ", administrator of the platform" } else { "" };
    Ok(s.io.out(&format!("{} <{}>{office}", user.name, user.email)).await?)
}

pub(super) async fn keys(s: &mut Session) -> Result<()> {
    let keys = s.client.keys().await?;
    if s.json {
        return Ok(s.io.json(&keys.items).await?);
    }
    if keys.items.is_empty() {
        return Ok(s.io.say("no keys yet; add one with: hythe keys:add").await?);
    }
    let rows: Vec<_> = keys.items.into_iter().map(|k| vec![k.name, time(&k.created_at), k.fingerprint]).collect();
    s.print(&["NAME", "ADDED", "FINGERPRINT"], &rows).await
}

pub(super) async fn add_key(s: &mut Session, verb: KeysAdd) -> Result<()> {
    let public_key = match (verb.key(), verb.file(), &s.near) {
        (Some(key), ..) => key,
        (None, Some(file), Some(_)) => public_key(Path::new(file))?,
        (None, None, Some(near)) if verb.words.is_empty() => public_key(&usual_key(near)?)?,
        _ => checked(s.io.read_all().await?, "standard input")?,
    };
    if public_key.is_empty() {
        return Err(Failure::usage("no key was given; write: keys:add \"$(cat ~/.ssh/id_ed25519.pub)\""));
    }
    let key = s.client.add_key(&NewKeyBody { name: verb.name, public_key }).await?;
    if s.json {
        return Ok(s.io.json(&key).await?);
    }
    Ok(s.io.say(&format!("added {} {}", key.name, key.fingerprint)).await?)
}

fn usual_key(near: &Near) -> Result<PathBuf> {
    let folder = near.home.as_ref().map(|home| home.join(".ssh"));
    let usual = ["id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"];
    let found = folder.iter().flat_map(|folder| usual.map(|name| folder.join(name))).find(|path| path.is_file());
    found.ok_or_else(|| Failure::usage("no key in ~/.ssh; make one with: ssh-keygen -t ed25519, or name a file"))
}

pub(super) async fn remove_key(s: &mut Session, name: &str) -> Result<()> {
    s.client.remove_key(name).await?;
    Ok(s.io.say(&format!("removed {name}")).await?)
}

pub(super) async fn tokens(s: &mut Session) -> Result<()> {
    let tokens = s.client.tokens().await?;
    if s.json {
        return Ok(s.io.json(&tokens.items).await?);
    }
    let when = |at: &Option<String>, never: &str| at.as_deref().map_or_else(|| never.to_owned(), time);
    let rows = tokens.items.iter().map(|t| {
        let of = match (&t.app, &t.role) {
            (Some(app), Some(role)) => format!("{role} of {app}"),
            _ => "all".to_owned(),
        };
        vec![t.name.clone(), of, time(&t.created_at), when(&t.expires_at, "never"), when(&t.last_used_at, "never")]
    });
    let rows: Vec<_> = rows.collect();
    s.print(&["NAME", "MAY", "MADE", "EXPIRES", "LAST USED"], &rows).await
}

pub(super) async fn create_token(s: &mut Session, new: NewTokenBody) -> Result<()> {
    let token = s.client.create_token(&new).await?;
    if s.json {
        return Ok(s.io.json(&token).await?);
    }
    s.io.say("this token is shown once:").await?;
    Ok(s.io.raw(token.token.as_deref().unwrap_or_default()).await?)
}

pub(super) async fn remove_token(s: &mut Session, name: &str) -> Result<()> {
    s.client.remove_token(name).await?;
    Ok(s.io.say(&format!("removed {name}")).await?)
}

fn near(s: &Session) -> Result<&Near> {
    s.near.as_ref().ok_or_else(far)
}

fn far() -> Failure {
    Failure::usage("this verb needs your own machine; run it with the hythe command there")
}

fn trimmed(url: String) -> String {
    url.trim_end_matches('/').to_owned()
}
