//! `clarim top`: what the inspector shows, in a terminal.

mod sample;
mod view;

use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::AUTHORIZATION;
use hyper::{Request, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, poll, read};
use serde::de::DeserializeOwned;

use super::remote::{Limits, Remote};
use super::{CommandError, TopFlags, api};
use clarim_config::{Config, Flags};
use sample::{News, Picture};

/// Time between two questions. The server adds up its counters once a second.
const INTERVAL: Duration = Duration::from_secs(1);

/// What one answer may take: meanwhile no key is looked at.
const LIMITS: Limits = Limits { time: Duration::from_secs(2), bytes: 16 << 20 };

pub(super) fn run(flags: &TopFlags) -> Result<(), CommandError> {
    let mut inspector = Inspector::of(flags)?;
    let mut picture = Picture { url: inspector.remote.url.clone(), ..Picture::default() };
    // What does not work at all is said before the screen is taken.
    inspector.look(&mut picture)?;
    let mut terminal = ratatui::try_init()?;
    let watched = watch(&mut inspector, &mut picture, &mut terminal);
    ratatui::try_restore()?;
    watched
}

/// Until the user has enough.
fn watch(
    inspector: &mut Inspector,
    picture: &mut Picture,
    terminal: &mut DefaultTerminal,
) -> Result<(), CommandError> {
    loop {
        let next = Instant::now() + INTERVAL;
        loop {
            terminal.draw(|frame| view::draw(frame, picture))?;
            let left = next.saturating_duration_since(Instant::now());
            if !poll(left)? {
                break;
            }
            match key(&read()?) {
                Some(Key::Quit) => return Ok(()),
                Some(Key::Pause) => picture.is_paused = !picture.is_paused,
                Some(Key::NextApp) => picture.next_app(),
                None => {}
            }
        }
        if let Err(CommandError::Api(trouble)) = inspector.look(picture) {
            picture.trouble = Some(trouble);
        }
    }
}

enum Key {
    Quit,
    Pause,
    NextApp,
}

fn key(event: &Event) -> Option<Key> {
    let pressed = event.as_key_event().filter(|key| key.kind == KeyEventKind::Press)?;
    match pressed.code {
        KeyCode::Char('c') if pressed.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Quit),
        KeyCode::Char('q') | KeyCode::Esc => Some(Key::Quit),
        KeyCode::Char(' ') => Some(Key::Pause),
        KeyCode::Tab => Some(Key::NextApp),
        _ => None,
    }
}

/// The inspector of a running server.
struct Inspector {
    remote: Remote,
    token: Option<String>,
    /// From which event on the next ones are asked for.
    next: Option<u64>,
}

impl Inspector {
    /// The one that was named, or that of the settings.
    fn of(flags: &TopFlags) -> Result<Self, CommandError> {
        let TopFlags { url, token, config } = flags;
        let (url, token) = if let (Some(url), Some(token)) = (url, token) {
            (url.clone(), Some(token.clone()))
        } else {
            let flags = Flags { config: config.clone(), ..Flags::default() };
            let server = Config::check(&flags, &super::sources())?.server;
            let set = server.inspector_token.as_ref().map(|token| token.reveal().to_owned());
            (url.clone().unwrap_or_else(|| api::here(&server)), token.clone().or(set))
        };
        let remote = Remote::new(url.trim_end_matches('/'), LIMITS)?;
        Ok(Self { remote, token, next: None })
    }

    /// Brings the picture up to date.
    fn look(&mut self, picture: &mut Picture) -> Result<(), CommandError> {
        picture.take(self.get("overview")?);
        if let Some(app) = picture.app() {
            let app = utf8_percent_encode(app, NON_ALPHANUMERIC);
            picture.channels = self.get(&format!("apps/{app}/channels"))?;
        }
        if !picture.is_paused {
            let after = self.next.map_or_else(String::new, |next| format!("?after={next}"));
            let news: News = self.get(&format!("stream{after}"))?;
            self.next = Some(news.next);
            picture.take_events(news.events);
        }
        Ok(())
    }

    fn get<T: DeserializeOwned>(&self, what: &str) -> Result<T, CommandError> {
        let mut request = Request::get(format!("{}/inspector/api/{what}", self.remote.url));
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let (status, body) = self.remote.ask(request, Bytes::new())?;
        match status {
            StatusCode::OK => self.remote.read(&body),
            StatusCode::NOT_FOUND => Err(self.remote.failed(
                "it shows nothing; set CLARIM_INSPECTOR_TOKEN where the server is started",
            )),
            StatusCode::UNAUTHORIZED => Err(self.remote.failed(
                "it wants another token; give --token, or CLARIM_INSPECTOR_TOKEN as the server has it",
            )),
            status => Err(self.remote.refused(status, &body)),
        }
    }
}
