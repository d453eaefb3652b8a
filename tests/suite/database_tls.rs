//! TLS to the database: whose certificate is taken, and that nothing weaker is.

use std::fs;
use std::net::TcpListener;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::database::{refusal, text};
use crate::harness::{Server, plain, postgres, temporary_folder};

/// Somebody who signs certificates.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

#[test]
fn a_database_is_served_from_only_if_its_certificate_is_its_own() {
    let folder = temporary_folder();
    let data = folder.path().join("data");
    let (ours, others) = (authority(), authority());
    let [right, wrong] = ["right.pem", "wrong.pem"].map(|name| folder.path().join(name));
    fs::write(&right, ours.pem()).unwrap();
    fs::write(&wrong, others.pem()).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let database = postgres::Cluster::start_on(Some(port));

    // As if the database were on another machine: its name is looked up nowhere.
    let address = |name: &str, options: &str| {
        format!("postgres://chat@{name}:{port}/postgres?hostaddr=127.0.0.1{options}")
    };
    let rooted = |name: &str, roots| address(name, &format!("&sslrootcert={}", text(roots)));
    let refused = |store: &str, says: &str| {
        let said = refusal(&["--data", text(&data), "--store", store], &[]);
        assert!(said.contains(says), "{store}: {said}");
    };
    for weaker in ["allow", "prefer", "require", "verify-ca"] {
        for host in ["db.example", "localhost"] {
            let store = address(host, &format!("&sslmode={weaker}"));
            refused(&store, "use verify-full");
        }
    }
    let store = rooted("db.example", &right);
    refused(&store, "set ssl=on");

    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(["db.example".to_owned()]).unwrap();
    let certificate = parameters.signed_by(&key, &ours).unwrap();
    database.offer_tls(&certificate.pem(), &key.serialize_pem());
    refused(&rooted("db.example", &wrong), "sslrootcert=FILE");
    // The system's own roots do not vouch for it either.
    refused(&address("db.example", ""), "sslrootcert=FILE");
    refused(&rooted("other.example", &right), "for another name");
    let nobody = folder.path().join("nobody.pem");
    refused(&rooted("db.example", &nobody), "can't be read");

    let explicit = format!("{store}&sslmode=verify-full");
    let server = Server::on_file(&data, &["--store", &explicit]);
    let mut bob = server.register("bob");
    let mut alice = server.register("alice");
    alice.post("send", &plain("bob", 1, "over TLS"));
    assert_eq!(bob.message().body, "over TLS");
    let encrypted = "SELECT count(*) FILTER (WHERE ssl) >= 3, count(*) FILTER (WHERE NOT ssl)
                     FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                     WHERE application_name = 'secure-chat-server'";
    assert_eq!(postgres::ask(&database.address, encrypted), "t|0");
}
