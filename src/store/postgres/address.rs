//! Where the database is and how to get in: the address of `--store`, and the password that must
//! not stand in it. What is said over a connection is not decided here.
//!
//! The forms are libpq's: a URL `postgres://USER@HOST:PORT/DATABASE?NAME=VALUE`, the password in
//! `PGPASSWORD`, in the file that `PGPASSFILE` names or in `~/.pgpass`, and a section of a service
//! file by `postgres:///?service=NAME`. The driver knows the URL alone, so the rest is here.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use postgres::Config;
use postgres::config::{Host, SslMode, TargetSessionAttrs};
use zeroize::Zeroizing;

use crate::fs::open_mode;

/// The longest file with passwords or services that is read, in bytes.
const MOST_BYTES: u64 = 1 << 20;

/// How long a database has to answer a connection.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// How long a machine with the database may acknowledge nothing: as long as a lease lasts.
const SILENCE: Duration = Duration::from_secs(6);

/// How often such a machine is asked whether it is there, while an answer is waited for. The system would ask after 75 s
/// for the second time, and so much longer would the end of a machine with a question go unnoticed.
const PROBE: Duration = Duration::from_secs(2);

/// The address of a database, as the operator has given it.
#[derive(Clone)]
pub(crate) struct StoreAddress {
    given: String,
    parameters: Box<Config>,
    has_password: bool,
    tls: DatabaseTls,
}

/// Whether the connection to the database is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DatabaseTls {
    /// It is not: `sslmode=disable`, a socket file, or this machine.
    Off,
    /// `sslmode=verify-full`: by a certificate of the database's name that the system's roots
    /// vouch for, or those in the file of `sslrootcert`.
    Verified(Option<PathBuf>),
}

/// Why an address can't be used.
#[derive(Debug)]
pub(crate) enum AddressError {
    /// It is no address of a database.
    Malformed(postgres::Error),
    /// It is neither `postgres://` nor `postgresql://`.
    Scheme,
    /// A value of `sslmode` that is not one of ours.
    SslMode(String),
    /// A service comes together with something else.
    ServiceAlone,
    /// There is no such service, or no file of services.
    NoService(String),
    /// A file can't be read.
    Unreadable(PathBuf, io::Error),
    /// Others may read the file with passwords.
    Mode(PathBuf, u32),
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddressError::Malformed(error) => {
                write!(f, "this is no address of a database: {error}")?;
                match error.source() {
                    Some(source) => write!(f, ": {source}"),
                    None => Ok(()),
                }
            }
            AddressError::Scheme => f.write_str("an address of a database begins with postgres://"),
            AddressError::SslMode(mode) => write!(
                f,
                "sslmode={mode} is not supported: use verify-full, or disable for a database on \
                 this machine or in a network of your own"
            ),
            AddressError::ServiceAlone => f.write_str(
                "service=NAME stands alone, as in postgres:///?service=NAME; write the rest into \
                 the service's section",
            ),
            AddressError::NoService(name) => write!(
                f,
                "no section [{name}] is in the file of services (PGSERVICEFILE, or \
                 ~/.pg_service.conf)"
            ),
            AddressError::Unreadable(path, error) => {
                write!(f, "{} can't be read: {error}", path.display())
            }
            AddressError::Mode(path, mode) => write!(
                f,
                "{} has passwords and mode {mode:04o}: others can read it. Run chmod 600 on it",
                path.display()
            ),
        }
    }
}

impl Error for AddressError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            AddressError::Malformed(error) => Some(error),
            AddressError::Unreadable(_, error) => Some(error),
            _ => None,
        }
    }
}

/// The address as it was given.
impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.given)
    }
}

impl fmt::Debug for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreAddress({})", self.given)
    }
}

impl FromStr for StoreAddress {
    type Err = AddressError;

    fn from_str(given: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = given.split_once("://").ok_or(AddressError::Scheme)?;
        if !matches!(scheme, "postgres" | "postgresql") {
            return Err(AddressError::Scheme);
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut own = Own::default();
        let theirs = query
            .split('&')
            .filter(|pair| !pair.is_empty() && !own.take(pair.split_once('=')));
        // The driver takes several hosts with commas everywhere but here.
        let theirs: Vec<String> = theirs
            .map(|pair| match pair.strip_prefix("host=") {
                Some(hosts) => format!("host={}", hosts.replace(',', "&host=")),
                None => pair.to_owned(),
            })
            .collect();
        let mut has_password = false;
        let parameters = match own.service.take() {
            Some(name) if matches!(place, "" | "/") && theirs.is_empty() && own.is_empty() => {
                service(&name, &mut own)?
            }
            Some(_) => return Err(AddressError::ServiceAlone),
            None => {
                let url = format!("postgres://{place}?{}", theirs.join("&"));
                let parameters: Config = url.parse().map_err(AddressError::Malformed)?;
                has_password = parameters.get_password().is_some();
                parameters
            }
        };
        let tls = own.tls(&parameters)?;
        Ok(StoreAddress {
            given: given.to_owned(),
            parameters: Box::new(parameters),
            has_password,
            tls,
        })
    }
}

/// The parameters that the driver leaves to us.
#[derive(Default)]
struct Own {
    sslmode: Option<String>,
    sslrootcert: Option<PathBuf>,
    service: Option<String>,
}

impl Own {
    fn is_empty(&self) -> bool {
        self.sslmode.is_none() && self.sslrootcert.is_none()
    }

    /// Takes a parameter that is one of ours.
    fn take(&mut self, pair: Option<(&str, &str)>) -> bool {
        match pair {
            Some(("sslmode", value)) => self.sslmode = Some(value.to_owned()),
            Some(("sslrootcert", value)) => self.sslrootcert = Some(value.into()),
            Some(("service", value)) => self.service = Some(value.to_owned()),
            _ => return false,
        }
        true
    }

    fn tls(self, parameters: &Config) -> Result<DatabaseTls, AddressError> {
        let near = parameters.get_hosts().iter().all(is_near);
        match self.sslmode.as_deref() {
            None if near && self.sslrootcert.is_none() => Ok(DatabaseTls::Off),
            Some("disable") => Ok(DatabaseTls::Off),
            None | Some("verify-full") => Ok(DatabaseTls::Verified(self.sslrootcert)),
            Some(other) => Err(AddressError::SslMode(other.to_owned())),
        }
    }
}

/// Whether a database is on this machine, as far as its address says so.
fn is_near(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost"
                || name
                    .parse()
                    .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        }
    }
}

fn home(name: &str) -> Option<PathBuf> {
    std::env::home_dir().map(|home| home.join(name))
}

fn named_by(variable: &str, default: &str) -> Option<PathBuf> {
    match std::env::var_os(variable).filter(|path| !path.is_empty()) {
        Some(path) => Some(path.into()),
        None => home(default),
    }
}

fn read(path: &Path) -> Result<(File, Zeroizing<String>), AddressError> {
    let failed = |error| AddressError::Unreadable(path.to_owned(), error);
    let file = File::open(path).map_err(failed)?;
    let mut text = Zeroizing::new(String::new());
    Read::by_ref(&mut &file)
        .take(MOST_BYTES)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok((file, text))
}

/// What the section of a service says.
fn service(name: &str, own: &mut Own) -> Result<Config, AddressError> {
    let none = || AddressError::NoService(name.to_owned());
    let path = named_by("PGSERVICEFILE", ".pg_service.conf").ok_or_else(none)?;
    let (_, text) = read(&path)?;
    let header = format!("[{name}]");
    let mut lines = text
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != header);
    lines.next().ok_or_else(none)?;
    let mut words = Zeroizing::new(String::new());
    for line in lines.take_while(|line| !line.starts_with('[')) {
        if line.is_empty() || line.starts_with('#') || own.take(line.split_once('=')) {
            continue;
        }
        if let Some((key, value)) = line.split_once('=') {
            let value = value.replace('\\', "\\\\").replace('\'', "\\'");
            words.push_str(&format!("{key}='{value}' "));
        }
    }
    words.parse().map_err(AddressError::Malformed)
}

impl StoreAddress {
    /// Whether a password stands in it.
    pub(crate) fn has_password(&self) -> bool {
        self.has_password
    }

    pub(super) fn tls(&self) -> &DatabaseTls {
        &self.tls
    }

    /// How to connect, with the password that is kept elsewhere.
    ///
    /// # Errors
    /// The file of passwords can't be used.
    pub(super) fn parameters(&self) -> Result<Config, AddressError> {
        let mut parameters = Config::clone(&self.parameters);
        if parameters.get_password().is_none()
            && let Some(password) = password(&parameters)?
        {
            parameters.password(password.as_bytes());
        }
        if parameters.get_application_name().is_none() {
            parameters.application_name("secure-chat-server");
        }
        if parameters.get_connect_timeout().is_none() {
            parameters.connect_timeout(CONNECT_TIME);
        }
        parameters
            .tcp_user_timeout(SILENCE)
            .keepalives_idle(PROBE)
            .keepalives_interval(PROBE)
            .keepalives_retries((SILENCE.as_secs() / PROBE.as_secs()) as u32)
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .ssl_mode(match self.tls {
                DatabaseTls::Off => SslMode::Disable,
                DatabaseTls::Verified(_) => SslMode::Require,
            });
        Ok(parameters)
    }
}

fn password(parameters: &Config) -> Result<Option<Zeroizing<String>>, AddressError> {
    if let Ok(password) = std::env::var("PGPASSWORD") {
        return Ok(Some(Zeroizing::new(password)));
    }
    let Some(path) = named_by("PGPASSFILE", ".pgpass") else {
        return Ok(None);
    };
    let (file, text) = match read(&path) {
        Err(AddressError::Unreadable(_, error)) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        read => read?,
    };
    let mode = open_mode(&file).map_err(|error| AddressError::Unreadable(path.clone(), error))?;
    if let Some(mode) = mode {
        return Err(AddressError::Mode(path, mode));
    }
    Ok(password_in(&text, parameters))
}

/// The password of the first line that fits.
fn password_in(text: &str, parameters: &Config) -> Option<Zeroizing<String>> {
    let host = match parameters.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        Some(Host::Unix(_)) | None => "localhost".to_owned(),
    };
    let port = parameters.get_ports().first().copied().unwrap_or(5432);
    let user = parameters.get_user().unwrap_or_default();
    let database = parameters.get_dbname().unwrap_or(user);
    let wanted = [&host, &port.to_string(), database, user];
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(fields)
        .find_map(|mut fields| {
            let fits = |(field, wanted): (&Zeroizing<String>, &&str)| {
                field.as_str() == "*" || field.as_str() == *wanted
            };
            let found = fields.len() == 5 && fields.iter().zip(&wanted).all(fits);
            found.then(|| fields.pop()).flatten()
        })
}

/// The fields of a line, whose colons and backslashes have a backslash before them.
fn fields(line: &str) -> Vec<Zeroizing<String>> {
    let mut fields = vec![Zeroizing::new(String::new())];
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        let literal = match letter {
            '\\' => letters.next(),
            ':' if fields.len() < 5 => None,
            other => Some(other),
        };
        match (literal, fields.last_mut()) {
            (Some(literal), Some(field)) => field.push(literal),
            _ => fields.push(Zeroizing::new(String::new())),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(given: &str) -> Result<StoreAddress, AddressError> {
        given.parse()
    }

    #[test]
    fn tls_is_verified_unless_the_database_is_near() {
        let off = DatabaseTls::Off;
        let verified = DatabaseTls::Verified(None);
        for (given, tls) in [
            ("postgres://chat@localhost/chat", &off),
            ("postgres://chat@127.0.0.1:5433/chat", &off),
            ("postgres:///chat?host=/run/postgresql", &off),
            ("postgres://chat@db.example/chat", &verified),
            ("postgres://chat@localhost,db.example/chat", &verified),
            (
                "postgresql://db.example/chat?sslmode=verify-full",
                &verified,
            ),
            ("postgres://db.example/chat?sslmode=disable", &off),
        ] {
            assert_eq!(parse(given).unwrap().tls(), tls, "{given}");
        }
        let given = "postgres://db.example/chat?sslrootcert=/etc/ca.pem&connect_timeout=3";
        let root = DatabaseTls::Verified(Some("/etc/ca.pem".into()));
        assert_eq!(*parse(given).unwrap().tls(), root);
    }

    #[test]
    fn several_hosts_stand_before_the_database_or_behind_it() {
        for (given, count) in [
            ("postgres://chat@one,two/chat", 2),
            ("postgres://chat@%2Frun%2Fone,%2Frun%2Ftwo/chat", 2),
            ("postgres://chat@/chat?host=/run/one,/run/two,/run/three", 3),
        ] {
            let address = parse(given).unwrap();
            assert_eq!(address.parameters.get_hosts().len(), count, "{given}");
        }
    }

    #[test]
    fn what_is_refused_says_why() {
        for (given, why) in [
            ("mysql://localhost/chat", "postgres://"),
            ("chat.db", "postgres://"),
            ("postgres://db/chat?sslmode=prefer", "verify-full"),
            ("postgres://db/chat?service=chat", "alone"),
            ("postgres://db:port/chat", "no address"),
            ("postgres://db/chat?what=ever", "no address"),
        ] {
            let said = parse(given).unwrap_err().to_string();
            assert!(said.contains(why), "{given}: {said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn a_password_in_it_is_noticed() {
        for given in [
            "postgres://chat:secret@localhost/chat",
            "postgres://localhost/chat?password=secret",
        ] {
            assert!(parse(given).unwrap().has_password(), "{given}");
        }
        assert!(
            !parse("postgres://chat@localhost/chat")
                .unwrap()
                .has_password()
        );
    }

    #[test]
    fn a_password_is_found_by_what_it_is_for() {
        let parameters = |given: &str| parse(given).unwrap().parameters;
        let text = "# a comment\n\
                    db.example:5432:other:chat:wrong\n\
                    *:*:chat:chat:with\\:colon\\\\ and : more\n\
                    localhost:*:*:*:local\n";
        let of = |given| password_in(text, &parameters(given)).map(|found| found.to_string());
        let found = of("postgres://chat@db.example/chat");
        assert_eq!(found.as_deref(), Some("with:colon\\ and : more"));
        let found = of("postgres://eve@/x?host=/run/postgresql");
        assert_eq!(found.as_deref(), Some("local"));
        assert_eq!(of("postgres://eve@db.example/x"), None);
    }
}
