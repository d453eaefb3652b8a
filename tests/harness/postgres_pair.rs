//! A PostgreSQL primary with a synchronous standby, and what becomes of the two: a fail-over, and one that
//! leaves the old primary up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;

use super::eventually;
use super::postgres::{ask, kill, run_as_postgres, start};

/// The two. They end with this process.
pub struct Pair {
    /// The address of a database on them, which names both.
    pub address: String,
    /// The folder of the primary's socket, and of the standby's; the data are in `data` below.
    folders: [PathBuf; 2],
    /// Where PostgreSQL's programs are.
    programs: PathBuf,
    _script: Child,
}

impl Pair {
    /// Starts them.
    pub fn start() -> Self {
        let (address, script) = start("--standby", None);
        let folders = address.split("host=").nth(1).unwrap();
        let mut folders = folders.split(',').map(PathBuf::from);
        let folders = [(); 2].map(|()| folders.next().unwrap());
        let begin = fs::read_to_string(folders[0].join("data/postmaster.opts")).unwrap();
        let program = Path::new(begin.split_whitespace().next().unwrap());
        let pair = Pair {
            address,
            programs: program.parent().unwrap().into(),
            folders,
            _script: script,
        };
        pair.wait_for_standby();
        pair
    }

    /// The address of a database on the primary alone.
    pub fn primary(&self) -> String {
        format!(
            "postgres://chat@/postgres?host={}",
            self.folders[0].display()
        )
    }

    fn wait_for_standby(&self) {
        let synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        eventually("the standby keeps up", || {
            ask(&self.primary(), synchronous) == "1"
        });
    }

    /// Lets the standby become the primary, after the old one was killed if `kills` is set.
    pub fn fail_over(&mut self, kills: bool) {
        if kills {
            kill(&self.folders[0].join("data"));
        }
        self.folders.reverse();
        self.control(0, "promote --silent --wait");
    }

    /// Makes the old primary a synchronous standby of the new one.
    pub fn rebuild(&self) {
        let [primary, old] = self.folders.each_ref().map(|folder| folder.display());
        // The processes of one that was killed end a moment later.
        let script = format!(
            "'{0}/pg_ctl' stop --silent --mode immediate --pgdata '{old}/data' 2>/dev/null
             rm -rf '{old}/data' '{old}'/.s.PGSQL*
             exec '{0}/pg_basebackup' --pgdata '{old}/data' --host '{primary}' --username chat \
                 --checkpoint fast --write-recovery-conf --no-sync",
            self.programs.display()
        );
        run_as_postgres(&self.folders[1], &script);
        let options = format!(
            "start --silent --wait --log '{old}/log' --options \"-c listen_addresses= \
             -c unix_socket_directories='{old}' -c fsync=off -c max_connections=400\""
        );
        self.control(1, &options);
        let wait = "ALTER SYSTEM SET synchronous_standby_names = '*'";
        ask(&self.primary(), wait);
        ask(&self.primary(), "SELECT pg_reload_conf()");
        self.wait_for_standby();
    }

    fn control(&self, which: usize, action: &str) {
        let folder = &self.folders[which];
        let script = format!(
            "'{}/pg_ctl' {action} --pgdata '{}/data' >/dev/null",
            self.programs.display(),
            folder.display()
        );
        run_as_postgres(folder, &script);
    }
}
