//! Query strings.

use std::borrow::Cow;
use std::fmt::Write;

use super::error::SignatureError;

/// The parameters of a query: decoded, with names in lower case, sorted by name, without duplicates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params<'a>(pub(super) Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Params<'a> {
    /// Decodes a query. Duplicate names are rejected, because it would be unclear which value was signed.
    ///
    /// # Errors
    /// If a name occurs twice, or the query is not URL encoding of UTF-8.
    pub fn decode(query: &'a str) -> Result<Self, SignatureError> {
        let mut params = Vec::with_capacity(8);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let mut name = decode_query_part(name)?;
            if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                name = name.to_ascii_lowercase().into();
            }
            params.push((name, decode_query_part(value)?));
        }
        params.sort_unstable();
        match params.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(SignatureError::Doubled(pair[0].0.clone().into_owned())),
            None => Ok(Self(params)),
        }
    }

    /// Returns the value of `name`, which is in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_ref())
    }

    /// Returns the parameters without borrowing from the query.
    #[must_use]
    pub fn into_owned(self) -> Params<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Params(self.0.into_iter().map(|(name, value)| (own(name), own(value))).collect())
    }

    pub(super) fn need(&self, name: &'static str) -> Result<&str, SignatureError> {
        self.get(name).ok_or(SignatureError::Missing(name))
    }

    pub(super) fn take(&mut self, name: &'static str) -> Result<Cow<'a, str>, SignatureError> {
        let at = self.0.iter().position(|(n, _)| n == name);
        at.map(|at| self.0.remove(at).1).ok_or(SignatureError::Missing(name))
    }

    /// Returns the text that is signed, in which nothing is escaped.
    pub(super) fn canonical(&self) -> String {
        let length = self.0.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        let mut canonical = String::with_capacity(length);
        for (name, value) in &self.0 {
            if !canonical.is_empty() {
                canonical.push('&');
            }
            canonical.push_str(name);
            canonical.push('=');
            canonical.push_str(value);
        }
        canonical
    }
}

fn decode_query_part(part: &str) -> Result<Cow<'_, str>, SignatureError> {
    if part.contains('+') {
        return decode_path(&part.replace('+', " ")).map(Cow::into_owned).map(Cow::from);
    }
    decode_path(part)
}

/// Decodes the percent-encoded characters of a path.
pub(super) fn decode_path(path: &str) -> Result<Cow<'_, str>, SignatureError> {
    if !path.contains('%') {
        return Ok(path.into());
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let high = digit();
                let low = digit();
                let value = high.zip(low).map(|(high, low)| (high * 16 + low) as u8);
                value.ok_or(SignatureError::Encoding)?
            }
            _ => byte,
        });
    }
    String::from_utf8(bytes).map(Cow::from).map_err(|_| SignatureError::Encoding)
}

/// Percent-encodes a segment of a path, such as an app's key or id, which may contain any character.
///
/// ```
/// assert_eq!(clarim_protocol::rest::encode_segment("a+b/c="), "a%2Bb%2Fc%3D");
/// ```
#[must_use]
pub fn encode_segment(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    encode_query_part(&mut out, segment);
    out
}

pub(super) fn encode_query_part(out: &mut String, part: &str) {
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
}
