//! Every query on both databases. PostgreSQL is part of the tests: `contrib/test` starts one and names
//! it in `HYTHE_TEST_POSTGRES_URL`; each test makes a database of its own there.

mod access;
mod commands;
mod delivery;
mod domains;
mod drains;
mod events;
mod failures;
mod images;
mod leases;
mod metrics;
mod orders;
mod schema;
mod tenancy;
mod volumes;
mod webhooks;

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::*;
use crate::base::access::{Role, Scope};
use crate::base::clock::Timestamp;
use crate::base::model::*;

const POSTGRES: &str = "HYTHE_TEST_POSTGRES_URL";

/// Runs `test` on a fresh SQLite database and on a fresh PostgreSQL one.
pub(crate) async fn for_each_database<F: Future<Output = ()>>(test: impl Fn(Store) -> F) {
    on_sqlite(&test).await;
    on_postgres(&test).await;
}

async fn on_sqlite<F: Future<Output = ()>>(test: &impl Fn(Store) -> F) {
    let dir = tempfile::tempdir().expect("directory");
    let store = Store::open(None, dir.path()).await.expect("SQLite");
    test(store.clone()).await;
    store.close().await;
}

async fn on_postgres<F: Future<Output = ()>>(test: &impl Fn(Store) -> F) {
    let (url, name) = fresh_postgres().await;
    let dir = tempfile::tempdir().expect("directory");
    let store = Store::open(Some(&url), dir.path()).await.expect("PostgreSQL");
    let ended = AssertUnwindSafe(test(store.clone())).catch_unwind().await;
    store.close().await;
    drop_postgres(&name).await;
    if let Err(panic) = ended {
        eprintln!("the failure was on PostgreSQL");
        std::panic::resume_unwind(panic);
    }
}

fn admin_url() -> String {
    std::env::var(POSTGRES).unwrap_or_else(|_| {
        panic!("{POSTGRES} is not set: run the tests with contrib/test, or set it to an address such as postgres://postgres@127.0.0.1:5432/postgres")
    })
}

/// Address and name of a database that nobody else has.
pub(crate) async fn fresh_postgres() -> (String, String) {
    let admin = admin_url();
    let name = format!("hythe_test_{}", uuid::Uuid::now_v7().simple());
    let mut connection = PgConnection::connect(&admin).await.expect("PostgreSQL answers");
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("a database of its own");
    let (server, _) = admin.rsplit_once('/').expect("an address with a database");
    (format!("{server}/{name}"), name)
}

pub(crate) async fn drop_postgres(name: &str) {
    let mut connection = PgConnection::connect(&admin_url()).await.expect("PostgreSQL answers");
    connection.execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await.expect("dropped");
}

fn name<T: std::str::FromStr<Err = NameError>>(text: &str) -> T {
    text.parse().expect("a name")
}

fn at(millis: i64) -> Timestamp {
    Timestamp(millis)
}

/// Two organizations, `north` with the spaces `red` and `blue`, `south` with `green`; an app in each
/// space: `shop` in red, `blog` in blue, and another `shop` in green.
struct World {
    customer: Customer,
    north: Organization,
    south: Organization,
    red: Space,
    blue: Space,
    green: Space,
    shop: App,
    blog: App,
    other_shop: App,
}

impl World {
    async fn insert(tx: &mut Tx) -> Self {
        let customer =
            Customer { id: CustomerId::fresh(), name: name("acme"), status: CustomerStatus::Paid, created_at: at(1) };
        customers::insert(tx, &customer).await.expect("customer");
        let north = organization(tx, &customer, "north", 2).await;
        let south = organization(tx, &customer, "south", 3).await;
        let (red, blue) = (space(tx, &north, "red").await, space(tx, &north, "blue").await);
        let green = space(tx, &south, "green").await;
        let (shop, blog) = (app(tx, &red, "shop").await, app(tx, &blue, "blog").await);
        let other_shop = app(tx, &green, "shop").await;
        Self { customer, north, south, red, blue, green, shop, blog, other_shop }
    }

    async fn user(&self, tx: &mut Tx, called: &str) -> User {
        let user = User {
            id: UserId::fresh(),
            customer_id: self.customer.id.clone(),
            name: name(called),
            email: format!("{called}@example.com"),
            enabled: true,
            platform_admin: false,
            created_at: at(5),
        };
        users::insert(tx, &user).await.expect("user");
        user
    }

    /// The scope of a new user with one membership.
    async fn member(&self, tx: &mut Tx, called: &str, place: MembershipScope) -> Scope {
        let user = self.user(tx, called).await;
        let membership =
            Membership { id: MembershipId::fresh(), user_id: user.id.clone(), scope: place, role: Role::Viewer };
        memberships::insert(tx, &membership).await.expect("membership");
        Scope::User(user.id)
    }
}

async fn organization(tx: &mut Tx, customer: &Customer, called: &str, created: i64) -> Organization {
    let organization = Organization {
        id: OrganizationId::fresh(),
        customer_id: customer.id.clone(),
        name: name(called),
        created_at: at(created),
    };
    organizations::insert(tx, &organization).await.expect("organization");
    organization
}

async fn space(tx: &mut Tx, organization: &Organization, called: &str) -> Space {
    let space =
        Space { id: SpaceId::fresh(), organization_id: organization.id.clone(), name: name(called), created_at: at(4) };
    spaces::insert(tx, &space).await.expect("space");
    space
}

async fn app(tx: &mut Tx, space: &Space, called: &str) -> App {
    let app = App {
        id: AppId::fresh(),
        organization_id: space.organization_id.clone(),
        space_id: space.id.clone(),
        name: name(called),
        created_at: at(6),
    };
    apps::insert(tx, &app).await.expect("app");
    app
}

async fn environment(tx: &mut Tx, app: &App, called: &str) -> Environment {
    let environment = Environment {
        id: EnvironmentId::fresh(),
        app_id: app.id.clone(),
        name: name(called),
        branch: name("main"),
        spec: EnvironmentSpec::default(),
        generation: 1,
        status: EnvironmentStatus::default(),
        created_at: at(7),
    };
    environments::insert(tx, &environment).await.expect("environment");
    environment
}
