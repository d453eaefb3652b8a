//! The words after `/settings`, as a change to ask the server for.

use crate::protocol::request::ChangeSettings;

/// What `/settings` is to change.
///
/// # Errors
/// A sentence about how it would be right.
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
