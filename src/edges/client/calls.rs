//! One method per operation.

use std::collections::BTreeMap;

use futures_util::stream::BoxStream;

use super::{Client, Result, escaped, lines};
use crate::edges::api::types::{
    AppChange, AppDetail, AppView, BuildView, CheckItem, DeploymentDetail, DeploymentView, DiffView,
    EnvironmentChangeBody, EnvironmentView, HealthView, KeyView, NewAppBody, NewEnvironmentBody, NewKeyBody,
    NewTokenBody, Page, PlatformView, ProcessChecksBody, ProcessItem, PromoteBody, ReleaseView, RollbackBody,
    ScalingBody, SetupBody, SetupView, TokenView, UserView, VariablesChanged, VariablesView,
};

pub type Lines = BoxStream<'static, std::io::Result<String>>;

pub(super) fn app(name: &str) -> String {
    format!("/v1/apps/{}", escaped(name))
}

pub(super) fn within(name: &str, environment: &str, rest: &str) -> String {
    format!("{}/environments/{}{rest}", app(name), escaped(environment))
}

impl Client {
    pub async fn health(&self) -> Result<HealthView> {
        self.get("/v1/healthz".into()).await
    }

    /// The OpenAPI document.
    pub async fn document(&self) -> Result<serde_json::Value> {
        self.get("/v1/openapi.json".into()).await
    }

    pub async fn platform(&self) -> Result<PlatformView> {
        self.get("/v1/status".into()).await
    }

    pub async fn setup(&self, body: &SetupBody) -> Result<SetupView> {
        self.call("POST", "/v1/setup".into(), Some(body)).await
    }

    pub async fn whoami(&self) -> Result<UserView> {
        self.get("/v1/whoami".into()).await
    }

    pub async fn keys(&self) -> Result<Page<KeyView>> {
        self.get("/v1/keys".into()).await
    }

    pub async fn add_key(&self, body: &NewKeyBody) -> Result<KeyView> {
        self.call("POST", "/v1/keys".into(), Some(body)).await
    }

    pub async fn remove_key(&self, name: &str) -> Result<()> {
        self.send("DELETE", format!("/v1/keys/{}", escaped(name)), None::<&()>).await.map(drop)
    }

    pub async fn tokens(&self) -> Result<Page<TokenView>> {
        self.get("/v1/tokens".into()).await
    }

    pub async fn create_token(&self, body: &NewTokenBody) -> Result<TokenView> {
        self.call("POST", "/v1/tokens".into(), Some(body)).await
    }

    pub async fn remove_token(&self, name: &str) -> Result<()> {
        self.send("DELETE", format!("/v1/tokens/{}", escaped(name)), None::<&()>).await.map(drop)
    }

    /// All of them, page by page.
    pub async fn apps(&self) -> Result<Vec<AppView>> {
        let mut all = Vec::new();
        let mut after = None::<String>;
        loop {
            let cursor = after.map_or_else(String::new, |name| format!("&after={}", escaped(&name)));
            let page: Page<AppView> = self.get(format!("/v1/apps?limit=200{cursor}")).await?;
            all.extend(page.items);
            after = page.next;
            if after.is_none() {
                return Ok(all);
            }
        }
    }

    pub async fn create_app(&self, body: &NewAppBody) -> Result<AppView> {
        self.call("POST", "/v1/apps".into(), Some(body)).await
    }

    pub async fn app(&self, name: &str) -> Result<AppDetail> {
        self.get(app(name)).await
    }

    pub async fn rename_app(&self, name: &str, body: &AppChange) -> Result<AppView> {
        self.call("PATCH", app(name), Some(body)).await
    }

    pub async fn destroy_app(&self, name: &str) -> Result<()> {
        self.send("DELETE", app(name), None::<&()>).await.map(drop)
    }

    pub async fn environment(&self, name: &str, environment: &str) -> Result<EnvironmentView> {
        self.get(within(name, environment, "")).await
    }

    pub async fn create_environment(&self, name: &str, body: &NewEnvironmentBody) -> Result<EnvironmentView> {
        self.call("POST", format!("{}/environments", app(name)), Some(body)).await
    }

    pub async fn destroy_environment(&self, name: &str, environment: &str) -> Result<()> {
        self.send("DELETE", within(name, environment, ""), None::<&()>).await.map(drop)
    }

    pub async fn checks(&self, name: &str, environment: &str) -> Result<Page<CheckItem>> {
        self.get(within(name, environment, "/checks")).await
    }

    pub async fn change_checks(
        &self,
        name: &str,
        environment: &str,
        changes: &BTreeMap<String, ProcessChecksBody>,
    ) -> Result<Page<CheckItem>> {
        self.call("PATCH", within(name, environment, "/checks"), Some(changes)).await
    }

    /// Without `with`, from the release to the one that shall be live.
    pub async fn diff(&self, name: &str, environment: &str, from: &str, with: Option<&str>) -> Result<DiffView> {
        let query = with.map_or_else(String::new, |with| format!("?with={}", escaped(with)));
        self.get(within(name, environment, &format!("/releases/{}/diff{query}", escaped(from)))).await
    }

    pub async fn promote(&self, name: &str, environment: &str, body: &PromoteBody) -> Result<DeploymentView> {
        self.call("POST", within(name, environment, "/promote"), Some(body)).await
    }

    pub async fn change_environment(
        &self,
        name: &str,
        environment: &str,
        body: &EnvironmentChangeBody,
    ) -> Result<EnvironmentView> {
        self.call("PATCH", within(name, environment, ""), Some(body)).await
    }

    pub async fn variables(&self, name: &str, environment: &str) -> Result<VariablesView> {
        self.get(within(name, environment, "/variables")).await
    }

    pub async fn change_variables(
        &self,
        name: &str,
        environment: &str,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Result<VariablesChanged> {
        self.call("PATCH", within(name, environment, "/variables"), Some(changes)).await
    }

    pub async fn processes(&self, name: &str, environment: &str) -> Result<Page<ProcessItem>> {
        self.get(within(name, environment, "/processes")).await
    }

    pub async fn scale(
        &self,
        name: &str,
        environment: &str,
        numbers: &BTreeMap<String, u32>,
    ) -> Result<Page<ProcessItem>> {
        self.call("PATCH", within(name, environment, "/processes"), Some(numbers)).await
    }

    /// None gives the number back to people.
    pub async fn autoscale(
        &self,
        name: &str,
        environment: &str,
        process: &str,
        scaling: Option<&ScalingBody>,
    ) -> Result<Page<ProcessItem>> {
        let method = if scaling.is_some() { "PUT" } else { "DELETE" };
        let path = format!("/processes/{}/scaling", escaped(process));
        self.call(method, within(name, environment, &path), scaling).await
    }

    pub async fn restart(&self, name: &str, environment: &str) -> Result<Page<ProcessItem>> {
        self.call("POST", within(name, environment, "/restart"), None::<&()>).await
    }

    pub async fn releases(&self, name: &str, environment: &str, limit: i64) -> Result<Page<ReleaseView>> {
        self.get(within(name, environment, &format!("/releases?limit={limit}"))).await
    }

    pub async fn release(&self, name: &str, environment: &str, number: &str) -> Result<ReleaseView> {
        self.get(within(name, environment, &format!("/releases/{}", escaped(number)))).await
    }

    pub async fn proceed(&self, name: &str, environment: &str) -> Result<EnvironmentView> {
        self.call("POST", within(name, environment, "/continue"), None::<&()>).await
    }

    pub async fn abort(&self, name: &str, environment: &str) -> Result<EnvironmentView> {
        self.call("POST", within(name, environment, "/abort"), None::<&()>).await
    }

    pub async fn rollback(&self, name: &str, environment: &str, body: &RollbackBody) -> Result<DeploymentView> {
        self.call("POST", within(name, environment, "/rollback"), Some(body)).await
    }

    pub async fn deployment(&self, name: &str, environment: &str, id: &str) -> Result<DeploymentDetail> {
        self.get(within(name, environment, &format!("/deployments/{}", escaped(id)))).await
    }

    pub async fn deployments(&self, name: &str, environment: &str) -> Result<Page<DeploymentView>> {
        self.get(within(name, environment, "/deployments?limit=30")).await
    }

    pub async fn deployment_output(&self, name: &str, environment: &str, id: &str) -> Result<Lines> {
        self.lines(within(name, environment, &format!("/deployments/{}/output?follow=true", escaped(id)))).await
    }

    pub async fn builds(&self, name: &str) -> Result<Page<BuildView>> {
        self.get(format!("{}/builds?limit=30", app(name))).await
    }

    pub async fn build(&self, name: &str, build: &str) -> Result<BuildView> {
        self.get(format!("{}/builds/{}", app(name), escaped(build))).await
    }

    pub async fn cancel_build(&self, name: &str, build: &str) -> Result<BuildView> {
        self.call("POST", format!("{}/builds/{}/cancel", app(name), escaped(build)), None::<&()>).await
    }

    pub async fn build_output(&self, name: &str, build: &str) -> Result<Lines> {
        self.lines(format!("{}/builds/{}/output?follow=true", app(name), escaped(build))).await
    }

    pub(super) async fn lines(&self, path: String) -> Result<Lines> {
        let answer = self.send("GET", path, None::<&()>).await?;
        Ok(lines::of(answer.body))
    }
}
