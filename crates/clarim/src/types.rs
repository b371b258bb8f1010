//! TypeScript definitions of the application's events, so that a front end that does not match them fails to
//! build. Needs the feature `types`.
//!
//! The definitions of types come from [ts-rs](https://docs.rs/ts-rs), which follows serde's attributes. Its
//! derive needs it as a dependency (`cargo add ts-rs`). This module adds a map from event names to types, for
//! Echo.
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
//! /// The information about a member of a room, as passed to `Member::info`.
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
//! // In a subcommand of the application; `path` is for example frontend/src/events.ts
//! types().write(path)?;
//! // In a test
//! types().check(path)?;
//! # let text = std::fs::read_to_string(path)?;
//! # assert!(text.contains("OrderShipped = { order: number, trackingCode: string | null, };"), "{text}");
//! # assert!(text.contains("export type RoomMember = { name: string, };"), "{text}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It writes
//!
//! ```ts
//! export type OrderShipped = { order: number, trackingCode: string | null, };
//!
//! /**
//!  * The information about a member of a room, as passed to `Member::info`.
//!  */
//! export type RoomMember = { name: string, };
//!
//! /** Payloads by event name, as passed to Echo's `listen`. */
//! export interface Events {
//!   "OrderShipped": OrderShipped;
//! }
//! ```
//!
//! and the page uses it:
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
//! The composables of `@laravel/echo-vue` (2.5 and later) use the types after
//!
//! ```ts
//! import type { Events as AppEvents } from './events';
//!
//! declare global {
//!   interface Events extends AppEvents {}
//! }
//!
//! useEcho('orders.7', 'OrderShipped', ({ trackingCode }) => show(trackingCode));
//! ```
//!
//! # Rules and limits
//!
//! The types are those of the JSON on the wire. `u64` and `i64` are `number`, like the result of
//! `JSON.parse`, which rounds above 2⁵³; send larger numbers as text. `Option` is `| null`, and
//! [`serde_json::Value`] is any JSON.
//!
//! - A field that serde may skip needs `default` too, to be optional in TypeScript:
//!   `#[serde(default, skip_serializing_if = "Option::is_none")]`. Without `default`, ts-rs treats it as always
//!   present. The same holds for a field with `skip_serializing`: write `skip`.
//! - Describe a type with a handwritten `Serialize`, or a type of another crate, with `#[ts(type = "…")]` or
//!   `#[ts(as = "…")]`.
//! - Declare the payload of an event that does not send itself:
//!   `#[broadcast(with = "payload", payload = "Parcel")]`. Add handwritten events, events with varying names,
//!   and events without a type with [`Types::named`]. Their payload is not checked.
//! - The type of [`Types::member`] is not checked against the value that is passed to
//!   [`Member::info`](crate::authorization::Member::info).

use std::any::TypeId;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use ts_rs::{Config, TypeVisitor};

use crate::events::event::EventType;
use crate::events::name::EventName;

pub use ts_rs::TS;

/// Names of the generated maps.
const MAPS: [&str; 2] = ["Events", "Notifications"];

/// The types for the front end; see [the module](self).
#[derive(Default, Clone)]
pub struct Types {
    /// Declarations by type name.
    declarations: BTreeMap<String, String>,
    /// Payload types by event name, as passed to Echo's `listen`.
    events: BTreeMap<String, String>,
    /// Payload types of notifications by their `type`.
    notifications: BTreeMap<String, String>,
    /// Rust types that have been visited.
    seen: HashSet<TypeId>,
    /// Problems, which are reported when the file is written.
    problems: Vec<TypesProblem>,
}

impl Types {
    /// No types.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an event with its payload.
    #[must_use]
    pub fn event<E>(self) -> Self
    where
        E: EventType,
        E::Payload: TS + 'static,
    {
        self.named::<E::Payload>(E::event_name())
    }

    /// Adds the payload of events with this name; for handwritten events and events without a type.
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
            self.problems.push(TypesProblem::TwoPayloads { name, first: other, second: payload });
        }
        self
    }

    /// Adds a notification with its payload. `id` and `type` are added to it; callbacks of Echo's
    /// `notification` distinguish notifications by `type`.
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
            self.problems.push(TypesProblem::TwoPayloads {
                name: kind,
                first: other,
                second: whole,
            });
        }
        self
    }

    /// Adds the information about members of presence channels, which Echo passes to `here`, `joining` and
    /// `leaving`.
    #[must_use]
    pub fn member<M: TS + ?Sized + 'static>(mut self) -> Self {
        self.declare::<M>();
        self
    }

    /// Renders the file.
    ///
    /// # Errors
    /// Returns an error if two types have the same name.
    pub fn render(&self) -> Result<String, Error> {
        let mut problems = self.problems.clone();
        for map in MAPS.iter().filter(|map| self.declarations.contains_key(**map)) {
            problems.push(TypesProblem::ReservedName { name: (*map).to_owned() });
        }
        if !problems.is_empty() {
            return Err(Error::Contradiction { problems });
        }
        let mut text = String::from(
            "// Generated by clarim's Types::write from the application's types. Do not edit.\n",
        );
        for declaration in self.declarations.values() {
            text.push_str(&format!("\n{declaration}\n"));
        }
        text.push_str(&map(
            "Payloads by event name, as passed to Echo's `listen`.",
            MAPS[0],
            &self.events,
        ));
        if !self.notifications.is_empty() {
            text.push_str(&map(
                "Payloads of Echo's `notification`, by `type`.",
                MAPS[1],
                &self.notifications,
            ));
        }
        Ok(text)
    }

    /// Writes the file, unless it is up to date.
    ///
    /// # Errors
    /// Returns an error if two types have the same name or the file can't be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let text = self.render()?;
        let failed = |source| Error::File { path: path.to_owned(), source };
        if fs::read_to_string(path).is_ok_and(|found| found == text) {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        fs::write(path, text).map_err(failed)
    }

    /// Checks that the file is up to date; for a test that fails if an event was changed and the file was
    /// not.
    ///
    /// # Errors
    /// Returns [`Error::Outdated`] with the first line that differs.
    pub fn check(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let text = self.render()?;
        let found = fs::read_to_string(path)
            .map_err(|source| Error::File { path: path.to_owned(), source })?
            // Git may convert line endings.
            .replace("\r\n", "\n");
        let same = found.lines().zip(text.lines()).take_while(|(old, new)| old == new).count();
        let line_of = |text: &str| text.lines().nth(same).map(str::to_owned);
        let found = line_of(&found);
        let expected = line_of(&text);
        if found == expected {
            return Ok(());
        }
        let or_end =
            |line: Option<String>| line.unwrap_or_else(|| "the end of the file".to_owned());
        Err(Error::Outdated {
            path: path.to_owned(),
            line: same + 1,
            found: or_end(found),
            expected: or_end(expected),
        })
    }

    /// Adds the type and the types that it consists of, and returns its name.
    fn declare<T: TS + ?Sized + 'static>(&mut self) -> String {
        self.visit::<T>();
        T::visit_generics(self);
        T::name(&config())
    }
}

/// Adds every type that is part of another.
impl TypeVisitor for Types {
    fn visit<T: TS + 'static + ?Sized>(&mut self) {
        if !self.seen.insert(TypeId::of::<T>()) {
            return;
        }
        // Only types with an output path have a declaration.
        if T::output_path().is_some() {
            let name = T::ident(&config());
            let docs = T::docs().unwrap_or_default();
            let declaration = format!("{docs}export {}", T::decl(&config()));
            // A generic type has one declaration for all its arguments, so the same one may come again.
            match self.declarations.get(&name) {
                Some(other) if *other != declaration => {
                    self.problems.push(TypesProblem::DuplicateName {
                        name,
                        first: other.clone(),
                        second: declaration,
                    });
                }
                _ => {
                    self.declarations.insert(name, declaration);
                }
            }
        }
        T::visit_dependencies(self);
    }
}

/// The configuration for browsers.
fn config() -> Config {
    Config::new().with_large_int("number")
}

fn map(what: &str, name: &str, entries: &BTreeMap<String, String>) -> String {
    let entry = |(key, ty): (&String, &String)| format!("  {}: {ty};\n", quoted(key));
    let entries: String = entries.iter().map(entry).collect();
    format!("\n/** {what} */\nexport interface {name} {{\n{entries}}}\n")
}

/// A JavaScript string literal.
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

/// The reason why the types could not be written or are not up to date.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Types contradict each other.
    #[error("types for the front end: {}", joined(problems))]
    Contradiction {
        /// All problems.
        problems: Vec<TypesProblem>,
    },
    /// The file can't be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The file is not up to date.
    #[error(
        "{}:{line} is out of date: it has `{found}`, expected `{expected}`; write the file again with Types::write",
        path.display()
    )]
    Outdated {
        /// The file.
        path: PathBuf,
        /// The first line that differs; the first is 1.
        line: usize,
        /// The line in the file.
        found: String,
        /// The line that the types render.
        expected: String,
    },
}

impl Error {
    /// A stable identifier for programs, such as `types_outdated`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Contradiction { .. } => "types_contradict",
            Self::File { .. } => "types_file",
            Self::Outdated { .. } => "types_outdated",
        }
    }
}

fn joined(problems: &[TypesProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A contradiction between types.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TypesProblem {
    /// An event or a notification has two payloads.
    #[error("{name:?} has two payloads: {first} and {second}")]
    TwoPayloads {
        /// The name of the event or notification.
        name: String,
        /// The first payload's type.
        first: String,
        /// The second payload's type.
        second: String,
    },
    /// Two types have the same name.
    #[error(
        "two types have the name {name}: {first} and {second}; rename one with #[ts(rename = \"…\")]"
    )]
    DuplicateName {
        /// The name.
        name: String,
        /// The first declaration.
        first: String,
        /// The second declaration.
        second: String,
    },
    /// A type has the name of a generated map.
    #[error(
        "a type has the name {name}, which is the name of a generated map; rename it with #[ts(rename = \"…\")]"
    )]
    ReservedName {
        /// The name.
        name: String,
    },
}

impl TypesProblem {
    /// A stable identifier for programs: `types_contradict`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "types_contradict"
    }
}
