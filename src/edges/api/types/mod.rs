//! What the API says and hears, as JSON. The client uses the same types. Times are RFC 3339 in UTC.

mod account;
mod app;
mod base;
mod buildpacks;
mod certificate;
mod command;
mod contents;
mod delivery;
mod diff;
mod disk;
mod domain;
mod drain;
pub mod frames;
mod health;
mod held;
mod local;
mod metrics;
mod seen;
mod source;
mod traffic;
mod volume;
mod webhook;

pub use account::{KeyView, NewKeyBody, NewTokenBody, SetupBody, SetupView, TokenView, UserView};
pub use app::{
    AppChange, AppDetail, AppView, EnvironmentChangeBody, EnvironmentView, NewAppBody, NewEnvironmentBody, ProcessItem,
    ReplicaItem, ScalingBody, VariablesChanged, VariablesView,
};
pub use base::{BaseUpdatedView, BaseView, ChangedView, GroundView};
pub use buildpacks::BuildpacksView;
pub use certificate::{AuthorityView, CertificateItem, NameItem, NewCertificateBody, OrderBody};
pub use command::{AttachBody, CommandView, CronDetail, CronView, NewCommandBody, NewCronBody, TerminalBody};
pub use contents::{BuildBomView, ContentsView, FoundView, PackageView};
pub use delivery::{
    BuildView, BuiltDeploymentView, DeploymentDetail, DeploymentView, ReleaseView, RollbackBody, StepView,
};
pub use diff::{ChangeView, DiffView, NamesView, PromoteBody};
pub use disk::{AppDiskView, CleanView, DiskView, PlatformDiskView};
pub use domain::{DomainItem, NewDomainBody, ProofItem};
pub use drain::{DrainView, NewDrainBody};
pub use health::{CheckBody, CheckItem, ProcessChecksBody};
pub use held::HeldView;
pub use local::{Local, LocalAnswer, LocalRequest};
pub use metrics::{HostPoint, MetricsPoint, MetricsView, ReplicaPoint, RequestsPoint};
pub use seen::{EventView, WhyLink, WhySide, WhyView};
pub use source::{MannerQuery, NewSourceBody};
pub use traffic::{HeldRule, RateBody, TrafficChangeBody, TrafficView};
pub use volume::{
    FormationBody, FormationChanged, MountBody, MountsChanged, NewVolumeBody, RestoreBody, SizeView, VolumeView,
};
pub use webhook::{DeliveryView, NewWebhookBody, ReplayBody, ReplayView, WebhookView};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Part of a list. `next` is the cursor to give as `after` for the part that follows; none at the end.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
}

/// Why a request was not done (RFC 9457).
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct ProblemView {
    /// Stable name of the kind, such as `urn:hythe:problem:not-found`.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    /// Field to what is wrong with it; the empty field is the request as a whole.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, Vec<String>>,
    /// Names this request in the log of the server.
    #[serde(default)]
    pub request_id: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HealthView {
    pub status: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlatformView {
    pub version: String,
    /// Apps answer below this domain.
    pub base_domain: String,
    /// Host and port to push to.
    pub git_host: String,
    pub git_port: u16,
    pub now: String,
}
