//! Who acts: a home of its own with a key and, after a login, a token.

use std::fs;
use std::path::{Path, PathBuf};

use hythe::base::access::Role;
use hythe::base::clock::Timestamp;
use hythe::base::model::{
    Customer, CustomerStatus, Id, Membership, MembershipScope, Organization, Space, SshKey, TenantName, User,
};
use hythe::state::store::{Store, customers, memberships, organizations, spaces, ssh_keys, users};

use super::{program, run};

#[derive(Clone)]
pub struct Persona {
    pub name: String,
    pub home: PathBuf,
    /// Private key file.
    pub key: PathBuf,
}

impl Persona {
    pub fn new(parent: &Path, name: &str) -> Self {
        let home = parent.join(name);
        fs::create_dir_all(&home).expect("home");
        let key = home.join("id_ed25519");
        run(program("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&key))
            .expect("ssh-keygen");
        Self { name: name.into(), home, key }
    }

    pub fn public_key_file(&self) -> PathBuf {
        self.key.with_extension("pub")
    }

    pub fn public_key(&self) -> String {
        fs::read_to_string(self.public_key_file()).expect("public key")
    }
}

/// A user, customer, organization (of the same name), space and key, as there is no verb yet that makes a second user.
pub fn enrol(data: &Path, persona: &Persona) {
    let name: TenantName = persona.name.parse().expect("name");
    let now = Timestamp(1);
    let customer = Customer { id: Id::fresh(), name: name.clone(), status: CustomerStatus::Free, created_at: now };
    let user = User {
        id: Id::fresh(),
        customer_id: customer.id.clone(),
        name: name.clone(),
        email: format!("{name}@example.com"),
        enabled: true,
        platform_admin: false,
        created_at: now,
    };
    let organization =
        Organization { id: Id::fresh(), customer_id: customer.id.clone(), name: name.clone(), created_at: now };
    let space = Space {
        id: Id::fresh(),
        organization_id: organization.id.clone(),
        name: "default".parse().expect("name"),
        created_at: now,
    };
    let membership = Membership {
        id: Id::fresh(),
        user_id: user.id.clone(),
        scope: MembershipScope::Organization(organization.id.clone()),
        role: Role::Owner,
    };
    let fingerprint = run(program("ssh-keygen").args(["-l", "-E", "sha256", "-f"]).arg(persona.public_key_file()));
    let fingerprint = fingerprint.expect("ssh-keygen -l").split(' ').nth(1).expect("fingerprint").to_owned();
    let line: Vec<_> = persona.public_key().split(' ').take(2).map(str::to_owned).collect();
    let key = SshKey {
        id: Id::fresh(),
        user_id: user.id.clone(),
        name: name.to_string(),
        fingerprint,
        public_key: line.join(" "),
        created_at: now,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        let store = Store::open(None, data).await.expect("the server's database");
        let mut tx = store.begin().await.expect("begin");
        customers::insert(&mut tx, &customer).await.expect("customer");
        users::insert(&mut tx, &user).await.expect("user");
        organizations::insert(&mut tx, &organization).await.expect("organization");
        spaces::insert(&mut tx, &space).await.expect("space");
        memberships::insert(&mut tx, &membership).await.expect("membership");
        ssh_keys::insert(&mut tx, &key).await.expect("key");
        tx.commit().await.expect("commit");
    });
}
