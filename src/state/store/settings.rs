//! Settings.
#![allow(unused)]
use super::Tx;
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::*;

pub async fn get(tx: &mut Tx, key: &str) -> Result<Option<String>> {
    todo!()
}
pub async fn set(tx: &mut Tx, key: &str, value: &str) -> Result<()> {
    todo!()
}
pub async fn delete(tx: &mut Tx, key: &str) -> Result<bool> {
    todo!()
}
