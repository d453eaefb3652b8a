//! What `/help` answers: an overview that fits a terminal of 24 rows, the commands of a topic, or
//! all about one command. It returns rows and prints nothing.

use super::{Spec, TABLE, Topic, find, usable};
use crate::protocol::nearest::nearest;

/// A row of help: what to type, and what it does.
pub(crate) type Row = (String, String);

/// The answer to `/help` and what follows it.
///
/// # Errors
/// There is no such topic or command.
pub(crate) fn help(about: Option<&str>, logged_in: bool) -> Result<Vec<Row>, String> {
    let Some(about) = about else {
        return Ok(match logged_in {
            true => overview(),
            false => usable(false).map(row).collect(),
        });
    };
    if let Some(topic) = Topic::ALL.into_iter().find(|topic| topic.name() == about) {
        let specs = TABLE.iter().filter(|spec| spec.topic == topic);
        return Ok(specs.map(row).collect());
    }
    let command = format!("/{}", about.trim_start_matches('/'));
    if let Some(spec) = find(&command) {
        return Ok(all_about(spec));
    }
    let names = TABLE.iter().flat_map(|spec| spec.names.iter().copied());
    let near = nearest(&command, names)
        .map(str::to_owned)
        .or_else(|| nearest(about, Topic::ALL.map(Topic::name)).map(str::to_owned));
    Err(match near {
        Some(near) => format!("there is no help about {about}; did you mean /help {near}?"),
        None => format!("there is no help about {about}; /help lists topics and commands"),
    })
}

/// The commands in one row for each topic.
fn overview() -> Vec<Row> {
    let mut rows = Vec::new();
    for topic in Topic::ALL {
        let names = usable(true).filter(|spec| spec.topic == topic);
        let names: Vec<_> = names.map(|spec| spec.names[0]).collect();
        rows.push((topic.name().to_owned(), names.join(" ")));
    }
    rows.push((
        "/help TOPIC".to_owned(),
        "explains the commands of a topic, such as /help messages".to_owned(),
    ));
    rows.push((
        "/help COMMAND".to_owned(),
        "explains one command, such as /help msg".to_owned(),
    ));
    rows.push((
        "keys".to_owned(),
        "Tab completes, Up and Ctrl-R find what you typed, Alt-Enter begins a new line, Ctrl-C drops the line, Ctrl-D quits"
            .to_owned(),
    ));
    rows
}

fn row(spec: &Spec) -> Row {
    let number = match spec.menu {
        Some((number, _)) => format!(" or {number}"),
        None => String::new(),
    };
    (format!("{}{number}", spec.usage()), spec.help.to_owned())
}

fn all_about(spec: &Spec) -> Vec<Row> {
    let mut rows = vec![row(spec)];
    if let [_, others @ ..] = spec.names
        && !others.is_empty()
    {
        rows.push((String::new(), format!("also called {}", others.join(", "))));
    }
    if !spec.more.is_empty() {
        rows.push((String::new(), spec.more.to_owned()));
    }
    rows
}
