//! One bridge network per space, made when a replica first needs it, and one for all builds, in which
//! sandboxes cannot see each other. The engine keeps networks apart; addresses beyond this machine are not
//! filtered here (that of a cloud's metadata included).

use std::collections::HashMap;

use bollard::models::NetworkCreateRequest;
use bollard::query_parameters::ListNetworksOptionsBuilder;

use super::super::Result;
use super::names::{self, Labels};
use super::{Docker, QUICK, START, faults};
use crate::base::model::SpaceId;

impl Docker {
    /// The name of the space's network, which exists when this returns.
    pub(super) async fn space_network(&self, space: &SpaceId) -> Result<String> {
        let name = names::space_network(&self.0.prefix, space);
        self.network(&name, Labels::from([(names::SPACE.into(), space.to_string())]), HashMap::new()).await?;
        Ok(name)
    }

    pub(super) async fn build_network(&self) -> Result<String> {
        let name = names::build_network(&self.0.prefix);
        let apart = HashMap::from([("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned())]);
        self.network(&name, Labels::new(), apart).await?;
        Ok(name)
    }

    /// A network that was believed to exist is gone: look again next time.
    pub(super) async fn forget_network(&self, name: &str) {
        self.0.networks.lock().await.remove(name);
    }

    async fn network(&self, name: &str, mut labels: Labels, options: HashMap<String, String>) -> Result<()> {
        let mut known = self.0.networks.lock().await;
        if known.contains(name) {
            return Ok(());
        }
        if !self.has_network(name).await? {
            labels.insert(names::PREFIX.into(), self.0.prefix.clone());
            let request = NetworkCreateRequest {
                name: name.to_owned(),
                driver: Some("bridge".into()),
                options: Some(options),
                labels: Some(labels),
                ..Default::default()
            };
            self.call("create network", name, START, |api| async move { api.create_network(request).await }).await?;
        }
        known.insert(name.to_owned());
        Ok(())
    }

    pub(super) async fn has_network(&self, name: &str) -> Result<bool> {
        // The engine's name filter matches parts of names.
        let filters = HashMap::from([("name", vec![name])]);
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        let found = self
            .call("look for network", name, QUICK, |api| async move { api.list_networks(Some(options)).await })
            .await?;
        let Some(network) = found.into_iter().find(|n| n.name.as_deref() == Some(name)) else { return Ok(false) };
        let ours = network.labels.unwrap_or_default().get(names::PREFIX) == Some(&self.0.prefix);
        if ours { Ok(true) } else { Err(faults::refused("use network", name, "it exists and is not ours")) }
    }

    pub(super) async fn remove_all_networks(&self) -> Result<()> {
        let mut known = self.0.networks.lock().await;
        let filters = HashMap::from([("label", vec![format!("{}={}", names::PREFIX, self.0.prefix)])]);
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        let ours =
            self.call("list", "networks", QUICK, |api| async move { api.list_networks(Some(options)).await }).await?;
        known.clear();
        for id in ours.into_iter().filter_map(|n| n.id) {
            let gone = |api: bollard::Docker| {
                let id = id.clone();
                async move { faults::gone_is_fine(api.remove_network(&id).await) }
            };
            self.call("remove network", &id, QUICK, gone).await?;
        }
        Ok(())
    }
}
