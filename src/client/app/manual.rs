//! What the client's manual page has besides its options and commands. Its form is decided in
//! `command_line`.

use super::commands;
use super::exit_code::MEANINGS;
use crate::client::args::Options;
use crate::command_line;
use crate::command_line::manual::{Chapter, rows};

/// The client's page in section 1 of the manual.
pub(super) fn page() -> String {
    command_line::manual::<Options>(1, &chapters())
}

fn chapters() -> Vec<Chapter> {
    vec![
        Chapter {
            heading: "THE CHAT",
            text: "Without a command and on a terminal, the program is a chat. Lines that begin with \
                   a slash are commands; after /to NAME, all others are sent to that person.\n\n\
                   Where standard input is no terminal, the same commands are read from it, one a line.",
            rows: commands::TABLE
                .iter()
                .map(|spec| (spec.usage(), spec.help.to_owned()))
                .collect(),
        },
        Chapter {
            heading: "CONFIG FILE",
            text: "Each line is the name of an option, an equals sign and its value. A line that \
                   begins with # is a comment.\n\n    \
                   # My account\n    server = chat.example.org:8080\n    user = alice\n    color = never\n\n\
                   What is typed comes first, then the environment, then this file, then the default. \
                   A file that others can write to is refused.",
            rows: Vec::new(),
        },
        Chapter {
            heading: "FILES",
            text: "",
            rows: rows(&[
                (
                    "$XDG_CONFIG_HOME/secure-chat/client.conf",
                    "The config file. Without XDG_CONFIG_HOME, it is below ~/.config",
                ),
                (
                    "$XDG_DATA_HOME/secure-chat",
                    "The vaults, one for each account, in a folder for each server; and known_servers, the \
                     certificates of the servers. Without XDG_DATA_HOME, it is below ~/.local/share",
                ),
            ]),
        },
        Chapter {
            heading: "EXIT STATUS",
            text: "",
            rows: rows(MEANINGS),
        },
        Chapter {
            heading: "SEE ALSO",
            text: "secure-chat-server(8)",
            rows: Vec::new(),
        },
    ]
}
