//! Sizes that both ends of the wire know. What an operator can set is a flag of
//! the server and is told to clients in the answer to `hello`.

/// The longest line a server takes by default, in bytes, its newline included.
pub const MAX_LINE: usize = 64 * 1024;

/// The longest line a client takes. A text of [`MAX_TEXT`] control characters
/// grows to six times its size as JSON, so this is more than what it may send.
pub const MAX_SERVER_LINE: usize = 128 * 1024;

/// The longest text of a message, in bytes of UTF-8.
pub const MAX_TEXT: usize = 16 * 1024;

/// The longest envelope, in bytes before base64: the longest text padded to its
/// size class, with headers and the MAC, and room to grow. As base64 in a `send`
/// it stays well below [`MAX_LINE`].
pub const MAX_ENVELOPE: usize = 24 * 1024;

/// The most message ids in one `ack` or `outcome`: as JSON they fill about half a line.
pub const MAX_IDS: usize = 1000;

/// The most one-time prekeys the server keeps for an account.
pub const MAX_ONE_TIME_PREKEYS: usize = 200;

/// How many one-time prekeys a client publishes, and fills up to again.
pub const ONE_TIME_PREKEYS: usize = 100;

/// The most users in one page of `search`.
pub const MAX_FOUND: usize = 50;

/// The shortest text that `search` takes, in characters.
pub const MIN_SEARCH: usize = 2;

/// The most names one account can block, so that a list stays one line.
pub const MAX_BLOCKED: usize = 1000;

/// The longest password that the console takes, in bytes.
pub const MAX_PASSWORD: usize = 256;

/// The shortest password for a new account, in characters.
pub const MIN_PASSWORD: usize = 8;
