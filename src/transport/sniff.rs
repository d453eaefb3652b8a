//! Recognises by its first byte which language a connection speaks, since one port serves all.

/// The first byte of a TLS handshake (RFC 8446, section 5.1: content type 22).
const TLS_HANDSHAKE: u8 = 0x16;

/// The language of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// TLS, which carries one of the others.
    Tls,
    /// JSON lines.
    Json,
    /// The console. HTTP requests and noise are taken for it at first, too.
    Console,
}

impl Language {
    /// The language that begins with this byte.
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
