//! Composition root: config → store → engines → jobs → converge → listeners → drain.

use crate::base::config::Config;

pub async fn serve(_config: Config) -> anyhow::Result<()> {
    anyhow::bail!("nothing to serve yet")
}
