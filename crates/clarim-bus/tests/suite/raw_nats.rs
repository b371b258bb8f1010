//! A NATS client of a few lines, for requests that no bus makes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// A connection to a NATS server, which keeps the subjects of the messages that it has received.
pub(crate) struct RawNats {
    stream: BufReader<TcpStream>,
    received: Vec<String>,
}

impl RawNats {
    pub(crate) fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut client = Self { stream: BufReader::new(stream), received: Vec::new() };
        client.send("CONNECT {\"verbose\":false}");
        client.flush();
        client
    }

    /// Subscribes. Requests on the subject have a responder from now on, which never replies.
    pub(crate) fn subscribe(&mut self, subject: &str) {
        self.send(&format!("SUB {subject} 1"));
        self.flush();
    }

    /// The subjects of the messages since the last call.
    pub(crate) fn received(&mut self) -> Vec<String> {
        self.flush();
        std::mem::take(&mut self.received)
    }

    /// Sends an empty request, and waits for the reply.
    pub(crate) fn request(&mut self, subject: &str) {
        self.subscribe("raw-reply");
        self.send(&format!("PUB {subject} raw-reply 0\r\n"));
        while self.read() != "raw-reply" {}
    }

    fn send(&mut self, line: &str) {
        self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }

    /// Waits until the server has handled what was sent, and has sent what it had before.
    fn flush(&mut self) {
        self.send("PING");
        loop {
            let subject = self.read();
            if subject == "PONG" {
                break;
            }
            self.received.push(subject);
        }
    }

    /// The subject of the next message, or `PONG`.
    fn read(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            let words: Vec<&str> = line.split_whitespace().collect();
            match &words[..] {
                ["PING"] => self.send("PONG"),
                ["PONG"] => return "PONG".to_owned(),
                ["MSG", subject, .., bytes] => {
                    let mut payload = vec![0; bytes.parse::<usize>().unwrap() + 2];
                    self.stream.read_exact(&mut payload).unwrap();
                    return (*subject).to_owned();
                }
                ["INFO", ..] => {}
                _ => panic!("{line}"),
            }
        }
    }
}
