//! What the user has chosen to see, by its keys.

use std::cmp::Reverse;

use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};

use super::sample::Channel;

/// Lines of a page of the list.
const PAGE: usize = 10;

/// The part of the channels that is shown, and whether events are.
#[derive(Debug, Default)]
pub(super) struct Choice {
    pub(super) order: Order,
    /// Channels whose names contain it are shown.
    pub(super) filter: String,
    /// Keys change the filter.
    pub(super) is_typing: bool,
    /// Number of channels above the first line.
    pub(super) skipped: usize,
    pub(super) is_paused: bool,
    pub(super) shows_help: bool,
}

/// The order of the channels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    Subscriptions,
    Users,
    Name,
}

impl Order {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Subscriptions => "subscriptions",
            Self::Users => "users",
            Self::Name => "name",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Subscriptions => Self::Users,
            Self::Users => Self::Name,
            Self::Name => Self::Subscriptions,
        }
    }

    pub(super) fn sort(self, channels: &mut [&Channel]) {
        match self {
            Self::Subscriptions => channels.sort_by_key(|channel| Reverse(channel.subscriptions)),
            Self::Users => channels.sort_by_key(|channel| Reverse(channel.users)),
            Self::Name => channels.sort_by(|one, other| one.name.cmp(&other.name)),
        }
    }
}

/// A demand of the user, beyond a change of the choice.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Demand {
    Quit,
    NextApp,
    /// The channels of another filter.
    Channels,
}

impl Choice {
    /// Handles a key.
    pub(super) fn press(&mut self, event: &Event) -> Option<Demand> {
        let key = event.as_key_event().filter(|key| key.kind == KeyEventKind::Press)?;
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Some(Demand::Quit);
        }
        if self.is_typing {
            return self.type_key(key.code);
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Some(Demand::Quit),
            KeyCode::Char(' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('?') => self.shows_help = !self.shows_help,
            KeyCode::Char('s') => {
                self.order = self.order.next();
                self.skipped = 0;
            }
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Down | KeyCode::Char('j') => self.skipped = self.skipped.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => self.skipped = self.skipped.saturating_sub(1),
            KeyCode::PageDown => self.skipped = self.skipped.saturating_add(PAGE),
            KeyCode::PageUp => self.skipped = self.skipped.saturating_sub(PAGE),
            KeyCode::Home => self.skipped = 0,
            KeyCode::Tab => {
                self.skipped = 0;
                return Some(Demand::NextApp);
            }
            _ => {}
        }
        None
    }

    fn type_key(&mut self, code: KeyCode) -> Option<Demand> {
        match code {
            KeyCode::Enter => {
                self.is_typing = false;
                return None;
            }
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(letter) => self.filter.push(letter),
            _ => return None,
        }
        self.skipped = 0;
        Some(Demand::Channels)
    }
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::KeyEvent;

    use super::*;

    fn press(choice: &mut Choice, code: KeyCode) -> Option<Demand> {
        choice.press(&Event::Key(KeyEvent::from(code)))
    }

    #[test]
    fn letters_are_keys_or_the_filter() {
        let mut choice = Choice::default();
        assert_eq!(press(&mut choice, KeyCode::Char('/')), None);
        for letter in "qs ".chars() {
            assert_eq!(press(&mut choice, KeyCode::Char(letter)), Some(Demand::Channels));
        }
        press(&mut choice, KeyCode::Backspace);
        assert_eq!(press(&mut choice, KeyCode::Enter), None);
        assert_eq!((&*choice.filter, choice.order), ("qs", Order::Subscriptions));
        press(&mut choice, KeyCode::Char('s'));
        assert_eq!((choice.order, choice.is_paused), (Order::Users, false));
        press(&mut choice, KeyCode::Char('/'));
        assert_eq!(press(&mut choice, KeyCode::Esc), Some(Demand::Channels));
        assert!(choice.filter.is_empty(), "Escape clears it");
        assert_eq!(press(&mut choice, KeyCode::Esc), Some(Demand::Quit));
    }

    #[test]
    fn the_list_scrolls_within_its_beginning() {
        let mut choice = Choice::default();
        press(&mut choice, KeyCode::Up);
        assert_eq!(choice.skipped, 0);
        press(&mut choice, KeyCode::PageDown);
        press(&mut choice, KeyCode::Down);
        assert_eq!(choice.skipped, PAGE + 1);
        press(&mut choice, KeyCode::Char('s'));
        assert_eq!(choice.skipped, 0, "another order begins at its first channel");
    }

    #[test]
    fn channels_are_sorted_by_each_column() {
        let channels: Vec<Channel> = serde_json::from_str(
            r#"[{"name":"b","subscriptions":1,"users":null},
                {"name":"c","subscriptions":3,"users":1},
                {"name":"a","subscriptions":2,"users":2}]"#,
        )
        .unwrap();
        let mut order = Order::default();
        for expected in ["cab", "acb", "abc"] {
            let mut all: Vec<&Channel> = channels.iter().collect();
            order.sort(&mut all);
            assert_eq!(all.iter().map(|it| &*it.name).collect::<String>(), expected, "{order:?}");
            order = order.next();
        }
        assert_eq!(order, Order::default());
    }
}
