//! The server's subcommands for its operator: what each takes. `admin` carries them out.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::protocol::UserName;
use crate::server::limits::ip_prefix::IpPrefix;

/// An operator's command, and how its answer is printed.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Manage accounts
    #[command(subcommand)]
    User(UserTask),
    /// Make an invitation and print its link, or manage invitations
    Invite(InviteTask),
    /// See who is logged in, or end a session
    #[command(subcommand)]
    Sessions(SessionsTask),
    /// Take no connections from an address or a network
    Ban(BanTask),
    /// Print every row that the server holds about a person
    WhatWeKnow {
        /// Their name
        name: UserName,
    },
    /// Replace the certificate so that clients know the next one
    #[command(subcommand, hide = true)]
    Certificate(CertificateTask),
    /// Say how the running server is
    Status,
    /// Tell everybody something; who is away hears it at the next login
    Announce {
        /// The text, one argument
        text: String,
    },
}

/// What to do with accounts.
#[derive(Debug, Subcommand)]
pub(crate) enum UserTask {
    /// Make an account; asks for its password
    Add(AddUser),
    /// List all accounts, removed ones too, whose names stay reserved
    List,
    /// Show one account
    Show {
        /// Its name
        name: UserName,
    },
    /// Keep somebody out; their mail waits, and more is taken for them
    Disable {
        /// The account's name
        name: UserName,
    },
    /// Let them in again
    Enable {
        /// The account's name
        name: UserName,
    },
    /// Delete an account with its keys and its mail; its name stays reserved
    Remove {
        /// The account's name
        name: UserName,
    },
    /// Take the password away, and print a one-time code with which its owner sets another
    Reset {
        /// The account's name
        name: UserName,
        /// Days for which the code works
        #[arg(long, default_value_t = 7, value_parser = days())]
        days: u32,
    },
}

/// An account to be made.
#[derive(Debug, Args)]
pub(crate) struct AddUser {
    /// Its name
    pub name: UserName,
    /// The file whose first line is the password, - for standard input [default: it is asked for]
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Give away the name of a removed account: purges what is left of that account first, mail
    /// among it that it sent and that waits for others
    #[arg(long)]
    pub reuse_name: bool,
}

/// An invitation, or what to do with those that were made.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct InviteTask {
    /// Without anything else, one is made
    #[command(flatten)]
    pub new: NewInvitation,
    /// Something else
    #[command(subcommand)]
    pub task: Option<InvitationsTask>,
}

/// An invitation to be made.
#[derive(Debug, Args)]
pub(crate) struct NewInvitation {
    /// Days for which it works
    #[arg(long, default_value_t = 7, value_parser = days())]
    pub days: u32,
    /// How many accounts it makes
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub uses: u32,
}

/// What to do with invitations.
#[derive(Debug, Subcommand)]
pub(crate) enum InvitationsTask {
    /// Make an invitation, and print its link
    Create(NewInvitation),
    /// List the invitations
    List,
    /// Take an invitation back
    Revoke {
        /// Its number in the list
        id: i64,
    },
}

/// What to do with sessions.
#[derive(Debug, Subcommand)]
pub(crate) enum SessionsTask {
    /// List who is logged in
    List,
    /// End somebody's session; they can log in again
    Close {
        /// Their name
        name: UserName,
    },
}

/// A ban, or what to do with bans.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub(crate) struct BanTask {
    /// The address or network, as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32
    pub network: Option<IpPrefix>,
    /// Something else
    #[command(subcommand)]
    pub task: Option<BansTask>,
}

/// What to do with bans.
#[derive(Debug, Subcommand)]
pub(crate) enum BansTask {
    /// List what is banned
    List,
    /// Take connections again
    Lift {
        /// The address or network, as the list shows it
        network: IpPrefix,
    },
}

/// What to do with the certificate.
#[derive(Debug, Subcommand)]
pub(crate) enum CertificateTask {
    /// Announce the next certificate, signed by the present one, and put it in its place: one that is
    /// made, or yours (--next-cert), which you put into the files of --tls-cert and --tls-key yourself
    Rotate {
        /// The next certificate chain of your own, as PEM
        #[arg(long, value_name = "FILE", requires = "next_key")]
        next_cert: Option<PathBuf>,
        /// Its private key, as PEM
        #[arg(long, value_name = "FILE", requires = "next_cert")]
        next_key: Option<PathBuf>,
    },
    /// With several servers on a database: end it, once all of them show the next certificate
    Finish,
    /// List the announcements that clients follow
    List,
}

fn days() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=365)
}
