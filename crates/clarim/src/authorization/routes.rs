//! The routes at which pages ask.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::routing::get;

use super::callback::Answer;
use super::handler::Authorizer;
use super::{Authenticate, Channels};
use crate::{Clarim, Error};

impl<U, S> Channels<U, S>
where
    U: Send + 'static,
    S: Clone + Send + Sync + 'static,
{
    /// `GET|POST /broadcasting/auth` and `/broadcasting/user-auth`, to be merged into the application's
    /// router. `authenticate` says who makes a request: the user, or `None` for a guest; a `Result` of
    /// that, or a future of either.
    ///
    /// # Errors
    /// With every pattern that is wrong, that can never be reached, or whose closure takes another number
    /// of values; and when a key is missing that is needed to sign.
    pub fn routes<F, R, M>(self, authenticate: F, clarim: Clarim) -> Result<Router<S>, Error>
    where
        F: Fn(Parts) -> R + Clone + Send + Sync + 'static,
        R: Answer<Option<U>, M> + Send + 'static,
    {
        self.serve(by_closure(authenticate), clarim)
    }

    /// The same where the user is an extractor, as handlers take it: a request that it rejects is a
    /// guest's.
    ///
    /// # Errors
    /// As [`routes`](Self::routes).
    pub fn routes_by_extractor(self, clarim: Clarim) -> Result<Router<S>, Error>
    where
        U: FromRequestParts<S>,
    {
        let authenticate: Authenticate<U, S> = Arc::new(|mut parts, state| {
            Box::pin(async move { Ok(U::from_request_parts(&mut parts, &state).await.ok()) })
        });
        self.serve(authenticate, clarim)
    }

    fn serve(self, authenticate: Authenticate<U, S>, clarim: Clarim) -> Result<Router<S>, Error> {
        let mut problems = self.problems();
        let settings = clarim.settings();
        if let Err(error) = settings.key() {
            problems.push(error.to_string());
        }
        let encrypted = self.rules.iter().find(|rule| rule.kind.is_encrypted());
        if let (Some(rule), None) = (encrypted, &settings.master_key) {
            let channel = rule.pattern.to_string();
            problems.push(Error::NoEncryptionKey { channel }.to_string());
        }
        if !problems.is_empty() {
            return Err(Error::Authorization { problems });
        }
        let authorizer = Arc::new(Authorizer { channels: self, authenticate, clarim });
        let for_user = authorizer.clone();
        let auth = move |State(state): State<S>, request: Request| {
            let authorizer = authorizer.clone();
            async move { authorizer.channel(state, request).await }
        };
        let user_auth = move |State(state): State<S>, request: Request| {
            let authorizer = for_user.clone();
            async move { authorizer.user(state, request).await }
        };
        Ok(Router::new()
            .route("/broadcasting/auth", get(auth.clone()).post(auth))
            .route("/broadcasting/user-auth", get(user_auth.clone()).post(user_auth)))
    }
}

/// A closure of the request's head, called in a future, where a panic of it is caught.
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
