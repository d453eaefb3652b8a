//! The tests that need a real server: one binary, so that they build and run
//! together. What each module shows stands beside it.

// A failed expectation is how a test fails, and nothing here is reachable from
// outside, however it is spelled.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub)]

/// The server as a process, and clients over real sockets.
mod harness;

mod suite {
    //! The index.

    /// Registering, proofs and nonces, passwords, deletion, settings, blocking.
    mod accounts;
    /// The operator's commands, and what they do to a running server.
    mod admin;
    /// More mail than a window holds, quotas, scripts that fetch.
    mod backlog;
    /// Backups: made under load, checked, sealed, restored.
    mod backup;
    /// What is wrong with the folder, the database or the output, for every subcommand.
    mod bad_input;
    /// What changes while a login or a request waits.
    mod changes;
    /// Two servers on one PostgreSQL.
    #[cfg(feature = "postgres")]
    mod cluster;
    /// The language that a person types into telnet.
    mod console;
    /// Two people talk, from the first hello to the last logout.
    mod conversation;
    /// Kill -9 under load, again and again: every message is accounted for.
    mod crash;
    /// A damaged database: one mailbox stops, not the server.
    mod damage;
    /// PostgreSQL in place of the file: how a server comes to it, and what it refuses.
    #[cfg(feature = "postgres")]
    mod database;
    /// TLS to the database.
    #[cfg(feature = "postgres")]
    mod database_tls;
    /// Peers that leave, and connections whose time is up.
    mod departures;
    /// Who hides or blocks can't be told from who is away.
    mod discretion;
    /// What is left of a deleted account in the files.
    mod erasure;
    /// Mail that waits longer than the operator keeps it.
    mod expiry;
    /// A disk that is full, and one that fails.
    #[cfg(target_os = "linux")]
    mod failing_disk;
    /// The files under the server: moved, replaced, mixed from two copies.
    #[cfg(target_os = "linux")]
    mod files;
    /// Too much of everything: lines, bytes, connections, descriptors.
    mod floods;
    /// Lines that are not requests, and bytes that are not lines.
    mod hostile;
    /// Accounts and messages of the Python program before this one.
    mod imports;
    /// Invitations of the operator and of members.
    #[cfg(feature = "tls")]
    mod invitations;
    /// What a restore must not undo, and a journal that can't be written.
    mod journal;
    /// What one address, account or connection may ask for.
    mod limits;
    /// A log that nobody reads.
    mod log;
    /// The promise: accepted means stored, in order, until acknowledged.
    mod mailbox;
    /// The name of a removed account, given away on a running server.
    mod names;
    /// What the log says, in both formats, and the metrics.
    mod observability;
    /// The unit, the filter for fail2ban and the settings that packages bring.
    #[cfg(target_os = "linux")]
    mod packaging;
    /// Blocks, settings and full mailboxes, as people meet them.
    mod people;
    /// What the server holds about a person, as the operator and the person see it.
    mod personal_data;
    /// Power cuts under load: only what was synced is left.
    #[cfg(target_os = "linux")]
    mod power_loss;
    /// Connections that a proxy makes for others, with the PROXY protocol's header.
    mod proxy;
    /// The client connects again and is refused, for a while or for good.
    mod reconnect;
    /// Messages that are sent again, and what became of others.
    mod resends;
    /// A password that the operator has reset.
    mod resets;
    /// A lost folder, a restore, and what becomes of people and messages.
    #[cfg(feature = "tls")]
    mod restore;
    /// One login per account, and what becomes of dead ones.
    mod sessions;
    /// Settings: addresses, names, folders, the config file's check; whether a server answers.
    mod settings;
    /// SIGTERM, and what nothing depends on.
    mod shutdown;
    /// SIGHUP: settings read again, and terminals that end; what a service manager is told.
    #[cfg(target_os = "linux")]
    mod signals;
    /// A server that stood still, and reads before it judges.
    mod standstill;
    /// Why a server refuses to start, in a sentence.
    mod startup;
    /// Peers that stop reading, for the others' sake.
    mod stuck_peers;
    /// Servers that wait for a database, and a database that is killed.
    #[cfg(feature = "postgres")]
    mod takeover;
    /// TLS on the same port: both languages, certificates, what is refused.
    #[cfg(feature = "tls")]
    mod tls;
    /// Databases of every schema that a server ever wrote.
    mod upgrades;
}
