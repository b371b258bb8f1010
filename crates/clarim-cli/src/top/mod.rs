//! `clarim top`: a live view of a server in the terminal, from its inspector.

mod choice;
mod sample;
mod view;

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::AUTHORIZATION;
use hyper::{Request, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{poll, read};
use serde::de::DeserializeOwned;

use crate::error::CommandError;
use crate::flags::TopFlags;
use crate::remote::{Limits, Remote, RemoteError, local_url};
use choice::{Choice, Demand};
use sample::{EventPage, Picture};

/// Time between two updates. The server sums up its counters once a second.
const INTERVAL: Duration = Duration::from_secs(1);

/// Limits of a response. The view does not react to keys while it waits.
const LIMITS: Limits = Limits { timeout: Duration::from_secs(2), bytes: 16 << 20 };

pub(crate) fn run(flags: &TopFlags) -> Result<(), CommandError> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(CommandError::NoTerminal);
    }
    let mut inspector = Inspector::of_flags(flags)?;
    let mut picture = Picture { url: inspector.remote.url.clone(), ..Picture::default() };
    // Errors of the first update are printed before the screen is used.
    inspector.update(&mut picture, &Choice::default())?;
    let mut terminal = ratatui::try_init()?;
    let watched = watch(&mut inspector, &mut picture, &mut terminal);
    ratatui::try_restore()?;
    watched
}

/// Updates the view until the user quits.
fn watch(
    inspector: &mut Inspector,
    picture: &mut Picture,
    terminal: &mut DefaultTerminal,
) -> Result<(), CommandError> {
    let mut choice = Choice::default();
    loop {
        let next = Instant::now() + INTERVAL;
        loop {
            terminal.draw(|frame| view::draw(frame, picture, &choice))?;
            let left = next.saturating_duration_since(Instant::now());
            if !poll(left)? {
                break;
            }
            match choice.press(&read()?) {
                Some(Demand::Quit) => return Ok(()),
                Some(Demand::NextApp) => {
                    picture.next_app();
                    break;
                }
                Some(Demand::Channels) => break,
                None => {}
            }
        }
        if let Err(error) = inspector.update(picture, &choice) {
            picture.error = Some(error.to_string());
        }
    }
}

/// The inspector of a running server.
struct Inspector {
    remote: Remote,
    token: Option<String>,
    /// Number of the next event.
    next: Option<u64>,
}

impl Inspector {
    /// The inspector of the given server, or of that of the settings.
    fn of_flags(flags: &TopFlags) -> Result<Self, CommandError> {
        let mut url = flags.url.clone();
        let mut token = flags.token.clone();
        if url.is_none() || token.is_none() {
            let settings = flags.settings()?;
            let configured = settings.server.inspector_token.as_ref();
            token = token.or_else(|| configured.map(|token| token.reveal().to_owned()));
            url = url.or_else(|| Some(local_url(&settings)));
        }
        let url = url.unwrap_or_default();
        let remote = Remote::new(url.trim_end_matches('/'), LIMITS)?;
        Ok(Self { remote, token, next: None })
    }

    /// Updates the picture.
    fn update(&mut self, picture: &mut Picture, choice: &Choice) -> Result<(), RemoteError> {
        picture.update(self.get("overview")?);
        if let Some(app) = picture.app() {
            let app = utf8_percent_encode(app, NON_ALPHANUMERIC);
            let filter = utf8_percent_encode(&choice.filter, NON_ALPHANUMERIC);
            picture.channels = self.get(&format!("apps/{app}/channels?contains={filter}"))?;
        }
        if !choice.is_paused {
            let after = self.next.map_or_else(String::new, |next| format!("?after={next}"));
            let page: EventPage = self.get(&format!("stream{after}"))?;
            self.next = Some(page.next);
            picture.add_events(page.events);
        }
        Ok(())
    }

    fn get<T: DeserializeOwned>(&self, resource: &str) -> Result<T, RemoteError> {
        let mut request = Request::get(format!("{}/inspector/api/{resource}", self.remote.url));
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = self.remote.send(request, Bytes::new())?;
        Err(match response.status {
            StatusCode::OK => return self.remote.read(&response),
            StatusCode::NOT_FOUND => self
                .remote
                .hint("its inspector is disabled; set CLARIM_INSPECTOR_TOKEN on the server"),
            StatusCode::UNAUTHORIZED => self
                .remote
                .hint("wrong token; use --token, or the CLARIM_INSPECTOR_TOKEN of the server"),
            _ => self.remote.refused(&response),
        })
    }
}
