//! The organization and the space that appear when they are first asked for.

use crate::base::access::{Actor, Role, Scope};
use crate::base::error::{Error, Result};
use crate::base::model::{
    Id, Membership, MembershipId, MembershipScope, Organization, OrganizationId, Space, SpaceId, TenantName,
};
use crate::product::Ctx;
use crate::state::store::{Tx, memberships, organizations, spaces};

/// The first organization of the actor's customer. A new one is called `default`, or as the
/// customer when that name is taken: organization names stand in git addresses and are unique.
pub async fn default_organization(tx: &mut Tx, ctx: &Ctx, actor: &Actor) -> Result<Organization> {
    // The customer is the actor's own, so the platform's scope reaches nothing foreign here; whether
    // the actor has a role in it, `may` says afterwards.
    if let Some(found) = organizations::first_of_customer(tx, &Scope::Platform, &actor.user.customer_id).await? {
        return Ok(found);
    }
    let mut name: TenantName = "default".parse().map_err(Error::internal)?;
    if organizations::find_by_name(tx, &Scope::Platform, &name).await?.is_some() {
        name = actor.user.name.clone();
    }
    let organization = Organization {
        id: OrganizationId::fresh(),
        customer_id: actor.user.customer_id.clone(),
        name,
        created_at: ctx.now(),
    };
    organizations::insert(tx, &organization).await?;
    let owner = Membership {
        id: MembershipId::fresh(),
        user_id: actor.user.id.clone(),
        scope: MembershipScope::Organization(organization.id.clone()),
        role: Role::Owner,
    };
    memberships::insert(tx, &owner).await?;
    Ok(organization)
}

pub async fn default_space(tx: &mut Tx, ctx: &Ctx, organization: &Organization) -> Result<Space> {
    let name: TenantName = "default".parse().map_err(Error::internal)?;
    if let Some(found) = spaces::find_by_name(tx, &Scope::Platform, &organization.id, &name).await? {
        return Ok(found);
    }
    let space = Space { id: SpaceId::fresh(), organization_id: organization.id.clone(), name, created_at: ctx.now() };
    spaces::insert(tx, &space).await?;
    Ok(space)
}
