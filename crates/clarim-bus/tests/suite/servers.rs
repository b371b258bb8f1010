//! Buses on servers that the tests start.

use clarim_bus::Bus;
use clarim_bus::suite::Broker;
use clarim_testing::Program;

pub(crate) fn bus(url: &str) -> Bus {
    Bus::parse(url).unwrap()
}

pub(crate) fn redis_bus(server: &Program) -> Bus {
    bus(&server.url("redis"))
}

pub(crate) fn nats_bus(server: &Program) -> Bus {
    bus(&server.url("nats"))
}

/// A server of its own that the suite may stop.
pub(crate) struct Server(pub(crate) Program);

impl Broker for Server {
    fn kill(&mut self) {
        self.0.kill();
    }

    fn restart(&mut self) {
        self.0.restart();
    }

    fn freeze(&mut self) {
        self.0.freeze();
    }

    fn thaw(&mut self) {
        self.0.thaw();
    }
}
