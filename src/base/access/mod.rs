//! Who may do what: one pure table role × action. Verbs ask it in their first line.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::model::{
    App, AppId, Id, Membership, MembershipId, MembershipScope, OrganizationId, Space, SpaceId, User, UserId,
};

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
    /// One app, and what it lies in.
    App(AppId),
}

/// An authenticated caller with the memberships it had when it came in.
#[derive(Debug, Clone)]
pub struct Actor {
    pub user: User,
    pub memberships: Vec<Membership>,
    /// It came with a token for this app alone: nothing else is there for it.
    pub bound: Option<AppId>,
}

impl Actor {
    pub fn scope(&self) -> Scope {
        match &self.bound {
            Some(app) => Scope::App(app.clone()),
            None if self.user.platform_admin => Scope::Platform,
            None => Scope::User(self.user.id.clone()),
        }
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
            Some(role) => Err(Error::forbidden(format!("your role here, {}, does not allow this", role))),
            None => Err(Error::not_found("it")),
        }
    }

    /// The same person at one app, with no more than `role`; none where he has none there.
    pub fn bound_to(self, app: &App, role: Role) -> Option<Self> {
        let held = if self.user.platform_admin { Role::Owner } else { self.role_at(&app.into())? };
        let membership = Membership {
            id: MembershipId::fresh(),
            user_id: self.user.id.clone(),
            scope: MembershipScope::App(app.id.clone()),
            role: held.min(role),
        };
        let user = User { platform_admin: false, ..self.user };
        Some(Self { user, memberships: vec![membership], bound: Some(app.id.clone()) })
    }

    /// The person as a whole: its keys, its tokens, apps that are new.
    pub fn may_act_freely(&self) -> Result<()> {
        self.may_act()?;
        match self.bound {
            Some(_) => Err(Error::forbidden("this token is for one app; use one that is not bound to an app")),
            None => Ok(()),
        }
    }

    /// What is the actor's own, and lists of what it can see.
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

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Developer => "developer",
            Self::Admin => "admin",
            Self::Owner => "owner",
        })
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Viewer, Self::Developer, Self::Admin, Self::Owner];
        let found = all.into_iter().find(|role| role.to_string() == text);
        found.ok_or_else(|| "must be viewer, developer, admin or owner".into())
    }
}

#[cfg(test)]
mod tests;
