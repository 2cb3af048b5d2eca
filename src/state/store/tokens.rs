//! API tokens.
#![allow(unused)]
use super::Tx;
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::*;

pub async fn insert(tx: &mut Tx, token: &ApiToken, hash: &str) -> Result<()> {
    todo!()
}
pub async fn find_by_hash(tx: &mut Tx, hash: &str) -> Result<Option<(ApiToken, User)>> {
    todo!()
}
pub async fn list(tx: &mut Tx, user: &UserId) -> Result<Vec<ApiToken>> {
    todo!()
}
pub async fn delete(tx: &mut Tx, user: &UserId, name: &str) -> Result<bool> {
    todo!()
}
pub async fn touch(tx: &mut Tx, id: &TokenId, at: Timestamp) -> Result<()> {
    todo!()
}
