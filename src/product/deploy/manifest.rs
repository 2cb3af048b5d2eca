//! `app.json` at work: read from the pushed tree, its wishes for variables met before the build.

use super::intake::PushOrder;
use super::messages;
use super::push::{PushWork, object_id};
use crate::base::error::{Error, Result};
use crate::base::model::{App, Manifest, VariableName};
use crate::base::secret::Secret;
use crate::machinery::git::{GitError, Quarantine, read_file};
use crate::product::apps::{self, VariableChanges};
use crate::state::jobs::{StepContext, StepError};
use crate::state::store;

const FILE: &str = "app.json";
const LARGEST: u64 = 256 << 10;

impl PushWork {
    /// Of the pushed tree; an empty one when it has none.
    pub(super) async fn manifest(&self, order: &PushOrder) -> Result<Manifest, StepError> {
        let repository = self.repository(order)?;
        let (key, commit) = (order.quarantine.clone(), object_id(&order.new));
        let read = tokio::task::spawn_blocking(move || {
            let quarantine = Quarantine::reopen(&repository, &key)?;
            read_file(&repository, quarantine.as_ref(), &commit, FILE, LARGEST)
        });
        let text = match read.await.map_err(Error::internal)? {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(Manifest::default()),
            Err(error @ GitError::TooLarge(_)) => return Err(StepError::fail(error.to_string())),
            Err(error) => return Err(Error::internal(error).into()),
        };
        let manifest = Manifest::parse(&text).map_err(|fault| StepError::fail(fault.to_string()))?;
        match super::sizes::unknown_wish(self.ctx(), &manifest) {
            Some(fault) => Err(StepError::fail(fault)),
            None => Ok(manifest),
        }
    }

    /// Gives the environment the variables that the app brings along and that it does not have yet.
    pub(super) async fn grant_wishes(
        &self,
        order: &PushOrder,
        app: &App,
        manifest: &Manifest,
        cx: &StepContext,
    ) -> Result<(), StepError> {
        if manifest.env.is_empty() {
            return Ok(());
        }
        let ctx = self.ctx();
        let mut tx = ctx.store.begin().await?;
        let version = store::variables::latest(&mut tx, &order.environment).await?.map_or(0, |set| set.version);
        let organization = &app.organization_id;
        let set = apps::read_variables(&mut tx, ctx, organization, &order.environment, version).await?;
        let mut changes = VariableChanges::new();
        let mut missing = Vec::new();
        for (name, wish) in manifest.env.iter().filter(|(name, _)| !set.values.contains_key(name)) {
            let value = match &wish.value {
                Some(value) => Some(value.clone()),
                None if wish.generate => Some(random()),
                None => None,
            };
            match value {
                Some(value) => {
                    changes.insert(name.clone(), Some(Secret::new(value)));
                }
                None if wish.required => missing.push((name, wish.description.as_deref())),
                None => {}
            }
        }
        if !missing.is_empty() {
            for line in messages::missing_variables(&app.name, &missing) {
                cx.log.append(&messages::problem(&line));
            }
            let names: Vec<_> = missing.iter().map(|(name, _)| name.as_str()).collect();
            return Err(StepError::fail(format!("app.json requires variables that are not set: {}", names.join(", "))));
        }
        if changes.is_empty() {
            return Ok(());
        }
        let by = Some(&order.user);
        apps::write_variables(&mut tx, ctx, organization, &order.environment, &changes, by).await?;
        tx.commit().await?;
        let names: Vec<_> = changes.keys().map(VariableName::as_str).collect();
        cx.log.append(&messages::body(&format!("set from app.json: {}", names.join(", "))));
        Ok(())
    }
}

/// 32 random bytes in hexadecimal.
fn random() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}
