//! The rules for channels, as an application writes them.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::routing::{get, post};
use clarim_protocol::ChannelKind;

use super::callback::{Answer, Callback};
use super::handler::Authorizer;
use super::member::{Member, UserData};
use super::pattern::Pattern;
use super::rules::{Authenticate, Check, Decision, Rule, Rules, by_closure};
use crate::error::Error;
use crate::error::problems::ChannelsProblem;
use crate::settings::Settings;

/// The application's rules for channels: patterns, each with a closure that authorizes subscribers.
///
/// A pattern is a channel's name without its prefix (`private-`, `private-encrypted-`, `presence-`, and a
/// following `cache-`). A placeholder `{name}` matches anything but a dot. Among the patterns of a kind, the
/// first one that matches decides.
///
/// A closure takes the user, then the values of the placeholders in order, each parsed to the closure's type;
/// a value that can't be parsed denies the request. Its last parameter may be axum's
/// [`State`](axum::extract::State). It returns `bool` (for presence channels `Option<Member>`), a `Result` of
/// it, or a future of either. Errors and panics are logged, and answered with status 500.
///
/// ```
/// use axum::extract::State;
/// use clarim::authorization::Channels;
/// # #[derive(Clone)] struct Db;
/// # impl Db { async fn owns(&self, _: u64, _: u64) -> Result<bool, std::io::Error> { Ok(true) } }
/// # struct User { id: u64 }
///
/// let channels = Channels::new().private(
///     "orders.{order}",
///     |user: User, order: u64, State(db): State<Db>| async move { db.owns(user.id, order).await },
/// );
/// # let (clarim, _) = clarim::Clarim::fake();
/// # let app: axum::Router<Db> = channels.routes(|_| Some(User { id: 7 }), clarim)?;
/// # Ok::<(), clarim::Error>(())
/// ```
pub struct Channels<U, S> {
    rules: Rules<U, S>,
    /// Problems, which are reported when the routes are created.
    problems: Vec<ChannelsProblem>,
}

impl<U, S> Default for Channels<U, S>
where
    U: Send + 'static,
    S: Clone + Send + Sync + 'static,
{
    fn default() -> Self {
        Self::new()
    }
}

impl<U, S> Channels<U, S>
where
    U: Send + 'static,
    S: Clone + Send + Sync + 'static,
{
    /// No rules.
    #[must_use]
    pub fn new() -> Self {
        let rules = Rules { rules: Vec::new(), guards: Vec::new(), sign_in: None };
        Self { rules, problems: Vec::new() }
    }

    /// Adds a rule for private channels: `Echo.private(…)`.
    #[must_use]
    pub fn private<F, M>(self, pattern: &str, check: F) -> Self
    where
        F: Callback<U, S, bool, M>,
    {
        self.access(ChannelKind::Private, pattern, check)
    }

    /// Adds a rule for encrypted private channels: `Echo.encryptedPrivate(…)`.
    #[must_use]
    pub fn encrypted<F, M>(self, pattern: &str, check: F) -> Self
    where
        F: Callback<U, S, bool, M>,
    {
        self.access(ChannelKind::Encrypted, pattern, check)
    }

    /// Adds a rule for presence channels: `Echo.join(…)`.
    #[must_use]
    pub fn presence<F, M>(self, pattern: &str, check: F) -> Self
    where
        F: Callback<U, S, Option<Member>, M>,
    {
        let check: Check<U, S> = Arc::new(move |user, values, state| {
            let member = check.call(user, values, state);
            Box::pin(async move { Ok(member.await?.map_or(Decision::Denied, Decision::Member)) })
        });
        self.add(ChannelKind::Presence, pattern, F::PARAMETERS, check)
    }

    /// Authenticates users of the rule before this with another guard, defined by
    /// [`authenticate_as`](Self::authenticate_as).
    #[must_use]
    pub fn guard(mut self, name: impl Into<String>) -> Self {
        match self.rules.rules.last_mut() {
            Some(rule) => rule.guard = Some(name.into()),
            None => self.problems.push(ChannelsProblem::MisplacedGuard { guard: name.into() }),
        }
        self
    }

    /// Defines a guard: another way to authenticate users.
    ///
    /// ```
    /// use clarim::authorization::Channels;
    /// # struct User { id: u64 }
    ///
    /// let channels = Channels::new()
    ///     .authenticate_as("admin", |parts| {
    ///         parts.headers.contains_key("x-admin").then_some(User { id: 1 })
    ///     })
    ///     .private("audit", |_: User| true).guard("admin")
    ///     .private("users.{id}", |user: User, id: u64| user.id == id);
    /// # let (clarim, _) = clarim::Clarim::fake();
    /// # let app: axum::Router = channels.routes(|_| Some(User { id: 7 }), clarim)?;
    /// # Ok::<(), clarim::Error>(())
    /// ```
    #[must_use]
    pub fn authenticate_as<F, R, M>(mut self, name: impl Into<String>, authenticate: F) -> Self
    where
        F: Fn(Parts) -> R + Clone + Send + Sync + 'static,
        R: Answer<Option<U>, M> + Send + 'static,
    {
        self.rules.guards.push((name.into(), by_closure(authenticate)));
        self
    }

    /// Sets the closure that answers `/broadcasting/user-auth`, for users who sign in (`pusher.signin()`). It
    /// takes the user, and optionally axum's state. Without it all requests are denied.
    #[must_use]
    pub fn sign_in<F, M>(mut self, user_data: F) -> Self
    where
        F: Callback<U, S, Option<UserData>, M>,
    {
        if F::PARAMETERS > 0 {
            self.problems.push(ChannelsProblem::SignInParameters);
        }
        self.rules.sign_in =
            Some(Arc::new(move |user, state| user_data.call(user, Vec::new(), state)));
        self
    }

    fn access<F, M>(self, kind: ChannelKind, pattern: &str, check: F) -> Self
    where
        F: Callback<U, S, bool, M>,
    {
        let check: Check<U, S> = Arc::new(move |user, values, state| {
            let allowed = check.call(user, values, state);
            Box::pin(async move {
                Ok(if allowed.await? { Decision::Allowed } else { Decision::Denied })
            })
        });
        self.add(kind, pattern, F::PARAMETERS, check)
    }

    fn add(mut self, kind: ChannelKind, text: &str, takes: usize, check: Check<U, S>) -> Self {
        match Pattern::parse(kind, text) {
            Ok(pattern) if pattern.placeholders() != takes => {
                self.problems.push(ChannelsProblem::ParameterCount {
                    pattern: text.to_owned(),
                    placeholders: pattern.placeholders(),
                    takes,
                });
            }
            Ok(pattern) => self.rules.rules.push(Rule { kind, pattern, guard: None, check }),
            Err(problem) => self.problems.push(problem),
        }
        self
    }

    /// Creates the routes `GET|POST /broadcasting/auth` and `/broadcasting/user-auth`, and
    /// `POST /broadcasting/auth/batch` for up to 100 channels at once (`authorize` of `@clarim/js`), to be
    /// merged into the application's router. `authenticate` returns the user of a request, or `None` for a
    /// guest; a `Result` of it, or a future of either.
    ///
    /// # Errors
    /// Returns [`Error::Authorization`] with all problems: invalid patterns, patterns that never match,
    /// closures with another number of parameters, and missing keys for signing.
    pub fn routes<F, R, M>(
        self,
        authenticate: F,
        settings: impl AsRef<Settings>,
    ) -> Result<Router<S>, Error>
    where
        F: Fn(Parts) -> R + Clone + Send + Sync + 'static,
        R: Answer<Option<U>, M> + Send + 'static,
    {
        self.serve(by_closure(authenticate), settings.as_ref())
    }

    /// Creates the routes with the user as an extractor. A request that the extractor rejects is a guest's.
    ///
    /// # Errors
    /// Returns the same errors as [`routes`](Self::routes).
    pub fn routes_by_extractor(self, settings: impl AsRef<Settings>) -> Result<Router<S>, Error>
    where
        U: FromRequestParts<S>,
    {
        let authenticate: Authenticate<U, S> = Arc::new(|mut parts, state| {
            Box::pin(async move { Ok(U::from_request_parts(&mut parts, &state).await.ok()) })
        });
        self.serve(authenticate, settings.as_ref())
    }

    fn serve(
        self,
        authenticate: Authenticate<U, S>,
        settings: &Settings,
    ) -> Result<Router<S>, Error> {
        let mut problems = self.problems();
        if let Err(error) = settings.signing_key() {
            problems.push(ChannelsProblem::Setting { message: error.to_string() });
        }
        let encrypted = self.rules.rules.iter().find(|rule| rule.kind.is_encrypted());
        if let (Some(rule), None) = (encrypted, &settings.master_key) {
            let error = Error::NoEncryptionKey { channel: rule.pattern.to_string() };
            problems.push(ChannelsProblem::Setting { message: error.to_string() });
        }
        if !problems.is_empty() {
            return Err(Error::Authorization { problems });
        }
        let authorizer = Arc::new(Authorizer {
            rules: self.rules,
            authenticate,
            key: settings.app_key.clone(),
            master_key: settings.master_key.clone(),
        });
        let for_users = authorizer.clone();
        let for_batches = authorizer.clone();
        let auth = move |State(state): State<S>, request: Request| {
            let authorizer = authorizer.clone();
            async move { authorizer.channel(state, request).await }
        };
        let batch = move |State(state): State<S>, request: Request| {
            let authorizer = for_batches.clone();
            async move { authorizer.batch(state, request).await }
        };
        let user_auth = move |State(state): State<S>, request: Request| {
            let authorizer = for_users.clone();
            async move { authorizer.user(state, request).await }
        };
        Ok(Router::new()
            .route("/broadcasting/auth", get(auth.clone()).post(auth))
            .route("/broadcasting/auth/batch", post(batch))
            .route("/broadcasting/user-auth", get(user_auth.clone()).post(user_auth)))
    }

    fn problems(&self) -> Vec<ChannelsProblem> {
        let Rules { rules, guards, .. } = &self.rules;
        let mut problems = self.problems.clone();
        for (n, rule) in rules.iter().enumerate() {
            let hides = |before: &&Rule<U, S>| {
                before.kind == rule.kind && before.pattern.covers(&rule.pattern)
            };
            if let Some(earlier) = rules[..n].iter().find(hides) {
                problems.push(ChannelsProblem::Unreachable {
                    pattern: rule.pattern.to_string(),
                    earlier: earlier.pattern.to_string(),
                });
            }
            let is_known = |name: &String| guards.iter().any(|(known, _)| known == name);
            if let Some(guard) = rule.guard.as_ref().filter(|name| !is_known(name)) {
                problems.push(ChannelsProblem::UnknownGuard {
                    pattern: rule.pattern.to_string(),
                    guard: guard.clone(),
                });
            }
        }
        problems
    }
}

impl<U, S> fmt::Debug for Channels<U, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.rules, f)
    }
}
