//! The forms of closures. Applications need not name these traits: matching closures implement them.

use std::error::Error;
use std::future::ready;
use std::str::FromStr;

use axum::extract::{FromRef, State};
use clarim_queue::BoxFuture;

use super::member::{Member, UserData};

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// The reason why a closure gave no answer.
#[derive(Debug)]
pub enum Failure {
    /// A placeholder's value can't be parsed to the closure's type.
    Parameter(String),
    /// The closure returned an error.
    Callback(BoxError),
}

/// A closure that takes the user, the values of placeholders, and optionally the application's state, and
/// returns a `T`. `M` distinguishes the forms of closures and is always inferred.
#[diagnostic::on_unimplemented(
    message = "this closure cannot decide about a channel",
    label = "must take the user, a type with FromStr for each placeholder, and optionally State, all with explicit types; and return {T}, a Result of it, or a future of either"
)]
pub trait Callback<U, S, T, M>: Send + Sync + 'static {
    /// Number of placeholders that the pattern must have.
    const PARAMETERS: usize;

    /// Calls the closure.
    fn call(
        &self,
        user: U,
        values: Vec<String>,
        state: &S,
    ) -> BoxFuture<'static, Result<T, Failure>>;
}

/// A parameter of a closure after the user.
pub trait Argument<S, M>: Sized {
    /// Whether it is the value of a placeholder.
    const IS_PARAMETER: bool;

    /// Takes it from the values of the placeholders, or from the state.
    ///
    /// # Errors
    /// Returns an error if the value can't be parsed to this type.
    fn take(values: &mut dyn Iterator<Item = String>, state: &S) -> Result<Self, Failure>;
}

/// Marks an [`Argument`] from the channel's name.
#[derive(Debug)]
pub struct FromName;

/// Marks an [`Argument`] from the application's state.
#[derive(Debug)]
pub struct FromState;

impl<S, P: FromStr> Argument<S, FromName> for P {
    const IS_PARAMETER: bool = true;

    fn take(values: &mut dyn Iterator<Item = String>, _: &S) -> Result<Self, Failure> {
        let text = values.next().unwrap_or_default();
        text.parse().map_err(|_| {
            let expected = std::any::type_name::<P>();
            Failure::Parameter(format!("{text:?} is not a valid {expected}"))
        })
    }
}

impl<S, T: FromRef<S>> Argument<S, FromState> for State<T> {
    const IS_PARAMETER: bool = false;

    fn take(_: &mut dyn Iterator<Item = String>, state: &S) -> Result<Self, Failure> {
        Ok(Self(T::from_ref(state)))
    }
}

/// The return value of a closure: a `T` or an error, or a future of either.
pub trait Answer<T, M>: Send {
    /// Waits for the value.
    fn answer(self) -> impl Future<Output = Result<T, BoxError>> + Send;
}

/// Marks an [`Answer`] that is a value.
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
    /// Converts it to a result.
    ///
    /// # Errors
    /// Returns the closure's error.
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

            #[allow(unused, reason = "a closure that takes only the user needs no values")]
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
                // The closure is called in the future, so that its panics are caught.
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
