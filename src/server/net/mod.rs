//! Connections: accepted, registered, run by their worker threads, written to
//! through their send queues. What a request means is decided in `requests`.

pub(crate) mod accept;
pub(crate) mod connection;
pub(crate) mod deadlines;
pub(crate) mod disconnect;
pub(crate) mod send_queue;
pub(crate) mod worker;
