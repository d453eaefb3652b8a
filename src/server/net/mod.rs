//! Connections: accepted, registered, run by their worker threads, written to through their
//! send queues. What a request means is decided in `requests`.
//!
//! | file | what |
//! | --- | --- |
//! | [`accept`] | the accept loop: who gets a connection and who is refused |
//! | [`registry`] | the open connections, for the limits and the shutdown |
//! | [`worker`] | a connection's threads: a large stack to work, a small one to wait |
//! | [`connection`] | reads lines, has them handled, answers, ends the connection |
//! | [`deadlines`] | when a connection ends whatever its peer does |
//! | [`disconnect`] | why a connection ends, and what its client is told |
//! | [`send_queue`] | what a connection has still to be sent, and who writes it |

pub(crate) mod accept;
pub(crate) mod connection;
pub(crate) mod deadlines;
pub(crate) mod disconnect;
pub(crate) mod registry;
pub(crate) mod send_queue;
pub(crate) mod worker;
