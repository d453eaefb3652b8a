//! The vault's write-ahead log. SQLite leaves every value that was replaced in it until it is
//! emptied: earlier states of the ratchets, and private keys that were used up. Whoever got the
//! vault key later could open old messages with them. When to empty it is the messenger's business.

use super::{Result, Vault, sqlite_file};

impl Vault {
    /// How many rows were changed since the vault was opened.
    pub(crate) fn changes(&self) -> u64 {
        self.db.total_changes()
    }

    /// Writes the log into the file and cuts it to nothing; `false` if another program reads the
    /// vault and keeps it from that. Closing the vault does the same.
    ///
    /// # Errors
    /// That the file could not be written; nothing is lost.
    pub(crate) fn empty_log(&self) -> Result<bool> {
        Ok(sqlite_file::checkpoint(&self.db)?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use rand::Rng;

    use crate::client::vault::Vault;
    use crate::client::vault::table::Table;
    use crate::client::vault::tests::{create, file};
    use crate::crypto::os_rng;

    /// A part of a sealed value that is looked for: two values have none in common.
    const PART: usize = 16;

    /// The sealed values of a table.
    fn sealed(vault: &Vault, table: &str) -> Vec<Vec<u8>> {
        let mut query = vault
            .db
            .prepare(&format!("SELECT value FROM {table}"))
            .unwrap();
        let rows = query.query_map([], |row| row.get(0));
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// How many of these values have a part of them in any file of the folder.
    fn found(values: &[Vec<u8>], folder: &Path) -> usize {
        let entries = fs::read_dir(folder).unwrap();
        let files: Vec<_> = entries
            .map(|entry| fs::read(entry.unwrap().path()).unwrap())
            .collect();
        let is_left = |part: &[u8]| {
            let mut files = files.iter();
            files.any(|file| memchr::memmem::find(file, part).is_some())
        };
        let has_part_left = |value: &&Vec<u8>| value.chunks_exact(PART).any(is_left);
        values.iter().filter(has_part_left).count()
    }

    /// Stands for the ratchets with a contact. A session set has between a few hundred bytes
    /// and several pages, depending on how many keys it keeps.
    fn replace_ratchets(vault: &mut Vault, contact: usize, length: usize) {
        let mut plain = vec![0; length];
        os_rng().fill_bytes(&mut plain);
        vault.put(Table::Sessions, contact as i64, &plain).unwrap();
    }

    #[test]
    fn replaced_ratchets_and_used_keys_leave_every_file() {
        let dir = tempfile::tempdir().unwrap();
        let (mut vault, _) = create(&dir);
        let folder = file(&dir).parent().unwrap().to_owned();
        vault.make_identity().unwrap();
        let keys = vault.make_one_time(100).unwrap();
        let mut gone = sealed(&vault, "one_time_prekeys");
        for round in 0..6 {
            for contact in 0..20 {
                let length = 300 + (contact * 613 + round * 1999) % 9000;
                replace_ratchets(&mut vault, contact, length);
            }
            gone.extend(sealed(&vault, "sessions"));
        }
        for key in &keys[..90] {
            vault.use_up(key.public().id).unwrap();
        }
        let mut kept = sealed(&vault, "sessions");
        kept.extend(sealed(&vault, "one_time_prekeys"));
        gone.retain(|value| !kept.contains(value));
        assert_eq!((gone.len(), kept.len()), (190, 30));
        assert!(found(&gone, &folder) > 0, "they are in the log");
        assert!(vault.empty_log().unwrap());
        assert_eq!(found(&gone, &folder), 0);
        assert_eq!(found(&kept, &folder), 30, "what is there is found");
    }

    #[test]
    fn closing_empties_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let (mut vault, _) = create(&dir);
        let folder = file(&dir).parent().unwrap().to_owned();
        replace_ratchets(&mut vault, 1, 5000);
        let gone = sealed(&vault, "sessions");
        replace_ratchets(&mut vault, 1, 700);
        let kept = sealed(&vault, "sessions");
        drop(vault);
        assert_eq!((found(&gone, &folder), found(&kept, &folder)), (0, 1));
    }
}
