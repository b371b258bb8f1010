//! The sessions of a node, and how many of them may wait for their pages.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clarim_hub::{AppIndex, Refusal};
use clarim_protocol::Code;
use tokio::sync::mpsc;

use super::request::PageRequest;

/// Maximum number of sessions of one app, and of one address, whose pages do not listen. A page listens all
/// the time, except for one round trip after each response. So the limits are high for real pages, and low
/// for a client that opens sessions in a loop.
const MAX_WAITING_PER_APP: u32 = 4_096;
const MAX_WAITING_PER_ADDRESS: u32 = 256;

/// Requests that wait for their session.
const REQUESTS: usize = 16;

/// The sessions of a node by app key and name. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sessions(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    sessions: HashMap<String, Entry>,
    /// Numbers of sessions whose pages do not listen.
    by_app: HashMap<AppIndex, u32>,
    by_address: HashMap<IpAddr, u32>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    requests: mpsc::Sender<PageRequest>,
}

/// The owner of a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) app: AppIndex,
    pub(super) address: Option<IpAddr>,
}

/// The result of [`Sessions::open`].
pub(super) enum Opened {
    New {
        place: SessionPlace,
        requests: mpsc::Receiver<PageRequest>,
    },
    /// Another request has opened it in the meantime.
    Known(mpsc::Sender<PageRequest>),
}

impl Sessions {
    pub(super) fn find(&self, name: &str) -> Option<mpsc::Sender<PageRequest>> {
        Some(self.table().sessions.get(name)?.requests.clone())
    }

    /// Makes a session, whose page does not listen yet.
    pub(super) fn open(&self, name: String, owner: Owner) -> Result<Opened, Refusal> {
        let mut table = self.table();
        if let Some(known) = table.sessions.get(&name)
            && !known.requests.is_closed()
        {
            return Ok(Opened::Known(known.requests.clone()));
        }
        let of_app = table.by_app.get(&owner.app).copied().unwrap_or(0);
        let of_address = owner.address.and_then(|address| table.by_address.get(&address));
        if of_app >= MAX_WAITING_PER_APP
            || of_address.is_some_and(|count| *count >= MAX_WAITING_PER_ADDRESS)
        {
            let message = "Too many sessions of the HTTP fallback wait for their pages".to_owned();
            return Err(Refusal { code: Code::OVER_CAPACITY, message });
        }
        let (sender, requests) = mpsc::channel(REQUESTS);
        let id = table.next;
        table.next += 1;
        table.sessions.insert(name.clone(), Entry { id, requests: sender });
        table.count(owner);
        let place = SessionPlace { sessions: self.clone(), name, id, owner, is_waiting: true };
        Ok(Opened::New { place, requests })
    }

    /// Locks the table. Held while entries are found or changed.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn count(&mut self, Owner { app, address }: Owner) {
        *self.by_app.entry(app).or_default() += 1;
        if let Some(address) = address {
            *self.by_address.entry(address).or_default() += 1;
        }
    }

    fn uncount(&mut self, Owner { app, address }: Owner) {
        decrement(&mut self.by_app, &app);
        if let Some(address) = address {
            decrement(&mut self.by_address, &address);
        }
    }
}

fn decrement<K: Hash + Eq>(counts: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// A session in the table, until it is dropped.
#[derive(Debug)]
pub(super) struct SessionPlace {
    sessions: Sessions,
    name: String,
    /// Tells the session from a later one of the same name.
    id: u64,
    owner: Owner,
    is_waiting: bool,
}

impl SessionPlace {
    /// Tells whether the page listens.
    pub(super) fn set_listening(&mut self, is_listening: bool) {
        if self.is_waiting == is_listening {
            self.is_waiting = !is_listening;
            let mut table = self.sessions.table();
            if is_listening { table.uncount(self.owner) } else { table.count(self.owner) }
        }
    }
}

impl Drop for SessionPlace {
    fn drop(&mut self) {
        self.set_listening(true);
        let mut table = self.sessions.table();
        if table.sessions.get(&self.name).is_some_and(|entry| entry.id == self.id) {
            table.sessions.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use clarim_hub::Apps;
    use clarim_hub::app::App;

    use super::*;

    fn owner(last: u8) -> Owner {
        let apps = Apps::new([App::new("1", "key", "secret")]);
        let address = Some(IpAddr::from([192, 0, 2, last]));
        Owner { app: apps.find_by_id("1").unwrap(), address }
    }

    fn open(sessions: &Sessions, name: &str, last: u8) -> Option<SessionPlace> {
        match sessions.open(name.to_owned(), owner(last)) {
            Ok(Opened::New { place, .. }) => Some(place),
            Ok(Opened::Known(_)) | Err(_) => None,
        }
    }

    #[test]
    fn of_two_opens_of_one_name_the_second_joins_the_first() {
        let sessions = Sessions::default();
        let Ok(Opened::New { place, requests }) = sessions.open("a".to_owned(), owner(1)) else {
            panic!("refused")
        };
        assert!(matches!(sessions.open("a".to_owned(), owner(1)), Ok(Opened::Known(_))));
        // The first has ended, but is not removed yet when the name is used again.
        drop(requests);
        let again = open(&sessions, "a", 1).unwrap();
        drop(place);
        assert!(sessions.find("a").is_some());
        drop(again);
        assert!(sessions.find("a").is_none());
    }

    #[test]
    fn sessions_without_a_listening_page_are_limited_by_address_and_app() {
        let sessions = Sessions::default();
        let mut places: Vec<_> =
            (0..MAX_WAITING_PER_ADDRESS).map(|n| open(&sessions, &n.to_string(), 1)).collect();
        assert!(places.iter().all(Option::is_some));
        assert!(open(&sessions, "one more", 1).is_none());
        places[0].as_mut().unwrap().set_listening(true);
        let more = open(&sessions, "one more", 1);
        assert!(more.is_some());
        let per_address = MAX_WAITING_PER_ADDRESS;
        for last in 2..=(MAX_WAITING_PER_APP / per_address) as u8 {
            places.extend((0..per_address).map(|n| open(&sessions, &format!("{last}/{n}"), last)));
        }
        assert!(places.iter().all(Option::is_some));
        assert!(open(&sessions, "of another address", 200).is_none());
        drop((places, more));
        let table = sessions.table();
        assert!(table.sessions.is_empty() && table.by_app.is_empty());
        assert!(table.by_address.is_empty());
    }
}
