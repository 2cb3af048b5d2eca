//! Customers: who pays. Only the platform makes and reads them.

use super::Tx;
use super::dialect::{touched, word};
use crate::base::error::Result;
use crate::base::model::{Customer, Id};

pub async fn insert(tx: &mut Tx, customer: &Customer) -> Result<()> {
    const SQL: &str = "INSERT INTO customers (id, name, status, created_at) VALUES ($1, $2, $3, $4)";
    let status = word(&customer.status)?;
    touched!(tx, c => sqlx::query(SQL)
        .bind(customer.id.as_str())
        .bind(customer.name.as_str())
        .bind(status.as_str())
        .bind(customer.created_at.0)
        .execute(c))?;
    Ok(())
}
