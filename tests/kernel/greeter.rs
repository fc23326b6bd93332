use std::{
    io::Write as _,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    num::NonZeroU16,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// A server that tells everyone who connects what it is, so that a client knows where it landed.
pub(crate) struct Greeter {
    address: SocketAddr,
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
        let thread = thread::spawn(move || greet(&listener, greeting, &seen));
        Self {
            address,
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
        // A client that has gone already is the client's failure to report.
        let _ = connection.and_then(|mut stream| stream.write_all(greeting.as_bytes()));
    }
}

impl Drop for Greeter {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        TcpStream::connect(self.address).expect("the listener is open until the thread ends");
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
