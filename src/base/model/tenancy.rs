//! Who owns what: `Customer` ⊃ `Organization` ⊃ `Space` ⊃ `App`; users reach them by memberships.

use serde::{Deserialize, Serialize};

use super::{AppId, AppName, CustomerId, MembershipId, OrganizationId, SpaceId, SshKeyId, TenantName, TokenId, UserId};
use crate::base::access::Role;
use crate::base::clock::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CustomerStatus {
    Free,
    Paid,
    Suspended,
    ToBeRemoved,
}

#[derive(Debug, Clone)]
pub struct Customer {
    pub id: CustomerId,
    pub name: TenantName,
    pub status: CustomerStatus,
    pub created_at: Timestamp,
}

#[derive(Debug, Clone)]
pub struct Organization {
    pub id: OrganizationId,
    pub customer_id: CustomerId,
    /// Unique on the platform, because it stands in git addresses: `ORG/APP`.
    pub name: TenantName,
    pub created_at: Timestamp,
}

#[derive(Debug, Clone)]
pub struct Space {
    pub id: SpaceId,
    pub organization_id: OrganizationId,
    pub name: TenantName,
    pub created_at: Timestamp,
}

#[derive(Debug, Clone)]
pub struct User {
    pub id: UserId,
    pub customer_id: CustomerId,
    pub name: TenantName,
    pub email: String,
    pub enabled: bool,
    pub platform_admin: bool,
    pub created_at: Timestamp,
}

/// Where a membership's role holds: there and in all below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembershipScope {
    Organization(OrganizationId),
    Space(SpaceId),
    App(AppId),
}

#[derive(Debug, Clone)]
pub struct Membership {
    pub id: MembershipId,
    pub user_id: UserId,
    pub scope: MembershipScope,
    pub role: Role,
}

#[derive(Debug, Clone)]
pub struct SshKey {
    pub id: SshKeyId,
    pub user_id: UserId,
    pub name: String,
    /// `SHA256:` and unpadded base64, as `ssh-keygen -l` prints it; unique on the platform.
    pub fingerprint: String,
    /// One line in OpenSSH format without its comment.
    pub public_key: String,
    pub created_at: Timestamp,
}

#[derive(Debug, Clone)]
pub struct ApiToken {
    pub id: TokenId,
    pub user_id: UserId,
    pub name: String,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub last_used_at: Option<Timestamp>,
    /// None: all that its owner may.
    pub grant: Option<Grant>,
}

/// One app, and no more than this role there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub app: AppId,
    pub app_name: AppName,
    pub role: Role,
}
