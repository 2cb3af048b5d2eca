use std::collections::BTreeSet;

use sqlx::Row;

use super::*;

/// Table, column, may be null.
async fn columns(store: &Store) -> BTreeSet<(String, String, bool)> {
    const SQLITE: &str = "SELECT t.name, c.name, CASE WHEN c.\"notnull\" = 1 OR c.pk > 0 THEN 0 ELSE 1 END
        FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'";
    const POSTGRES: &str = "SELECT table_name::text, column_name::text, CAST(is_nullable = 'YES' AS INT)::bigint
        FROM information_schema.columns WHERE table_schema = 'public'";
    let all: Vec<(String, String, i64)> = match store.begin().await.expect("begin") {
        Tx::Sqlite(mut tx) => {
            let rows = sqlx::query(SQLITE).fetch_all(&mut *tx).await.expect("columns");
            rows.iter().map(|r| (r.get(0), r.get(1), r.get(2))).collect()
        }
        Tx::Postgres(mut tx) => {
            let rows = sqlx::query(POSTGRES).fetch_all(&mut *tx).await.expect("columns");
            rows.iter().map(|r| (r.get(0), r.get(1), r.get(2))).collect()
        }
    };
    let ours = |table: &str| !table.starts_with("_sqlx") && !table.starts_with("sqlite_");
    all.into_iter().filter(|(table, ..)| ours(table)).map(|(t, c, null)| (t, c, null == 1)).collect()
}

async fn indexes(store: &Store) -> BTreeSet<String> {
    const SQLITE: &str = "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL";
    const POSTGRES: &str = "SELECT indexname::text FROM pg_indexes WHERE schemaname = 'public'
        AND indexname NOT LIKE '%\\_pkey' AND indexname NOT LIKE '%\\_key'";
    let all: Vec<String> = match store.begin().await.expect("begin") {
        Tx::Sqlite(mut tx) => sqlx::query_scalar(SQLITE).fetch_all(&mut *tx).await.expect("indexes"),
        Tx::Postgres(mut tx) => sqlx::query_scalar(POSTGRES).fetch_all(&mut *tx).await.expect("indexes"),
    };
    all.into_iter().collect()
}

#[tokio::test]
async fn both_databases_have_the_same_tables_columns_and_indexes() {
    let dir = tempfile::tempdir().expect("directory");
    let sqlite = Store::open(None, dir.path()).await.expect("SQLite");
    let (url, name) = fresh_postgres().await;
    let postgres = Store::open(Some(&url), dir.path()).await.expect("PostgreSQL");
    let (a, b) = (columns(&sqlite).await, columns(&postgres).await);
    let (c, d) = (indexes(&sqlite).await, indexes(&postgres).await);
    postgres.close().await;
    drop_postgres(&name).await;
    assert!(a.len() > 80, "{} columns", a.len());
    assert_eq!(a.symmetric_difference(&b).collect::<Vec<_>>(), Vec::<&(String, String, bool)>::new());
    assert!(c.len() > 5, "{c:?}");
    assert_eq!(c.symmetric_difference(&d).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[tokio::test]
async fn a_database_is_opened_again_with_what_was_committed_and_the_same_node() {
    let dir = tempfile::tempdir().expect("directory");
    let store = Store::open(None, dir.path()).await.expect("store");
    let node = store.node().to_owned();
    let mut tx = store.begin().await.expect("begin");
    settings::set(&mut tx, "kept", "1").await.expect("set");
    tx.commit().await.expect("commit");
    let mut tx = store.begin().await.expect("begin");
    settings::set(&mut tx, "dropped", "1").await.expect("set");
    drop(tx);
    // Not closed: as after a crash.
    drop(store);
    let store = Store::open(None, dir.path()).await.expect("store");
    assert_eq!(store.node(), node);
    let mut tx = store.read().await.expect("read");
    assert_eq!(settings::get(&mut tx, "kept").await.expect("get").as_deref(), Some("1"));
    assert_eq!(settings::get(&mut tx, "dropped").await.expect("get"), None);
}

#[tokio::test]
async fn a_reading_transaction_cannot_write() {
    for_each_database(|store| async move {
        let mut tx = store.read().await.expect("read");
        assert!(settings::set(&mut tx, "a", "b").await.is_err());
    })
    .await;
}

#[tokio::test]
async fn readers_see_the_state_before_while_a_writer_writes() {
    for_each_database(|store| async move {
        let mut writing = store.begin().await.expect("begin");
        settings::set(&mut writing, "a", "1").await.expect("set");
        let mut reading = store.read().await.expect("read");
        assert_eq!(settings::get(&mut reading, "a").await.expect("get"), None);
        writing.commit().await.expect("commit");
        let mut reading = store.read().await.expect("read");
        assert_eq!(settings::get(&mut reading, "a").await.expect("get").as_deref(), Some("1"));
    })
    .await;
}
