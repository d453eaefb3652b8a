//! Requests, replies and events of the wire, and how they are written.
//!
//! Pure values and pure functions: nothing here knows a socket, a session or a
//! key. `docs/PROTOCOL.md` describes the same for people who write clients.
//!
//! | file | what |
//! | --- | --- |
//! | `request`, `reply`, `refusal` | what can be asked, answered, refused |
//! | `name`, `ids`, `limits` | the values inside; each exists only if it is valid |
//! | `json`, `console` | the two wire formats |
//! | `line_buffer` | cuts bytes into lines |
//! | `sanitize`, `rows` | makes untrusted text harmless for a terminal, and cuts it into rows |

pub mod console;
pub mod ids;
pub mod json;
pub mod limits;
pub mod line_buffer;
pub mod name;
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

/// The oldest version a server of this build still takes.
pub const OLDEST_VERSION: u32 = 1;
