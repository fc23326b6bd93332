use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

/// Where a process of its own ends up when it connects to `address`: the greeting, or the error.
pub(crate) fn connect(address: SocketAddr) -> String {
    outcome(waiting_client(address))
}

/// The same for a process that was moved into `cgroup` before it made its socket.
pub(crate) fn connect_inside(cgroup: &Path, address: SocketAddr) -> String {
    let client = waiting_client(address);
    fs::write(cgroup.join("cgroup.procs"), client.id().to_string()).unwrap();
    outcome(client)
}

/// What the loader says to a process without any capability.
pub(crate) fn load_unprivileged() -> String {
    outcome(client(&["load-unprivileged"]))
}

fn waiting_client(address: SocketAddr) -> Child {
    client(&["connect", &address.to_string()])
}

fn client(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_kernel-client"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Lets the process go on, by closing its stdin, and waits for its word.
fn outcome(client: Child) -> String {
    let output = client.wait_with_output().unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}
