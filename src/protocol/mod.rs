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

pub mod binary;
pub mod console;
pub mod json;
pub mod limits;
pub mod lines;
pub mod name;
pub mod refusal;
pub mod reply;
pub mod request;
pub mod rows;
pub mod visible;

pub use binary::{Blob, Fixed, MessageId};
pub use name::UserName;
pub use refusal::{Code, Refusal};
pub use reply::{Answer, Event, Reply};
pub use request::{Body, Request, Sender};

/// The newest version of the protocol, and the only one so far.
pub const VERSION: u32 = 1;

/// The oldest version a server of this build still takes.
pub const OLDEST_VERSION: u32 = 1;
