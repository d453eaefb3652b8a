//! The operator's commands, `server user`, `invite`, `sessions`, `ban`, `announce` and `what-we-know`.
//!
//! A command becomes a [`request::Request`]. If a server runs on the data folder, the request goes
//! over the socket `admin.sock` in it, and the server carries it out, so its effects are immediate.
//! Otherwise the command locks the folder itself and carries the request out on the database, with
//! the same code. Either way both the request and its outcome go to the audit log.
//!
//! | file | what |
//! | --- | --- |
//! | this one | from a command to its answer |
//! | `request` | the requests, the answers, and their form on the socket |
//! | `perform` | carries a request out |
//! | `accounts`, `access` | what it does to accounts; to sessions, invitations, bans |
//! | `certificate` | puts another certificate in the place of the present one |
//! | `what_we_know` | all that the server holds about a person |
//! | `socket` | the socket: its path, the server's thread, the command's side |
//! | `offline` | without a running server |
//! | `audit` | the audit log |
//! | `prompt` | asks for a password |
//! | `print` | tables and JSON lines |
//! | `error` | why a command fails |
//!
//! What people may ask for over the network is not here.

mod access;
mod accounts;
mod audit;
mod certificate;
mod error;
mod offline;
mod perform;
mod print;
mod prompt;
mod request;
mod socket;
mod what_we_know;

pub(super) use self::audit::{Audit, AuditError};
use self::error::AdminError;
pub(super) use self::perform::Performer;
use self::print::Printer;
use self::request::Request;
pub(super) use self::socket::Control;
use super::args::tasks::{
    BanTask, BansTask, CertificateTask, InvitationsTask, InviteTask, NewInvitation, SessionsTask,
    Task, UserTask,
};
use super::config::Config;
use super::data_folder;

pub(super) use self::error::AdminError as Error;

/// Carries out a command, and prints its answer; as JSON lines with `json`.
///
/// # Errors
/// A sentence for the operator. Nothing was done, unless it says otherwise.
pub(super) fn run(config: Config, task: Task, json: bool) -> Result<(), AdminError> {
    // With a database elsewhere the folder has none. A server that runs on the folder knows where it is.
    if config.store.is_none() && !data_folder::is_in_use(&config.data) {
        data_folder::require_own_log(&config.data).map_err(AdminError::Folder)?;
    }
    let request = request_of(task)?;
    let mut printer = Printer::new(&request, json);
    let done = match socket::connect(&config.data)? {
        Some(stream) => socket::call(stream, &request, &mut printer)?,
        None => offline::run(config, &request, &mut printer)?,
    };
    printer.finish(&done)
}

/// What a command asks for. Asks for the password of a new account.
fn request_of(task: Task) -> Result<Request, AdminError> {
    Ok(match task {
        Task::User(UserTask::Add(add)) => {
            let (kdf, login_key) = prompt::new_login(&add)?;
            Request::UserAdd {
                name: add.name,
                kdf,
                login_key,
                reuse_name: add.reuse_name,
            }
        }
        Task::User(UserTask::List) => Request::UserList {},
        Task::User(UserTask::Show { name }) => Request::UserShow { name },
        Task::User(UserTask::Disable { name }) => Request::UserDisable { name },
        Task::User(UserTask::Enable { name }) => Request::UserEnable { name },
        Task::User(UserTask::Remove { name }) => Request::UserRemove { name },
        Task::User(UserTask::Reset { name, days }) => Request::UserReset { name, days },
        Task::Invite(InviteTask { new, task }) => {
            match task.unwrap_or(InvitationsTask::Create(new)) {
                InvitationsTask::Create(NewInvitation { days, uses }) => {
                    Request::InviteCreate { days, uses }
                }
                InvitationsTask::List => Request::InviteList {},
                InvitationsTask::Revoke { id } => Request::InviteRevoke { id },
            }
        }
        Task::Sessions(SessionsTask::List) => Request::SessionsList {},
        Task::Sessions(SessionsTask::Close { name }) => Request::SessionsClose { name },
        Task::Ban(BanTask { network, task }) => match (network, task) {
            (Some(network), _) => Request::Ban {
                network: network.to_string(),
            },
            (None, Some(BansTask::Lift { network })) => Request::BanLift {
                network: network.to_string(),
            },
            // Clap shows the help without either.
            (None, Some(BansTask::List) | None) => Request::BanList {},
        },
        Task::Certificate(CertificateTask::Rotate {
            next_cert,
            next_key,
        }) => Request::CertificateRotate {
            next: certificate::named(next_cert, next_key)?,
        },
        Task::Certificate(CertificateTask::Finish) => Request::CertificateFinish {},
        Task::Certificate(CertificateTask::List) => Request::CertificateList {},
        Task::Announce { text } => Request::Announce { text },
        Task::WhatWeKnow { name } => Request::WhatWeKnow { name },
        Task::Status => Request::Status {},
    })
}
