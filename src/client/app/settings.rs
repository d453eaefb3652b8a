//! Parses the arguments of `/settings` into a change of the settings, which the messenger carries
//! out.

use crate::client::messenger::command::SettingsChange;
use crate::protocol::request::ChangeSettings;

/// The change that the arguments describe; without arguments, none.
///
/// # Errors
/// A sentence that says what to type instead.
pub(crate) fn change(given: &[String]) -> Result<SettingsChange, String> {
    let mut change = ChangeSettings::default();
    let [what, value] = given else {
        return match given.is_empty() {
            true => Ok(SettingsChange::Account(change)),
            false => Err("say on or off, for instance: /settings presence off".to_owned()),
        };
    };
    let value = match value.as_str() {
        "on" => true,
        "off" => false,
        _ => return Err("a setting is on or off".to_owned()),
    };
    match what.as_str() {
        "listed" => change.listed = Some(value),
        "presence" => change.presence = Some(value),
        "refuse-unencrypted" => change.refuse_unencrypted = Some(value),
        "receipts" => return Ok(SettingsChange::Receipts(value)),
        _ => {
            return Err(
                "there are four settings: listed, presence, receipts, refuse-unencrypted"
                    .to_owned(),
            );
        }
    }
    Ok(SettingsChange::Account(change))
}
