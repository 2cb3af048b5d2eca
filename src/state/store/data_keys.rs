//! Wrapped data keys of the vault.
#![allow(unused)]
use super::Tx;
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::*;

pub async fn find(tx: &mut Tx, scope: &str) -> Result<Option<Vec<u8>>> {
    todo!()
}
pub async fn insert(tx: &mut Tx, scope: &str, wrapped: &[u8]) -> Result<bool> {
    todo!()
}
