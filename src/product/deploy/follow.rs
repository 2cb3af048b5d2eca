//! Following a job from outside: its log from line one, and its end.

use futures_util::stream::BoxStream;

use crate::base::error::Result;
use crate::base::model::{Job, JobId};
use crate::product::Ctx;
use crate::state::logs::LogName;

pub use crate::state::logs::LogEvent;

/// The job's log from its first line, live until its end. Any number may follow, at any time.
pub fn follow(ctx: &Ctx, job: &JobId) -> BoxStream<'static, LogEvent> {
    Box::pin(ctx.logs.follow(&LogName::job(job), 0))
}

/// Once a push's job has made the image, or is over.
pub async fn built(ctx: &Ctx, job: &JobId) -> Result<()> {
    ctx.queue.passed(job, "image").await
}

/// The job once it has ended.
pub async fn finished(ctx: &Ctx, job: &JobId) -> Result<Job> {
    ctx.queue.finished(job).await
}
