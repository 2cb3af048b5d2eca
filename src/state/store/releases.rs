//! Releases.
#![allow(unused)]
use super::Tx;
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::*;

pub async fn insert(tx: &mut Tx, release: &Release) -> Result<()> {
    todo!()
}
pub async fn find(tx: &mut Tx, scope: &Scope, id: &ReleaseId) -> Result<Option<Release>> {
    todo!()
}
pub async fn by_number(tx: &mut Tx, environment: &EnvironmentId, number: i64) -> Result<Option<Release>> {
    todo!()
}
pub async fn list(tx: &mut Tx, environment: &EnvironmentId, before: Option<i64>, limit: i64) -> Result<Vec<Release>> {
    todo!()
}
pub async fn next_number(tx: &mut Tx, environment: &EnvironmentId) -> Result<i64> {
    todo!()
}
