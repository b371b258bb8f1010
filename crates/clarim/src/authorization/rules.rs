//! Rules for channels, with the application's closures as functions of one type.

use std::fmt;
use std::sync::Arc;

use axum::http::request::Parts;
use clarim_protocol::ChannelKind;
use clarim_queue::BoxFuture;

use super::callback::{Answer, BoxError, Failure};
use super::member::{Member, UserData};
use super::pattern::Pattern;

/// The decision about a subscription.
pub(crate) enum Decision {
    Denied,
    Allowed,
    Member(Member),
}

pub(crate) type Check<U, S> =
    Arc<dyn Fn(U, Vec<String>, &S) -> BoxFuture<'static, Result<Decision, Failure>> + Send + Sync>;
pub(crate) type Authenticate<U, S> =
    Arc<dyn Fn(Parts, S) -> BoxFuture<'static, Result<Option<U>, BoxError>> + Send + Sync>;
pub(crate) type SignIn<U, S> =
    Arc<dyn Fn(U, &S) -> BoxFuture<'static, Result<Option<UserData>, Failure>> + Send + Sync>;

/// A pattern and the closure that decides about its channels.
pub(crate) struct Rule<U, S> {
    pub(crate) kind: ChannelKind,
    pub(crate) pattern: Pattern,
    pub(crate) guard: Option<String>,
    pub(crate) check: Check<U, S>,
}

/// All rules of an application.
pub(crate) struct Rules<U, S> {
    pub(crate) rules: Vec<Rule<U, S>>,
    pub(crate) guards: Vec<(String, Authenticate<U, S>)>,
    pub(crate) sign_in: Option<SignIn<U, S>>,
}

impl<U, S> fmt::Debug for Rules<U, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = self.rules.iter().map(|rule| (rule.kind, rule.pattern.to_string()));
        f.debug_list().entries(rules).finish()
    }
}

/// Wraps a closure that takes a request's head. It is called in the future, so that its panics are caught.
pub(crate) fn by_closure<U, S, F, R, M>(authenticate: F) -> Authenticate<U, S>
where
    U: 'static,
    F: Fn(Parts) -> R + Clone + Send + Sync + 'static,
    R: Answer<Option<U>, M> + Send + 'static,
{
    Arc::new(move |parts, _| {
        let authenticate = authenticate.clone();
        Box::pin(async move { authenticate(parts).answer().await })
    })
}
