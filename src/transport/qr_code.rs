//! A text as a QR code on a terminal, for a phone or a camera that is held before it. Two modules
//! stand in one character, and light ones are drawn, as a dark terminal needs it; scanners read the
//! code on a light one, too.

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

/// The rows of the code with the margin that scanners need; `None` if the text is too long for one
/// that fits into so many columns.
pub fn rows(text: &str, columns: usize) -> Option<Vec<String>> {
    // A screen is clean, so the least correction of errors is enough, and the code small.
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let drawn = code
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .build();
    let rows: Vec<String> = drawn.lines().map(str::to_owned).collect();
    let fits = rows.iter().all(|row| row.chars().count() <= columns);
    fits.then_some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_a_square_that_fits_or_is_left_out() {
        let link = format!(
            "chat://{}@chat.example:8080/join/{}",
            "F".repeat(64),
            "x".repeat(130)
        );
        let drawn = rows(&link, 80).unwrap();
        let width = drawn[0].chars().count();
        assert!(width < 80);
        assert!(drawn.iter().all(|row| row.chars().count() == width));
        assert_eq!(drawn.len(), width.div_ceil(2));
        assert!(drawn.concat().chars().all(|c| " ▀▄█".contains(c)));
        assert_eq!(rows(&link, width - 1), None);
        assert_eq!(rows(&"x".repeat(5000), 1000), None);
        // The margin and the corner of a finder pattern: seven dark modules behind four light ones.
        assert!(drawn[2].starts_with("████ ▄▄▄▄▄ █"), "{drawn:#?}");
    }
}
