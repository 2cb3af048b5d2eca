//! Users.
#![allow(unused)]
use super::Tx;
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::*;

pub async fn insert(tx: &mut Tx, user: &User) -> Result<()> {
    todo!()
}
pub async fn find(tx: &mut Tx, id: &UserId) -> Result<Option<User>> {
    todo!()
}
pub async fn find_by_name(tx: &mut Tx, name: &TenantName) -> Result<Option<User>> {
    todo!()
}
pub async fn count(tx: &mut Tx) -> Result<i64> {
    todo!()
}
