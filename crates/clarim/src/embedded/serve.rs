//! The HTTP server of an application that embeds the broadcasting server.

use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

/// Time for the head of a request to arrive, and for which a connection is kept open between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after the process has run out of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves a router with [`Clarim::routes`](crate::Clarim::routes), in place of `axum::serve`.
///
/// A public port needs it: `axum::serve` has no timeout for requests that never arrive, so any client
/// can use up the file descriptors of the process. Here the head of a request must arrive within 10 s. The
/// limits per client address work too: the address of the peer is in the extensions of each request, as a
/// [`SocketAddr`](std::net::SocketAddr).
///
/// Returns after `stop`, once the requests in progress are answered.
///
/// ```no_run
/// use axum::Router;
/// use clarim::Clarim;
/// use clarim::embedded::{App, ServerConfig, serve};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let app = App::new("100001", "key", "secret");
/// let clarim = Clarim::embedded(ServerConfig::default(), vec![app])?;
/// let router = Router::new().merge(clarim.routes());
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
/// serve(listener, router, std::future::pending()).await;
/// # Ok(())
/// # }
/// ```
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let graceful = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if !is_of_client(&error) {
                    tracing::error!(%error, "cannot accept connections; retrying");
                    tokio::time::sleep(PAUSE).await;
                }
                continue;
            }
        };
        // An error means that the client has gone already.
        let _ = stream.set_nodelay(true);
        let router = TowerToHyperService::new(router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            router.call(request)
        });
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let connection = graceful.watch(connection.into_owned());
        // An error is one of the ways in which a client leaves.
        tokio::spawn(async move { drop(connection.await) });
    }
    drop(listener);
    graceful.shutdown().await;
}

/// Whether accepting failed for a reason of the client, which has gone.
fn is_of_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
