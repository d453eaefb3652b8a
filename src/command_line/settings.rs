//! Settings of a config file as defaults of the options with the same names. How the file is
//! written is decided in [`config_file`](super::config_file).

use clap::error::{ContextKind, ErrorKind};
use clap::{Arg, ArgAction, Command};

use super::config_file::{Fault, Setting};
use crate::protocol::nearest::nearest;

/// The command with these defaults. `typed_only` lists the options that a file must not set.
///
/// # Errors
/// A setting is no option of `command`, may only be typed, or has a value that the option does not take.
pub(super) fn as_defaults(
    command: Command,
    settings: &[Setting],
    typed_only: &[&str],
) -> Result<Command, Fault> {
    settings.iter().try_fold(command, |command, setting| {
        let wrong = |why| Fault::Line(setting.line, why);
        let id = find(&command, setting, typed_only).map_err(wrong)?;
        check_value(&command, &id, setting).map_err(wrong)?;
        Ok(command.mut_arg(&id, |option| with_default(option, &setting.value)))
    })
}

/// The options that a file may set, by their long names.
pub(super) fn settable<'a>(
    command: &'a Command,
    typed_only: &'a [&str],
) -> impl Iterator<Item = &'a Arg> {
    command.get_arguments().filter(|option| {
        let acts = matches!(
            option.get_action(),
            ArgAction::Set | ArgAction::Append | ArgAction::SetTrue
        );
        acts && option
            .get_long()
            .is_some_and(|name| !typed_only.contains(&name))
    })
}

fn find(command: &Command, setting: &Setting, typed_only: &[&str]) -> Result<String, String> {
    let name = setting.name.as_str();
    let known = || settable(command, typed_only).filter_map(Arg::get_long);
    let option = settable(command, typed_only).find(|option| option.get_long() == Some(name));
    if let Some(option) = option {
        return Ok(option.get_id().to_string());
    }
    let plain = name.trim_start_matches('-');
    if command
        .get_arguments()
        .any(|option| option.get_long() == Some(plain) && typed_only.contains(&plain))
    {
        return Err(format!(
            "{plain} can't be set in a file; use --{plain} where you want it"
        ));
    }
    Err(match nearest(plain, known()) {
        Some(other) => format!("there is no setting {name}; did you mean {other}?"),
        None => format!(
            "there is no setting {name}; there are {}",
            known().collect::<Vec<_>>().join(", ")
        ),
    })
}

/// Has the option itself judge the value, without the environment and without the other options.
fn check_value(command: &Command, id: &str, setting: &Setting) -> Result<(), String> {
    let Setting { name, value, .. } = setting;
    let is_switch = command
        .get_arguments()
        .any(|option| option.get_id() == id && matches!(option.get_action(), ArgAction::SetTrue));
    if is_switch {
        return match value.as_str() {
            "true" | "false" => Ok(()),
            _ => Err(format!("{name} is true or false, not {value:?}")),
        };
    }
    let alone = command.clone().mut_args(|option| option.env(None::<&str>));
    let values = values(command, id, value).map(|value| format!("--{name}={value}"));
    let typed = std::iter::once(command.get_name().to_owned()).chain(values);
    let Err(error) = alone.try_get_matches_from(typed) else {
        return Ok(());
    };
    let about_value = matches!(
        error.kind(),
        ErrorKind::InvalidValue
            | ErrorKind::ValueValidation
            | ErrorKind::TooManyValues
            | ErrorKind::TooFewValues
            | ErrorKind::WrongNumberOfValues
    );
    match about_value {
        false => Ok(()),
        true => Err(format!("{name} = {value}: {}", reason(&error, value))),
    }
}

/// What is wrong with a value.
fn reason(error: &clap::Error, value: &str) -> String {
    let choices = match error.get(ContextKind::ValidValue) {
        Some(choices) => format!("the value is one of {choices}"),
        None => match std::error::Error::source(error) {
            Some(why) => why.to_string(),
            None => "the value does not fit".to_owned(),
        },
    };
    let hint = if value.contains(" #") {
        " (a comment needs a line of its own)"
    } else if value.starts_with(['"', '\'']) {
        " (a value needs no quotes)"
    } else {
        ""
    };
    format!("{choices}{hint}")
}

fn with_default(option: Arg, value: &str) -> Arg {
    match option.get_value_delimiter() {
        None => option.default_value(value.to_owned()),
        Some(mark) => {
            let values: Vec<String> = split(value, mark).map(str::to_owned).collect();
            option.default_values(values)
        }
    }
}

/// The values of an option that takes several, otherwise the one value.
fn values<'a>(
    command: &Command,
    id: &str,
    value: &'a str,
) -> Box<dyn Iterator<Item = &'a str> + 'a> {
    let option = command.get_arguments().find(|option| option.get_id() == id);
    match option.and_then(Arg::get_value_delimiter) {
        Some(mark) => Box::new(split(value, mark)),
        None => Box::new(std::iter::once(value)),
    }
}

fn split(value: &str, mark: char) -> impl Iterator<Item = &str> {
    value.split(mark).map(str::trim)
}
