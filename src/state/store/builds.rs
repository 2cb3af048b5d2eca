//! Builds.
#![allow(unused)]
use super::Tx;
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::*;

pub async fn insert(tx: &mut Tx, build: &Build) -> Result<()> {
    todo!()
}
pub async fn finish(
    tx: &mut Tx,
    id: &BuildId,
    state: BuildState,
    image: Option<&ImageDigest>,
    processes: &Processes,
    reason: Option<&str>,
    at: Timestamp,
) -> Result<bool> {
    todo!()
}
pub async fn find(tx: &mut Tx, scope: &Scope, id: &BuildId) -> Result<Option<Build>> {
    todo!()
}
pub async fn of_job(tx: &mut Tx, job: &JobId) -> Result<Option<Build>> {
    todo!()
}
pub async fn list(tx: &mut Tx, scope: &Scope, app: &AppId, limit: i64) -> Result<Vec<Build>> {
    todo!()
}
