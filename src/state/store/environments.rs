//! Environments.
#![allow(unused)]
use super::Tx;
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::*;

pub async fn insert(tx: &mut Tx, environment: &Environment) -> Result<()> {
    todo!()
}
pub async fn find(tx: &mut Tx, scope: &Scope, id: &EnvironmentId) -> Result<Option<Environment>> {
    todo!()
}
pub async fn of_app(tx: &mut Tx, scope: &Scope, app: &AppId) -> Result<Vec<Environment>> {
    todo!()
}
pub async fn find_by_name(
    tx: &mut Tx,
    scope: &Scope,
    app: &AppId,
    name: &EnvironmentName,
) -> Result<Option<Environment>> {
    todo!()
}
pub async fn all(tx: &mut Tx) -> Result<Vec<(Environment, App)>> {
    todo!()
}
pub async fn write_spec(
    tx: &mut Tx,
    id: &EnvironmentId,
    expected_generation: i64,
    spec: &EnvironmentSpec,
) -> Result<bool> {
    todo!()
}
pub async fn write_status(tx: &mut Tx, id: &EnvironmentId, status: &EnvironmentStatus) -> Result<bool> {
    todo!()
}
pub async fn set_branch(tx: &mut Tx, id: &EnvironmentId, branch: &BranchName) -> Result<()> {
    todo!()
}
