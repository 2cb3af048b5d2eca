//! Apps, their environments, variables and process types, and what was delivered to them. Every
//! look-up goes through the actor's scope: what it may not see is not found.

mod delivered;
mod environments;
mod find;
mod lifecycle;
mod observatory;
mod process_variables;
mod processes;
mod told;
mod traffic;
mod variables;

pub use delivered::{build, builds, deployment_of, output, release, releases};
pub use environments::{
    EnvironmentChange, EnvironmentOverview, NewEnvironment, PRODUCTION, change_environment, create_environment,
    delete_environment, environment, environments, overview,
};
pub use find::{AppOverview, AppRef, describe, list, next, resolve};
pub use lifecycle::{NewApp, create, delete, refreshed, rename};
pub use observatory::{NoObservatory, Observatory, ReplicaView, replicas};
pub use process_variables::process_variables;
pub use processes::{MOST_REPLICAS, ProcessView, processes};
pub use told::{tell, tell_for};
pub use traffic::{UserChanges, change_traffic, traffic_beneath};
pub use variables::{
    VariableChanges, read_variables, restore_variables, seal_changes, unseal_changes, variables, write_variables,
};
