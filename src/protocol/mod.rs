//! The words of the wire: requests, replies and events, and their two spellings.
//!
//! Pure values and pure functions: nothing here knows a socket, a session or a
//! key. `docs/PROTOCOL.md` describes the same for people who write clients.
//!
//! | file | what |
//! | --- | --- |
//! | `request`, `reply`, `refusal` | what can be asked, answered, refused |
//! | `name`, `binary`, `limits` | the values inside, constructible only valid |
//! | `json`, `console` | the two spellings |
//! | `lines` | bytes into lines |
//! | `visible`, `rows` | untrusted text made harmless for a terminal, and cut into its rows |

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
