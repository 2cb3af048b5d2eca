//! Variables of an environment, sealed.
#![allow(unused)]
use super::Tx;
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::*;

/// One version of an environment's variables, as the vault sealed them.
#[derive(Debug, Clone)]
pub struct SealedVariables {
    pub environment_id: EnvironmentId,
    pub version: i64,
    pub names: Vec<VariableName>,
    pub sealed: Vec<u8>,
    pub created_at: Timestamp,
    pub created_by: Option<UserId>,
}

pub async fn latest(tx: &mut Tx, environment: &EnvironmentId) -> Result<Option<SealedVariables>> {
    todo!()
}
pub async fn at(tx: &mut Tx, environment: &EnvironmentId, version: i64) -> Result<Option<SealedVariables>> {
    todo!()
}
pub async fn insert(tx: &mut Tx, variables: &SealedVariables) -> Result<()> {
    todo!()
}
