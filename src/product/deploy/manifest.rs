//! `app.json` and `project.toml` at work: read from the pushed tree, their wishes for variables met before the build, and
//! which buildpacks it shall have.

use std::collections::BTreeMap;

use super::intake::PushOrder;
use super::messages;
use super::options::Course;
use super::push::{PushWork, object_id};
use crate::base::error::{Error, Result};
use crate::base::model::{App, BuildpackRef, ChosenBuildpack, Environment, Manifest, Project, VariableName};
use crate::base::secret::Secret;
use crate::machinery::git::{GitError, Quarantine, read_file};
use crate::product::apps::{self, VariableChanges};
use crate::product::builds::Wishes;
use crate::state::jobs::{StepContext, StepError};
use crate::state::store;

type Values = BTreeMap<VariableName, Secret<String>>;

const FILE: &str = "app.json";
const PROJECT: &str = "project.toml";
const LARGEST: u64 = 256 << 10;

impl PushWork {
    /// Of the pushed tree; an empty one when it has none.
    pub(super) async fn manifest(&self, order: &PushOrder) -> Result<Manifest, StepError> {
        let Some(text) = self.file(order, FILE).await? else { return Ok(Manifest::default()) };
        let manifest = Manifest::parse(&text).map_err(|fault| StepError::fail(fault.to_string()))?;
        match super::sizes::unknown_wish(self.ctx(), &manifest) {
            Some(fault) => Err(StepError::fail(fault)),
            None => Ok(manifest),
        }
    }

    /// Of the pushed tree; none when it has no such file.
    async fn file(&self, order: &PushOrder, path: &'static str) -> Result<Option<Vec<u8>>, StepError> {
        let repository = self.repository(order)?;
        let (key, commit) = (order.quarantine.clone(), object_id(&order.new));
        let read = tokio::task::spawn_blocking(move || {
            let quarantine = Quarantine::reopen(&repository, &key)?;
            read_file(&repository, quarantine.as_ref(), &commit, path, LARGEST)
        });
        match read.await.map_err(Error::internal)? {
            Ok(text) => Ok(text),
            Err(error @ GitError::TooLarge(_)) => Err(StepError::fail(error.to_string())),
            Err(error) => Err(Error::internal(error).into()),
        }
    }

    /// What somebody set for the environment goes before `project.toml`, and that before `app.json`.
    pub(super) async fn wishes(&self, order: &PushOrder, place: &Environment) -> Result<Wishes, StepError> {
        let project = match self.file(order, PROJECT).await? {
            Some(text) => Project::parse(&text).map_err(|fault| StepError::fail(fault.to_string()))?,
            None => Project::default(),
        };
        let plain = |list: &[BuildpackRef]| list.iter().cloned().map(ChosenBuildpack::from).collect();
        let buildpacks = if !place.spec.buildpacks.is_empty() {
            plain(&place.spec.buildpacks)
        } else if !project.buildpacks.is_empty() {
            project.buildpacks
        } else {
            plain(&self.manifest(order).await?.buildpacks)
        };
        Ok(Wishes { buildpacks, variables: project.variables, files: project.files })
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
        let (changes, missing) = wished(manifest, &set.values, &self.changes(&mut tx, order, app).await?);
        if !missing.is_empty() {
            for line in messages::missing_variables(&app.name, &missing) {
                cx.log.append(&messages::problem(&line));
            }
            let names: Vec<_> = missing.iter().map(|(name, _)| name.as_str()).collect();
            return Err(StepError::fail(format!("app.json requires variables that are not set: {}", names.join(", "))));
        }
        if changes.is_empty() || order.manner.course == Course::DryRun {
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

type Missing<'a> = Vec<(&'a VariableName, Option<&'a str>)>;

/// What the app brings along of what is neither there nor comes with the push, and what it lacks then, with what it says of it.
pub(super) fn wished<'a>(
    manifest: &'a Manifest,
    there: &Values,
    coming: &VariableChanges,
) -> (VariableChanges, Missing<'a>) {
    let (mut changes, mut missing) = (VariableChanges::new(), Missing::new());
    let absent = |name: &VariableName| !there.contains_key(name) && !coming.contains_key(name);
    for (name, wish) in manifest.env.iter().filter(|(name, _)| absent(name)) {
        match &wish.value {
            Some(value) => drop(changes.insert(name.clone(), Some(Secret::new(value.clone())))),
            None if wish.generate => drop(changes.insert(name.clone(), Some(Secret::new(random())))),
            None if wish.required => missing.push((name, wish.description.as_deref())),
            None => {}
        }
    }
    (changes, missing)
}

pub(super) fn apply(values: &mut Values, changes: VariableChanges) {
    for (name, value) in changes {
        match value {
            Some(value) => drop(values.insert(name, value)),
            None => drop(values.remove(&name)),
        }
    }
}

/// 32 random bytes in hexadecimal.
fn random() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}
