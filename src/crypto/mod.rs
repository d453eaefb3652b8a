//! What the endpoints compute: keys, X3DH, the Double Ratchet and its cipher.
