//! Filters of connections, as the inspector's search box has them: `user:7 fallback`.

use std::collections::HashSet;

use clarim_hub::ConnectionInfo;

use super::origins::{OriginId, Origins};
use super::sockets::Socket;

/// A filter of connections. All of its terms have to match.
#[derive(Debug, Default)]
pub(crate) struct ConnectionFilter {
    /// The app's id; `None`: all apps.
    app: Option<String>,
    terms: Vec<Term>,
}

#[derive(Debug)]
struct Term {
    field: Option<Field>,
    text: String,
    /// The origins that contain the text.
    origins: HashSet<OriginId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Channel,
    User,
    Origin,
    Address,
    Transport,
}

impl Field {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "channel" => Self::Channel,
            "user" => Self::User,
            "origin" => Self::Origin,
            "address" => Self::Address,
            "transport" => Self::Transport,
            _ => return None,
        })
    }
}

impl ConnectionFilter {
    /// Parses terms separated by spaces. `user:7`, `channel:orders.1` and `transport:ws` have to be equal;
    /// `origin:shop` and `address:10.0` are parts. A term without a field is a part of any field or the id.
    pub(crate) fn parse(app: Option<&str>, text: &str, origins: &Origins) -> Self {
        let terms = text.split_whitespace().map(|term| {
            let field = term.split_once(':').and_then(|(name, _)| Field::parse(name));
            let text = match term.split_once(':') {
                Some((_, value)) if field.is_some() => value,
                _ => term,
            };
            Term { field, text: text.to_owned(), origins: origins.containing(text) }
        });
        Self { app: app.map(str::to_owned), terms: terms.collect() }
    }

    pub(super) fn matches(&self, info: &ConnectionInfo<'_>, socket: &Socket) -> bool {
        self.app.as_ref().is_none_or(|app| *app == info.app.id)
            && self.terms.iter().all(|term| term.matches(info, socket))
    }
}

impl Term {
    fn matches(&self, info: &ConnectionInfo<'_>, socket: &Socket) -> bool {
        let text = self.text.as_str();
        let is_of_origin = || self.origins.contains(&socket.origin());
        let is_of_address =
            || socket.address().is_some_and(|address| address.to_string().contains(text));
        match self.field {
            Some(Field::Channel) => info.channels.contains(&text),
            Some(Field::User) => info.user == Some(text),
            Some(Field::Transport) => socket.transport_name() == text,
            Some(Field::Origin) => is_of_origin(),
            Some(Field::Address) => is_of_address(),
            None => {
                info.socket_id.to_string().contains(text)
                    || info.user.is_some_and(|user| user.contains(text))
                    || info.channels.iter().any(|name| name.contains(text))
                    || socket.transport_name() == text
                    || is_of_origin()
                    || is_of_address()
            }
        }
    }
}
