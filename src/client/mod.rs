//! The terminal client: what a person or a script talks to.
//!
//! It holds the only readable copy of messages and keys; the server is never
//! trusted with either. It may use `protocol`, `crypto` and `transport`, and
//! knows nothing of `server` and `store`.
//!
//! | room | what |
//! | --- | --- |
//! | `options` | what the command line decided |
//! | `commands`, `settings` | the one table of what can be typed, and the words after `/settings` |
//! | `terminal` | the only room that prints and reads keys |
//! | `chat` | the conversation with the person: menus, questions, commands |
//! | `account`, `questions` | registering, logging in, and what they ask |
//! | `moving` | `vault export` and `vault import` |
//! | `fresh` | logging in where there is no vault: a new identity, or an imported one |
//! | `credentials` | login keys, and what they sign |
//! | `messenger` | the thread that owns keys and messages while logged in |
//! | `connection`, `events` | the connection, and what arrives on it |
//! | `endpoint`, `known_servers` | the way to the server, and how to know that it is the right one |
//! | `clock` | times as people read them |
//! | `vault` | what must not be lost, sealed on disk |
//!
//! Threads: the main one asks and waits; `input` reads the terminal, and draws on it;
//! `screen` prints; `signals` hears signals; `messenger` lives from login to logout; one
//! `connection` per connection reads it until it closes.

pub mod app;
pub mod args;
pub mod local_time;
pub mod login;
pub mod messenger;
pub mod net;
pub mod terminal;
pub mod vault;
pub mod view;
