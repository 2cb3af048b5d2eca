//! The first start: a one-time token, good for making exactly one administrator. A start without
//! users makes a new one and forgets the old; only its digest is ever stored.

use subtle::ConstantTimeEq;

use super::keys::{self, NewKey};
use super::tenancy;
use super::tokens::{self, NewToken};
use crate::base::access::Actor;
use crate::base::error::{Error, Result};
use crate::base::model::{Customer, CustomerId, CustomerStatus, Id, TenantName, User, UserId};
use crate::base::secret::Secret;
use crate::product::Ctx;
use crate::state::store::{customers, settings, users};

const SETTING: &str = "setup_token";

pub struct NewOperator {
    pub name: TenantName,
    pub email: String,
    /// One line in OpenSSH format.
    pub ssh_key: Option<String>,
}

/// The token to print, once per start, while there is no user; none as soon as there is one.
pub async fn ensure_setup_token(ctx: &Ctx) -> Result<Option<String>> {
    let mut tx = ctx.store.begin().await?;
    if users::count(&mut tx).await? > 0 {
        return Ok(None);
    }
    let token = tokens::fresh("setup_")?;
    settings::set(&mut tx, SETTING, &tokens::digest(token.reveal())).await?;
    tx.commit().await?;
    Ok(Some(token.reveal().clone()))
}

pub async fn is_set_up(ctx: &Ctx) -> Result<bool> {
    let mut tx = ctx.store.read().await?;
    Ok(users::count(&mut tx).await? > 0)
}

/// The one verb without an actor: the token stands for it, and is used up.
pub async fn setup(ctx: &Ctx, token: &str, new: NewOperator) -> Result<(User, Secret<String>)> {
    let mut tx = ctx.store.begin().await?;
    let stored = settings::get(&mut tx, SETTING).await?.unwrap_or_default();
    let given = tokens::digest(token);
    if users::count(&mut tx).await? > 0 || !bool::from(stored.as_bytes().ct_eq(given.as_bytes())) {
        return Err(Error::forbidden(
            "the set-up token is wrong or used up; the server prints one at a start without users",
        ));
    }
    let email = email(&new.email)?;
    let now = ctx.now();
    let customer =
        Customer { id: CustomerId::fresh(), name: new.name.clone(), status: CustomerStatus::Free, created_at: now };
    customers::insert(&mut tx, &customer).await?;
    let user = User {
        id: UserId::fresh(),
        customer_id: customer.id,
        name: new.name,
        email,
        enabled: true,
        platform_admin: true,
        created_at: now,
    };
    users::insert(&mut tx, &user).await?;
    let actor = Actor { user, memberships: Vec::new(), bound: None };
    let organization = tenancy::default_organization(&mut tx, ctx, &actor).await?;
    tenancy::default_space(&mut tx, ctx, &organization).await?;
    if let Some(public_key) = new.ssh_key {
        keys::insert(&mut tx, ctx, &actor.user, NewKey { name: None, public_key }).await?;
    }
    let first = NewToken { name: "setup".into(), expires_in_days: None, grant: None };
    let (_, text) = tokens::insert(&mut tx, ctx, &actor.user, first).await?;
    settings::delete(&mut tx, SETTING).await?;
    tx.commit().await?;
    tracing::info!(user.id = %actor.user.id, user.name = %actor.user.name, "the first administrator was made");
    Ok((actor.user, text))
}

/// Enough to be written to; whether it is read is for a verification mail.
fn email(text: &str) -> Result<String> {
    let text = text.trim();
    let well = text.len() <= 254
        && text.chars().all(|c| c.is_ascii_graphic() && !"<>()[]\\,;:\"".contains(c))
        && text.split_once('@').is_some_and(|(who, at)| !who.is_empty() && !at.is_empty() && !at.contains('@'));
    if well { Ok(text.to_owned()) } else { Err(Error::invalid("email", "must be an address such as ann@example.com")) }
}
