//! TypeScript definitions of what the application sends, so that a front end that no longer fits it does
//! not build. With the feature `types`.
//!
//! The bodies of the types come from [ts-rs](https://docs.rs/ts-rs), which heeds serde's attributes; its
//! derive needs it as a dependency (`cargo add ts-rs`). Here is put together what an Echo front end wants
//! to know: which event brings what.
//!
//! ```
//! use clarim::Broadcast;
//! use clarim::types::{TS, Types};
//! use serde::Serialize;
//!
//! #[derive(Serialize, TS, Broadcast)]
//! #[broadcast(private = "orders.{order}")]
//! #[serde(rename_all = "camelCase")]
//! struct OrderShipped {
//!     order: u64,
//!     tracking_code: Option<String>,
//! }
//!
//! /// Who is in a room: what `Member::info` is given.
//! #[derive(Serialize, TS)]
//! struct RoomMember {
//!     name: String,
//! }
//!
//! fn types() -> Types {
//!     Types::new().event::<OrderShipped>().member::<RoomMember>()
//! }
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("events.ts");
//! # let path = path.to_str().unwrap();
//! // In a subcommand of the application; `path` is say frontend/src/events.ts
//! types().write(path)?;
//! // In a test of it
//! types().check(path)?;
//! # let text = std::fs::read_to_string(path)?;
//! # assert!(text.contains("OrderShipped = { order: number, trackingCode: string | null, };"), "{text}");
//! # assert!(text.contains("export type RoomMember = { name: string, };"), "{text}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! That writes
//!
//! ```ts
//! export type OrderShipped = { order: number, trackingCode: string | null, };
//!
//! /**
//!  * Who is in a room: what `Member::info` is given.
//!  */
//! export type RoomMember = { name: string, };
//!
//! /** What is broadcast: the event's name as Echo's `listen` takes it, and what the callback gets. */
//! export interface Events {
//!   "OrderShipped": OrderShipped;
//! }
//! ```
//!
//! and the page can say
//!
//! ```ts
//! import type { Channel } from 'laravel-echo';
//! import type { Events } from './events';
//!
//! export function listen<K extends keyof Events>(
//!   channel: Channel, name: K, callback: (event: Events[K]) => void,
//! ) {
//!   channel.listen(name, callback);
//! }
//!
//! listen(echo.private('orders.7'), 'OrderShipped', ({ trackingCode }) => show(trackingCode));
//! ```
//!
//! The composables of `@laravel/echo-vue` (2.5 and later) know them after
//!
//! ```ts
//! import type { Events as Sent } from './events';
//!
//! declare global {
//!   interface Events extends Sent {}
//! }
//!
//! useEcho('orders.7', 'OrderShipped', ({ trackingCode }) => show(trackingCode));
//! ```
//!
//! # What is right, and what is not known
//!
//! Types are those of the JSON that is sent: `u64` and `i64` are `number`, since that is what `JSON.parse`
//! makes of them (above 2⁵³ it rounds; send such numbers as text), `Option` is `| null`,
//! [`serde_json::Value`] is any JSON.
//!
//! - A field that serde may leave out needs `default` too to be optional in TypeScript:
//!   `#[serde(default, skip_serializing_if = "Option::is_none")]`. Without it ts-rs says that it is always
//!   there; and so it does of a field with `skip_serializing` alone: write `skip`.
//! - A type of which nothing is known, for its `Serialize` is written by hand or it is of another crate, is
//!   described with `#[ts(type = "…")]` or `#[ts(as = "…")]`.
//! - An event that sends something else than itself says what:
//!   `#[broadcast(with = "payload", payload = "Parcel")]`. One that is written by hand, or has a name of its
//!   own each time, or no type, is added by [`Types::named`], and that it sends this is not checked.
//! - Nor is it checked that what [`Member::info`](crate::authorization::Member::info) is given is the type
//!   given to [`Types::member`].

use std::any::TypeId;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use ts_rs::{Config, TypeVisitor};

use crate::{EventName, EventType};

pub use ts_rs::TS;

/// Names of the interfaces that are written for all types together.
const MAPS: [&str; 2] = ["Events", "Notifications"];

/// What the front end may know; see [the module](self).
#[derive(Default, Clone)]
pub struct Types {
    /// By name.
    declarations: BTreeMap<String, String>,
    /// Types of events by the name that Echo takes.
    events: BTreeMap<String, String>,
    /// Types of notifications by what is their `type`.
    notifications: BTreeMap<String, String>,
    /// Rust's types that have been looked at.
    seen: HashSet<TypeId>,
    /// To be told when the file is written.
    problems: Vec<String>,
}

impl Types {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An event with what it sends.
    #[must_use]
    pub fn event<E>(self) -> Self
    where
        E: EventType,
        E::Payload: TS + 'static,
    {
        self.named::<E::Payload>(E::event_name())
    }

    /// What an event of this name sends: for events that are written by hand, or have no type.
    ///
    /// ```
    /// use clarim::types::Types;
    ///
    /// // clarim.on("visitors").name("visitors.counted").with(7)
    /// let text = Types::new().named::<u64>("visitors.counted").render()?;
    /// assert!(text.contains(r#"".visitors.counted": number;"#));
    /// # Ok::<(), clarim::types::Error>(())
    /// ```
    #[must_use]
    pub fn named<P: TS + ?Sized + 'static>(mut self, name: impl Into<EventName>) -> Self {
        let payload = self.declare::<P>();
        let name = name.into().for_echo();
        if let Some(other) = self.events.insert(name.clone(), payload.clone())
            && other != payload
        {
            self.problems.push(format!("the event {name:?} is said to send {other} and {payload}"));
        }
        self
    }

    /// What a notification carries, beside its `id` and `type`. The type is what tells it from the others
    /// in the callback of Echo's `notification`.
    ///
    /// ```
    /// use clarim::types::{TS, Types};
    ///
    /// #[derive(TS)]
    /// struct InvoicePaid {
    ///     invoice: u64,
    /// }
    ///
    /// let text = Types::new().notification::<InvoicePaid>("invoice.paid").render()?;
    /// assert!(text.contains(r#"InvoicePaid & { id: string, type: "invoice.paid" };"#));
    /// # Ok::<(), clarim::types::Error>(())
    /// ```
    #[must_use]
    pub fn notification<P: TS + ?Sized + 'static>(mut self, kind: impl Into<String>) -> Self {
        let kind = kind.into();
        let payload = self.declare::<P>();
        let whole = format!("{payload} & {{ id: string, type: {} }}", quoted(&kind));
        if let Some(other) = self.notifications.insert(kind.clone(), whole.clone())
            && other != whole
        {
            self.problems
                .push(format!("the notification {kind:?} is said to be {other} and {whole}"));
        }
        self
    }

    /// What the others get to know of a member of a presence channel: what the callbacks of Echo's `here`,
    /// `joining` and `leaving` get.
    #[must_use]
    pub fn member<M: TS + ?Sized + 'static>(mut self) -> Self {
        self.declare::<M>();
        self
    }

    /// The file's text.
    ///
    /// # Errors
    /// When two types have one name.
    pub fn render(&self) -> Result<String, Error> {
        let mut problems = self.problems.clone();
        for map in MAPS.iter().filter(|map| self.declarations.contains_key(**map)) {
            problems
                .push(format!("a type is called {map}, which is the name of the map of them all"));
        }
        if !problems.is_empty() {
            return Err(Error::Contradiction { problems });
        }
        let mut text = String::from(
            "// Written by clarim's Types::write from the application's types: change those instead.\n",
        );
        for declaration in self.declarations.values() {
            text.push_str(&format!("\n{declaration}\n"));
        }
        text.push_str(&map(
            "What is broadcast: the event's name as Echo's `listen` takes it, and what the callback gets.",
            MAPS[0],
            &self.events,
        ));
        if !self.notifications.is_empty() {
            text.push_str(&map(
                "What the callback of Echo's `notification` gets, by its `type`.",
                MAPS[1],
                &self.notifications,
            ));
        }
        Ok(text)
    }

    /// Writes the file; one that says this already is not touched.
    ///
    /// # Errors
    /// When two types have one name, or the file can't be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let (path, text) = (path.as_ref(), self.render()?);
        let failed = |cause| Error::File { path: path.to_owned(), cause };
        if fs::read_to_string(path).is_ok_and(|found| found == text) {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        fs::write(path, text).map_err(failed)
    }

    /// Whether the file is as [`write`](Self::write) would write it: for a test, so that nobody changes an
    /// event and forgets the front end.
    ///
    /// # Errors
    /// When it is not, with the first line that differs.
    pub fn check(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let (path, text) = (path.as_ref(), self.render()?);
        let found = fs::read_to_string(path)
            .map_err(|cause| Error::File { path: path.to_owned(), cause })?
            // Git may have its own way with line ends.
            .replace("\r\n", "\n");
        let (mut old, mut new) = (found.lines(), text.lines());
        for line in 1.. {
            let (found, expected) = (old.next(), new.next());
            if found == expected && found.is_some() {
                continue;
            }
            if found == expected {
                break;
            }
            let or_end = |line: Option<&str>| line.unwrap_or("the end of the file").to_owned();
            let (found, expected) = (or_end(found), or_end(expected));
            return Err(Error::Outdated { path: path.to_owned(), line, found, expected });
        }
        Ok(())
    }

    /// Adds the type and those that it is made of. Its name.
    fn declare<T: TS + ?Sized + 'static>(&mut self) -> String {
        self.visit::<T>();
        T::visit_generics(self);
        T::name(&config())
    }
}

/// What is met on the way through a type.
impl TypeVisitor for Types {
    fn visit<T: TS + 'static + ?Sized>(&mut self) {
        if !self.seen.insert(TypeId::of::<T>()) {
            return;
        }
        // Only what would have a file of its own has a declaration.
        if T::output_path().is_some() {
            let name = T::ident(&config());
            let docs = T::docs().unwrap_or_default();
            let declaration = format!("{docs}export {}", T::decl(&config()));
            // Generic types are declared once for all their arguments, so that the same comes again.
            match self.declarations.get(&name) {
                Some(other) if *other != declaration => {
                    self.problems.push(format!(
                        "two types are called {name}: {other} and {declaration}; rename one: #[ts(rename = \"…\")]"
                    ));
                }
                _ => {
                    self.declarations.insert(name, declaration);
                }
            }
        }
        T::visit_dependencies(self);
    }
}

/// How a browser sees Rust's types.
fn config() -> Config {
    Config::new().with_large_int("number")
}

fn map(what: &str, name: &str, entries: &BTreeMap<String, String>) -> String {
    let entry = |(key, ty): (&String, &String)| format!("  {}: {ty};\n", quoted(key));
    let entries: String = entries.iter().map(entry).collect();
    format!("\n/** {what} */\nexport interface {name} {{\n{entries}}}\n")
}

/// A text as JavaScript writes it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl fmt::Debug for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Types")
            .field("events", &self.events)
            .field("notifications", &self.notifications)
            .finish_non_exhaustive()
    }
}

/// Why the front end's types are not written, or not right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two things have one name.
    #[error("types for the front end: {}", problems.join("; "))]
    Contradiction {
        /// Everything that is wrong.
        problems: Vec<String>,
    },
    /// The file can't be read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        cause: io::Error,
    },
    /// The file does not say what the types say.
    #[error("{}:{line} is out of date and must be written again: it says `{found}`, the types say `{expected}`", path.display())]
    Outdated {
        /// The file.
        path: PathBuf,
        /// The first line that differs, from 1.
        line: usize,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
}
