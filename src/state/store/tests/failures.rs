use super::*;
use crate::base::Kind;

#[tokio::test]
async fn what_exists_is_said_without_the_words_of_the_database() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let twin = App { id: AppId::fresh(), ..world.shop.clone() };
        let error = apps::insert(&mut tx, &twin).await.expect_err("the name is taken");
        assert_eq!(error.kind, Kind::Exists);
        assert_eq!(error.public, "an app of this name already exists");
        assert!(error.source.is_some());
    })
    .await;
}

#[tokio::test]
async fn what_hangs_together_is_a_conflict() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let lost = Space { id: SpaceId::fresh(), organization_id: OrganizationId::fresh(), ..world.red.clone() };
        let error = spaces::insert(&mut tx, &lost).await.expect_err("no such organization");
        assert_eq!(error.kind, Kind::Conflict);
        assert!(!error.public.to_lowercase().contains("foreign"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_full_disk_is_told() {
    let dir = tempfile::tempdir().expect("directory");
    let store = Store::open(None, dir.path()).await.expect("store");
    let mut tx = store.begin().await.expect("begin");
    // The bound stands for the end of the disk: SQLite says SQLITE_FULL in both cases.
    let Tx::Sqlite(sqlite) = &mut tx else { panic!("SQLite") };
    sqlx::query("PRAGMA max_page_count = 60").execute(&mut **sqlite).await.expect("bound");
    let error = settings::set(&mut tx, "large", &"x".repeat(1 << 20)).await.expect_err("no room");
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(error.public.contains("disk of the database is full"), "{error}");
}

#[tokio::test]
async fn a_postgres_that_is_away_is_unavailable_and_its_password_is_not_shown() {
    let dir = tempfile::tempdir().expect("directory");
    // Port 1 refuses connections.
    let url = "postgres://me:hunter2@127.0.0.1:1/hythe";
    let error = Store::open(Some(url), dir.path()).await.err().expect("refused");
    assert_eq!(error.kind, Kind::Unavailable);
    let malformed = Store::open(Some("postgres://me:hunter2@:x:/"), dir.path()).await.err().expect("refused");
    for error in [error, malformed] {
        assert!(!error.for_log().contains("hunter2"), "{}", error.for_log());
    }
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let dir = tempfile::tempdir().expect("directory");
    let store = Store::open(None, dir.path()).await.expect("store");
    let mut tx = store.begin().await.expect("begin");
    let Tx::Sqlite(sqlite) = &mut tx else { panic!("SQLite") };
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time)
         VALUES (9999, 'later', '', TRUE, X'00', 0)",
    )
    .execute(&mut **sqlite)
    .await
    .expect("a later migration");
    tx.commit().await.expect("commit");
    store.close().await;
    let error = Store::open(None, dir.path()).await.err().expect("refused");
    assert!(error.public.contains("newer version of Hythe"), "{error}");
}

#[tokio::test]
async fn nul_and_quotes_are_text_like_any_other() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let user = world.user(&mut tx, "ann").await;
        let hostile = "'\"; DROP TABLE users; --\u{202e}<script>{{7*7}}\r\n\u{0}$1";
        let key = SshKey {
            id: SshKeyId::fresh(),
            user_id: user.id.clone(),
            name: hostile.into(),
            fingerprint: "SHA256:x".into(),
            public_key: "ssh-ed25519 AAAA".into(),
            created_at: at(1),
        };
        ssh_keys::insert(&mut tx, &key).await.expect("insert");
        let listed = ssh_keys::list(&mut tx, &user.id).await.expect("list");
        assert_eq!(listed[0].name, hostile.replace('\0', ""));
        assert!(ssh_keys::find_by_fingerprint(&mut tx, hostile).await.expect("find").is_none());
        assert!(tokens::find_by_hash(&mut tx, hostile).await.expect("find").is_none());
        assert!(ssh_keys::delete(&mut tx, &user.id, hostile).await.expect("delete"));
    })
    .await;
}
