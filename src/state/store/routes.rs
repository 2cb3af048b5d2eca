//! Routes.
#![allow(unused)]
use super::Tx;
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::*;

pub async fn insert(tx: &mut Tx, route: &Route) -> Result<()> {
    todo!()
}
pub async fn of_environment(tx: &mut Tx, environment: &EnvironmentId) -> Result<Vec<Route>> {
    todo!()
}
pub async fn find_by_host(tx: &mut Tx, host: &Host) -> Result<Option<Route>> {
    todo!()
}
pub async fn all(tx: &mut Tx) -> Result<Vec<Route>> {
    todo!()
}
pub async fn set_host(tx: &mut Tx, id: &RouteId, host: &Host) -> Result<()> {
    todo!()
}
