//! How much is free, and what a push is told when that is too little.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Disk, Machine, collect};
use crate::base::config;
use crate::machinery::image::Free;
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
    /// Inodes; none where they are not bounded.
    pub free_files: Option<u64>,
}

/// Which of what is kept free is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Short {
    Space,
    Files(u64),
}

impl Room {
    fn of(place: &Path) -> Option<Self> {
        let free = Free::at(place)?;
        Some(Self { place: place.to_owned(), free: free.bytes, total: free.total, free_files: free.files })
    }

    fn short(&self, config: &config::Disk) -> Option<Short> {
        if self.free < config.reserved_bytes {
            return Some(Short::Space);
        }
        self.free_files.filter(|free| *free < config.reserved_files).map(Short::Files)
    }
}

impl Machine {
    /// None where it cannot be known.
    pub(super) async fn room(&self) -> Option<Room> {
        self.rooms().await.min_by_key(|room| room.free)
    }

    /// Where too little is free.
    async fn short(&self, config: &config::Disk) -> Option<(Room, Short)> {
        self.rooms().await.find_map(|room| room.short(config).map(|short| (room, short)))
    }

    pub(super) async fn is_short(&self, config: &config::Disk) -> bool {
        self.short(config).await.is_some()
    }

    async fn rooms(&self) -> impl Iterator<Item = Room> {
        let engine = self.engine.place().await.ok().flatten();
        let places = [Some(self.dir.clone()), engine].into_iter().flatten();
        places.filter_map(|place| Room::of(&place))
    }
}

impl Disk {
    /// Why there is no room for a push, for people; none when there is, if need be after a collection.
    pub async fn too_full(&self, ctx: &Ctx) -> Option<String> {
        let config = &ctx.config.disk;
        let machine = self.machine.as_ref()?;
        machine.short(config).await?;
        match tokio::time::timeout(PATIENCE, collect::collect(ctx)).await {
            Ok(Err(error)) => tracing::warn!(error = error.for_log(), "a full disk could not be cleaned"),
            Err(_) => tracing::warn!("a collection for a full disk takes long"),
            Ok(Ok(_)) => {}
        }
        let (room, short) = machine.short(config).await?;
        Some(refusal(&room, short, config))
    }
}

fn refusal(room: &Room, short: Short, config: &config::Disk) -> String {
    if let Short::Files(free) = short {
        return format!(
            "the server's disk takes hardly any more files: {free} inodes are free at {}, and {} are kept free \
             (disk.reserved_files). Nothing is wrong with your code; the operator can see where they are (df -i) and make \
             room (hythe disk:clean, fewer small files, or a file system with more inodes)",
            room.place.display(),
            config.reserved_files
        );
    }
    format!(
        "the server's disk is nearly full: {} free at {}, and {} are kept free (disk.reserved_bytes). Nothing is wrong with \
         your code; the operator can see what fills it (hythe disk) and make room (hythe disk:clean, or a larger disk)",
        gigabytes(room.free),
        room.place.display(),
        gigabytes(config.reserved_bytes)
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
        let config = config::Disk::default();
        let small = Room { place: "/srv".into(), free: 400_000_000, total: 1, free_files: Some(7) };
        assert_eq!(small.short(&config), Some(Short::Space));
        let text = refusal(&small, Short::Space, &config);
        for part in ["0.4 GB free at /srv", "1.1 GB are kept free", "disk.reserved_bytes", "hythe disk:clean"] {
            assert!(text.contains(part), "{text}");
        }
        let crowded = Room { free: 4 << 30, ..small.clone() };
        assert_eq!(crowded.short(&config), Some(Short::Files(7)));
        let text = refusal(&crowded, Short::Files(7), &config);
        for part in ["7 inodes are free at /srv", "50000 are kept free", "disk.reserved_files", "df -i"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(Room { free_files: None, ..crowded }.short(&config), None, "not every file system bounds them");
    }
}
