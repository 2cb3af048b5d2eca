//! What verbs tell of themselves, in the transaction that does it.

use crate::base::access::Actor;
use crate::base::error::Result;
use crate::base::model::{Environment, Happened, UserId};
use crate::product::Ctx;
use crate::state::store::Tx;
use crate::state::store::events::{self, NewEvent, Subject};

/// Somebody did something to an environment.
pub async fn tell(tx: &mut Tx, ctx: &Ctx, actor: &Actor, environment: &Environment, happened: Happened) -> Result<()> {
    tell_of(tx, ctx, actor, Subject::Environment(&environment.id), environment.name.to_string(), happened).await
}

/// As [`tell`], of what somebody ordered before.
pub async fn tell_for(
    tx: &mut Tx,
    ctx: &Ctx,
    user: &UserId,
    environment: &Environment,
    happened: Happened,
) -> Result<()> {
    let (of, subject) = (Subject::Environment(&environment.id), environment.name.to_string());
    let event = NewEvent { at: ctx.now(), of, happened, subject, actor: Some(user), cause: None, once: None };
    events::insert(tx, &event).await.map(drop)
}

pub(super) async fn tell_of(
    tx: &mut Tx,
    ctx: &Ctx,
    actor: &Actor,
    of: Subject<'_>,
    subject: String,
    happened: Happened,
) -> Result<()> {
    let event = NewEvent { at: ctx.now(), of, happened, subject, actor: Some(&actor.user.id), cause: None, once: None };
    events::insert(tx, &event).await.map(drop)
}
