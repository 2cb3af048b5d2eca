//! Volumes and sizes.

use std::collections::BTreeMap;

use super::calls::within;
use super::{Client, Result, escaped};
use crate::edges::api::types::{
    FormationBody, FormationChanged, MountBody, MountsChanged, NewVolumeBody, Page, RestoreBody, SizeView, VolumeView,
};

impl Client {
    pub async fn volumes(&self, name: &str, environment: &str) -> Result<Page<VolumeView>> {
        self.get(within(name, environment, "/volumes")).await
    }

    pub async fn destroyed_volumes(&self) -> Result<Page<VolumeView>> {
        self.get("/v1/volumes".into()).await
    }

    pub async fn volume(&self, name: &str, environment: &str, volume: &str) -> Result<VolumeView> {
        self.get(within(name, environment, &format!("/volumes/{}", escaped(volume)))).await
    }

    pub async fn create_volume(&self, name: &str, environment: &str, body: &NewVolumeBody) -> Result<VolumeView> {
        self.call("POST", within(name, environment, "/volumes"), Some(body)).await
    }

    pub async fn destroy_volume(&self, name: &str, environment: &str, volume: &str) -> Result<VolumeView> {
        let path = within(name, environment, &format!("/volumes/{}", escaped(volume)));
        self.call("DELETE", path, None::<&()>).await
    }

    pub async fn restore_volume(
        &self,
        name: &str,
        environment: &str,
        volume: &str,
        body: &RestoreBody,
    ) -> Result<VolumeView> {
        let path = within(name, environment, &format!("/volumes/{}/restore", escaped(volume)));
        self.call("POST", path, Some(body)).await
    }

    pub async fn mount_volume(
        &self,
        name: &str,
        environment: &str,
        (volume, process): (&str, &str),
        body: &MountBody,
    ) -> Result<MountsChanged> {
        let path = within(name, environment, &format!("/volumes/{}/mounts/{}", escaped(volume), escaped(process)));
        self.call("PUT", path, Some(body)).await
    }

    /// Without `process`, from all that have it.
    pub async fn unmount_volume(
        &self,
        name: &str,
        environment: &str,
        volume: &str,
        process: Option<&str>,
    ) -> Result<MountsChanged> {
        let process = process.map_or_else(String::new, |process| format!("/{}", escaped(process)));
        let path = within(name, environment, &format!("/volumes/{}/mounts{process}", escaped(volume)));
        self.call("DELETE", path, None::<&()>).await
    }

    pub async fn sizes(&self) -> Result<Page<SizeView>> {
        self.get("/v1/sizes".into()).await
    }

    pub async fn set_formation(
        &self,
        name: &str,
        environment: &str,
        body: &BTreeMap<String, FormationBody>,
    ) -> Result<FormationChanged> {
        self.call("PATCH", within(name, environment, "/formation"), Some(body)).await
    }
}
