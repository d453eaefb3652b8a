//! What a proof of the password has to sign so that it serves one connection only.
//! Making the proof is the login's part.

use crate::protocol::ByteArray;
use crate::transport::fingerprint::Fingerprint;

/// The challenge of one connection.
pub(crate) struct Challenge {
    /// The server's random number, good for one proof.
    pub nonce: ByteArray<32>,
    /// The certificate that the connection's server has shown; none without TLS. It is
    /// never what the server claims: a proof that names another certificate could be used
    /// at the server whose certificate that is.
    pub certificate: Option<Fingerprint>,
}
