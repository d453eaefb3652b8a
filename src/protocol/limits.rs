//! Sizes that both ends of the wire know. What an operator can change is a flag of the server,
//! and clients learn it from the answer to `hello`.

/// The longest line that a server accepts by default, in bytes, including its newline.
pub const MAX_LINE: usize = 64 * 1024;

/// The longest line that a client accepts, in bytes. A text of [`MAX_TEXT`] control characters
/// grows to six times its size in JSON, so this is more than what a client may send.
pub const MAX_SERVER_LINE: usize = 128 * 1024;

/// The longest text of a message, in bytes of UTF-8.
pub const MAX_TEXT: usize = 16 * 1024;

/// The longest envelope, in bytes before base64. It holds the longest text, padded to its size
/// class, with headers and the MAC, and leaves room to grow. A `send` with it in base64 stays
/// well below [`MAX_LINE`].
pub const MAX_ENVELOPE: usize = 24 * 1024;

/// The most steps from a certificate that a client knows to the one that it is shown.
pub const MAX_SUCCESSIONS: usize = 8;

/// The largest certificate, in bytes of DER, that can announce another, so that as many as there may be
/// fit into one line.
pub const MAX_CERTIFICATE: usize = 6 * 1024;

/// The most message ids in one `ack` or `outcome`. In JSON they fill about half a line.
pub const MAX_IDS: usize = 1000;

/// The most one-time prekeys that the server keeps for an account.
pub const MAX_ONE_TIME_PREKEYS: usize = 200;

/// How many one-time prekeys a client publishes, and up to which it refills them.
pub const ONE_TIME_PREKEYS: usize = 100;

/// The most users on one page of `search`.
pub const MAX_FOUND: usize = 50;

/// The shortest text that `search` accepts, in characters.
pub const MIN_SEARCH: usize = 2;

/// The most names that one account can block, so that the list fits into one line.
pub const MAX_BLOCKED: usize = 1000;

/// The longest password that the console accepts, in bytes.
pub const MAX_PASSWORD: usize = 256;

/// The shortest password for a new account, in characters.
pub const MIN_PASSWORD: usize = 8;
