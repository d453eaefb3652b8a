//! The way to the server. What is asked of it and what its answers mean is the business of
//! `login` and `messenger`.
//!
//! | file | what |
//! | --- | --- |
//! | `endpoint` | the server's address, and which certificates are trusted there |
//! | `verdict` | whether the certificate that a server shows is the right one |
//! | `known_servers` | the file of certificates seen before |
//! | `local_server` | servers on this machine, known by their folders |
//! | `connection` | an open connection: requests out, lines in |
//! | `challenge` | what a proof on a connection has to sign |
//! | `event_queue` | the bounded queue of commands and server lines |
//! | `error` | why there is no answer, or no connection |

pub(crate) mod challenge;
pub(crate) mod connection;
pub(crate) mod endpoint;
pub(crate) mod error;
pub(crate) mod event_queue;
pub(crate) mod known_servers;
mod local_server;
mod verdict;
