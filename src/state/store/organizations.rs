//! Organizations.
#![allow(unused)]
use super::Tx;
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::*;

pub async fn insert(tx: &mut Tx, organization: &Organization) -> Result<()> {
    todo!()
}
pub async fn find(tx: &mut Tx, scope: &Scope, id: &OrganizationId) -> Result<Option<Organization>> {
    todo!()
}
pub async fn find_by_name(tx: &mut Tx, scope: &Scope, name: &TenantName) -> Result<Option<Organization>> {
    todo!()
}
pub async fn first_of_customer(tx: &mut Tx, scope: &Scope, customer: &CustomerId) -> Result<Option<Organization>> {
    todo!()
}
