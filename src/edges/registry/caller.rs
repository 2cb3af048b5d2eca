//! The registry's callers are those of the API: an API token as a bearer, or as the password of any user.

use axum::http::HeaderMap;
use axum::response::IntoResponse;
use serde_json::json;

use super::refusal::Refusal;
use super::{Answer, Asked, Registry};
use crate::base::access::{Action, Actor, Place};
use crate::base::error::Error;
use crate::base::model::App;
use crate::edges::credentials::{self, Credentials};
use crate::product::{Ctx, accounts, apps, deploy};

pub(super) struct Caller(Option<Credentials>);

impl Caller {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self(credentials::read(headers))
    }

    pub(super) async fn actor(&self, ctx: &Ctx) -> Result<Actor, Refusal> {
        let Some(credentials) = &self.0 else { return Err(Refusal::Unauthorized) };
        let actor = accounts::actor_by_token(ctx, credentials.secret.reveal()).await;
        actor.map_err(Refusal::of)
    }
}

impl Registry {
    /// Whether the credentials are good at all (`docker login`).
    pub(super) async fn enter(&self, asked: Asked) -> Answer {
        asked.caller.actor(&self.ctx).await?;
        Ok(([("docker-distribution-api-version", "registry/2.0")], axum::Json(json!({}))).into_response())
    }

    /// For who pulls.
    pub(super) async fn open(&self, asked: &Asked) -> Result<(Actor, App), Refusal> {
        let actor = asked.caller.actor(&self.ctx).await?;
        let app = apps::resolve(&self.ctx, &actor, &asked.name).await.map_err(Refusal::of)?;
        Ok((actor, app))
    }

    /// For who pushes into what is there, or deletes.
    pub(super) async fn open_to_write(&self, asked: &Asked) -> Result<(Actor, App), Refusal> {
        let (actor, app) = self.open(asked).await?;
        actor.may(Action::Deploy, &Place::from(&app)).map_err(Refusal::of)?;
        Ok((actor, app))
    }

    /// For the first request of a push: as with git, an app that is not there is made if the pusher may.
    pub(super) async fn open_to_push(&self, asked: &Asked) -> Result<(Actor, App), Refusal> {
        let actor = asked.caller.actor(&self.ctx).await?;
        let opened = deploy::open_for_push(&self.ctx, &actor, &asked.name).await;
        let (app, made) = opened.map_err(|error| match error {
            // The text says how to make it.
            error if error.is_not_found() => Refusal::NameUnknown(Some(error.public)),
            error => Refusal::of(error),
        })?;
        if made {
            tracing::info!(app.id = %app.id, app.name = %app.name, user.id = %actor.user.id, "app made by a push of an image");
        }
        Ok((actor, app))
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::of(error)
    }
}
