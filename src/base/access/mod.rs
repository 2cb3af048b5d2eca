//! Who may do what: one pure table role × action. Verbs ask it in their first line.

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::model::{App, AppId, Membership, MembershipScope, OrganizationId, Space, SpaceId, User, UserId};

/// Ordered by power within a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Viewer,
    Developer,
    Admin,
    Owner,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    ViewApp,
    /// Push, roll back, restart, scale.
    Deploy,
    ReadVariables,
    WriteVariables,
    CreateApp,
    DestroyApp,
    ManageMembers,
    /// Run the platform itself.
    ManagePlatform,
}

/// A place in the tenancy, with all that is above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub organization: OrganizationId,
    pub space: Option<SpaceId>,
    pub app: Option<AppId>,
}

impl From<&App> for Place {
    fn from(app: &App) -> Self {
        Self { organization: app.organization_id.clone(), space: Some(app.space_id.clone()), app: Some(app.id.clone()) }
    }
}

impl From<&Space> for Place {
    fn from(space: &Space) -> Self {
        Self { organization: space.organization_id.clone(), space: Some(space.id.clone()), app: None }
    }
}

/// The rows a query may touch. Every look-up of the store takes one, so that no bare id from
/// outside ever reaches a row of another tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// What the platform's own work (jobs, converger) and platform administrators see.
    Platform,
    /// What the user's memberships reach.
    User(UserId),
}

/// An authenticated caller with the memberships it had when it came in.
#[derive(Debug, Clone)]
pub struct Actor {
    pub user: User,
    pub memberships: Vec<Membership>,
}

impl Actor {
    pub fn scope(&self) -> Scope {
        if self.user.platform_admin { Scope::Platform } else { Scope::User(self.user.id.clone()) }
    }

    /// Forbidden is only ever said about places the caller can see; rows out of scope were not found before.
    pub fn may(&self, action: Action, place: &Place) -> Result<()> {
        if !self.user.enabled {
            return Err(Error::unauthenticated());
        }
        if self.user.platform_admin {
            return Ok(());
        }
        match self.role_at(place) {
            Some(role) if allows(role, action) => Ok(()),
            Some(role) => Err(Error::forbidden(format!("your role here, {}, does not allow this", role_name(role)))),
            None => Err(Error::not_found("it")),
        }
    }

    /// What is the actor's own: its keys, its tokens, itself.
    pub fn may_act(&self) -> Result<()> {
        if self.user.enabled { Ok(()) } else { Err(Error::unauthenticated()) }
    }

    pub fn may_manage_platform(&self) -> Result<()> {
        if self.user.enabled && self.user.platform_admin { Ok(()) } else { Err(Error::not_found("it")) }
    }

    fn role_at(&self, place: &Place) -> Option<Role> {
        self.memberships.iter().filter(|m| covers(&m.scope, place)).map(|m| m.role).max()
    }
}

fn covers(scope: &MembershipScope, place: &Place) -> bool {
    match scope {
        MembershipScope::Organization(id) => *id == place.organization,
        MembershipScope::Space(id) => place.space.as_ref() == Some(id),
        MembershipScope::App(id) => place.app.as_ref() == Some(id),
    }
}

fn allows(role: Role, action: Action) -> bool {
    let least = match action {
        Action::ViewApp => Role::Viewer,
        Action::Deploy | Action::ReadVariables | Action::WriteVariables | Action::CreateApp => Role::Developer,
        Action::DestroyApp | Action::ManageMembers => Role::Admin,
        Action::ManagePlatform => return false,
    };
    role >= least
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Developer => "developer",
        Role::Admin => "admin",
        Role::Owner => "owner",
    }
}

#[cfg(test)]
mod tests;
