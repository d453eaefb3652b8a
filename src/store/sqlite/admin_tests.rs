//! The way from an older schema.

use rusqlite::Connection;

use super::*;

/// What `pragma table_info` says of each table, with its indices.
fn tables(connection: &Connection) -> Vec<String> {
    let mut statement = connection
        .prepare(
            "SELECT t.name || '.' || c.name || ' ' || c.type || ' ' || c.\"notnull\" || ' '
                    || coalesce(c.dflt_value, '') || ' ' || c.pk
             FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table'
             UNION ALL SELECT type || ' ' || name || ' of ' || tbl_name FROM sqlite_schema
             ORDER BY 1",
        )
        .unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn a_database_of_version_1_becomes_what_a_new_one_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(include_str!("../../../tests/schemas/1.5.sql"))
        .unwrap();
    old.execute_batch(
        "INSERT INTO users (name, created, salt, memory_kib, passes, lanes, login_key)
         VALUES ('bob', 1, zeroblob(16), 1, 1, 1, zeroblob(32))",
    )
    .unwrap();
    drop(old);
    let store = Sqlite::open(&path).unwrap();
    assert!(
        !store
            .account(&"bob".parse().unwrap())
            .unwrap()
            .unwrap()
            .disabled
    );
    drop(store);
    Sqlite::open(&folder.path().join("new.db")).unwrap();
    let [migrated, new] = ["chat.db", "new.db"].map(|name| {
        let connection = Connection::open(folder.path().join(name)).unwrap();
        let version =
            connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
        (version.unwrap(), tables(&connection))
    });
    assert_eq!(migrated, new);
}
