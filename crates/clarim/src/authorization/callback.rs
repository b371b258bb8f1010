//! What closures may look like. Nobody needs to name anything in here: a closure that fits has it all.

use std::error::Error;
use std::future::ready;
use std::str::FromStr;

use axum::extract::{FromRef, State};

use super::{Member, UserData};
use crate::publisher::BoxFuture;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// A value of the channel's name is not of the closure's type.
    Parameter(String),
    /// The closure's own error.
    Callback(BoxError),
}

/// A closure of a user, of what the channel's name says, and perhaps of the application's state, that
/// answers with a `T`. `M` keeps the kinds of closures apart, and is never named.
#[diagnostic::on_unimplemented(
    message = "this closure cannot decide about a channel",
    label = "must take the user, then a type with FromStr for each placeholder, and last, if it likes, State; all of them with their types written; and return {T}, a Result of it, or a future of either"
)]
pub trait Callback<U, S, T, M>: Send + Sync + 'static {
    /// How many placeholders the pattern must have.
    const PARAMETERS: usize;

    /// Asks it.
    fn call(
        &self,
        user: U,
        values: Vec<String>,
        state: &S,
    ) -> BoxFuture<'static, Result<T, Failure>>;
}

/// Something that a closure takes behind the user.
pub trait Argument<S, M>: Sized {
    /// Whether it stands for a placeholder.
    const IS_PARAMETER: bool;

    /// Takes it out of the values of the placeholders, or of the state.
    ///
    /// # Errors
    /// When the value is not of this type.
    fn take(values: &mut dyn Iterator<Item = String>, state: &S) -> Result<Self, Failure>;
}

/// Marks an [`Argument`] that stands in the channel's name.
#[derive(Debug)]
pub struct FromName;

/// Marks an [`Argument`] that comes from the application's state.
#[derive(Debug)]
pub struct FromState;

impl<S, P: FromStr> Argument<S, FromName> for P {
    const IS_PARAMETER: bool = true;

    fn take(values: &mut dyn Iterator<Item = String>, _: &S) -> Result<Self, Failure> {
        let text = values.next().unwrap_or_default();
        text.parse().map_err(|_| {
            let wanted = std::any::type_name::<P>();
            Failure::Parameter(format!("{text:?} is no {wanted}"))
        })
    }
}

impl<S, T: FromRef<S>> Argument<S, FromState> for State<T> {
    const IS_PARAMETER: bool = false;

    fn take(_: &mut dyn Iterator<Item = String>, state: &S) -> Result<Self, Failure> {
        Ok(Self(T::from_ref(state)))
    }
}

/// What a closure returns: a `T`, now or later, or an error.
pub trait Answer<T, M>: Send {
    /// Waits for it.
    fn answer(self) -> impl Future<Output = Result<T, BoxError>> + Send;
}

/// Marks an [`Answer`] that is there.
#[derive(Debug)]
pub struct Now;

/// Marks an [`Answer`] that is a future.
#[derive(Debug)]
pub struct Later;

impl<T: Send, O: Outcome<T> + Send> Answer<T, Now> for O {
    async fn answer(self) -> Result<T, BoxError> {
        self.outcome()
    }
}

impl<T, F> Answer<T, Later> for F
where
    F: Future + Send,
    F::Output: Outcome<T>,
{
    async fn answer(self) -> Result<T, BoxError> {
        self.await.outcome()
    }
}

/// A `T`, or an error.
pub trait Outcome<T> {
    /// As a result.
    ///
    /// # Errors
    /// The closure's own.
    fn outcome(self) -> Result<T, BoxError>;
}

impl Outcome<Self> for bool {
    fn outcome(self) -> Result<Self, BoxError> {
        Ok(self)
    }
}

impl<T> Outcome<Self> for Option<T> {
    fn outcome(self) -> Result<Self, BoxError> {
        Ok(self)
    }
}

impl Outcome<Option<Self>> for Member {
    fn outcome(self) -> Result<Option<Self>, BoxError> {
        Ok(Some(self))
    }
}

impl Outcome<Option<Self>> for UserData {
    fn outcome(self) -> Result<Option<Self>, BoxError> {
        Ok(Some(self))
    }
}

impl<T, O: Outcome<T>, E: Into<BoxError>> Outcome<T> for Result<O, E> {
    fn outcome(self) -> Result<T, BoxError> {
        self.map_err(Into::into)?.outcome()
    }
}

macro_rules! callback {
    ($($P:ident $M:ident $value:ident),*) => {
        impl<F, U, S, T, R, A, $($P, $M),*> Callback<U, S, T, (A, $(($P, $M)),*)> for F
        where
            F: Fn(U, $($P),*) -> R + Clone + Send + Sync + 'static,
            U: Send + 'static,
            R: Answer<T, A> + 'static,
            T: Send + 'static,
            $($P: Argument<S, $M> + Send + 'static,)*
        {
            const PARAMETERS: usize = 0 $(+ $P::IS_PARAMETER as usize)*;

            #[allow(unused, reason = "a closure of the user alone takes no values")]
            fn call(
                &self,
                user: U,
                values: Vec<String>,
                state: &S,
            ) -> BoxFuture<'static, Result<T, Failure>> {
                let mut values = values.into_iter();
                $(let $value = match $P::take(&mut values, state) {
                    Ok(value) => value,
                    Err(failure) => return Box::pin(ready(Err(failure))),
                };)*
                let callback = self.clone();
                // Called in the future, where a panic of it is caught.
                Box::pin(async move {
                    callback(user, $($value),*).answer().await.map_err(Failure::Callback)
                })
            }
        }
    };
}

callback!();
callback!(P1 M1 v1);
callback!(P1 M1 v1, P2 M2 v2);
callback!(P1 M1 v1, P2 M2 v2, P3 M3 v3);
callback!(P1 M1 v1, P2 M2 v2, P3 M3 v3, P4 M4 v4);
callback!(P1 M1 v1, P2 M2 v2, P3 M3 v3, P4 M4 v4, P5 M5 v5);
