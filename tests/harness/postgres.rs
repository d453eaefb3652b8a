//! The PostgreSQL on which the suite is run a second time: where `SECURE_CHAT_TEST_POSTGRES` names one,
//! each data folder has a database of its own there. `scripts/postgres.sh` starts one.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::eventually;

/// Whether the suite is run on PostgreSQL.
pub fn is_used() -> bool {
    address().is_some()
}

fn address() -> Option<String> {
    std::env::var("SECURE_CHAT_TEST_POSTGRES").ok()
}

/// The address of the database that belongs to a data folder, which is made if there is none.
pub fn store_of(data: &Path) -> Option<String> {
    Some(database_of(&address()?, data))
}

/// The same, on a database server of this process if none is named.
pub fn database(data: &Path) -> String {
    static STARTED: OnceLock<(String, Child)> = OnceLock::new();
    let address = address().unwrap_or_else(|| {
        let (address, _) = STARTED.get_or_init(|| start("", None));
        address.clone()
    });
    database_of(&address, data)
}

/// A database server of one test's own.
pub struct Cluster {
    /// The address of a database on it.
    pub address: String,
    folder: PathBuf,
    _script: Child,
}

impl Cluster {
    /// Starts one.
    pub fn start() -> Self {
        Cluster::start_on(None)
    }

    /// Starts one that listens on a port of this machine as well.
    pub fn start_on(port: Option<u16>) -> Self {
        let (address, script) = start("", port);
        let folder = address.split("host=").nth(1).unwrap();
        let folder = folder.split('&').next().unwrap();
        Cluster {
            folder: folder.into(),
            address,
            _script: script,
        }
    }

    /// Lets it offer TLS with this certificate and key, in PEM.
    pub fn offer_tls(&self, certificate: &str, key: &str) {
        let write = format!("umask 077; echo '{certificate}' >tls.crt; echo '{key}' >tls.key");
        run_as_postgres(&self.folder, &write);
        let folder = self.folder.display();
        for setting in [
            format!("ssl_cert_file = '{folder}/tls.crt'"),
            format!("ssl_key_file = '{folder}/tls.key'"),
            "ssl = on".to_owned(),
        ] {
            ask(&self.address, &format!("ALTER SYSTEM SET {setting}"));
        }
        ask(&self.address, "SELECT pg_reload_conf()");
        eventually("it offers TLS", || ask(&self.address, "SHOW ssl") == "on");
    }

    /// Ends it without warning, and starts it again as it was started before.
    pub fn kill_and_restart(&mut self) {
        let data = self.folder.join("data");
        kill(&data);
        let begin = fs::read_to_string(data.join("postmaster.opts")).unwrap();
        // Its other processes notice that a moment later, and until then it can't start.
        eventually("the database is back", || {
            let script = format!(
                "{} >>'{}' 2>&1 &",
                begin.trim(),
                self.folder.join("log").display()
            );
            run_as_postgres(&self.folder, &script);
            let deadline = Instant::now() + Duration::from_secs(3);
            while Instant::now() < deadline {
                let asked = Command::new("psql")
                    .args(["-XAtqc", "SELECT 1", &self.address])
                    .output();
                if asked.unwrap().status.success() {
                    return true;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            false
        });
    }
}

/// Starts one that ends when this process does, as `scripts/postgres.sh` does with this option.
pub(super) fn start(option: &str, port: Option<u16>) -> (String, Child) {
    // `cat` ends with its standard input, and the database with `cat`.
    let mut script = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/postgres.sh"))
        .args(Some(option).filter(|option| !option.is_empty()))
        .args(["sh", "-c", "echo $SECURE_CHAT_TEST_POSTGRES; exec cat"])
        .envs(port.map(|port| ("POSTGRES_PORT", port.to_string())))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    let said = script.stdout.take().unwrap();
    BufReader::new(said).read_line(&mut address).unwrap();
    assert!(address.starts_with("postgres://"), "it needs PostgreSQL");
    (address.trim_end().to_owned(), script)
}

fn database_of(address: &str, data: &Path) -> String {
    let mut hash = DefaultHasher::new();
    data.hash(&mut hash);
    let name = format!("suite_{:016x}", hash.finish());
    let found = "SELECT count(*) FROM pg_database WHERE datname = ";
    if ask(address, &format!("{found}'{name}'")) == "0" {
        ask(address, &format!("CREATE DATABASE {name}"));
    }
    address.replace("/postgres?", &format!("/{name}?"))
}

/// Runs a shell's commands as the user that PostgreSQL runs as.
pub(super) fn run_as_postgres(folder: &Path, script: &str) {
    let mut run = match rustix::process::geteuid().is_root() {
        true => Command::new("runuser"),
        false => Command::new("env"),
    };
    if rustix::process::geteuid().is_root() {
        run.args(["-u", "postgres", "--"]);
    }
    let run = run.args(["sh", "-c", script]).current_dir(folder);
    assert!(run.status().unwrap().success(), "{script}");
}

/// Ends a database server without warning.
pub(super) fn kill(data: &Path) {
    let pid = fs::read_to_string(data.join("postmaster.pid")).unwrap();
    let pid = pid.lines().next().unwrap().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// The answer of a database to a statement, as text.
pub fn ask(store: &str, statement: &str) -> String {
    let mut psql = Command::new("psql");
    let asked = psql.args(["-XAtqc", statement, store]).output();
    let asked = asked.expect("psql is installed");
    let said = String::from_utf8_lossy(&asked.stderr);
    assert!(asked.status.success(), "{statement}: {said}");
    String::from_utf8_lossy(&asked.stdout).trim().to_owned()
}
