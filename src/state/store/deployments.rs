//! Deployments.
#![allow(unused)]
use super::Tx;
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::*;

pub async fn insert(tx: &mut Tx, deployment: &Deployment) -> Result<()> {
    todo!()
}
pub async fn set_release(tx: &mut Tx, id: &DeploymentId, release: &ReleaseId) -> Result<bool> {
    todo!()
}
pub async fn finish(
    tx: &mut Tx,
    id: &DeploymentId,
    state: DeploymentState,
    reason: Option<&str>,
    at: Timestamp,
) -> Result<bool> {
    todo!()
}
pub async fn find(tx: &mut Tx, scope: &Scope, id: &DeploymentId) -> Result<Option<Deployment>> {
    todo!()
}
pub async fn of_job(tx: &mut Tx, job: &JobId) -> Result<Option<Deployment>> {
    todo!()
}
pub async fn list(tx: &mut Tx, scope: &Scope, environment: &EnvironmentId, limit: i64) -> Result<Vec<Deployment>> {
    todo!()
}
