use super::*;
use crate::base::clock::Timestamp;
use crate::base::model::{CustomerId, Id, MembershipId};

fn actor(scope: MembershipScope, role: Role) -> Actor {
    let user = User {
        id: UserId::fresh(),
        customer_id: CustomerId::fresh(),
        name: "ann".parse().expect("name"),
        email: "ann@example.com".into(),
        enabled: true,
        platform_admin: false,
        created_at: Timestamp(0),
    };
    let membership = Membership { id: MembershipId::fresh(), user_id: user.id.clone(), scope, role };
    Actor { user, memberships: vec![membership], bound: None }
}

#[test]
fn a_role_holds_in_its_scope_and_below_only() {
    let (here, there) = (OrganizationId::fresh(), OrganizationId::fresh());
    let place = |o: &OrganizationId| Place {
        organization: o.clone(),
        space: Some(SpaceId::fresh()),
        app: Some(AppId::fresh()),
    };
    let owner = actor(MembershipScope::Organization(here.clone()), Role::Owner);
    assert!(owner.may(Action::DestroyApp, &place(&here)).is_ok());
    assert!(owner.may(Action::ViewApp, &place(&there)).is_err_and(|e| e.is_not_found()));
    assert!(owner.may(Action::ManagePlatform, &place(&here)).is_err());
}

#[test]
fn a_viewer_sees_but_does_not_touch() {
    let place = Place { organization: OrganizationId::fresh(), space: Some(SpaceId::fresh()), app: None };
    let viewer = actor(MembershipScope::Space(place.space.clone().expect("space")), Role::Viewer);
    assert!(viewer.may(Action::ViewApp, &place).is_ok());
    for action in [Action::Deploy, Action::ReadVariables, Action::WriteVariables, Action::CreateApp, Action::DestroyApp]
    {
        assert!(viewer.may(action, &place).is_err(), "{action:?}");
    }
}

#[test]
fn a_disabled_user_may_nothing() {
    let organization = OrganizationId::fresh();
    let mut owner = actor(MembershipScope::Organization(organization.clone()), Role::Owner);
    owner.user.enabled = false;
    let place = Place { organization, space: None, app: None };
    assert!(owner.may(Action::ViewApp, &place).is_err());
}
