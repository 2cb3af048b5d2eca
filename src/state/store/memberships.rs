//! Memberships.
#![allow(unused)]
use super::Tx;
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::*;

pub async fn insert(tx: &mut Tx, membership: &Membership) -> Result<()> {
    todo!()
}
pub async fn of_user(tx: &mut Tx, user: &UserId) -> Result<Vec<Membership>> {
    todo!()
}
