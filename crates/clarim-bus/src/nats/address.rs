//! The URLs of NATS.

use std::fs;

use super::servers::{Login, Servers};
use crate::url::{InvalidBusUrl, Url, decode};

/// The servers that a URL names. Reads the credentials file, if the URL has one.
pub(crate) fn servers_from_url(url: &Url<'_>) -> Result<Servers, InvalidBusUrl> {
    let login = match (url.parameter("credentials"), url.login.split_once(':')) {
        (Some(path), _) => Login::Credentials(fs::read_to_string(path).map_err(|source| {
            InvalidBusUrl::UnreadableCredentials { path: path.to_owned(), source }
        })?),
        (None, Some((user, password))) => {
            Login::Password { user: decode(user), password: decode(password) }
        }
        (None, None) if !url.login.is_empty() => Login::Token(decode(url.login)),
        (None, None) => Login::Anonymous,
    };
    let addresses = url.hosts.iter().map(|host| {
        let address = format!("{}://{host}", url.scheme).parse();
        address.map_err(|source| InvalidBusUrl::InvalidNats { host: (*host).to_owned(), source })
    });
    let addresses = addresses.collect::<Result<_, _>>()?;
    let authority = url.authority()?.map(|authority| authority.path.into());
    Ok(Servers { addresses, login, is_tls: url.is_tls(), authority })
}
