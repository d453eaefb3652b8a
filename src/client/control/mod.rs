//! The control socket: other processes of the same person work through the client that has the
//! account's vault, so that there is one login, one ratchet and one history. An interactive one
//! becomes another *window* of it; a command for scripts asks for what it needs, and ends.
//!
//! A window asks for a [`Command`](super::messenger::command::Command), like the person at the
//! first client, and is shown what is news. It never gets keys or passwords, and can't change
//! them. Whoever may write to the socket is the same user of the machine, and still nothing that a
//! window does stops the first client: lines, windows and queues are bounded, and a window that
//! does not read is dropped.
//!
//! | file | what |
//! | --- | --- |
//! | `place` | where the socket is, and whose it has to be |
//! | `wire` | the lines that go through it |
//! | `host` | the first client's side: accepts windows |
//! | `window` | the first client's side of one window |
//! | `windows` | the open windows, and what is shown in all of them |
//! | `attached` | a window's own side |

mod attached;
mod host;
mod place;
mod window;
mod windows;
mod wire;

pub(crate) use self::attached::{Attached, NotAttached, take_over};
pub(crate) use self::host::Host;
pub(crate) use self::wire::WindowKind;
