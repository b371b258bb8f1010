//! Who may hear what: the counterpart of Laravel's `routes/channels.php`.
//!
//! ```
//! use axum::Router;
//! use clarim::Clarim;
//! use clarim::authorization::{Channels, Member};
//! use serde_json::json;
//!
//! struct User {
//!     id: u64,
//!     name: String,
//! }
//!
//! # let (clarim, _) = Clarim::fake();
//! let channels = Channels::new()
//!     // Echo.private('users.7')
//!     .private("users.{id}", |user: User, id: u64| user.id == id)
//!     // Echo.join('rooms.3')
//!     .presence("rooms.{room}", |user: User, room: u32| async move {
//!         (room < 100).then(|| Member::new(user.id).info(json!({ "name": user.name })))
//!     });
//! let app: Router = Router::new().merge(channels.routes(
//!     |parts| async move {
//!         // Of a session or a token; None is a guest
//!         let name = parts.headers.get("x-user")?.to_str().ok()?.to_owned();
//!         Some(User { id: 7, name })
//!     },
//!     clarim,
//! )?);
//! # Ok::<(), clarim::Error>(())
//! ```
//!
//! Pages ask at `/broadcasting/auth`, which is where Echo looks; with POST or GET, as a form or as JSON. A
//! request that is refused gets 403 without a reason: that is in the log, with the pattern. What protects
//! the application's other routes against forged requests (CSRF) can be layered around these too: Echo
//! sends the token.

mod callback;
mod handler;
mod pattern;
mod routes;

use std::fmt;
use std::sync::Arc;

use axum::http::request::Parts;
use clarim_protocol::ChannelKind;
use serde::Serialize;
use serde_json::Value;

use crate::publisher::BoxFuture;
use callback::BoxError;
pub use callback::{Answer, Argument, Callback, Failure, FromName, FromState, Later, Now, Outcome};
use pattern::Pattern;
pub(crate) use routes::by_closure;

/// Whether a user is let in.
enum Verdict {
    Refused,
    Allowed,
    Member(Member),
}

type Check<U, S> =
    Arc<dyn Fn(U, Vec<String>, &S) -> BoxFuture<'static, Result<Verdict, Failure>> + Send + Sync>;
pub(crate) type Authenticate<U, S> =
    Arc<dyn Fn(Parts, S) -> BoxFuture<'static, Result<Option<U>, BoxError>> + Send + Sync>;
type SignIn<U, S> =
    Arc<dyn Fn(U, &S) -> BoxFuture<'static, Result<Option<UserData>, Failure>> + Send + Sync>;

/// A pattern, and what decides about the channels it matches.
struct Rule<U, S> {
    kind: ChannelKind,
    pattern: Pattern,
    guard: Option<String>,
    check: Check<U, S>,
}

/// The application's channels: patterns, each with a closure that decides who is let in.
///
/// A pattern is a channel's name without its prefix (`private-`, `private-encrypted-`, `presence-`, and
/// `cache-` behind it), in which `{name}` stands for anything but a dot. Of the patterns of a kind the
/// first that matches decides.
///
/// A closure gets the user, then the values of the placeholders in their order, each parsed to the
/// closure's own type; one that can't be parsed is a refusal. Last it may take axum's
/// [`State`](axum::extract::State). It returns `bool` (for presence channels `Option<Member>`), or a
/// `Result` of that, or a future of either. An error is answered 500 and logged, and so is a panic.
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
    rules: Vec<Rule<U, S>>,
    guards: Vec<(String, Authenticate<U, S>)>,
    sign_in: Option<SignIn<U, S>>,
    /// What is wrong, to be told when the routes are made.
    problems: Vec<String>,
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
    /// No channel at all.
    #[must_use]
    pub fn new() -> Self {
        Self { rules: Vec::new(), guards: Vec::new(), sign_in: None, problems: Vec::new() }
    }

    /// Private channels: `Echo.private(…)`.
    #[must_use]
    pub fn private<F, M>(self, pattern: &str, check: F) -> Self
    where
        F: Callback<U, S, bool, M>,
    {
        self.access(ChannelKind::Private, pattern, check)
    }

    /// Encrypted private channels: `Echo.encryptedPrivate(…)`.
    #[must_use]
    pub fn encrypted<F, M>(self, pattern: &str, check: F) -> Self
    where
        F: Callback<U, S, bool, M>,
    {
        self.access(ChannelKind::Encrypted, pattern, check)
    }

    /// Presence channels: `Echo.join(…)`.
    #[must_use]
    pub fn presence<F, M>(self, pattern: &str, check: F) -> Self
    where
        F: Callback<U, S, Option<Member>, M>,
    {
        let check: Check<U, S> = Arc::new(move |user, values, state| {
            let member = check.call(user, values, state);
            Box::pin(async move { Ok(member.await?.map_or(Verdict::Refused, Verdict::Member)) })
        });
        self.add(ChannelKind::Presence, pattern, F::PARAMETERS, check)
    }

    /// Makes the pattern before this one need another way of authenticating, of the name given to
    /// [`authenticate_as`](Self::authenticate_as).
    #[must_use]
    pub fn guard(mut self, name: impl Into<String>) -> Self {
        match self.rules.last_mut() {
            Some(rule) => rule.guard = Some(name.into()),
            None => self.problems.push(format!("guard {:?} has no pattern before it", name.into())),
        }
        self
    }

    /// Another way of authenticating.
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
        self.guards.push((name.into(), by_closure(authenticate)));
        self
    }

    /// What others know of a user who signs in (`pusher.signin()`): the answer of
    /// `/broadcasting/user-auth`, which refuses everybody without this. The closure gets the user, and
    /// axum's state if it likes.
    #[must_use]
    pub fn sign_in<F, M>(mut self, user_data: F) -> Self
    where
        F: Callback<U, S, Option<UserData>, M>,
    {
        if F::PARAMETERS > 0 {
            self.problems.push("sign_in: there are no parameters, only the user".to_owned());
        }
        self.sign_in = Some(Arc::new(move |user, state| user_data.call(user, Vec::new(), state)));
        self
    }

    fn access<F, M>(self, kind: ChannelKind, pattern: &str, check: F) -> Self
    where
        F: Callback<U, S, bool, M>,
    {
        let check: Check<U, S> = Arc::new(move |user, values, state| {
            let allowed = check.call(user, values, state);
            Box::pin(
                async move { Ok(if allowed.await? { Verdict::Allowed } else { Verdict::Refused }) },
            )
        });
        self.add(kind, pattern, F::PARAMETERS, check)
    }

    fn add(mut self, kind: ChannelKind, text: &str, takes: usize, check: Check<U, S>) -> Self {
        match Pattern::parse(kind, text) {
            Ok(pattern) if pattern.parameters() != takes => {
                let has = pattern.parameters();
                self.problems.push(format!(
                    "{text:?} has {has} parameters, and its closure takes {takes} behind the user"
                ));
            }
            Ok(pattern) => self.rules.push(Rule { kind, pattern, guard: None, check }),
            Err(problem) => self.problems.push(problem),
        }
        self
    }

    /// What can't have been meant.
    fn problems(&self) -> Vec<String> {
        let mut problems = self.problems.clone();
        for (n, rule) in self.rules.iter().enumerate() {
            let hides = |before: &&Rule<U, S>| {
                before.kind == rule.kind && before.pattern.covers(&rule.pattern)
            };
            if let Some(before) = self.rules[..n].iter().find(hides) {
                problems.push(format!(
                    "{} can never be reached: {} comes before it and matches all that it does",
                    rule.pattern, before.pattern
                ));
            }
            let is_known = |name: &String| self.guards.iter().any(|(known, _)| known == name);
            if let Some(guard) = rule.guard.as_ref().filter(|name| !is_known(name)) {
                problems.push(format!(
                    "{}: the guard {guard:?} is not known; authenticate_as makes it so",
                    rule.pattern
                ));
            }
        }
        problems
    }
}

impl<U, S> fmt::Debug for Channels<U, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = self.rules.iter().map(|rule| (rule.kind, rule.pattern.to_string()));
        f.debug_list().entries(rules).finish()
    }
}

/// A member of a presence channel, as the others see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Member {
    #[serde(rename = "user_id")]
    id: String,
    #[serde(rename = "user_info", skip_serializing_if = "Value::is_null")]
    info: Value,
}

impl Member {
    /// The user with this id; all connections of one id are one member.
    pub fn new(id: impl fmt::Display) -> Self {
        Self { id: id.to_string(), info: Value::Null }
    }

    /// What the others get to know of it: what Echo's `here`, `joining` and `leaving` are called with.
    #[must_use]
    pub fn info(self, info: impl Into<Value>) -> Self {
        Self { info: info.into(), ..self }
    }
}

/// A user who signs in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UserData {
    id: String,
    #[serde(rename = "user_info", skip_serializing_if = "Value::is_null")]
    info: Value,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    watchlist: Vec<String>,
}

impl UserData {
    /// The user with this id, to whom [`Channel::user`](crate::Channel::user) goes.
    pub fn new(id: impl fmt::Display) -> Self {
        Self { id: id.to_string(), info: Value::Null, watchlist: Vec::new() }
    }

    /// What the others get to know of it, on presence channels that it joins without being asked for more.
    #[must_use]
    pub fn info(self, info: impl Into<Value>) -> Self {
        Self { info: info.into(), ..self }
    }

    /// Users whose coming and going its page is told.
    #[must_use]
    pub fn watchlist(self, ids: impl IntoIterator<Item = impl fmt::Display>) -> Self {
        Self { watchlist: ids.into_iter().map(|id| id.to_string()).collect(), ..self }
    }
}
