//! Spaces.
#![allow(unused)]
use super::Tx;
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::*;

pub async fn insert(tx: &mut Tx, space: &Space) -> Result<()> {
    todo!()
}
pub async fn find(tx: &mut Tx, scope: &Scope, id: &SpaceId) -> Result<Option<Space>> {
    todo!()
}
pub async fn find_by_name(
    tx: &mut Tx,
    scope: &Scope,
    organization: &OrganizationId,
    name: &TenantName,
) -> Result<Option<Space>> {
    todo!()
}
