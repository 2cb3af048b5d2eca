//! What is deployed from elsewhere: its address, and which of the app's variables hold the credentials. Their values are
//! read when they are needed and stand in no order, log or record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::intake::PLATFORM;
use crate::base::error::{Error, Result};
use crate::base::model::{AppId, EnvironmentId, VariableName};
use crate::base::secret::Secret;
use crate::machinery::image::{Login as Credentials, Reference, Route};
use crate::machinery::outbound::{Fetcher, Guard};
use crate::product::Ctx;
use crate::product::apps;
use crate::state::store;

const LONGEST: usize = 500;

/// An image of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSource {
    /// `host[:port]/name[:tag][@digest]`
    pub reference: String,
    #[serde(flatten)]
    pub login: Login,
}

/// Variables of the app with the user and the password; both or neither, or a password (a token) alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    pub user: Option<VariableName>,
    pub password: Option<VariableName>,
}

impl ImageSource {
    /// What can be told before anything is fetched.
    pub(super) fn check(&self) -> Result<()> {
        if self.reference.len() > LONGEST || self.reference.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(Error::invalid("image", "must read host/name:tag or host/name@sha256:…"));
        }
        if !self.reference.split('/').next().is_some_and(|host| host.contains(['.', ':']) || host == "localhost")
            || !self.reference.contains('/')
        {
            return Err(Error::invalid(
                "image",
                "names no registry: write host/name:tag, such as docker.io/library/nginx:1.27",
            ));
        }
        if let Some(fault) = Reference::fault(&self.reference) {
            return Err(Error::invalid("image", fault));
        }
        self.login.check()
    }
}

impl Login {
    pub(super) fn check(&self) -> Result<()> {
        match self.user.is_some() && self.password.is_none() {
            true => Err(Error::invalid("password_variable", "must be there when user_variable is")),
            false => Ok(()),
        }
    }
}

/// The platform's way out for what a user named.
pub(super) fn fetcher(ctx: &Ctx) -> Result<Fetcher> {
    Fetcher::new(Guard { private: ctx.config.outbound.private }).map_err(Error::internal)
}

pub(super) fn route(ctx: &Ctx) -> Result<Route> {
    let fetcher = fetcher(ctx)?;
    let http = fetcher.client().clone();
    let within = Duration::from_secs(ctx.config.build.timeout_seconds);
    Ok(Route { http, allows: Arc::new(move |url| fetcher.check(url).is_ok()), within })
}

/// Those of the environment, as they are now.
pub(super) async fn variables(
    ctx: &Ctx,
    app: &AppId,
    environment: &EnvironmentId,
) -> Result<BTreeMap<VariableName, Secret<String>>> {
    let mut tx = ctx.store.read().await?;
    let app = store::apps::find(&mut tx, &PLATFORM, app).await?.ok_or_else(|| Error::not_found("the app"))?;
    let version = store::variables::latest(&mut tx, environment).await?.map_or(0, |set| set.version);
    Ok(apps::read_variables(&mut tx, ctx, &app.organization_id, environment, version).await?.values)
}

pub(super) fn no_variable(name: &VariableName) -> Error {
    Error::invalid("variable", format!("the app has no variable {name}; set it: hythe config:set {name}=…"))
}

pub(super) async fn login(
    ctx: &Ctx,
    app: &AppId,
    environment: &EnvironmentId,
    wanted: &Login,
) -> Result<Option<Credentials>> {
    let Some(password) = &wanted.password else { return Ok(None) };
    let all = variables(ctx, app, environment).await?;
    let value = |name: &VariableName| all.get(name).cloned().ok_or_else(|| no_variable(name));
    let secret = value(password)?;
    let user = match &wanted.user {
        Some(name) => value(name)?.reveal().clone(),
        // Registries that take a token look at nothing else.
        None => "token".to_owned(),
    };
    Ok(Some(Credentials { user, secret }))
}
