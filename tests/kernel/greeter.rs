use std::{
    io::{self, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    num::NonZeroU16,
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use nix::sys::socket::{Shutdown, shutdown};

/// A server that tells everyone who connects what it is, so that a client knows where it landed.
pub(crate) struct Greeter {
    address: SocketAddr,
    listener: TcpListener,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Greeter {
    pub(crate) fn start(greeting: &'static str, address: impl Into<SocketAddr>) -> Self {
        Self::serve(greeting, TcpListener::bind(address.into()).unwrap())
    }

    fn serve(greeting: &'static str, listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let stopping = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stopping);
        let same = listener.try_clone().unwrap();
        let thread = thread::spawn(move || greet(&same, greeting, &seen));
        Self {
            address,
            listener,
            stopping,
            thread: Some(thread),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

fn greet(listener: &TcpListener, greeting: &str, stopping: &AtomicBool) {
    for connection in listener.incoming() {
        if stopping.load(Ordering::Acquire) {
            return;
        }
        // Of its own: a connection that is cut does not end for a long time.
        let Ok(stream) = connection else { continue };
        let greeting = greeting.to_owned();
        thread::spawn(move || serve(stream, &greeting));
    }
}

/// Reads what the client says, since the kernel would reset the connection otherwise. A client that has gone
/// already is the client's failure to report.
fn serve(mut stream: TcpStream, greeting: &str) {
    let _ = stream
        .write_all(greeting.as_bytes())
        .and_then(|()| stream.shutdown(std::net::Shutdown::Write))
        .and_then(|()| io::copy(&mut stream, &mut io::sink()));
}

impl Drop for Greeter {
    /// Nobody has to connect to wake the thread, which may be in another network namespace.
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        shutdown(self.listener.as_raw_fd(), Shutdown::Both).expect("the listener is open");
        self.thread
            .take()
            .expect("joined only here")
            .join()
            .expect("greeting does not panic");
    }
}

/// Two greeters on one port, as the gateway listens: on `127.0.0.1` and on `::1`.
pub(crate) struct LoopbackGreeters {
    v4: Greeter,
    _v6: Greeter,
}

impl LoopbackGreeters {
    pub(crate) fn start(greeting: &'static str) -> Self {
        loop {
            let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let port = v4.local_addr().unwrap().port();
            // Someone else may have the port on the other address; then another one is tried.
            if let Ok(v6) = TcpListener::bind((Ipv6Addr::LOCALHOST, port)) {
                let [v4, _v6] = [v4, v6].map(|listener| Greeter::serve(greeting, listener));
                return Self { v4, _v6 };
            }
        }
    }

    pub(crate) fn port(&self) -> NonZeroU16 {
        self.v4
            .address()
            .port()
            .try_into()
            .expect("a bound port is not zero")
    }
}

/// A server that says again what it is told, to one client after the other.
pub(crate) struct Echo {
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    pub(crate) fn start(listener: TcpListener) -> Self {
        let same = listener.try_clone().unwrap();
        let thread = thread::spawn(move || {
            while let Ok((stream, _)) = same.accept() {
                let _ = stream
                    .try_clone()
                    .and_then(|mut writer| io::copy(&mut &stream, &mut writer));
            }
        });
        Self {
            listener,
            thread: Some(thread),
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        shutdown(self.listener.as_raw_fd(), Shutdown::Both).expect("the listener is open");
        let thread = self.thread.take().expect("joined only here");
        thread.join().expect("an echo does not panic");
    }
}
