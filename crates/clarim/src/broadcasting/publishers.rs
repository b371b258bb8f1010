//! The publisher that the settings ask for.

use std::sync::Arc;

use crate::error::Error;
use crate::publisher::http::{HttpPublisher, HttpPublisherSettings};
use crate::publisher::log::{LogPublisher, NullPublisher};
use crate::publisher::publication::Publisher;
use crate::settings::{Connection, Settings};

pub(crate) fn of_settings(settings: &Settings) -> Result<Arc<dyn Publisher>, Error> {
    match settings.connection {
        Connection::Http => Ok(Arc::new(http_publisher(settings)?)),
        Connection::Bus => bus_publisher(settings),
        Connection::Log => Ok(Arc::new(LogPublisher)),
        Connection::Null => Ok(Arc::new(NullPublisher)),
        Connection::Embedded => Err(needs_embedded()),
    }
}

fn http_publisher(settings: &Settings) -> Result<HttpPublisher, Error> {
    HttpPublisher::new(HttpPublisherSettings {
        host: settings.host.clone(),
        port: settings.port,
        https: settings.https,
        path: settings.path.clone(),
        app_id: settings.app_id.clone(),
        app_key: settings.signing_key()?.clone(),
        connect_timeout: settings.connect_timeout,
        timeout: settings.timeout,
    })
}

#[cfg(feature = "bus")]
fn bus_publisher(settings: &Settings) -> Result<Arc<dyn Publisher>, Error> {
    let bus = settings.bus.clone().ok_or_else(|| {
        Error::setting("bus", "is missing; a connection over the bus needs its address")
    })?;
    let publisher =
        crate::publisher::bus::BusPublisher::new(bus, settings.app_id.clone(), settings.timeout);
    Ok(Arc::new(publisher))
}

#[cfg(not(feature = "bus"))]
fn bus_publisher(_: &Settings) -> Result<Arc<dyn Publisher>, Error> {
    let problem = "publishing over the bus needs the feature `bus` of the crate clarim";
    Err(Error::setting("BROADCAST_CONNECTION", problem))
}

pub(crate) fn needs_embedded() -> Error {
    Error::setting(
        "BROADCAST_CONNECTION",
        "embedded needs the feature `config` of the crate clarim and Clarim::from_env, or Clarim::embedded",
    )
}
