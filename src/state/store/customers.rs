//! Customers: who pays.
#![allow(unused)]
use super::Tx;
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::*;

pub async fn insert(tx: &mut Tx, customer: &Customer) -> Result<()> {
    todo!()
}
