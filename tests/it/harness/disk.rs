//! A file system of a few megabytes, to run out of. Needs root, as the suite does anyway.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{program, run, scratch};

pub struct SmallDisk {
    at: PathBuf,
    /// Removed when it is mounted no more.
    own: Option<TempDir>,
}

impl SmallDisk {
    pub fn mount(megabytes: u32) -> Self {
        let dir = tempfile::Builder::new().prefix("disk-").tempdir_in(scratch()).expect("directory");
        let mut disk = Self::over(dir.path(), megabytes);
        disk.own = Some(dir);
        disk
    }

    /// In the place of a directory, which comes back afterwards.
    pub fn over(at: &Path, megabytes: u32) -> Self {
        Self::set(at, &format!("size={megabytes}m,mode=0755"))
    }

    /// One that takes so many files.
    pub fn of_files(megabytes: u32, files: u32) -> Self {
        let dir = tempfile::Builder::new().prefix("disk-").tempdir_in(scratch()).expect("directory");
        let mut disk = Self::set(dir.path(), &format!("size={megabytes}m,nr_inodes={files},mode=0755"));
        disk.own = Some(dir);
        disk
    }

    fn set(at: &Path, size: &str) -> Self {
        run(program("mount").args(["-t", "tmpfs", "-o", size, "hythe-test"]).arg(at)).expect("mount");
        Self { at: at.to_owned(), own: None }
    }

    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Makes empty files until only so many more can be made.
    pub fn crowd(&self, spare: u64) {
        let dir = self.path().join("crowd");
        fs::create_dir_all(&dir).expect("directory");
        let left = rustix::fs::statvfs(&self.at).expect("statvfs").f_favail;
        for number in spare..left {
            File::create(dir.join(number.to_string())).expect("one more");
        }
    }

    pub fn disperse(&self) {
        fs::remove_dir_all(self.path().join("crowd")).expect("crowd");
    }

    /// Fills what is left, but for `spare` bytes.
    pub fn fill(&self, spare: usize) -> PathBuf {
        let path = self.path().join("ballast");
        let mut file = File::create(&path).expect("ballast");
        let piece = vec![1; 4096];
        while file.write_all(&piece).is_ok() {}
        let _ = file.flush();
        let length = file.metadata().expect("size").len();
        file.set_len(length.saturating_sub(spare as u64)).expect("spare");
        path
    }

    pub fn relieve(&self) {
        fs::remove_file(self.path().join("ballast")).expect("ballast");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a container or a dying process may still look into it.
        run(program("umount").arg("-l").arg(&self.at));
    }
}
