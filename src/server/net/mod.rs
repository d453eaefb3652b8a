//! Connections: accepted, registered, run by their worker threads, written to
//! through their send queues. What a request means is decided in `requests`.

pub mod accept;
pub mod connection;
pub mod deadlines;
pub mod disconnect;
pub mod send_queue;
pub mod worker;
