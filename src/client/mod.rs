//! The terminal client, for a person or a script.
//!
//! It holds the only readable copy of messages and keys; the server is never trusted with
//! either. It knows nothing of `server` and `store`.
//!
//! | folder or file | what |
//! | --- | --- |
//! | `args` | the command line and its environment |
//! | [`app`] | the conversation with the person: menu, questions, the table of commands, exit codes |
//! | [`control`] | the socket through which other processes of the same person use this client |
//! | [`login`] | makes accounts, logs in and opens vaults, and asks for what that needs |
//! | [`net`] | endpoint, known certificates, connection, event queue |
//! | [`messenger`] | the thread that owns keys and messages while somebody is logged in |
//! | [`vault`] | keys, contacts and history, sealed on disk |
//! | [`view`] | what is shown to the person, as values |
//! | [`terminal`] | the only folder that reads keys and prints |
//! | `local_time` | times as people read them |
//!
//! docs/ARCHITECTURE.md lists its threads.

pub(crate) mod app;
pub(crate) mod args;
pub(crate) mod control;
pub(crate) mod local_time;
pub(crate) mod login;
pub(crate) mod messenger;
pub(crate) mod net;
pub(crate) mod terminal;
pub(crate) mod vault;
pub(crate) mod view;
