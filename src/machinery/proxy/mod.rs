//! TEMP stub
use crate::base::model::Host;
use std::{collections::HashMap, net::SocketAddr, path::Path, sync::Arc};
#[derive(Default)]
pub struct RouteTable {
    r: HashMap<Host, Arc<Target>>,
    a: Option<(Host, SocketAddr)>,
}
impl RouteTable {
    pub fn new(a: Option<(Host, SocketAddr)>, r: HashMap<Host, Arc<Target>>) -> Self {
        Self { r, a }
    }
}
pub struct Target {
    pub app: String,
    pub upstreams: Vec<Arc<Upstream>>,
    pub state: TargetState,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetState {
    Live,
    Stopped,
    Starting,
}
pub struct Upstream;
impl Upstream {
    pub fn new(_: SocketAddr, _: String) -> Arc<Self> {
        todo!()
    }
    pub fn in_flight(&self) -> usize {
        0
    }
}
pub struct Proxy;
#[derive(Default)]
pub struct ProxySettings {
    pub public_port: Option<u16>,
    pub hold: u8,
}
impl Proxy {
    pub fn new(_: tokio::sync::watch::Receiver<Arc<RouteTable>>, _: ProxySettings) -> Self {
        Self
    }
    pub async fn serve(self, _: tokio::net::TcpListener, _: tokio_util::sync::CancellationToken) {}
}
pub fn save(_: &RouteTable, _: &Path) -> std::io::Result<()> {
    todo!()
}
pub fn load(_: &Path) -> std::io::Result<Option<RouteTable>> {
    todo!()
}
