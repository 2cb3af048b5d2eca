//! The contract of engines on the real one, and what only the real one can show: confinement, isolation,
//! and what it does with what a crash left behind.

mod docker;
pub mod image;
mod volumes;

use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use hythe::base::model::ImageDigest;
use hythe::machinery::runtime::contract::{self, Rig};
use hythe::machinery::runtime::docker::Docker;
use hythe::machinery::runtime::{ByteStream, Engine};

use image::{Archive, Layer, base};

pub const SOCKET: &str = "/var/run/docker.sock";

/// A platform of its own on this machine's engine, with the tiny image loaded.
pub struct DockerRig {
    pub docker: Docker,
    pub prefix: String,
    image: ImageDigest,
    top: Layer,
    ghost: Layer,
}

impl DockerRig {
    pub async fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("hythe-test-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let docker = Docker::connect(SOCKET, &prefix).expect("connect");
        let archive = Archive::new(&[(base(), true)]);
        let rig = Self {
            top: Layer::with("workspace/top", &prefix),
            ghost: Layer::with("workspace/ghost", &prefix),
            image: archive.digest.clone(),
            docker,
            prefix,
        };
        let tar = archive.tar(&rig.docker.image_reference(&rig.image));
        rig.docker.load(contract::one(tar)).await.expect("the tests need a Docker Engine at /var/run/docker.sock");
        rig
    }

    fn archive_of(&self, layers: &[(&Layer, bool)]) -> ByteStream {
        let archive = Archive::new(layers);
        contract::one(archive.tar(&self.docker.image_reference(&archive.digest)))
    }
}

impl Drop for DockerRig {
    /// On a thread of its own, because this may run while a test's runtime unwinds.
    fn drop(&mut self) {
        let docker = self.docker.clone();
        let clean = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(docker.remove_everything())
        });
        let left = clean.join().expect("clean-up");
        if !std::thread::panicking() {
            left.expect("everything is removed");
        }
    }
}

#[async_trait]
impl Rig for DockerRig {
    fn engine(&self) -> &dyn Engine {
        &self.docker
    }

    fn image(&self) -> ImageDigest {
        self.image.clone()
    }

    fn other_image(&self) -> ImageDigest {
        Archive::new(&[(base(), true), (&self.top, true)]).digest
    }

    fn archive(&self, whole: bool) -> ByteStream {
        self.archive_of(&[(base(), whole), (&self.top, true)])
    }

    fn archive_with_a_gap(&self) -> ByteStream {
        self.archive_of(&[(base(), false), (&self.ghost, false)])
    }

    fn listener(&self) -> Vec<String> {
        let listen = "socket(my $s, PF_INET, SOCK_STREAM, 0); bind($s, sockaddr_in($ENV{PORT}, INADDR_ANY)) or die; \
                      listen($s, 9); while (accept(my $c, $s)) { close $c }";
        ["perl", "-MSocket", "-e", listen].map(str::to_owned).to_vec()
    }

    fn glutton(&self) -> Vec<String> {
        ["perl", "-e", "my @all; push @all, 'x' x 1_000_000 while 1"].map(str::to_owned).to_vec()
    }
}

hythe::engine_contract!(DockerRig::new().await);
