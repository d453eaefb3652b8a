//! A PostgreSQL of a test's own, with a standby if asked for, on Unix sockets in a temporary folder.
//! Its processes are children of the test, and nothing is synced: only processes die here, and what a
//! process has written outlives it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::harness::{eventually, process};
use super::proxy::Target;

/// One database server: a primary, or a standby of one.
pub struct Database {
    folder: PathBuf,
    settings: Vec<String>,
    running: Option<Child>,
    temporary: Arc<TempDir>,
    disk: Option<SmallDisk>,
}

/// A file system in memory, of the namespace of a process that does nothing else. It is gone with the
/// process, and that with the test.
struct SmallDisk {
    holder: Child,
}

impl Database {
    /// A primary, which runs when this returns.
    pub fn start() -> Self {
        let mut database = Database::unstarted(&[], None);
        database.make();
        database.begin();
        database
    }

    /// The same, with these settings besides.
    pub fn with(settings: &[&str]) -> Self {
        let mut database = Database::unstarted(settings, None);
        database.make();
        database.begin();
        database
    }

    /// The same, which takes connections from other machines as well: from those of the network that this thread is in.
    pub fn in_network() -> Self {
        let mut database = Database::unstarted(&["listen_addresses=*"], None);
        database.make();
        let rules = database.data().join("pg_hba.conf");
        let mut rules = fs::File::options().append(true).open(rules).unwrap();
        rules.write_all(b"host all all all trust\n").unwrap();
        database.begin();
        database
    }

    /// The same on a disk of so many MiB; an error says why there can't be one.
    pub fn on_small_disk(mib: u32) -> Result<Self, String> {
        // Small segments, since one must fit into the space that is left.
        let settings = ["max_wal_size=8MB", "min_wal_size=2MB"];
        let mut database = Database::unstarted(&settings, None);
        database.disk = Some(SmallDisk::mount(&database.folder, mib)?);
        database.make();
        database.begin();
        Ok(database)
    }

    fn unstarted(settings: &[&str], beside: Option<&Database>) -> Self {
        // Where the user that PostgreSQL runs as can go, and by a short path, as sockets need it.
        let temporary = match beside {
            Some(beside) => Arc::clone(&beside.temporary),
            None => Arc::new(tempfile::tempdir().unwrap()),
        };
        fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let number = fs::read_dir(temporary.path()).unwrap().count();
        let folder = temporary.path().join(format!("database{number}"));
        fs::create_dir(&folder).unwrap();
        give_to_postgres(&folder);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let always = [
            "fsync=off",
            "max_connections=100",
            "listen_addresses=",
            "log_min_messages=log",
        ];
        let sockets = format!("unix_socket_directories={}", folder.display());
        let settings = always
            .iter()
            .chain(settings)
            .map(|setting| (*setting).to_owned());
        Database {
            settings: settings.chain([sockets]).collect(),
            folder,
            running: None,
            temporary,
            disk: None,
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("disk").join("data")
    }

    fn make(&mut self) {
        fs::create_dir_all(self.folder.join("disk")).unwrap();
        let mut initdb = self.tool("initdb");
        initdb.args([
            "--username",
            "chat",
            "--auth",
            "trust",
            "--encoding",
            "UTF8",
            "--no-sync",
        ]);
        initdb
            .args(["--wal-segsize", "1", "--pgdata"])
            .arg(self.data());
        if self.disk.is_none() {
            give_to_postgres(&self.folder.join("disk"));
        }
        run(&mut initdb);
    }

    /// A program of PostgreSQL, as the user that may run it, where the disk is mounted.
    fn tool(&self, name: &str) -> Command {
        let program = binaries().join(name);
        let mut command = match &self.disk {
            None => Command::new(program),
            Some(disk) => {
                let mut command = disk.enter();
                command.arg(program);
                command
            }
        };
        // Who enters a namespace has to be root, and changes later.
        if let (Some((user, group)), None) = (owner(), &self.disk) {
            command.uid(user).gid(group);
        }
        command.current_dir(&self.folder).stdin(Stdio::null());
        command
    }

    /// Starts it, and waits until it answers.
    pub fn begin(&mut self) {
        eventually("the database answers", || {
            self.begin_without_waiting();
            let deadline = Instant::now() + Duration::from_secs(5);
            while Instant::now() < deadline && self.is_running() {
                if self.try_ask("SELECT 1").is_ok() {
                    return true;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            false
        });
    }

    fn begin_without_waiting(&mut self) {
        if self.is_running() {
            return;
        }
        let mut command = self.tool("postgres");
        command.arg("-D").arg(self.data());
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let mut log = fs::File::options();
        let log = log.append(true).create(true).open(self.folder.join("log"));
        let log = log.unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.running = Some(process::spawn(&mut command).unwrap());
    }

    fn is_running(&mut self) -> bool {
        let running = self.running.as_mut();
        running.is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// Where it is to be reached.
    pub fn socket(&self) -> Target {
        Target::Unix(self.folder.join(".s.PGSQL.5432"))
    }

    /// The answer to a statement, or why there is none.
    fn try_ask(&self, statement: &str) -> Result<String, String> {
        let mut psql = Command::new("psql");
        psql.args(["-XAtqc", statement, "-U", "chat", "-d", "postgres", "-h"]);
        let asked = psql.arg(&self.folder).output().expect("psql is installed");
        let text = |said: Vec<u8>| String::from_utf8_lossy(&said).trim().to_owned();
        match asked.status.success() {
            true => Ok(text(asked.stdout)),
            false => Err(text(asked.stderr)),
        }
    }

    /// The answer to a statement, which it has to give.
    pub fn ask(&self, statement: &str) -> String {
        self.try_ask(statement)
            .unwrap_or_else(|why| panic!("{statement}: {why}\n{}", self.log()))
    }

    fn postmaster(&self) -> u32 {
        self.running.as_ref().unwrap().id()
    }

    /// Its processes beside the first one.
    fn children(&self) -> Vec<(Pid, String)> {
        let parent = self.postmaster().to_string();
        let mut ps = Command::new("ps");
        let listed = ps
            .args(["-o", "pid=,args=", "--ppid", &parent])
            .output()
            .unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        listed
            .lines()
            .filter_map(|line| {
                let (pid, command) = line.trim().split_once(' ')?;
                Some((Pid::from_raw(pid.parse().ok()?)?, command.to_owned()))
            })
            .collect()
    }

    /// Stops the process that writes what nobody waits for.
    pub fn stop_the_wal_writer(&self) {
        let children = self.children();
        let writer = children
            .iter()
            .find(|(_, command)| command.contains("walwriter"));
        signal(writer.expect("there is a WAL writer").0, Signal::STOP);
    }

    /// Has all its processes stand still: what is asked is taken by the system, and not answered.
    pub fn stop(&self) {
        // The first one must not begin new ones.
        signal(
            Pid::from_raw(self.postmaster() as i32).unwrap(),
            Signal::STOP,
        );
        for (pid, _) in self.children() {
            signal(pid, Signal::STOP);
        }
    }

    /// Kills all its processes without warning, at one instant.
    pub fn kill(&mut self) {
        self.stop();
        let first = Pid::from_raw(self.postmaster() as i32).unwrap();
        for (pid, _) in self.children() {
            signal(pid, Signal::KILL);
        }
        signal(first, Signal::KILL);
        self.running.take().unwrap().wait().unwrap();
    }

    /// What `pg_ctl restart -m immediate` does: all connections end at once, and it recovers.
    pub fn restart_immediately(&mut self) {
        signal(
            Pid::from_raw(self.postmaster() as i32).unwrap(),
            Signal::QUIT,
        );
        self.await_end();
        self.begin();
    }

    fn await_end(&mut self) {
        eventually("the database ends", || !self.is_running());
        self.running = None;
    }

    /// A copy that follows this one, which waits for it with each commit from here on.
    pub fn synchronous_standby(&self) -> Database {
        let mut standby = Database::unstarted(&[], Some(self));
        let how = [
            "-U",
            "chat",
            "-R",
            "-X",
            "stream",
            "--checkpoint=fast",
            "--no-sync",
        ];
        fs::create_dir_all(standby.folder.join("disk")).unwrap();
        give_to_postgres(&standby.folder.join("disk"));
        // A server that became the primary just now ends the copy's connection now and then.
        eventually("the standby is a copy", || {
            let mut copy = standby.tool("pg_basebackup");
            copy.args(how).arg("-h").arg(&self.folder);
            let done = copy.arg("-D").arg(standby.data()).output().unwrap();
            done.status.success()
        });
        standby.begin();
        self.ask("ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.ask("SELECT pg_reload_conf()");
        let synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        eventually("the standby is synchronous", || {
            self.ask(synchronous) == "1"
        });
        standby
    }

    /// Makes a standby a primary.
    pub fn promote(&self) {
        self.ask("SELECT pg_promote(false)");
        let asked = "SELECT pg_is_in_recovery()";
        eventually("it takes writes", || {
            self.try_ask(asked).is_ok_and(|is| is == "f")
        });
    }

    /// Fills its disk to the last byte.
    pub fn fill_the_disk(&self) {
        let disk = self.disk.as_ref().expect("it is on a small disk");
        let filler = self.folder.join("disk").join("filler");
        let script = "head -c 1G /dev/zero >>\"$0\" 2>/dev/null || true";
        run(disk.enter().args(["sh", "-c", script]).arg(filler));
    }

    /// Makes room again, and starts it if it has ended meanwhile.
    pub fn make_room(&mut self) {
        let disk = self.disk.as_ref().expect("it is on a small disk");
        run(disk
            .enter()
            .args(["rm", "-f"])
            .arg(self.folder.join("disk").join("filler")));
        self.begin();
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.is_running() {
            self.kill();
        }
        if let Some(disk) = &mut self.disk {
            process::kill(&mut disk.holder);
        }
    }
}

impl SmallDisk {
    fn mount(folder: &Path, mib: u32) -> Result<Self, String> {
        let disk = folder.join("disk");
        fs::create_dir_all(&disk).unwrap();
        let owner = owner().map_or(String::new(), |(user, group)| {
            format!(",uid={user},gid={group}")
        });
        let options = format!("size={mib}m,mode=0750{owner}");
        let script = "mount -t tmpfs -o \"$1\" small \"$0\" && echo mounted && exec sleep 3600";
        let mut holder = Command::new("unshare");
        holder
            .args(["--mount", "sh", "-c", script])
            .arg(&disk)
            .arg(options);
        let Ok(mut holder) = process::spawn(holder.stdout(Stdio::piped()).stderr(Stdio::null()))
        else {
            return Err("there is no unshare here".to_owned());
        };
        let mut said = String::new();
        let mut output = std::io::BufReader::new(holder.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut said).unwrap();
        if said.trim() != "mounted" {
            process::kill(&mut holder);
            return Err("who runs the tests may not mount a file system".to_owned());
        }
        Ok(SmallDisk { holder })
    }

    /// A command that sees the disk: arguments are the program and its own ones, which runs as the
    /// user that PostgreSQL runs as.
    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.holder.id());
        command.arg(namespace);
        if let Some((user, group)) = owner() {
            command.args([
                "setpriv",
                &format!("--reuid={user}"),
                &format!("--regid={group}"),
            ]);
            command.arg("--clear-groups");
        }
        command
    }
}

fn signal(pid: Pid, signal: Signal) {
    // It fails only for a process that has ended.
    let _sent = kill_process(pid, signal);
}

fn run(command: &mut Command) {
    let done = command.stdout(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {said}");
}

/// Where Debian has PostgreSQL's programs.
fn binaries() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("it needs PostgreSQL");
    let newest = versions.flatten().filter_map(|version| {
        let number: u32 = version.file_name().to_str()?.parse().ok()?;
        Some((number, version.path().join("bin")))
    });
    newest.max().expect("it needs PostgreSQL").1
}

fn give_to_postgres(folder: &Path) {
    if let Some((user, group)) = owner() {
        chown(folder, Some(user), Some(group)).unwrap();
    }
}

/// The user and group that PostgreSQL runs as, if root runs the tests: it does not run as root.
fn owner() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let number = |what| {
        let asked = Command::new("id")
            .args([what, "postgres"])
            .output()
            .unwrap();
        String::from_utf8(asked.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    };
    Some((number("-u"), number("-g")))
}
