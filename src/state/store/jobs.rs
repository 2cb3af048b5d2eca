//! Jobs and their steps.
#![allow(unused)]
use super::Tx;
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::*;

pub async fn insert(tx: &mut Tx, job: &Job, steps: &[&str]) -> Result<()> {
    todo!()
}
pub async fn find(tx: &mut Tx, id: &JobId) -> Result<Option<Job>> {
    todo!()
}
pub async fn steps(tx: &mut Tx, id: &JobId) -> Result<Vec<JobStep>> {
    todo!()
}
pub async fn claim(tx: &mut Tx, holder: &str, now: Timestamp, lease_until: Timestamp) -> Result<Option<Job>> {
    todo!()
}
pub async fn renew(tx: &mut Tx, id: &JobId, holder: &str, until: Timestamp) -> Result<bool> {
    todo!()
}
pub async fn step_started(tx: &mut Tx, id: &JobId, index: usize, now: Timestamp) -> Result<()> {
    todo!()
}
pub async fn step_finished(
    tx: &mut Tx,
    id: &JobId,
    index: usize,
    state: StepState,
    output: &serde_json::Value,
    error: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    todo!()
}
pub async fn finish(
    tx: &mut Tx,
    id: &JobId,
    holder: &str,
    state: JobState,
    reason: Option<&str>,
    now: Timestamp,
) -> Result<bool> {
    todo!()
}
pub async fn unfinished(tx: &mut Tx, subject: &str) -> Result<Vec<Job>> {
    todo!()
}
