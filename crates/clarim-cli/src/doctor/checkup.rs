//! All checks in their order.

use std::time::Duration;

use clarim_config::Config;
use clarim_protocol::auth::AppKey;
use clarim_server::HistoryRule;

use super::authorization::{self, Endpoint};
use super::connection::exchange;
use super::connection::target::Target;
use super::finding::{Finding, Level};
use super::{api, fallback, history, machine, names, websocket};

/// The subject of a checkup.
#[derive(Debug)]
pub(crate) struct Checkup {
    /// The server, as its clients reach it.
    pub(crate) target: Target,
    /// Whether that is the server of the settings, on this machine.
    pub(crate) is_local: bool,
    /// The settings of this directory, if they are valid.
    pub(crate) settings: Option<Config>,
    pub(crate) app: Option<AppCredentials>,
    /// Origin of the page that connects.
    pub(crate) origin: Option<String>,
    /// The page's authorization endpoint.
    pub(crate) endpoint: Option<Endpoint>,
    /// Time for which an idle connection is watched.
    pub(crate) idle: Option<Duration>,
    pub(crate) names: Option<EventNames>,
}

/// Credentials of an app, as far as they are known.
#[derive(Debug, Clone)]
pub(crate) struct AppCredentials {
    pub(crate) key: String,
    pub(crate) signer: Option<Signer>,
}

/// Id and secret of an app, which sign requests to its HTTP API.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    pub(crate) app_id: String,
    pub(crate) key: AppKey,
}

/// Names to compare.
#[derive(Debug)]
pub(crate) struct EventNames {
    /// Name of an event as the backend sends it.
    pub(crate) event: String,
    /// Name that a page passes to Echo's `.listen('…')`.
    pub(crate) listen: String,
}

impl Checkup {
    /// Runs the checks until one makes the next ones pointless, and reports each finding at once.
    pub(crate) async fn run(&self, report: &mut dyn FnMut(Finding)) {
        if let Some(settings) = self.settings.as_ref().filter(|_| self.is_local) {
            machine::check(settings).await.into_iter().for_each(&mut *report);
        }
        if let Some(EventNames { event, listen }) = &self.names {
            report(names::compare(event, listen));
        }
        match exchange::reach(&self.target).await {
            Ok(findings) => findings.into_iter().for_each(&mut *report),
            Err(finding) => return report(finding),
        }
        let doubt = exchange::is_server(&self.target).await.err();
        if let Some(finding) = doubt.clone().filter(|it| it.level == Level::Problem) {
            return report(finding);
        }
        let Some(app) = &self.app else {
            let what = "no app is known, so nothing beyond the address was checked";
            let remedy = "use --app-id, --key and --secret, or run this command in the directory of its .env";
            return report(Finding::warning("app", what, remedy));
        };
        let connects = self.clients(app, doubt, report).await;
        match &app.signer {
            Some(signer) => self.backend(signer, connects, report).await,
            None => {
                let what =
                    "the HTTP API was not checked, because the app's id and secret are unknown";
                report(Finding::warning("api", what, "add --app-id and --secret"));
            }
        }
        if connects && let Some(time) = self.idle {
            report(websocket::stays_open(&self.target, &app.key, self.origin(), time).await);
        }
    }

    /// A history rule of the app, as far as the settings have one.
    fn history_rule(&self, key: &AppKey) -> Option<&HistoryRule> {
        let apps = &self.settings.as_ref()?.apps;
        apps.iter().find(|app| app.key.key() == key.key())?.history.first()
    }

    fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// Checks what the app's clients do, and returns whether they can connect. `doubt` is a finding that
    /// means nothing if they can: a proxy does not have to forward all paths.
    async fn clients(
        &self,
        app: &AppCredentials,
        doubt: Option<Finding>,
        report: &mut dyn FnMut(Finding),
    ) -> bool {
        let known_keys = self.settings.as_ref().map(|settings| {
            settings.apps.iter().map(|app| app.key.key().to_owned()).collect::<Vec<_>>()
        });
        let known_keys = known_keys.as_deref();
        let connected =
            websocket::connects(&self.target, &app.key, self.origin(), known_keys).await;
        let connects = connected.is_ok();
        if !connects {
            doubt.into_iter().for_each(&mut *report);
        }
        report(connected.unwrap_or_else(|finding| finding));
        if connects {
            report(fallback::streams(&self.target, &app.key, self.origin()).await);
        }
        connects
    }

    /// Checks what the app's backend does.
    async fn backend(&self, signer: &Signer, connects: bool, report: &mut dyn FnMut(Finding)) {
        let Signer { app_id, key } = signer;
        let api = api::answers(&self.target, app_id, key).await;
        let answers = api.level == Level::Ok;
        report(api);
        if connects && answers {
            let delivery = websocket::delivers(&self.target, self.origin(), app_id, key).await;
            let is_split = delivery.level == Level::Problem && !self.is_local;
            report(delivery);
            // The given address may belong to another server, but these settings may explain the problem.
            if let Some(settings) = self.settings.as_ref().filter(|_| is_split)
                && settings.server.scaling.is_some()
            {
                report(machine::bus(settings).await);
            }
        }
        if connects && let Some(rule) = self.history_rule(key) {
            let page_ids = history::page_ids(&self.target, self.origin(), key, rule).await;
            page_ids.into_iter().for_each(&mut *report);
        }
        if let Some(endpoint) = &self.endpoint {
            report(authorization::answers(endpoint, key).await);
        }
    }
}
