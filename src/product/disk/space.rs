//! How much is free, and what a push is told when that is too little.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Disk, Machine, collect};
use crate::product::Ctx;

/// How long a push waits for a collection that may make room for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Of the file system that has less: that of the data directory or that of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    pub place: PathBuf,
    /// For who is not root.
    pub free: u64,
    pub total: u64,
}

impl Room {
    fn of(place: &Path) -> Option<Self> {
        let seen = rustix::fs::statvfs(place).ok()?;
        let (free, total) = (seen.f_bavail * seen.f_frsize, seen.f_blocks * seen.f_frsize);
        Some(Self { place: place.to_owned(), free, total })
    }
}

impl Machine {
    /// None where it cannot be known.
    pub(super) async fn room(&self) -> Option<Room> {
        let engine = self.engine.place().await.ok().flatten();
        let places = [Some(self.dir.clone()), engine].into_iter().flatten();
        places.filter_map(|place| Room::of(&place)).min_by_key(|room| room.free)
    }
}

impl Disk {
    /// Why there is no room for a push, for people; none when there is, if need be after a collection.
    pub async fn too_full(&self, ctx: &Ctx) -> Option<String> {
        let reserved = ctx.config.disk.reserved_bytes;
        let machine = self.machine.as_ref()?;
        if machine.room().await?.free >= reserved {
            return None;
        }
        match tokio::time::timeout(PATIENCE, collect::collect(ctx)).await {
            Ok(Err(error)) => tracing::warn!(error = error.for_log(), "a full disk could not be cleaned"),
            Err(_) => tracing::warn!("a collection for a full disk takes long"),
            Ok(Ok(_)) => {}
        }
        let room = machine.room().await?;
        (room.free < reserved).then(|| refusal(&room, reserved))
    }
}

fn refusal(room: &Room, reserved: u64) -> String {
    format!(
        "the server's disk is nearly full: {} free at {}, and {} are kept free (disk.reserved_bytes). Nothing is wrong with \
         your code; the operator can see what fills it (hythe disk) and make room (hythe disk:clean, or a larger disk)",
        gigabytes(room.free),
        room.place.display(),
        gigabytes(reserved)
    )
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_numbers_and_what_to_do() {
        let room = Room::of(Path::new("/")).expect("a file system");
        assert!(room.free <= room.total && room.total > 0);
        let text = refusal(&Room { place: "/srv".into(), free: 400_000_000, total: 1 }, 1 << 30);
        for part in ["0.4 GB free at /srv", "1.1 GB are kept free", "disk.reserved_bytes", "hythe disk:clean"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
