//! Memberships: a user's role at one place. Every scope condition of this room reads this table.

use sqlx::FromRow;

use super::Tx;
use super::dialect::{from_word, many, on, parse, parse_some, touched, word};
use crate::base::error::{Error, Result};
use crate::base::model::{Id, Membership, MembershipScope, UserId};

#[derive(FromRow)]
struct Row {
    id: String,
    user_id: String,
    organization_id: Option<String>,
    space_id: Option<String>,
    app_id: Option<String>,
    role: String,
}

impl TryFrom<Row> for Membership {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self> {
        let organization = parse_some(row.organization_id.as_deref())?.map(MembershipScope::Organization);
        let space = parse_some(row.space_id.as_deref())?.map(MembershipScope::Space);
        let app = parse_some(row.app_id.as_deref())?.map(MembershipScope::App);
        let scope = organization.or(space).or(app);
        Ok(Self {
            scope: scope.ok_or_else(|| Error::internal(format!("the membership {} holds nowhere", row.id)))?,
            id: parse(&row.id)?,
            user_id: parse(&row.user_id)?,
            role: from_word(&row.role)?,
        })
    }
}

pub async fn insert(tx: &mut Tx, membership: &Membership) -> Result<()> {
    const SQL: &str = "INSERT INTO memberships (id, user_id, organization_id, space_id, app_id, role)
        VALUES ($1, $2, $3, $4, $5, $6)";
    let (organization, space, app) = match &membership.scope {
        MembershipScope::Organization(id) => (Some(id.as_str()), None, None),
        MembershipScope::Space(id) => (None, Some(id.as_str()), None),
        MembershipScope::App(id) => (None, None, Some(id.as_str())),
    };
    let role = word(&membership.role)?;
    touched!(tx, c => sqlx::query(SQL)
        .bind(membership.id.as_str())
        .bind(membership.user_id.as_str())
        .bind(organization)
        .bind(space)
        .bind(app)
        .bind(role.as_str())
        .execute(c))?;
    Ok(())
}

pub async fn of_user(tx: &mut Tx, user: &UserId) -> Result<Vec<Membership>> {
    const SQL: &str = "SELECT * FROM memberships WHERE user_id = $1 ORDER BY id";
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(user.as_str()).fetch_all(c))?)
}
