//! The folder of a server's vaults: its name, and the names that earlier clients gave it,
//! which kept the spellings of an address apart. What is in it is the business of
//! [`file`](super::file).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Result, VaultError};
use crate::protocol::UserName;
use crate::transport::address::Address;

/// The folder under `data` for the vault of `name` at `server`, which is the text of a
/// [`Place`](crate::transport::address::Place). A vault that stands under another spelling of
/// the server is used where it is.
///
/// # Errors
/// [`VaultError::Several`] if there is a vault under two spellings: nothing tells which of
/// the two is meant.
pub(super) fn find(data: &Path, server: &str, name: &UserName) -> Result<PathBuf> {
    let failed = |error| VaultError::Io(data.to_owned(), error);
    let entries = match fs::read_dir(data) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(data.join(of(server))),
        entries => entries.map_err(failed)?,
    };
    let mut vaults = Vec::new();
    for entry in entries {
        let folder = entry.map_err(failed)?.file_name();
        let vault = data.join(&folder).join(format!("{name}.vault"));
        let spells = folder.to_str().is_some_and(|folder| may_be(folder, server));
        if spells && vault.symlink_metadata().is_ok() {
            vaults.push(vault);
        }
    }
    match vaults.as_slice() {
        [] => Ok(data.join(of(server))),
        [vault] => Ok(vault.parent().unwrap_or(data).to_owned()),
        _ => {
            vaults.sort();
            Err(VaultError::Several(vaults))
        }
    }
}

/// `HOST:PORT` as a folder's name: what is neither letter, digit, dot nor dash becomes an
/// underscore.
fn of(server: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let name: String = server
        .chars()
        .map(|c| if safe(c) { c.to_ascii_lowercase() } else { '_' })
        .collect();
    // No server's name leads out of the folder.
    name.trim_start_matches('.').to_owned()
}

/// Whether a folder may have got its name from some spelling of this server.
fn may_be(folder: &str, server: &str) -> bool {
    folder == of(server)
        || spellings(folder).iter().any(|spelling| {
            let address: std::result::Result<Address, _> = spelling.parse();
            address.is_ok_and(|address| address.place().as_str() == server)
        })
}

/// The addresses that a folder's name can stand for. An underscore stands for the colon
/// before the port, and perhaps for the sign of the port and the characters of an IPv6 address.
fn spellings(folder: &str) -> Vec<String> {
    let Some((host, port)) = folder.rsplit_once('_') else {
        return Vec::new();
    };
    let without_sign = host.strip_suffix('_');
    let mut spellings = Vec::new();
    for host in [Some(host), without_sign].into_iter().flatten() {
        spellings.push(format!("{host}:{port}"));
        let inner = host.strip_prefix('_').and_then(|h| h.strip_suffix('_'));
        if let Some(inner) = inner {
            let colons = inner.replace('_', ":");
            spellings.push(format!("[{colons}]:{port}"));
            if let Some((address, zone)) = colons.rsplit_once(':') {
                spellings.push(format!("[{address}%{zone}]:{port}"));
            }
        }
    }
    spellings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> String {
        let address: Address = text.parse().unwrap();
        address.place().as_str().to_owned()
    }

    fn alice() -> UserName {
        "alice".parse().unwrap()
    }

    /// A data folder with a vault of alice in each of these folders.
    fn data(folders: &[&str]) -> tempfile::TempDir {
        let data = tempfile::tempdir().unwrap();
        for folder in folders {
            fs::create_dir(data.path().join(folder)).unwrap();
            fs::write(data.path().join(folder).join("alice.vault"), "").unwrap();
        }
        data
    }

    #[test]
    fn a_folder_has_a_name_that_leads_nowhere_else() {
        assert_eq!(of("127.0.0.1:8080"), "127.0.0.1_8080");
        assert_eq!(of("[2001:db8::5]:8080"), "_2001_db8__5__8080");
        assert_eq!(of("../../etc:1"), "_.._etc_1");
    }

    #[test]
    fn a_vault_under_an_earlier_spelling_is_found() {
        // The folders that earlier clients made for what was typed.
        for (folder, server) in [
            ("host_8080", "host"),
            ("host._8080", "host"),
            ("host_08080", "host"),
            ("host__8080", "host"),
            ("host.__008080", "host"),
            ("my_host__443", "my_host:443"),
            ("localhost_8080", "127.0.0.1"),
            ("___1__8080", "localhost"),
            ("___1___8080", "localhost"),
            ("_0_0_0_0_0_0_0_1__8080", "[::1]"),
            ("127.1_8080", "localhost."),
            ("0x7f.1_08080", "127.0.0.1"),
            ("_2001_db8_0__5__8080", "[2001:db8::5]"),
            ("_fe80__1_2__8080", "[fe80::1]"),
            ("___ffff_10.0.0.7__8080", "10.0.0.7"),
        ] {
            let data = data(&[folder, "elsewhere_8080"]);
            let found = find(data.path(), &place(server), &alice()).unwrap();
            assert_eq!(found, data.path().join(folder), "{folder} for {server}");
            // Nobody else's vault is in the way of a new one.
            let found = find(data.path(), &place(server), &"bob".parse().unwrap()).unwrap();
            assert_eq!(found, data.path().join(of(&place(server))), "{server}");
        }
    }

    #[test]
    fn another_servers_vault_is_not_found() {
        let folders = [
            "host_8081",
            "hos_8080",
            "_ho_st_80",
            "known_servers",
            "8080",
        ];
        let data = data(&folders);
        for server in ["host", "host:80", "localhost", "[::1]:80"] {
            let found = find(data.path(), &place(server), &alice()).unwrap();
            assert_eq!(found, data.path().join(of(&place(server))), "{server}");
        }
    }

    #[test]
    fn of_two_vaults_of_one_account_none_is_chosen() {
        let data = data(&["localhost_8080", "127.0.0.1_8080"]);
        let error = find(data.path(), &place("localhost"), &alice()).unwrap_err();
        for folder in ["localhost_8080", "127.0.0.1_8080"] {
            assert!(error.to_string().contains(folder), "{error}");
        }
    }
}
