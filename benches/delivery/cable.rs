//! A virtual cable inside this machine, with a network namespace at its far end. When it is pulled,
//! a peer there vanishes without a word. It needs root and `ip`.

use std::process::{Command, Stdio};

/// The cable. Dropping it removes its namespace.
pub(crate) struct Cable {
    namespace: String,
    /// The address at this end: 198.18.0.0/15 is set aside for benchmarks.
    pub(crate) near: String,
}

impl Cable {
    /// Sets the cable up.
    ///
    /// # Errors
    /// This machine does not permit it.
    pub(crate) fn lay() -> Result<Self, String> {
        let process = std::process::id();
        let namespace = format!("chat-{process}");
        let (near_end, far_end) = (format!("chn{process}"), format!("chf{process}"));
        let net = format!("198.18.{}", process % 256);
        let (near, far) = (format!("{net}.1"), format!("{net}.2"));
        ip(&["netns", "add", &namespace])?;
        // From here on there is something to take away again.
        let cable = Cable { namespace, near };
        let inside = cable.namespace.as_str();
        ip(&[
            "link", "add", &near_end, "type", "veth", "peer", "name", &far_end, "netns", inside,
        ])?;
        ip(&[
            "address",
            "add",
            &format!("{}/30", cable.near),
            "dev",
            &near_end,
        ])?;
        ip(&["link", "set", &near_end, "up"])?;
        ip(&[
            "-n",
            inside,
            "address",
            "add",
            &format!("{far}/30"),
            "dev",
            &far_end,
        ])?;
        cable.mend()?;
        Ok(cable)
    }

    /// The namespace at its far end.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Pulls the cable: nothing passes any more, and neither end is told.
    pub(crate) fn pull(&self) -> Result<(), String> {
        self.set("down")
    }

    /// Plugs the cable in again.
    pub(crate) fn mend(&self) -> Result<(), String> {
        self.set("up")
    }

    fn set(&self, state: &str) -> Result<(), String> {
        let far_end = format!("chf{}", std::process::id());
        ip(&["-n", &self.namespace, "link", "set", &far_end, state])
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // The cable goes with its end.
        let _ = ip(&["netns", "delete", &self.namespace]);
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("ip: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "ip {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}
