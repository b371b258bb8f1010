//! A TLS 1.3 session after its handshake: records are encrypted and decrypted without buffers.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice, Read as _, Write as _};

use mio::net::TcpStream;
use serde::{Deserialize, Serialize};

use super::keys::TrafficKeys;
use super::record::{ContentType, HEADER, MAX_CONTENT, TlsError, record_len};

/// Content of one write, in bytes.
const MAX_WRITE: usize = 4 * MAX_CONTENT;

/// Maximum number of records without content in a row.
const MAX_EMPTY: u8 = 32;

/// The type of a KeyUpdate message, and the length of its body.
const KEY_UPDATE: [u8; 4] = [24, 0, 0, 1];

thread_local! {
    /// Records that are being written.
    static RECORDS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The state of a session. Kept small: most are idle.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct TlsSession {
    sent: TrafficKeys,
    received: TrafficKeys,
    /// The beginning of a record.
    #[serde(default, with = "serde_bytes", skip_serializing_if = "Vec::is_empty")]
    pub(super) incoming: Vec<u8>,
    /// Bytes of records that the socket has not taken.
    #[serde(default, with = "serde_bytes", skip_serializing_if = "Vec::is_empty")]
    pub(super) unsent: Vec<u8>,
    /// The client will send nothing more.
    #[serde(default)]
    pub(super) is_ended: bool,
    /// The client wants this side to update its keys.
    #[serde(default)]
    is_update_due: bool,
    /// Number of records without content, in a row.
    #[serde(default)]
    empty: u8,
}

impl fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, received, .. } = self;
        f.debug_struct("TlsSession").field("sent", sent).field("received", received).finish()
    }
}

impl TlsSession {
    /// `incoming`: what has been read of a record.
    pub(super) fn new(sent: TrafficKeys, received: TrafficKeys, incoming: Vec<u8>) -> Self {
        let unsent = Vec::new();
        Self { sent, received, incoming, unsent, is_ended: false, is_update_due: false, empty: 0 }
    }

    /// Whether bytes wait that the socket has not taken.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Decrypts the records in `buffer`, of which the first `len` bytes are filled. Returns the number of
    /// bytes of content, which are then at its beginning. An incomplete record is kept.
    pub(super) fn decrypt(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, TlsError> {
        let mut at = 0;
        let mut filled = 0;
        while !self.is_ended
            && let Some(size) = record_len(&buffer[at..len])?
            && at + size <= len
        {
            let (content, content_len) = self.received.open(&mut buffer[at..at + size])?;
            if content_len > MAX_CONTENT {
                return Err(TlsError::RecordOverflow);
            }
            let start = at + HEADER;
            match content {
                ContentType::ApplicationData => {
                    buffer.copy_within(start..start + content_len, filled);
                    filled += content_len;
                    self.count_empty(content_len == 0)?;
                }
                ContentType::Handshake => {
                    self.key_update(&buffer[start..start + content_len])?;
                    self.count_empty(true)?;
                }
                ContentType::Alert => self.alert(&buffer[start..start + content_len])?,
            }
            at += size;
        }
        self.incoming = buffer[at..len].to_vec();
        Ok(filled)
    }

    /// A client must not keep the server busy with records that hold nothing.
    fn count_empty(&mut self, is_empty: bool) -> Result<(), TlsError> {
        self.empty = if is_empty { self.empty + 1 } else { 0 };
        if self.empty > MAX_EMPTY { Err(TlsError::UnexpectedMessage) } else { Ok(()) }
    }

    /// Handles an alert: the end of what the client sends, or an error.
    fn alert(&mut self, alert: &[u8]) -> Result<(), TlsError> {
        match alert {
            [_, 0] => self.is_ended = true,
            [_, description] => return Err(TlsError::Alert(*description)),
            _ => return Err(TlsError::UnexpectedMessage),
        }
        Ok(())
    }

    /// Handles the only message that a client may send after the handshake: it goes on to its next keys, and
    /// may want this side to do the same. It has a record of its own.
    fn key_update(&mut self, message: &[u8]) -> Result<(), TlsError> {
        let Some((&KEY_UPDATE, &[requested @ 0..=1])) = message.split_first_chunk() else {
            return Err(TlsError::UnexpectedMessage);
        };
        self.received.update()?;
        // One response is enough for several requests.
        self.is_update_due |= requested == 1;
        Ok(())
    }

    /// Makes the response to a request for new keys. Call it when nothing else waits to be sent.
    pub(super) fn respond(&mut self) -> Result<(), TlsError> {
        if std::mem::take(&mut self.is_update_due) {
            let mut records = Vec::new();
            self.update_sent(&mut records)?;
            self.unsent = records;
        }
        Ok(())
    }

    /// Appends a message that tells of new keys, and goes on to them.
    fn update_sent(&mut self, records: &mut Vec<u8>) -> Result<(), TlsError> {
        let start = begin_record(records);
        records.extend_from_slice(&KEY_UPDATE);
        records.push(0);
        self.sent.seal(ContentType::Handshake, records, start)?;
        self.sent.update()
    }

    /// Appends records with the content of `buffers`. Returns how much of it they hold.
    pub(super) fn encrypt(
        &mut self,
        buffers: &[IoSlice<'_>],
        records: &mut Vec<u8>,
    ) -> Result<usize, TlsError> {
        let mut taken = 0;
        let mut start = None;
        for mut rest in buffers.iter().map(|buffer| &buffer[..]) {
            while !rest.is_empty() && taken < MAX_WRITE {
                let at = match start {
                    Some(at) => at,
                    None => {
                        if self.sent.is_used_up() {
                            self.update_sent(records)?;
                        }
                        *start.insert(begin_record(records))
                    }
                };
                let room = MAX_CONTENT - (records.len() - at - HEADER);
                let (part, after) = rest.split_at(rest.len().min(room));
                records.extend_from_slice(part);
                taken += part.len();
                rest = after;
                if part.len() == room {
                    self.sent.seal(ContentType::ApplicationData, records, at)?;
                    start = None;
                }
            }
        }
        if let Some(at) = start {
            self.sent.seal(ContentType::ApplicationData, records, at)?;
        }
        Ok(taken)
    }
}

/// Leaves room for the header of a record. Returns its place.
fn begin_record(records: &mut Vec<u8>) -> usize {
    let start = records.len();
    records.extend_from_slice(&[0; HEADER]);
    start
}

/// A session with its socket.
#[derive(Debug)]
pub(crate) struct TlsTransport {
    socket: TcpStream,
    session: TlsSession,
}

impl TlsTransport {
    pub(super) fn new(socket: TcpStream, session: TlsSession) -> Self {
        Self { socket, session }
    }

    /// Tells the client why the session ends, if the socket takes it at once.
    fn fail(&mut self, error: TlsError) -> io::Error {
        if let Some(description) = error.alert()
            && self.session.unsent.is_empty()
        {
            let mut record = Vec::new();
            let start = begin_record(&mut record);
            record.extend_from_slice(&[2, description]);
            if self.session.sent.seal(ContentType::Alert, &mut record, start).is_ok() {
                // The client may be gone already.
                let _ = self.socket.write(&record);
            }
        }
        error.into()
    }
}

impl TlsTransport {
    pub(super) fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// `buffer` must have room for two records.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.session.is_ended {
                return Ok(0);
            }
            let begun = self.session.incoming.len();
            let read = self.socket.read(&mut buffer[begun..])?;
            if read == 0 {
                return Ok(0);
            }
            buffer[..begun].copy_from_slice(&self.session.incoming);
            let decrypted = self.session.decrypt(buffer, begun + read);
            let filled = decrypted.map_err(|error| self.fail(error))?;
            // A response to a key update may be due. If the socket is full, the next write sends it.
            let _ = self.flush();
            if filled > 0 {
                return Ok(filled);
            }
        }
    }

    pub(super) fn write(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush()?;
        RECORDS.with_borrow_mut(|records| {
            records.clear();
            let taken = self.session.encrypt(buffers, records)?;
            let mut sent = 0;
            while sent < records.len() {
                match self.socket.write(&records[sent..]) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(n) => sent += n,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            self.session.unsent = records[sent..].to_vec();
            Ok(taken)
        })
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        loop {
            while !self.session.unsent.is_empty() {
                let sent = self.socket.write(&self.session.unsent)?;
                self.session.unsent.drain(..sent);
            }
            // An idle connection owns no buffer.
            self.session.unsent = Vec::new();
            self.session.respond()?;
            if !self.session.has_unsent() {
                return Ok(());
            }
        }
    }

    pub(super) fn parts(&self) -> (&TcpStream, &TlsSession) {
        (&self.socket, &self.session)
    }
}
