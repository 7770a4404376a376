//! A free loopback port and its connections, on a thread of their own. It does not depend on the protocol.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread::JoinHandle;

use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// A bound port that does not accept connections yet: a server may need the address first.
pub(crate) struct Port(std::net::TcpListener, SocketAddr);

/// A served port; dropping it closes the port and every connection.
pub(crate) struct Listener {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Port {
    /// Binds a free port.
    pub(crate) fn take() -> Self {
        // Bound without the runtime, whose `block_on` may not be used inside another (an async test's).
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .expect("a loopback port is free");
        let address = listener.local_addr().expect("a listener has an address");
        Self(listener, address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.1
    }

    /// Accepts every connection, each in a task of its own.
    pub(crate) fn serve<Serving>(
        self,
        serve: impl Fn(TcpStream) -> Serving + Send + 'static,
    ) -> Listener
    where
        Serving: Future<Output = ()> + Send + 'static,
    {
        let Self(listener, address) = self;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime starts");
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            runtime.spawn(async move {
                let listener = tokio::net::TcpListener::from_std(listener);
                let listener = listener.expect("it does not block");
                loop {
                    let Ok((stream, _)) = listener.accept().await else {
                        continue;
                    };
                    // Answers are small and sent one by one: waiting to fill a packet only makes tests slow.
                    drop(stream.set_nodelay(true));
                    tokio::spawn(serve(stream));
                }
            });
            // The sender is dropped, not used: the error is the signal. The end of the runtime closes every connection.
            drop(runtime.block_on(stopped));
        });
        Listener {
            address,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Listener {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has already printed that; a second panic in drop would end the process.
            drop(thread.join());
        }
    }
}
