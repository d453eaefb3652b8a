//! Which language a connection speaks, by its first byte. One port serves all.

/// The first byte of a TLS handshake (RFC 8446, section 5.1: content type 22).
const TLS_HANDSHAKE: u8 = 0x16;

/// What follows a first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// TLS, and within it one of the others.
    Tls,
    /// JSON lines.
    Json,
    /// The console, or what only looks like lines: an HTTP request, noise.
    Console,
}

impl Language {
    /// What begins with this byte.
    pub fn of(first: u8) -> Self {
        match first {
            TLS_HANDSHAKE => Language::Tls,
            b'{' => Language::Json,
            _ => Language::Console,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_tells_them_apart() {
        let expected = |byte| match byte {
            0x16 => Language::Tls,
            b'{' => Language::Json,
            _ => Language::Console,
        };
        for byte in 0..=255 {
            assert_eq!(Language::of(byte), expected(byte));
        }
    }
}
