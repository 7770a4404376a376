//! Servers for one case, which end with it.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::stack;

/// A server that ends when it is dropped.
pub(crate) struct Server(Child);

impl Server {
    /// Starts one of the installed programs, or one of the system's by its whole path. Waits until it listens on `port`
    /// of 127.0.0.1.
    pub(crate) fn start(program: &str, arguments: &[&str], port: u16) -> Self {
        Self::start_until(program, arguments, || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
    }

    /// Starts the name server on a loopback address of its own, for `domain`.
    pub(crate) fn start_names(address: &str, domain: &str) -> Self {
        let listen = format!("{address}:53");
        // The port is taken as soon as it listens.
        Self::start_until("names", &["-addr", &listen, "-domain", domain], || {
            UdpSocket::bind(&listen).is_err()
        })
    }

    fn start_until(program: &str, arguments: &[&str], ready: impl Fn() -> bool) -> Self {
        let process = Command::new(Path::new(&stack("BIN")).join(program))
            .args(arguments)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self(process);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !ready() {
            let ended = server.0.try_wait().unwrap();
            assert!(ended.is_none(), "{program} ended: {ended:?}");
            assert!(Instant::now() < deadline, "{program} is not up after 20 s");
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The server may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns an unused port of 127.0.0.1.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
