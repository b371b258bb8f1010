//! The attribute `#[broadcast(…)]`.

use clarim_protocol::ChannelKind;
use syn::meta::ParseNestedMeta;
use syn::{DeriveInput, Error, Expr, ExprLit, Ident, Lit, LitInt, LitStr, Path, Result, Type};

/// All values of a type's attributes.
#[derive(Default)]
pub(crate) struct Attributes {
    pub(crate) channels: Vec<(ChannelKind, LitStr)>,
    pub(crate) name: Option<LitStr>,
    pub(crate) when: Option<Path>,
    pub(crate) with: Option<Path>,
    pub(crate) payload: Option<Type>,
    pub(crate) now: bool,
    pub(crate) queue: Option<LitStr>,
    pub(crate) connection: Option<LitStr>,
    pub(crate) delay: Option<LitInt>,
    pub(crate) tries: Option<LitInt>,
    pub(crate) backoff: Vec<LitInt>,
    pub(crate) timeout: Option<LitInt>,
    pub(crate) unique: Option<Ident>,
    pub(crate) unique_for: Option<LitInt>,
    pub(crate) unique_by: Option<LitStr>,
}

const KNOWN: &str = "channel, private, presence, encrypted, name, when, with, payload, now, queue, connection, delay, tries, backoff, timeout, unique, unique_for, unique_by";

impl Attributes {
    pub(crate) fn read(input: &DeriveInput) -> Result<Self> {
        let mut attributes = Self::default();
        for attribute in input.attrs.iter().filter(|a| a.path().is_ident("broadcast")) {
            attribute.parse_nested_meta(|meta| attributes.add(&meta))?;
        }
        attributes.check(input)?;
        Ok(attributes)
    }

    fn add(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        if let Some(kind) = ChannelKind::from_attribute(&name) {
            self.channels.push((kind, meta.value()?.parse()?));
            return Ok(());
        }
        match name.as_str() {
            "name" => once(meta, &mut self.name, text(meta)?),
            "when" => once(meta, &mut self.when, path(meta)?),
            "with" => once(meta, &mut self.with, path(meta)?),
            "payload" => once(meta, &mut self.payload, text(meta)?.parse()?),
            "queue" => once(meta, &mut self.queue, text(meta)?),
            "connection" => once(meta, &mut self.connection, text(meta)?),
            "delay" => once(meta, &mut self.delay, number(meta)?),
            "tries" => once(meta, &mut self.tries, number(meta)?),
            "timeout" => once(meta, &mut self.timeout, number(meta)?),
            "unique" => once(meta, &mut self.unique, latest(meta)?),
            "unique_for" => once(meta, &mut self.unique_for, number(meta)?),
            "unique_by" => once(meta, &mut self.unique_by, text(meta)?),
            "now" => {
                self.now = true;
                Ok(())
            }
            "backoff" => {
                self.backoff = numbers(&meta.value()?.parse()?)?;
                Ok(())
            }
            _ => Err(meta.error(format!("unknown attribute; expected one of {KNOWN}"))),
        }
    }

    fn check(&self, input: &DeriveInput) -> Result<()> {
        if self.channels.is_empty() {
            return Err(Error::new_spanned(
                &input.ident,
                format!(
                    "{} has no channel; add for example #[broadcast(private = \"orders.{{user_id}}\")]",
                    input.ident
                ),
            ));
        }
        if let (Some(by), None, None) = (&self.unique_by, &self.unique_for, &self.unique) {
            let message =
                "`unique_by` needs `unique_for`, the time in seconds, or `unique = latest`";
            return Err(Error::new(by.span(), message));
        }
        if let (Some(time), Some(_)) = (&self.unique_for, &self.unique) {
            let message = "`unique_for` keeps the first event, `unique = latest` the last one; remove one of them";
            return Err(Error::new(time.span(), message));
        }
        if let (Some(payload), None) = (&self.payload, &self.with) {
            let message = "`payload` is the type that `with` returns; without `with` the event is the payload";
            return Err(Error::new_spanned(payload, message));
        }
        let texts = [&self.queue, &self.connection, &self.unique_by].into_iter().flatten();
        let numbers = [&self.delay, &self.unique_for].into_iter().flatten();
        let latest = self.unique.iter().map(Ident::span);
        let queued = texts.map(LitStr::span).chain(numbers.map(LitInt::span)).chain(latest);
        if let (true, Some(span)) = (self.now, queued.last()) {
            return Err(Error::new(span, "`now` bypasses the queue; remove this or `now`"));
        }
        Ok(())
    }
}

pub(crate) fn once<T>(meta: &ParseNestedMeta<'_>, place: &mut Option<T>, value: T) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(meta.error("is set twice")),
    }
}

pub(crate) fn text(meta: &ParseNestedMeta<'_>) -> Result<LitStr> {
    let text: LitStr = meta.value()?.parse()?;
    if text.value().is_empty() { Err(Error::new(text.span(), "is empty")) } else { Ok(text) }
}

fn path(meta: &ParseNestedMeta<'_>) -> Result<Path> {
    text(meta)?.parse()
}

/// The word `latest`.
fn latest(meta: &ParseNestedMeta<'_>) -> Result<Ident> {
    let expected = "expected `unique = latest`; `unique_for = 60` keeps the first event instead";
    match meta.value().and_then(|value| value.parse::<Ident>()) {
        Ok(word) if word == "latest" => Ok(word),
        Ok(word) => Err(Error::new(word.span(), expected)),
        Err(error) => Err(Error::new(error.span(), expected)),
    }
}

fn number(meta: &ParseNestedMeta<'_>) -> Result<LitInt> {
    meta.value()?.parse()
}

/// A number, or a list of numbers.
fn numbers(expression: &Expr) -> Result<Vec<LitInt>> {
    match expression {
        Expr::Array(array) => array.elems.iter().map(single).collect(),
        one => Ok(vec![single(one)?]),
    }
}

fn single(expression: &Expr) -> Result<LitInt> {
    match expression {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => Ok(number.clone()),
        other => Err(Error::new_spanned(other, "expected seconds: 5 or [1, 5, 10]")),
    }
}
