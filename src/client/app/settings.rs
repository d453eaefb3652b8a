//! Parses the arguments of `/settings` into a change of the account's settings, which the messenger
//! sends.

use crate::protocol::request::ChangeSettings;

/// The change that the arguments describe; without arguments, none.
///
/// # Errors
/// A sentence that says what to type instead.
pub(crate) fn change(given: &[String]) -> Result<ChangeSettings, String> {
    let mut change = ChangeSettings::default();
    let [what, value] = given else {
        return match given.is_empty() {
            true => Ok(change),
            false => Err("say on or off, for instance: /settings presence off".to_owned()),
        };
    };
    let value = match value.as_str() {
        "on" => Some(true),
        "off" => Some(false),
        _ => return Err("a setting is on or off".to_owned()),
    };
    match what.as_str() {
        "listed" => change.listed = value,
        "presence" => change.presence = value,
        "refuse-unencrypted" => change.refuse_unencrypted = value,
        _ => {
            return Err(
                "there are three settings: listed, presence, refuse-unencrypted".to_owned(),
            );
        }
    }
    Ok(change)
}
