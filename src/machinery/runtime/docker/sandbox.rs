//! Sandboxes: a container that idles under a reaping init and is entered by exec. It lies in the build
//! network, where it sees neither other sandboxes nor any app, and is frozen between uses.

use bollard::models::{ContainerCreateBody, ContainerInspectResponse, HostConfig};
use bollard::query_parameters::{DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::super::{ByteStream, EngineError, Privileges, Result, SandboxSpec};
use super::faults::{self, refused};
use super::images::{patient, watched};
use super::names::{self, Labels};
use super::rollout::confined;
use super::{Docker, LONG, QUICK};
use crate::base::model::Limits;

/// What dpkg and apt need to unpack files of other owners and to drop to their own user.
const PACKAGE_CAPABILITIES: [&str; 5] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"];

/// Of processor time where it is short; a replica has 1024.
const WEIGHT: i64 = 64;
/// Where memory is short the kernel takes a sandbox before a replica, which has 500.
const OOM_SCORE: i64 = 900;

impl Docker {
    pub(super) async fn open(&self, spec: &SandboxSpec) -> Result<bool> {
        let name = &names::sandbox(&self.0.prefix, &spec.name)?;
        if let Some(found) = self.find_sandbox(name).await? {
            let labels = found.config.as_ref().and_then(|c| c.labels.as_ref());
            let label = |key| labels.and_then(|l| l.get(key)).map(String::as_str);
            let same = label(names::IMAGE) == Some(spec.image.as_str())
                && label(names::PRIVILEGES) == Some(privileges(spec.privileges))
                && label(names::BOUNDS) == Some(&bounds(&spec.limits));
            let state = found.state.unwrap_or_default();
            if same && state.paused == Some(true) {
                self.call("resume", name, QUICK, |api| async move { api.unpause_container(name).await }).await?;
                return Ok(false);
            }
            if same && state.running == Some(true) {
                return Ok(false);
            }
            self.discard(name).await?;
        }
        let network = self.build_network().await?;
        let id = self.create(name, &self.sandbox_body(spec, &network), spec.image.as_str()).await?;
        let started = self.start_container(&id, name).await;
        if started.is_err() {
            let _ = self.discard(&id).await;
            self.forget_network(&network).await;
        }
        started.map(|()| true)
    }

    pub(super) async fn pause(&self, sandbox: &str) -> Result<()> {
        let name = &names::sandbox(&self.0.prefix, sandbox)?;
        let paused = |api: bollard::Docker| async move {
            match api.pause_container(name).await {
                // Not there, not running, or paused already.
                Err(error) if matches!(faults::status(&error), Some(404 | 409)) => Ok(()),
                Err(error) if faults::text(&error).contains("already paused") => Ok(()),
                Err(error) if faults::text(&error).contains("is not running") => Ok(()),
                other => other,
            }
        };
        self.call("pause", name, QUICK, paused).await
    }

    pub(super) async fn close(&self, sandbox: &str) -> Result<()> {
        let name = names::sandbox(&self.0.prefix, sandbox)?;
        self.discard(&name).await?;
        // What a crash left while somebody read the changes.
        self.remove_image(&format!("{}:{sandbox}", names::changes_repository(&self.0.prefix))).await
    }

    pub(super) async fn sandbox_names(&self) -> Result<Vec<String>> {
        let ours = vec![format!("{}={}", names::PREFIX, self.0.prefix), names::SANDBOX.to_owned()];
        let found = self.list_containers(ours).await?;
        Ok(found.into_iter().filter_map(|c| c.labels?.remove(names::SANDBOX)).collect())
    }

    pub(super) async fn put_tree(&self, sandbox: &str, path: &str, tar: ByteStream) -> Result<()> {
        let name = &names::sandbox(&self.0.prefix, sandbox)?;
        let (tar, broken) = watched(tar);
        let options = UploadToContainerOptionsBuilder::new().path(path).build();
        let subject = format!("{path} in sandbox {sandbox}");
        let body = bollard::body_try_stream(tar);
        let put = self.call("unpack into", &subject, LONG, |api| async move {
            api.upload_to_container(name, Some(options), body).await
        });
        let put = put.await;
        match broken.lock().unwrap_or_else(|e| e.into_inner()).take() {
            Some(fault) => Err(EngineError::Refused { operation: "read archive for", subject, source: fault.into() }),
            None => put,
        }
    }

    pub(super) async fn get_tree(&self, sandbox: &str, path: &str) -> Result<ByteStream> {
        let name = names::sandbox(&self.0.prefix, sandbox)?;
        let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
        let subject = format!("{path} in sandbox {sandbox}");
        let mut pieces = self.api()?.download_from_container(&name, Some(options)).boxed();
        // The first piece tells whether there is anything.
        let first = self.call("read", &subject, LONG, |_| pieces.try_next()).await?;
        let rest = patient(pieces.map_err(std::io::Error::other).boxed());
        Ok(stream::iter(first.map(Ok)).chain(rest).boxed())
    }

    /// The sandbox's container, if it exists. One of that name that is not ours is refused.
    async fn find_sandbox(&self, name: &str) -> Result<Option<ContainerInspectResponse>> {
        let found = match self.inspect(name).await {
            Err(EngineError::NotFound { .. }) => return Ok(None),
            other => other?,
        };
        let labels = found.config.as_ref().and_then(|c| c.labels.as_ref());
        let ours = labels.is_some_and(|l| l.get(names::PREFIX) == Some(&self.0.prefix));
        if ours {
            Ok(Some(found))
        } else {
            Err(refused("open sandbox", name, "a container that is not ours has its name"))
        }
    }

    fn sandbox_body(&self, spec: &SandboxSpec, network: &str) -> ContainerCreateBody {
        let packages = spec.privileges == Privileges::Packages;
        let capabilities = packages.then(|| PACKAGE_CAPABILITIES.map(str::to_owned).to_vec());
        ContainerCreateBody {
            image: Some(names::image(&self.0.prefix, &spec.image)),
            entrypoint: Some(vec!["sleep".into(), "infinity".into()]),
            user: packages.then(|| "0:0".into()),
            env: Some(spec.variables.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            hostname: Some("build".into()),
            labels: Some(Labels::from([
                (names::PREFIX.into(), self.0.prefix.clone()),
                (names::SANDBOX.into(), spec.name.clone()),
                (names::IMAGE.into(), spec.image.to_string()),
                (names::PRIVILEGES.into(), privileges(spec.privileges).into()),
                (names::BOUNDS.into(), bounds(&spec.limits)),
            ])),
            host_config: Some(HostConfig {
                cap_add: capabilities,
                cpu_shares: Some(WEIGHT),
                oom_score_adj: Some(OOM_SCORE),
                ..confined(&spec.limits, network)
            }),
            ..Default::default()
        }
    }
}

fn bounds(limits: &Limits) -> String {
    format!("{} {} {} {WEIGHT} {OOM_SCORE}", limits.memory_bytes, limits.cpu_millis, limits.pids)
}

fn privileges(privileges: Privileges) -> &'static str {
    match privileges {
        Privileges::None => "none",
        Privileges::Packages => "packages",
    }
}
