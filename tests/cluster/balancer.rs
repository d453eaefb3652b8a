//! HAProxy in front of the nodes of a network, in TCP mode with the PROXY protocol, as docs/OPERATIONS.md has it: it looks
//! whether each node takes connections, and ends those to a node that does not.

use std::fmt::Write;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use super::harness::{eventually, process, temporary_folder};

/// A running HAProxy.
pub struct Balancer {
    child: Child,
}

impl Balancer {
    /// One that listens there, and leads to these.
    pub fn start(on: SocketAddr, nodes: &[SocketAddr]) -> Self {
        let mut settings = format!(
            "defaults
 mode tcp
 timeout connect 1s
 timeout client 1h
 timeout server 1h
 option redispatch
frontend chat
 bind {on}
 default_backend servers
backend servers
 default-server check inter 500ms fall 2 on-marked-down shutdown-sessions send-proxy-v2
"
        );
        for (number, node) in nodes.iter().enumerate() {
            writeln!(settings, " server node{number} {node}").unwrap();
        }
        let folder = temporary_folder();
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, settings).unwrap();
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f"]).arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = process::spawn(command.stderr(Stdio::null())).expect("it needs HAProxy");
        eventually("HAProxy listens", || {
            assert!(child.try_wait().unwrap().is_none(), "HAProxy has ended");
            TcpStream::connect(on).is_ok()
        });
        Balancer { child }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        process::kill(&mut self.child);
    }
}
