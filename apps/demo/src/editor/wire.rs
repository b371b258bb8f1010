//! Checks the bytes of Yjs updates and state vectors, without a library and without allocating for what they
//! claim.
//!
//! Bytes that pass are in the format that pages decode, every length in them is backed by bytes, and all
//! numbers are within bounds. What the bytes mean (an origin that does not exist, say) is not checked.

use std::collections::BTreeSet;
use std::str;

use serde::de::IgnoredAny;

/// Maximum length of a document in Yjs's count, deleted content included. Sums of two fit into 32 bits.
const MAX_CLOCK: u64 = 1 << 30;
/// Client IDs are integers in JavaScript.
const MAX_CLIENT: u64 = 1 << 53;
/// Maximum depth of values in the content. Both libraries read them recursively.
const MAX_DEPTH: u32 = 32;

/// Whether these bytes are an update, in version 1 of the format.
pub(super) fn is_update(bytes: &[u8]) -> bool {
    let mut reader = Reader(bytes);
    reader.structs().and_then(|()| reader.deletions()).is_some() && reader.0.is_empty()
}

/// Whether these bytes are a state vector.
pub(super) fn is_state_vector(bytes: &[u8]) -> bool {
    let mut reader = Reader(bytes);
    let mut clients = BTreeSet::new();
    let mut read = || {
        for _ in 0..reader.count()? {
            clients.insert(reader.client()?).then_some(())?;
            reader.clock()?;
        }
        Some(())
    };
    read().is_some() && reader.0.is_empty()
}

/// Reads from untrusted bytes. `None`: they are invalid.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// An integer in its shortest form, at most 2^53.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..54).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return ((byte != 0 || shift == 0) && number <= MAX_CLIENT).then_some(number);
            }
        }
        None
    }

    /// The number of things that follow; each of them takes a byte or more.
    fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count <= self.0.len()).then_some(count)
    }

    fn client(&mut self) -> Option<u64> {
        self.number()
    }

    fn clock(&mut self) -> Option<u64> {
        self.number().filter(|clock| *clock <= MAX_CLOCK)
    }

    /// A length, which is never 0.
    fn length(&mut self) -> Option<u64> {
        self.clock().filter(|length| *length > 0)
    }

    fn id(&mut self) -> Option<()> {
        self.client()?;
        self.clock().map(drop)
    }

    fn buffer(&mut self) -> Option<&'a [u8]> {
        let length = self.count()?;
        self.bytes(length)
    }

    fn text(&mut self) -> Option<&'a str> {
        str::from_utf8(self.buffer()?).ok()
    }

    fn json(&mut self) -> Option<()> {
        serde_json::from_str::<IgnoredAny>(self.text()?).ok().map(drop)
    }

    fn structs(&mut self) -> Option<()> {
        let mut clients = BTreeSet::new();
        for _ in 0..self.count()? {
            let count = self.count().filter(|count| *count > 0)?;
            clients.insert(self.client()?).then_some(())?;
            let mut clock = self.clock()?;
            for _ in 0..count {
                clock += self.block()?;
                (clock <= MAX_CLOCK).then_some(())?;
            }
        }
        Some(())
    }

    /// An item, collected garbage, or a gap. Returns its length.
    fn block(&mut self) -> Option<u64> {
        const ORIGIN: u8 = 0x80;
        const RIGHT_ORIGIN: u8 = 0x40;
        const PARENT_KEY: u8 = 0x20;
        let info = self.byte()?;
        let kind = info & 0x1f;
        if matches!(kind, 0 | 10) {
            return self.length();
        }
        if info & ORIGIN != 0 {
            self.id()?;
        }
        if info & RIGHT_ORIGIN != 0 {
            self.id()?;
        }
        if info & (ORIGIN | RIGHT_ORIGIN) == 0 {
            match self.number()? {
                1 => self.text().map(drop)?,
                0 => self.id()?,
                _ => return None,
            }
            if info & PARENT_KEY != 0 {
                self.text()?;
            }
        }
        self.content(kind)
    }

    /// Content of the kinds that Yjs 13 knows, without documents in documents. Returns its length.
    fn content(&mut self, kind: u8) -> Option<u64> {
        match kind {
            // Deleted content
            1 => self.length(),
            // JSON, in older versions of Yjs
            2 => {
                let count = self.count().filter(|count| *count > 0)?;
                for _ in 0..count {
                    let text = self.text()?;
                    let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
                    (text == "undefined" || is_json).then_some(())?;
                }
                u64::try_from(count).ok()
            }
            3 => self.buffer().map(|_| 1),
            4 => {
                // In UTF-16, as JavaScript counts
                let length = self.text()?.encode_utf16().count();
                u64::try_from(length).ok().filter(|length| *length > 0)
            }
            5 => self.json().map(|()| 1),
            // Formatting: a key and a value
            6 => {
                self.text()?;
                self.json().map(|()| 1)
            }
            // A shared type; elements have a name.
            7 => match self.number()? {
                3 | 5 => self.text().map(|_| 1),
                0..=6 => Some(1),
                _ => None,
            },
            8 => {
                let count = self.count().filter(|count| *count > 0)?;
                for _ in 0..count {
                    self.value(MAX_DEPTH)?;
                }
                u64::try_from(count).ok()
            }
            _ => None,
        }
    }

    fn value(&mut self, depth: u32) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match self.byte()? {
            // undefined, null, false, true
            127 | 126 | 121 | 120 => Some(()),
            125 => self.signed(),
            124 => self.bytes(4).map(drop),
            123 | 122 => self.bytes(8).map(drop),
            119 => self.text().map(drop),
            118 => {
                for _ in 0..self.count()? {
                    self.text()?;
                    self.value(depth)?;
                }
                Some(())
            }
            117 => {
                for _ in 0..self.count()? {
                    self.value(depth)?;
                }
                Some(())
            }
            116 => self.buffer().map(drop),
            _ => None,
        }
    }

    /// An integer with a sign, whose first byte has six bits of it.
    fn signed(&mut self) -> Option<()> {
        let first = self.byte()?;
        if first & 0x80 == 0 {
            return Some(());
        }
        // With the seven that follow at most, it has 55 bits.
        for _ in 0..7 {
            if self.byte()? & 0x80 == 0 {
                return Some(());
            }
        }
        None
    }

    fn deletions(&mut self) -> Option<()> {
        let mut clients = BTreeSet::new();
        for _ in 0..self.count()? {
            clients.insert(self.client()?).then_some(())?;
            for _ in 0..self.count()? {
                (self.clock()? + self.length()? <= MAX_CLOCK).then_some(())?;
            }
        }
        Some(())
    }
}
