//! API tokens: 256 random bits behind `hyt_`, stored as their SHA-256 (no slow hash: there is
//! nothing to guess), shown once. And the two ways to become an actor.

use rand::TryRng;
use sha2::{Digest, Sha256};

use super::label;
use crate::base::access::{Action, Actor, Role, Scope};
use crate::base::error::{Error, Kind, Result};
use crate::base::model::{ApiToken, App, Grant, Id, TokenId, User};
use crate::base::secret::Secret;
use crate::product::Ctx;
use crate::state::store::{Tx, apps, memberships, ssh_keys, tokens as rows};

const MOST_TOKENS: usize = 100;
const LONGEST_DAYS: i64 = 3650;
const DAY: i64 = 86_400_000;
/// A token's last use is written at most this often (ms): requests must stay reads.
const TOUCH_EVERY: i64 = 300_000;

pub struct NewToken {
    pub name: String,
    /// None never expires.
    pub expires_in_days: Option<i64>,
    /// For one app, with no more than this role there; none: for all that its owner may.
    pub grant: Option<(App, Role)>,
}

/// The text is in the answer and nowhere else.
pub async fn create_token(ctx: &Ctx, actor: &Actor, new: NewToken) -> Result<(ApiToken, Secret<String>)> {
    actor.may_act_freely()?;
    if let Some((app, role)) = &new.grant {
        let needs = match role {
            Role::Viewer => Action::ViewApp,
            Role::Developer => Action::Deploy,
            Role::Admin | Role::Owner => return Err(Error::invalid("role", "must be viewer or developer")),
        };
        actor.may(needs, &app.into())?;
    }
    let mut tx = ctx.store.begin().await?;
    let made = insert(&mut tx, ctx, &actor.user, new).await?;
    tx.commit().await?;
    tracing::info!(user.id = %actor.user.id, token.id = %made.0.id, "token made");
    Ok(made)
}

pub async fn tokens(ctx: &Ctx, actor: &Actor) -> Result<Vec<ApiToken>> {
    actor.may_act_freely()?;
    let mut tx = ctx.store.read().await?;
    rows::list(&mut tx, &actor.user.id).await
}

pub async fn remove_token(ctx: &Ctx, actor: &Actor, name: &str) -> Result<()> {
    actor.may_act_freely()?;
    let mut tx = ctx.store.begin().await?;
    if !rows::delete(&mut tx, &actor.user.id, name).await? {
        return Err(Error::not_found("token"));
    }
    tx.commit().await?;
    tracing::info!(user.id = %actor.user.id, token.name = name, "token removed");
    Ok(())
}

/// Unknown, expired and disabled are one answer.
pub async fn actor_by_token(ctx: &Ctx, token: &str) -> Result<Actor> {
    if token.len() > 200 || !token.starts_with("hyt_") {
        return Err(Error::unauthenticated());
    }
    let now = ctx.now();
    let mut tx = ctx.store.read().await?;
    let found = rows::find_by_hash(&mut tx, &digest(token)).await?;
    let Some((row, user)) = found.filter(|(row, user)| user.enabled && row.expires_at.is_none_or(|end| now < end))
    else {
        return Err(Error::unauthenticated());
    };
    let memberships = memberships::of_user(&mut tx, &user.id).await?;
    let mut actor = Actor { user, memberships, bound: None };
    if let Some(grant) = &row.grant {
        let app = apps::find(&mut tx, &Scope::Platform, &grant.app).await?.ok_or_else(Error::unauthenticated)?;
        // Who gave it may have lost his own role there.
        actor = actor.bound_to(&app, grant.role).ok_or_else(Error::unauthenticated)?;
    }
    drop(tx);
    if row.last_used_at.is_none_or(|last| now.since(last) > TOUCH_EVERY) {
        let mut tx = ctx.store.begin().await?;
        rows::touch(&mut tx, &row.id, now).await?;
        tx.commit().await?;
    }
    Ok(actor)
}

/// For the SSH edge, after the key has proved itself. None is an unknown key or a disabled user.
pub async fn actor_by_fingerprint(ctx: &Ctx, fingerprint: &str) -> Result<Option<Actor>> {
    let mut tx = ctx.store.read().await?;
    let Some((_, user)) = ssh_keys::find_by_fingerprint(&mut tx, fingerprint).await?.filter(|(_, user)| user.enabled)
    else {
        return Ok(None);
    };
    let memberships = memberships::of_user(&mut tx, &user.id).await?;
    Ok(Some(Actor { user, memberships, bound: None }))
}

pub(super) async fn insert(tx: &mut Tx, ctx: &Ctx, user: &User, new: NewToken) -> Result<(ApiToken, Secret<String>)> {
    let name = label("name", &new.name)?;
    if new.expires_in_days.is_some_and(|days| !(1..=LONGEST_DAYS).contains(&days)) {
        return Err(Error::invalid("expires_in_days", format!("must be 1 to {LONGEST_DAYS}")));
    }
    if rows::list(tx, &user.id).await?.len() >= MOST_TOKENS {
        return Err(Error::limit(format!("a user has at most {MOST_TOKENS} tokens; remove one first")));
    }
    let text = fresh("hyt_")?;
    let token = ApiToken {
        id: TokenId::fresh(),
        user_id: user.id.clone(),
        name,
        created_at: ctx.now(),
        expires_at: new.expires_in_days.map(|days| ctx.now().plus_millis(days * DAY)),
        last_used_at: None,
        grant: new.grant.map(|(app, role)| Grant { app: app.id, app_name: app.name, role }),
    };
    match rows::insert(tx, &token, &digest(text.reveal())).await {
        Err(error) if error.kind == Kind::Exists => {
            Err(Error::exists(format!("a token with the name \"{}\"", token.name)).because(error))
        }
        other => other.map(|()| (token, text)),
    }
}

pub(super) fn fresh(prefix: &str) -> Result<Secret<String>> {
    let mut bits = [0_u8; 32];
    rand::rngs::SysRng.try_fill_bytes(&mut bits).map_err(Error::internal)?;
    Ok(Secret::new(format!("{prefix}{}", hex::encode(bits))))
}

pub(super) fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}
