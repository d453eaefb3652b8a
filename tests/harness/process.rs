//! Processes that tests and benches start, and their figures in `/proc`.
//!
//! Each of them ends with the program that started it, even one that is killed: a
//! shell, the reaper, is told every process and waits for the end of its own input,
//! which is the end of the program.

use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

/// Kills the processes that it was told of. It knows a process by its id and, where there is a
/// `/proc`, by its start time (field 22, the 20th after the name), because another process may have
/// the id by then.
const REAPER_SCRIPT: &str = r#"
trap '' HUP INT TERM
start_of() {
    stat=
    read -r stat 2>/dev/null <"/proc/$1/stat"
    set -- ${stat##*)}
    start=${20}
}
all=
while read -r pid; do
    start_of "$pid"
    all="$all $pid:$start"
done
for each in $all; do
    start_of "${each%:*}"
    [ "$start" = "${each#*:}" ] && kill -9 "${each%:*}"
done
"#;

/// The shell. It ends with its input, whose other end only this process holds.
static REAPER: LazyLock<Mutex<Child>> = LazyLock::new(|| {
    let reaper = Command::new("sh")
        .args(["-c", REAPER_SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Mutex::new(reaper.expect("there is a shell"))
});

/// Has a client that is a debug build derive the keys of new passwords at the least cost that it
/// accepts from a server. At the full cost most of the tests' time would go into that.
pub const CHEAP_PASSWORDS: &str = "SECURE_CHAT_TEST_CHEAP_PASSWORDS";

/// A command that runs `program` without the settings of the person who runs the tests, and with
/// [`CHEAP_PASSWORDS`].
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SECURE_CHAT_") {
            command.env_remove(name);
        }
    }
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    command.env(CHEAP_PASSWORDS, "1");
    command
}

/// Starts a process that ends with this one.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    LazyLock::force(&REAPER);
    command.spawn().inspect(end_with_this_process)
}

/// Has a process that was started elsewhere end with this one.
pub fn end_with_this_process(child: &Child) {
    let mut reaper = REAPER.lock().unwrap_or_else(PoisonError::into_inner);
    let line = format!("{}\n", child.id());
    reaper
        .stdin
        .as_mut()
        .unwrap()
        .write_all(line.as_bytes())
        .unwrap();
}

/// A process that has printed where it listens.
pub struct Listener {
    pub child: Child,
    pub address: SocketAddr,
    /// The rest of its output, which stays open: a server with a closed output is another test.
    pub stdout: BufReader<ChildStdout>,
}

impl Listener {
    /// Starts a server, or a relay that announces itself as a server does, and waits
    /// until it listens; `None` if it ended before that.
    pub fn start(command: &mut Command) -> Option<Self> {
        let mut child = spawn(command.stdout(Stdio::piped())).expect("it starts");
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let Some(address) = announced(&mut stdout) else {
            kill(&mut child);
            return None;
        };
        Some(Listener {
            child,
            address,
            stdout,
        })
    }
}

/// The address that a process prints; `None` if it closes its output before that.
fn announced(stdout: &mut impl BufRead) -> Option<SocketAddr> {
    loop {
        let mut line = String::new();
        if stdout.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        if let Some(address) = line.trim_end().strip_prefix("listening on ") {
            return Some(address.parse().unwrap());
        }
    }
}

/// Kills a process, if it has not ended already, and waits for its end.
pub fn kill(child: &mut Child) {
    // Neither fails but for a process that is gone.
    let _ended = child.kill();
    let _reaped = child.wait();
}

/// A file of a process's folder in `/proc`.
pub fn proc_text(pid: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap()
}

/// A number of its `status` file: `VmRSS` and `VmHWM` in KiB, `Threads`…
pub fn status(pid: u32, what: &str) -> u64 {
    number_after(&proc_text(pid, "status"), what)
}

/// The first number of the line `what:`.
pub fn number_after(text: &str, what: &str) -> u64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    let word = line.and_then(|line| line.split_whitespace().next());
    word.unwrap().parse().unwrap()
}

/// Processor time that a process has used, in clock ticks (a hundredth of a second).
pub fn cpu_ticks(pid: u32) -> u64 {
    let stat = proc_text(pid, "stat");
    // Behind the program's name, which may hold spaces: state is field 3, user and
    // system time are 14 and 15 (proc(5)).
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
