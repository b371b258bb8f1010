//! The format: a header, and records in MessagePack with named fields, each behind its length.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::SnapshotError;
use super::version::{READABLE, VERSION};

const MAGIC: [u8; 8] = *b"CLARIMSN";

/// Bytes of a record's length.
const LENGTH: usize = size_of::<u32>();

/// The length that ends a snapshot.
const END: u32 = 0;

/// The first record.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    version: u16,
    /// The version of the program that has written the snapshot.
    program: String,
}

/// Records that are collected in memory, for [`SnapshotWriter::append`].
#[derive(Debug, Default)]
pub struct Records(Vec<u8>);

impl Records {
    /// Adds a record.
    ///
    /// # Errors
    /// If it is longer than 4 GiB.
    pub fn add(&mut self, record: &(impl Serialize + ?Sized)) -> io::Result<()> {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; LENGTH]);
        let mut serializer = rmp_serde::Serializer::new(&mut self.0).with_struct_map();
        record.serialize(&mut serializer).map_err(io::Error::other)?;
        let length = u32::try_from(self.0.len() - start - LENGTH)
            .map_err(|_| io::Error::other("a record of a snapshot is longer than 4 GiB"))?;
        self.0[start..start + LENGTH].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }
}

/// Writes a snapshot record by record. Give it a buffered writer.
#[derive(Debug)]
pub struct SnapshotWriter<W> {
    to: W,
    record: Records,
}

impl<W: Write> SnapshotWriter<W> {
    /// Begins a snapshot. `program` is the version of the program, for error messages.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn begin(mut to: W, program: &str) -> io::Result<Self> {
        to.write_all(&MAGIC)?;
        let mut writer = Self { to, record: Records::default() };
        writer.write(&Header { version: VERSION, program: program.to_owned() })?;
        Ok(writer)
    }

    /// Writes a record.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&mut self, record: &(impl Serialize + ?Sized)) -> io::Result<()> {
        self.record.0.clear();
        self.record.add(record)?;
        self.to.write_all(&self.record.0)
    }

    /// Writes records that were collected.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn append(&mut self, records: &Records) -> io::Result<()> {
        self.to.write_all(&records.0)
    }

    /// Ends the snapshot. Without its end, it cannot be read.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.to.write_all(&END.to_be_bytes())?;
        self.to.flush()?;
        Ok(self.to)
    }
}

/// Reads a snapshot record by record. Give it a buffered reader.
#[derive(Debug)]
pub struct SnapshotReader<R> {
    from: R,
    version: u16,
    program: String,
    record: Vec<u8>,
    is_at_end: bool,
}

impl<R: Read> SnapshotReader<R> {
    /// Begins to read a snapshot.
    ///
    /// # Errors
    /// If it is not a snapshot, or of a version that this release does not read.
    pub fn begin(mut from: R) -> Result<Self, SnapshotError> {
        let mut magic = [0; MAGIC.len()];
        read_exact(&mut from, &mut magic)?;
        if magic != MAGIC {
            return Err(SnapshotError::NotASnapshot);
        }
        let mut reader = Self {
            from,
            version: VERSION,
            program: String::new(),
            record: Vec::new(),
            is_at_end: false,
        };
        let Header { version, program } = reader.read()?.ok_or(SnapshotError::Truncated)?;
        if !READABLE.contains(&version) {
            return Err(SnapshotError::Version { version, program });
        }
        Ok(Self { version, program, ..reader })
    }

    /// Returns the version of the snapshot.
    #[must_use]
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Returns the version of the program that has written it.
    #[must_use]
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Reads the next record; `None` at the end.
    ///
    /// # Errors
    /// If it cannot be read or decoded.
    pub fn read<T: DeserializeOwned>(&mut self) -> Result<Option<T>, SnapshotError> {
        if self.is_at_end {
            return Ok(None);
        }
        let mut length = [0; 4];
        read_exact(&mut self.from, &mut length)?;
        let length = u32::from_be_bytes(length);
        if length == END {
            self.is_at_end = true;
            return Ok(None);
        }
        self.record.clear();
        // Takes memory for what is there, not for what the length promises.
        let read = (&mut self.from).take(length.into()).read_to_end(&mut self.record)?;
        if read < length as usize {
            return Err(SnapshotError::Truncated);
        }
        Ok(Some(rmp_serde::from_slice(&self.record)?))
    }
}

fn read_exact(from: &mut impl Read, into: &mut [u8]) -> Result<(), SnapshotError> {
    from.read_exact(into).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => SnapshotError::Truncated,
        _ => error.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(version: u16) -> Vec<u8> {
        let mut writer = SnapshotWriter { to: MAGIC.to_vec(), record: Records::default() };
        writer.write(&Header { version, program: "9.9.9".to_owned() }).unwrap();
        writer.write("one").unwrap();
        writer.write("two").unwrap();
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Vec<String>, SnapshotError> {
        let mut reader = SnapshotReader::begin(bytes)?;
        let mut records = Vec::new();
        while let Some(record) = reader.read()? {
            records.push(record);
        }
        assert!(reader.read::<String>().unwrap().is_none(), "the end stays the end");
        Ok(records)
    }

    #[test]
    fn records_come_back_in_order() {
        assert_eq!(read(&snapshot(VERSION)).unwrap(), ["one", "two"]);
        let reader = snapshot(VERSION);
        let reader = SnapshotReader::begin(&reader[..]).unwrap();
        assert_eq!((reader.version(), reader.program()), (VERSION, "9.9.9"));
    }

    #[test]
    fn a_version_of_another_release_is_an_error_that_names_both() {
        let error = read(&snapshot(VERSION + 1)).unwrap_err();
        assert_eq!(error.code(), "snapshot_version");
        let expected = "the snapshot of 9.9.9 has version 2; this release reads versions 1 to 1";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_snapshot_that_was_cut_off_anywhere_is_an_error() {
        let whole = snapshot(VERSION);
        for length in 0..whole.len() {
            let error = read(&whole[..length]).unwrap_err();
            assert_eq!(error.code(), "snapshot_truncated", "{length} bytes");
        }
    }

    #[test]
    fn other_input_is_an_error() {
        assert_eq!(read(b"GET / HTTP/1.1").unwrap_err().code(), "snapshot_foreign");
        let mut huge = MAGIC.to_vec();
        huge.extend([0xff; 4]);
        assert_eq!(read(&huge).unwrap_err().code(), "snapshot_truncated");
        let mut number = snapshot(VERSION);
        let at = number.len() - 8;
        number[at..at + 4].copy_from_slice(&[0xc0; 4]);
        assert_eq!(read(&number).unwrap_err().code(), "snapshot_malformed");
    }
}
