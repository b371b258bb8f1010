//! What is wrong between a page, the server and its backend: each cause looked for, and told with its cure.
//!
//! A file for each place where something can be wrong. What only looks at what was seen is pure, and beside
//! what sees it.

mod api;
pub(crate) mod auth;
mod certificate;
mod exchange;
mod fallback;
mod here;
mod names;
mod socket;
mod target;

use std::time::Duration;

use clarim_protocol::auth::AppKey;

use clarim_config::Config;
pub(crate) use socket::{Client, opened};
pub(crate) use target::Target;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Fine,
    Warning,
    Problem,
}

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    /// What was looked at, in a word or two.
    pub(crate) check: &'static str,
    /// What was seen, or the cause.
    pub(crate) what: String,
    /// What is to be done.
    pub(crate) cure: String,
}

impl Finding {
    fn fine(check: &'static str, what: impl Into<String>) -> Self {
        Self { level: Level::Fine, check, what: what.into(), cure: String::new() }
    }

    fn warning(check: &'static str, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { level: Level::Warning, check, what: what.into(), cure: cure.into() }
    }

    fn problem(check: &'static str, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { level: Level::Problem, check, what: what.into(), cure: cure.into() }
    }
}

/// Time for one thing to happen.
const PATIENCE: Duration = Duration::from_secs(5);

/// Later than this an event is held back by something.
const SLOW: Duration = Duration::from_secs(1);

/// What is looked at.
#[derive(Debug)]
pub(crate) struct Patient {
    /// The server, as its clients reach it.
    pub(crate) target: Target,
    /// Whether that is the server of these settings, on this machine.
    pub(crate) is_here: bool,
    /// The settings of this directory, if there are some.
    pub(crate) settings: Option<Config>,
    pub(crate) app: Option<Credentials>,
    /// The page that is to connect.
    pub(crate) origin: Option<String>,
    /// Where a page asks for private channels.
    pub(crate) auth: Option<auth::Endpoint>,
    /// How long a connection that says nothing is watched.
    pub(crate) idle: Option<Duration>,
    /// An event's name, and what a page listens to.
    pub(crate) names: Option<(String, String)>,
}

/// An app, as far as it is known.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub(crate) key: String,
    /// Its id, and what signs requests to the HTTP API.
    pub(crate) signer: Option<(String, AppKey)>,
}

impl Patient {
    /// Looks at everything, as far as one gets, and tells each finding at once.
    pub(crate) async fn examine(&self, tell: &mut dyn FnMut(Finding)) {
        if let Some(settings) = self.settings.as_ref().filter(|_| self.is_here) {
            here::look(settings).await.into_iter().for_each(&mut *tell);
        }
        if let Some((event, listens)) = &self.names {
            tell(names::compare(event, listens));
        }
        match exchange::reach(&self.target).await {
            Ok(findings) => findings.into_iter().for_each(&mut *tell),
            Err(finding) => return tell(finding),
        }
        let doubt = exchange::is_clarim(&self.target).await.err();
        if let Some(finding) = doubt.clone().filter(|it| it.level == Level::Problem) {
            return tell(finding);
        }
        let Some(app) = &self.app else {
            let what =
                "which app is meant is not known, so nothing behind the address was looked at";
            let cure = "name it with --app-id, --key and --secret, or run this where its .env is";
            return tell(Finding::warning("app", what, cure));
        };
        let known = self.settings.as_ref().map(|settings| {
            settings.apps.iter().map(|app| app.key.key().to_owned()).collect::<Vec<_>>()
        });
        let origin = self.origin.as_deref();
        let connected = socket::connects(&self.target, &app.key, origin, known.as_deref()).await;
        let connects = connected.is_ok();
        if !connects {
            // Otherwise it says nothing: a proxy need not pass on all paths.
            doubt.into_iter().for_each(&mut *tell);
        }
        tell(connected.unwrap_or_else(|finding| finding));
        if connects {
            tell(fallback::streams(&self.target, &app.key, origin).await);
        }
        match &app.signer {
            Some((id, key)) => self.backend(id, key, connects, tell).await,
            None => {
                let what = "without the app's id and secret its HTTP API was not looked at";
                tell(Finding::warning("api", what, "add --app-id and --secret"));
            }
        }
        if connects && let Some(time) = self.idle {
            tell(socket::stays(&self.target, &app.key, origin, time).await);
        }
    }

    /// What an application's backend does; `connects`: clients can.
    async fn backend(&self, id: &str, key: &AppKey, connects: bool, tell: &mut dyn FnMut(Finding)) {
        let api = api::answers(&self.target, id, key).await;
        let answers = api.level == Level::Fine;
        tell(api);
        if connects && answers {
            let delivery = socket::delivers(&self.target, self.origin.as_deref(), id, key).await;
            let is_split = delivery.level == Level::Problem && !self.is_here;
            tell(delivery);
            // An address that was given need not be that of these settings, but they may tell why.
            if let Some(settings) = self.settings.as_ref().filter(|_| is_split)
                && settings.server.scaling.is_some()
            {
                tell(here::bus(settings).await);
            }
        }
        if let Some(endpoint) = &self.auth {
            tell(auth::answers(endpoint, key).await);
        }
    }
}
