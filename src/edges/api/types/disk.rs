//! What lies on the disk. Sizes are bytes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::product::disk::{AppUsage, Collected, PlatformUsage, Usage};

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DiskView {
    /// By name; those that you see.
    pub apps: Vec<AppDiskView>,
    /// For administrators of the platform.
    pub platform: Option<PlatformDiskView>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AppDiskView {
    pub id: String,
    pub name: String,
    pub repository_bytes: u64,
    /// Images of its releases that are kept.
    pub images: u64,
    /// Of those images alone.
    pub images_own_bytes: u64,
    /// In those images, and also in the base or in images of other apps.
    pub images_shared_bytes: u64,
    /// Of builds.
    pub cache_bytes: u64,
    pub log_bytes: u64,
    pub volume_bytes: u64,
    /// To its repository of images; what releases made of it is counted with them.
    pub pushed_bytes: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlatformDiskView {
    /// The file system that has less: that of the data or that of the container engine.
    pub place: Option<String>,
    pub free_bytes: Option<u64>,
    pub total_bytes: Option<u64>,
    /// Inodes; none where the file system does not bound them.
    pub free_files: Option<u64>,
    /// With less than this free, pushes are refused.
    pub reserved_bytes: u64,
    /// The same of inodes.
    pub reserved_files: u64,
    pub repository_bytes: u64,
    pub blobs: u64,
    pub blob_bytes: u64,
    /// Of blobs that no app needs: what the platform's own images are of, and what is yet to be removed.
    pub blob_other_bytes: u64,
    pub log_bytes: u64,
    /// Nothing when it is elsewhere.
    pub database_bytes: u64,
    pub engine_images: u64,
    /// Each layer counted once.
    pub engine_image_bytes: u64,
    pub cache_bytes: u64,
    pub volume_bytes: u64,
}

/// What was removed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CleanView {
    /// Whose image was given up: they can be seen, and not be rolled back to.
    pub releases: u64,
    pub blobs: u64,
    pub blob_bytes: u64,
    /// Blobs that nobody needs either, used too short a time ago to go.
    pub young_blobs: u64,
    pub engine_images: u64,
    pub networks: u64,
    pub caches: u64,
}

impl From<&AppUsage> for AppDiskView {
    fn from(usage: &AppUsage) -> Self {
        Self {
            id: usage.app.id.to_string(),
            name: usage.app.name.to_string(),
            repository_bytes: usage.repository,
            images: usage.images,
            images_own_bytes: usage.images_own,
            images_shared_bytes: usage.images_shared,
            cache_bytes: usage.cache,
            log_bytes: usage.logs,
            volume_bytes: usage.volumes,
            pushed_bytes: usage.pushed,
        }
    }
}

impl From<&PlatformUsage> for PlatformDiskView {
    fn from(usage: &PlatformUsage) -> Self {
        let room = usage.room.as_ref();
        Self {
            place: room.map(|room| room.place.display().to_string()),
            free_bytes: room.map(|room| room.free),
            total_bytes: room.map(|room| room.total),
            free_files: room.and_then(|room| room.free_files),
            reserved_bytes: usage.reserved,
            reserved_files: usage.reserved_files,
            repository_bytes: usage.repositories,
            blobs: usage.blobs_number,
            blob_bytes: usage.blobs,
            blob_other_bytes: usage.blobs_other,
            log_bytes: usage.logs,
            database_bytes: usage.database,
            engine_images: usage.engine_images_number,
            engine_image_bytes: usage.engine_images,
            cache_bytes: usage.caches,
            volume_bytes: usage.volumes,
        }
    }
}

impl From<&Usage> for DiskView {
    fn from(usage: &Usage) -> Self {
        let platform = usage.platform.as_ref().map(PlatformDiskView::from);
        Self { apps: usage.apps.iter().map(AppDiskView::from).collect(), platform }
    }
}

impl From<&Collected> for CleanView {
    fn from(collected: &Collected) -> Self {
        Self {
            releases: collected.releases,
            blobs: collected.blobs,
            blob_bytes: collected.bytes,
            young_blobs: collected.young,
            engine_images: collected.images,
            networks: collected.networks,
            caches: collected.caches,
        }
    }
}
