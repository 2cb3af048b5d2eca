//! Plain data. One file per noun; words are those of the glossary in `src/README.md`.

mod app;
mod buildpacks;
mod certificate;
mod command;
mod deployment;
mod domain;
mod drain;
mod event;
mod health;
mod https;
mod ids;
mod image;
mod job;
mod manifest;
mod metrics;
mod names;
mod outbound;
mod pages;
mod project;
mod protocol;
mod release;
mod route;
mod strategy;
mod tenancy;
mod traffic;
mod volume;
mod webhook;
mod workload;

pub use app::{
    App, Environment, EnvironmentSpec, EnvironmentState, EnvironmentStatus, Formation, Scaling, Scalings, Sizes,
    VariableSet, Watch,
};
pub use buildpacks::{
    Address, BuildpackRef, ChosenBuildpack, MOST_BUILDPACKS, NamedLogin, is_buildpack_id, is_buildpack_version,
};
pub use certificate::{Certificate, CertificateOrder, CertificateOrigin};
pub use command::{
    Command, CommandKind, CommandState, Cron, CronOrigin, Exit, Happening, Signal, UnknownSignal, Window,
};
pub use deployment::{Build, BuildState, Deployment, DeploymentKind, DeploymentState};
pub use domain::{Domain, Proof, ProofMethod};
pub use drain::Drain;
pub use event::{
    CanaryHeld, Event, Failure, Happened, ReplicaExited, ReplicaFailed, ReplicaReady, Returned, Routed, seconds,
};
pub use health::{Check, CheckKind, Checks, HealthCheck, MOST_CHECKS, overlaid};
pub use https::{Https, LONGEST_HSTS_SECONDS};
pub use ids::{
    AppId, BuildId, CertificateId, CommandId, CronId, CustomerId, DeploymentId, DomainId, DrainId, EnvironmentId,
    EventId, Id, JobId, MembershipId, OrderId, OrganizationId, ReleaseId, RouteId, SpaceId, SshKeyId, TokenId, UserId,
    VolumeId, WebhookId,
};
pub use image::{ContentDigest, ManifestFacts, PushedBlob, PushedManifest, PushedTag};
pub use job::{Job, JobState, JobStep, StepState};
pub use manifest::{BuildWish, CronEntry, Manifest, ManifestFault, Scripts, Wish, is_secret_id};
pub use metrics::{HostSample, LATENCY_MILLIS, Measured, ReplicaSample, Requests, Sample};
pub use names::{
    AppName, BranchName, CommitId, DomainName, EnvironmentName, Host, NameError, ProcessName, SizeName, TagName,
    TenantName, VariableName, VolumeName,
};
pub use outbound::{OutboundUrl, Scheme};
pub use pages::{PageKind, PageText, UnknownPage};
pub use project::{Files, Project, ProjectFault};
pub use protocol::Protocol;
pub use release::{ImageDigest, PORT, Process, Processes, Release, ReleaseKind};
pub use route::Route;
pub use strategy::{Canary, Guidance, LONGEST_HOLD_SECONDS, Once, Strategy};
pub use tenancy::{
    ApiToken, Customer, CustomerStatus, Grant, Membership, MembershipScope, Organization, Space, SshKey, User,
};
pub use traffic::{AccessLog, PasswordHash, Rate, Rule, Traffic, UnknownRule, network};
pub use volume::{MOST_MOUNTS, Mount, MountPath, Mounts, Volume, VolumeState};
pub use webhook::{Delivery, DeliveryState, Kinds, Webhook};
pub use workload::{Generation, Limits, Replica, ReplicaState, WorkloadId, WorkloadSpec};
