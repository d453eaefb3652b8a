//! What the server's manual page has besides its options and commands. Its form is decided in
//! `command_line`.

use super::args::Options;
use crate::command_line;
use crate::command_line::manual::{Chapter, rows};

/// The server's page in section 8 of the manual.
pub(super) fn page() -> String {
    command_line::manual::<Options>(8, &chapters())
}

fn chapters() -> Vec<Chapter> {
    vec![
        Chapter {
            heading: "CONFIG FILE",
            text: "Each line is the name of an option, an equals sign and its value. A line that \
                   begins with # is a comment.\n\n    \
                   listen = 0.0.0.0:8080\n    max-clients = 500\n    registration = closed\n\n\
                   What is typed comes first, then the environment, then this file, then the default. \
                   A file that others can write to is refused.",
            rows: Vec::new(),
        },
        Chapter {
            heading: "SIGNALS",
            text: "",
            rows: rows(&[
                ("SIGINT, SIGTERM", "End the server in good order"),
                (
                    "SIGHUP",
                    "Read the config file and the certificate again, and open the log's file again; \
                     the log says what was taken. If the terminal that the server was started from is \
                     gone, end in good order",
                ),
            ]),
        },
        Chapter {
            heading: "EXIT STATUS",
            text: "",
            rows: rows(&[
                ("0", "The server was asked to end, or the command was done"),
                (
                    "1",
                    "Something failed; a sentence on standard error says what",
                ),
                ("2", "Wrong usage"),
            ]),
        },
        Chapter {
            heading: "SEE ALSO",
            text: "secure-chat(1)",
            rows: Vec::new(),
        },
    ]
}
