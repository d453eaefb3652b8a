//! The words of the wire: requests, replies and events, in two spellings.
