//! SSH keys.
#![allow(unused)]
use super::Tx;
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::*;

pub async fn insert(tx: &mut Tx, key: &SshKey) -> Result<()> {
    todo!()
}
pub async fn list(tx: &mut Tx, user: &UserId) -> Result<Vec<SshKey>> {
    todo!()
}
pub async fn find_by_fingerprint(tx: &mut Tx, fingerprint: &str) -> Result<Option<(SshKey, User)>> {
    todo!()
}
pub async fn delete(tx: &mut Tx, user: &UserId, name: &str) -> Result<bool> {
    todo!()
}
