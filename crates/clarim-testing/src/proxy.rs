//! A TCP proxy that simulates network faults.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A TCP proxy to a local port that can be cut, stalled or slowed down. The threads of a connection end with
/// it.
#[derive(Debug)]
pub struct Proxy {
    /// The port it listens on.
    pub port: u16,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    is_cut: AtomicBool,
    is_held: AtomicBool,
    delay: AtomicU64,
    to: AtomicU16,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Starts a proxy to `port`.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let own = listener.local_addr().unwrap().port();
        let state = Arc::new(State { to: AtomicU16::new(port), ..State::default() });
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.is_cut.load(Ordering::SeqCst) {
                    continue;
                }
                let port = shared.to.load(Ordering::SeqCst);
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                    carry(&client, &server, &shared);
                    carry(&server, &client, &shared);
                    shared.open.lock().unwrap().extend([client, server]);
                }
            }
        });
        Self { port: own, state }
    }

    /// Closes all connections and accepts no new ones.
    pub fn cut(&self) {
        self.state.is_cut.store(true, Ordering::SeqCst);
        self.close();
    }

    /// Closes all connections and forwards new ones to another port.
    pub fn redirect(&self, port: u16) {
        self.state.to.store(port, Ordering::SeqCst);
        self.close();
    }

    fn close(&self) {
        for stream in self.state.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Forwards nothing and keeps connections open, like a network that loses all packets.
    pub fn hold(&self) {
        self.state.is_held.store(true, Ordering::SeqCst);
    }

    /// Ends all faults.
    pub fn mend(&self) {
        self.state.is_cut.store(false, Ordering::SeqCst);
        self.state.is_held.store(false, Ordering::SeqCst);
        self.state.delay.store(0, Ordering::SeqCst);
    }

    /// Delays all data by this time, in each direction.
    pub fn delay(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.state.delay.store(millis, Ordering::SeqCst);
    }
}

fn carry(from: &TcpStream, to: &TcpStream, state: &Arc<State>) {
    let mut from = from.try_clone().unwrap();
    let mut to = to.try_clone().unwrap();
    let _ = to.set_nodelay(true);
    let state = state.clone();
    let (chunks, carried) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let chunk = buffer.get(..read).unwrap_or_default().to_vec();
            if chunks.send((std::time::Instant::now(), chunk)).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        while let Ok((at, chunk)) = carried.recv() {
            let due = at + Duration::from_millis(state.delay.load(Ordering::SeqCst));
            thread::sleep(due.saturating_duration_since(std::time::Instant::now()));
            while state.is_held.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(10));
            }
            if to.write_all(&chunk).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
