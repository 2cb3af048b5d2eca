//! What lies on the disk: who uses how much, what is kept free, and what goes because nobody needs it.
//!
//! A collection marks by reachability and sweeps, in an order that is right beside everything else that runs and after a
//! kill at any point; again is once.
//!
//! 1. **Records** (`records.rs`). In one transaction per environment, which holds the environment against whoever orders a
//!    deployment from one of its releases: releases beyond what is kept are marked, for good unless the same image is built
//!    again. From then on nobody can ask for them. A record is marked *before* anything of its image goes, so no record
//!    ever promises what is not there.
//! 2. **What destroyed apps left** and caches beyond their bound: sandboxes, caches, networks (`leftovers.rs`). Only what
//!    the store does not know goes; an engine refuses to take what is in use.
//! 3. **Blobs** (`blobs.rs`). The horizon is taken first, then what is reached is read: what unfinished jobs name (before
//!    releases: a job that ends meanwhile has written its release down), releases that are not marked, repositories (from
//!    which `images::expire` has taken what no tag reaches), caches, recipes.
//!    What is neither reached nor used since the horizon goes; `machinery/image/sweep.rs` has the rest of the argument.
//! 4. **Images of the engine**. They are copies of blobs. Who makes sure of one in the engine is noted, and it does not go
//!    when that was after the horizon; noting and removing exclude each other per image (`Builder::drop_image`).
//!
//! One collection at a time in a server. Servers that share a database have blobs and an engine each, and mark the same.

mod blobs;
mod collect;
mod keeper;
mod leftovers;
mod records;
mod retention;
mod space;
mod usage;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::base::access::{Action, Actor, Place};
use crate::base::error::{Error, Result};
use crate::base::model::App;
use crate::machinery::image::BlobStore;
use crate::machinery::runtime::Engine;
use crate::product::Ctx;
use crate::product::builds::{Builder, CacheCleared};

pub use collect::Collected;
pub use keeper::DiskKeeper;
pub use space::Room;
pub use usage::{AppUsage, PlatformUsage, Usage, usage};

/// The machines of one server that hold something.
pub struct Disk {
    machine: Option<Machine>,
    /// One collection at a time.
    collecting: tokio::sync::Mutex<()>,
    wake: Notify,
}

#[derive(Clone)]
struct Machine {
    engine: Arc<dyn Engine>,
    builder: Arc<Builder>,
    blobs: BlobStore,
    /// The data directory.
    dir: PathBuf,
}

impl Disk {
    pub fn new(engine: Arc<dyn Engine>, builder: Arc<Builder>, blobs: BlobStore, dir: PathBuf) -> Self {
        Self { machine: Some(Machine { engine, builder, blobs, dir }), ..Self::closed() }
    }

    /// Without machines: nothing is there to be collected.
    pub fn closed() -> Self {
        Self { machine: None, collecting: tokio::sync::Mutex::default(), wake: Notify::new() }
    }

    /// Something was destroyed: a collection is worth its while.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    fn machine(&self) -> Result<&Machine> {
        self.machine.as_ref().ok_or_else(|| Error::unavailable("there is no engine here", "the disk is closed"))
    }
}

/// Removes what nobody needs, now.
pub async fn clean(ctx: &Ctx, actor: &Actor) -> Result<Collected> {
    actor.may_manage_platform()?;
    collect::collect(ctx).await
}

/// Forgets what earlier builds of the app left for later ones.
pub async fn clear_cache(ctx: &Ctx, actor: &Actor, app: &App) -> Result<()> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let cleared = ctx.disk.machine()?.builder.clear_cache(&app.id, None).await;
    match cleared.map_err(|failure| Error::unavailable(failure.reason.clone(), failure))? {
        CacheCleared::Done => {
            tracing::info!(app.id = %app.id, user.id = %actor.user.id, "the build cache of an app was cleared");
            Ok(())
        }
        CacheCleared::Busy => Err(Error::conflict(format!(
            "a build of {} uses its cache now; wait until it has ended (hythe builds), or push with -o no-cache",
            app.name
        ))),
    }
}
