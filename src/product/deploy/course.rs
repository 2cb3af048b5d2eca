//! What a push is asked for beside deploying its tree: variables that come with it, and an end before there is a release.

use serde_json::Value;

use super::activate::environment;
use super::cron;
use super::intake::{PLATFORM, PushOrder};
use super::push::{PushWork, earlier};
use super::shape::Shape;
use crate::base::error::{Error, Result};
use crate::base::model::{App, BuildState, Environment, Id};
use crate::machinery::git::Quarantine;
use crate::product::apps::{self, VariableChanges};
use crate::product::builds::Imaged;
use crate::state::jobs::{StepContext, StepError};
use crate::state::store;

impl PushWork {
    /// Variables that come with the push.
    pub(super) async fn changes(&self, tx: &mut store::Tx, order: &PushOrder, app: &App) -> Result<VariableChanges> {
        match &order.manner.sealed {
            Some(sealed) => {
                apps::unseal_changes(tx, self.ctx(), &app.organization_id, order.build.as_str(), sealed).await
            }
            None => Ok(VariableChanges::new()),
        }
    }

    /// With the release: the version that holds what came with the push.
    pub(super) async fn write_variables(
        &self,
        tx: &mut store::Tx,
        order: &PushOrder,
        place: &Environment,
        before: i64,
    ) -> Result<i64> {
        if order.manner.sealed.is_none() {
            return Ok(before);
        }
        let app = store::apps::find(tx, &PLATFORM, &order.app).await?.ok_or_else(|| Error::not_found("the app"))?;
        let changes = self.changes(tx, order, &app).await?;
        let by = Some(&order.user);
        let version = apps::write_variables(tx, self.ctx(), &app.organization_id, &place.id, &changes, by).await?;
        if version != before {
            apps::tell_for(tx, self.ctx(), &order.user, place, super::changed(&changes, version)).await?;
        }
        Ok(version)
    }

    /// What a release would be made of is all there; none is made.
    pub(super) async fn end_dry_run(&self, order: &PushOrder, cx: &StepContext) -> Result<Value, StepError> {
        let imaged: Imaged = earlier(cx, 2)?;
        let manifest = self.manifest(order).await?;
        cron::check(&manifest).map_err(StepError::fail)?;
        let mut tx = self.ctx().store.begin().await?;
        let place = environment(&mut tx, &order.environment).await?;
        Shape::of_spec(&place.spec).with_wishes(&manifest).resolved(&mut tx, &place.id).await?;
        let (image, processes, now) = (Some(&imaged.image), &imaged.processes, self.ctx().clock.now());
        store::builds::finish(&mut tx, &order.build, BuildState::Succeeded, image, processes, None, now).await?;
        tx.commit().await?;
        Ok(Value::Null)
    }

    pub(super) async fn discard(&self, order: &PushOrder) -> Result<()> {
        let (repository, key) = (self.repository(order)?, order.quarantine.clone());
        let task = tokio::task::spawn_blocking(move || match Quarantine::reopen(&repository, &key)? {
            Some(quarantine) => quarantine.discard(),
            None => Ok(()),
        });
        task.await.map_err(Error::internal)?.map_err(Error::internal)
    }
}
