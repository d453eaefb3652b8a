//! What the server prints on standard output when it has started: where it listens, how its
//! clients recognize it, and on a terminal how to go on. Later events go to the log.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::Path;

use termcolor::{Color, ColorSpec, WriteColor};

use super::config::Config;
use super::log;
use crate::appearance;
use crate::command_line;
use crate::sync;
use crate::transport::address::Address;
use crate::transport::fingerprint::Fingerprint;

/// The address that clients connect to. A server that listens on all addresses of its machine
/// is given the machine's name, if a client can look such a name up.
pub(super) fn public_address(listening: SocketAddr, fingerprint: Option<Fingerprint>) -> Address {
    let machine = rustix::system::uname();
    let name = machine.nodename().to_string_lossy();
    let named = format!("{name}:{}", listening.port()).parse();
    let mut address = match named {
        Ok(named) if listening.ip().is_unspecified() => named,
        _ => Address::from(listening),
    };
    address.fingerprint = fingerprint;
    address
}

/// The command that starts the client of this build: by its path, from the current folder if
/// it lies below; by cargo where only the server was built; otherwise by its name.
fn client_command() -> String {
    let server = std::env::current_exe().unwrap_or_default();
    let client = server.with_file_name(command_line::client_name());
    if !client.is_file() {
        return match server.parent().and_then(Path::file_name) {
            Some(folder) if folder == "debug" => "cargo run --bin client --".to_owned(),
            Some(folder) if folder == "release" => "cargo run --release --bin client --".to_owned(),
            _ => command_line::client_name().to_owned(),
        };
    }
    let here = std::env::current_dir().unwrap_or_default();
    client
        .strip_prefix(&here)
        .unwrap_or(&client)
        .display()
        .to_string()
}

/// Prints the banner of a server that listens on these addresses; the first is for clients.
pub(super) fn print(config: &Config, addresses: &[SocketAddr], fingerprint: Option<Fingerprint>) {
    let terminal = io::stdout().is_terminal();
    let mut out = log::buffer(appearance::colours(terminal));
    let data = fs::canonicalize(&config.data).unwrap_or_else(|_| config.data.clone());
    let mut write = || -> io::Result<()> {
        if terminal {
            out.set_color(ColorSpec::new().set_fg(Some(Color::Cyan)).set_bold(true))?;
            writeln!(out, "{}\n", appearance::BANNER.join("\n"))?;
            out.reset()?;
        }
        writeln!(out, "Secure Chat server {}", env!("CARGO_PKG_VERSION"))?;
        for address in addresses {
            writeln!(out, "listening on {address}")?;
        }
        let Some(address) = addresses.first().copied() else {
            return Ok(());
        };
        if let Some(fingerprint) = fingerprint {
            writeln!(out, "certificate {}", fingerprint.groups())?;
            let address = public_address(address, Some(fingerprint));
            writeln!(out, "for clients {address}")?;
        }
        writeln!(out, "data in {}", data.display())?;
        if terminal {
            let address = public_address(address, fingerprint);
            writeln!(
                out,
                "Ctrl-C stops it. In another terminal: {} --server {address}",
                client_command()
            )?;
        }
        Ok(())
    };
    // Writing into memory does not fail.
    let _ = write();
    // On a thread of its own, because standard output may block for as long as nobody reads
    // it. The server serves even if there is no such thread or no standard output.
    let _ = sync::spawn("banner", None, move || {
        log::write_all(&io::stdout(), out.as_slice())
    });
}
