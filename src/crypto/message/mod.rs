//! The bytes of one message, from the outside in: envelope, padding, position,
//! content, and the associated data that binds them to names and identities. Holds no keys.

pub mod associated_data;
pub mod content;
pub mod envelope;
pub mod padding;
pub mod position;
