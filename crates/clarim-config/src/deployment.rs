//! Signs of a deployment, in which a development app is never served: its clients and backends have other
//! credentials, or would get it from other machines.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::keys;
use crate::problem::Problem;
use crate::typed::Typed;

/// Why a server without an app may not start in development mode, and what to do.
pub(crate) fn problem(typed: &Typed, environment: &[(String, String)]) -> Option<Problem> {
    let (at, why) = exposed(typed)
        .or_else(|| {
            let is_production = typed.app_env.as_deref().map(str::trim) == Some("production");
            is_production.then(|| ("APP_ENV".to_owned(), "is production"))
        })
        .or_else(|| supervisor(environment).map(|name| (name.to_owned(), "runs this server")))?;
    let files: Vec<_> = typed.files.iter().take(2).map(shown).collect();
    Some(Problem::new(
        at,
        format_args!(
            "{why}, but no app is configured in the environment, {}. If these files are elsewhere, name their directory \
             with --directory or CLARIM_DIRECTORY. Otherwise set REVERB_APP_ID, REVERB_APP_KEY and REVERB_APP_SECRET \
             to those of the backend (`clarim app new` generates new ones)",
            files.join(" or ")
        ),
    ))
}

/// The address to listen on, if other machines can reach it.
fn exposed(typed: &Typed) -> Option<(String, &'static str)> {
    let value = typed.server.get(&keys::SERVER_HOST)?;
    let host = value.text.trim();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_local =
        host == "localhost" || address.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    (!is_local).then(|| (value.source.to_string(), "lets other machines connect"))
}

/// The supervisor that has started this process. A shell below a service of systemd inherits its variables,
/// but not the process id.
fn supervisor(environment: &[(String, String)]) -> Option<&'static str> {
    let is_set = |name: &str| environment.iter().any(|(known, _)| known == name);
    let own_id = std::process::id().to_string();
    let is_own = |(name, value): &(String, String)| name == "SYSTEMD_EXEC_PID" && *value == own_id;
    if is_set("NOTIFY_SOCKET") || environment.iter().any(is_own) {
        Some("systemd")
    } else {
        is_set("SUPERVISOR_ENABLED").then_some("supervisord")
    }
}

/// The path as an administrator can check it, whatever the working directory.
fn shown(file: &PathBuf) -> String {
    std::path::absolute(file).unwrap_or_else(|_| file.clone()).display().to_string()
}
