//! Runs the command of `--on-message` for each message that arrives: one at a time, with a time
//! limit. The text comes on its standard input, who sent it in its environment, and nothing of
//! either in its arguments. What else happens to a message is decided elsewhere.
//!
//! | variable | what |
//! | --- | --- |
//! | `MESSAGE_FROM` | the sender's name |
//! | `MESSAGE_ID` | the message's id |
//! | `MESSAGE_PROVEN` | `yes` if it was encrypted by the identity that is known, otherwise `no` |

use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::client::args::Options;
use crate::client::terminal::{Screen, Terminal};
use crate::client::view::{Display, End, Mark, Person, ViewEvent, Written};
use crate::clock;
use crate::sync::{self, JoinHandle};

/// How many messages of the chat may wait for the command. Those that come while it is full are
/// shown, and the command is not run for them.
const QUEUE: usize = 64;

/// How often the command's end is looked for.
const TICK: Duration = Duration::from_millis(20);

/// What the command must not inherit: it needs no password.
const SECRETS: &[&str] = &[
    "SECURE_CHAT_PASSWORD",
    "SECURE_CHAT_PASSWORD_FILE",
    "SECURE_CHAT_PASSWORD_COMMAND",
    "SECURE_CHAT_PASSPHRASE_FILE",
];

/// The command.
pub(super) struct Hook {
    command: String,
    limit: Duration,
    /// Not 0 once a signal asks the program to end.
    signal: Arc<AtomicU8>,
    /// Whether a person's terminal has no room for what it prints.
    hushed: bool,
}

impl Hook {
    /// The command that the options name, if they do.
    pub(super) fn of(options: &Options, terminal: &Terminal) -> Option<Self> {
        let command = options.on_message.clone()?;
        Some(Hook {
            command,
            limit: Duration::from_secs(options.on_message_timeout.into()),
            signal: Arc::clone(terminal.signal_flag()),
            hushed: terminal.interactive(),
        })
    }

    /// Runs it for a message, and waits for its end.
    ///
    /// # Errors
    /// A sentence that says what became of it.
    pub(super) fn run(&self, event: &ViewEvent) -> Result<(), String> {
        let ViewEvent::Message {
            outgoing: false,
            name,
            text,
            mark,
            id,
            ..
        } = event
        else {
            return Ok(());
        };
        let failed = |why: String| format!("--on-message {why}, for a message from {name}");
        let mut command = Command::new("sh");
        command
            .args(["-c", &self.command])
            .env("MESSAGE_FROM", name.as_str())
            .env("MESSAGE_ID", id.to_string())
            .env(
                "MESSAGE_PROVEN",
                if *mark == Mark::None { "yes" } else { "no" },
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0);
        if self.hushed {
            command.stderr(Stdio::null());
        }
        for secret in SECRETS {
            command.env_remove(secret);
        }
        let mut child = command
            .spawn()
            .map_err(|error| failed(format!("can't be started ({error})")))?;
        if let Some(mut input) = child.stdin.take() {
            // The longest text fits into a pipe, and a command need not read it.
            let _read = input.write_all(text.as_bytes());
        }
        let ended = self.wait(&mut child);
        match ended.map_err(|error| failed(format!("can't be waited for ({error})")))? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(failed(match (status.code(), status.signal()) {
                (Some(code), _) => format!("failed with code {code}"),
                (None, Some(signal)) => format!("was ended by signal {signal}"),
                (None, None) => "failed".to_owned(),
            })),
            None => Err(failed(format!(
                "was ended after {} s",
                self.limit.as_secs()
            ))),
        }
    }

    /// Waits for its end; `None` if that did not come in time, or the program is to end.
    fn wait(&self, child: &mut Child) -> io::Result<Option<ExitStatus>> {
        let until = clock::now() + self.limit;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            if clock::now() >= until || self.signal.load(Ordering::SeqCst) != 0 {
                let group = Pid::from_child(child);
                // It may have ended in this moment.
                let _ended = kill_process_group(group, Signal::KILL);
                child.wait()?;
                return Ok(None);
            }
            sync::sleep(TICK);
        }
    }
}

/// The thread `on-message` of a chat. It ends with [`HookThread::finish`].
pub(super) struct HookThread {
    queue: SyncSender<ViewEvent>,
    failed: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl HookThread {
    /// Starts it.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(super) fn start(hook: Hook, screen: Arc<Screen>) -> io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE);
        let failed = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&failed);
        let body = move || run_for_all(&hook, &messages, &screen, &told);
        let thread = sync::spawn("on-message", None, body)?;
        Ok(HookThread {
            queue,
            failed,
            thread,
        })
    }

    /// A display that shows everything on the screen, and has the command run for messages.
    pub(super) fn display(&self, screen: Arc<Screen>) -> HookedDisplay {
        HookedDisplay {
            screen,
            queue: self.queue.clone(),
            failed: Arc::clone(&self.failed),
        }
    }

    /// Waits until the command was run for all messages. Returns whether it always succeeded.
    /// The displays must be gone by then.
    pub(super) fn finish(self) -> bool {
        drop(self.queue);
        let _ended = self.thread.join();
        !self.failed.load(Ordering::SeqCst)
    }
}

fn run_for_all(hook: &Hook, messages: &Receiver<ViewEvent>, screen: &Screen, failed: &AtomicBool) {
    for message in messages {
        if let Err(why) = hook.run(&message) {
            failed.store(true, Ordering::SeqCst);
            screen.print(&ViewEvent::warning(why));
        }
    }
}

/// A screen with a command that is run for each message.
pub(super) struct HookedDisplay {
    screen: Arc<Screen>,
    queue: SyncSender<ViewEvent>,
    failed: Arc<AtomicBool>,
}

impl Display for HookedDisplay {
    fn event(&self, event: ViewEvent) {
        self.screen.event(event);
    }

    fn sent(&self, event: ViewEvent, window: Option<u64>) {
        self.screen.sent(event, window);
    }

    fn show_unread(&self, event: ViewEvent, written: Written) {
        // The messenger, which calls this, must not wait for the command.
        if self.queue.try_send(event.clone()).is_err() && !self.failed.swap(true, Ordering::SeqCst)
        {
            self.screen.print(&ViewEvent::warning(
                "messages come faster than --on-message can take them; it is not run for all",
            ));
        }
        self.screen.show_unread(event, written);
    }

    fn finish_writing(&self) {
        self.screen.finish_writing();
    }

    fn people(&self, people: Vec<Person>) {
        self.screen.people(people);
    }

    fn ended(&self, end: End) {
        self.screen.ended(end);
    }
}
