//! The requests, replies and events of the wire, and how they are written.
//!
//! There are only values and pure functions here; they know no socket, session or key.
//! `docs/PROTOCOL.md` describes the same for people who write clients.
//!
//! | file | what |
//! | --- | --- |
//! | `request`, `reply`, `refusal` | what a client asks, and how the server answers or refuses |
//! | `message` | the body and the sender of a message, and the request that sends it |
//! | `name`, `ids`, `limits` | the values inside them; each that exists is valid |
//! | `json`, `console` | the two wire formats |
//! | `object` | reads a struct from a JSON object only |
//! | `line_buffer` | cuts bytes into lines |
//! | `nearest` | what a mistyped word was meant to be |
//! | `sanitize`, `rows` | make untrusted text harmless for a terminal, and cut it into rows |

pub mod console;
pub mod ids;
pub mod json;
pub mod limits;
pub mod line_buffer;
pub mod message;
pub mod name;
pub mod nearest;
mod object;
pub mod refusal;
pub mod reply;
pub mod request;
pub mod rows;
pub mod sanitize;

pub use self::ids::{Blob, ByteArray, MessageId};
pub use self::name::UserName;
pub use self::refusal::{Code, Refusal};
pub use self::reply::{Answer, Event, Reply};
pub use self::request::{Body, Request, Sender};

/// The newest version of the protocol, and the only one so far.
pub const VERSION: u32 = 1;

/// The oldest version that this server accepts.
pub const OLDEST_VERSION: u32 = 1;
