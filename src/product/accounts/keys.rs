//! SSH keys of people: what a pusher is known by.

use super::{PublicKey, label};
use crate::base::access::Actor;
use crate::base::error::{Error, Kind, Result};
use crate::base::model::{Id, SshKey, SshKeyId, User};
use crate::product::Ctx;
use crate::state::store::{Tx, ssh_keys};

const MOST_KEYS: usize = 100;

pub struct NewKey {
    /// None takes the key's comment, or its fingerprint when it has none.
    pub name: Option<String>,
    /// One line in OpenSSH format.
    pub public_key: String,
}

pub async fn keys(ctx: &Ctx, actor: &Actor) -> Result<Vec<SshKey>> {
    actor.may_act_freely()?;
    let mut tx = ctx.store.read().await?;
    ssh_keys::list(&mut tx, &actor.user.id).await
}

pub async fn add_key(ctx: &Ctx, actor: &Actor, new: NewKey) -> Result<SshKey> {
    actor.may_act_freely()?;
    let mut tx = ctx.store.begin().await?;
    let key = insert(&mut tx, ctx, &actor.user, new).await?;
    tx.commit().await?;
    tracing::info!(user.id = %actor.user.id, key.fingerprint = %key.fingerprint, "key added");
    Ok(key)
}

pub async fn remove_key(ctx: &Ctx, actor: &Actor, name: &str) -> Result<()> {
    actor.may_act_freely()?;
    let mut tx = ctx.store.begin().await?;
    if !ssh_keys::delete(&mut tx, &actor.user.id, name).await? {
        return Err(Error::not_found("key"));
    }
    tx.commit().await?;
    tracing::info!(user.id = %actor.user.id, key.name = name, "key removed");
    Ok(())
}

pub(super) async fn insert(tx: &mut Tx, ctx: &Ctx, user: &User, new: NewKey) -> Result<SshKey> {
    let parsed = PublicKey::parse(&new.public_key)?;
    let mine = ssh_keys::list(tx, &user.id).await?;
    if mine.len() >= MOST_KEYS {
        return Err(Error::limit(format!("a user has at most {MOST_KEYS} keys; remove one first")));
    }
    let name = match new.name {
        Some(name) => label("name", &name)?,
        None => label("name", &parsed.comment)
            .unwrap_or_else(|_| format!("key {}", &parsed.fingerprint[7..15].replace('/', "_"))),
    };
    if let Some(same) = mine.iter().find(|key| key.fingerprint == parsed.fingerprint) {
        return Err(Error::exists(format!("this key, as \"{}\",", same.name)));
    }
    if mine.iter().any(|key| key.name == name) {
        return Err(Error::exists(format!("a key with the name \"{name}\"")));
    }
    let key = SshKey {
        id: SshKeyId::fresh(),
        user_id: user.id.clone(),
        name,
        fingerprint: parsed.fingerprint,
        public_key: parsed.line,
        created_at: ctx.now(),
    };
    match ssh_keys::insert(tx, &key).await {
        Err(error) if error.kind == Kind::Exists => Err(Error::exists("this key, with another user,").because(error)),
        other => other.map(|()| key),
    }
}
