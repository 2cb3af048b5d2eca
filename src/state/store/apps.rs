//! Apps.
#![allow(unused)]
use super::Tx;
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::*;

pub async fn insert(tx: &mut Tx, app: &App) -> Result<()> {
    todo!()
}
pub async fn find(tx: &mut Tx, scope: &Scope, id: &AppId) -> Result<Option<App>> {
    todo!()
}
pub async fn find_by_name(
    tx: &mut Tx,
    scope: &Scope,
    organization: Option<&TenantName>,
    name: &AppName,
) -> Result<Vec<App>> {
    todo!()
}
pub async fn list(tx: &mut Tx, scope: &Scope, after: Option<&AppName>, limit: i64) -> Result<Vec<App>> {
    todo!()
}
pub async fn rename(tx: &mut Tx, scope: &Scope, id: &AppId, name: &AppName) -> Result<bool> {
    todo!()
}
pub async fn delete(tx: &mut Tx, scope: &Scope, id: &AppId) -> Result<bool> {
    todo!()
}
