//! `clarim doctor`: what is wrong, and what to do about it.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clarim_protocol::ChannelKind;
use clarim_protocol::auth::AppKey;
use hyper::header::{HeaderName, HeaderValue};

use super::{AppFlags, CommandError, DoctorFlags};
use crate::doctor::{Credentials, Finding, Level, Patient, Target, auth};

pub(super) fn run(flags: DoctorFlags, out: &mut dyn Write) -> Result<ExitCode, CommandError> {
    let patient = patient(flags)?;
    let is_terminal = std::io::stdout().is_terminal();
    writeln!(out, "\n  {}\n", patient.target.shown())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut problems, mut failed) = (0, None);
    runtime.block_on(patient.examine(&mut |finding| {
        problems += usize::from(finding.level == Level::Problem);
        if let Err(error) = show(out, &finding, is_terminal) {
            failed = Some(error);
        }
    }));
    if let Some(error) = failed {
        return Err(error.into());
    }
    let (line, code) = match problems {
        0 => ("No problem found.".to_owned(), ExitCode::SUCCESS),
        1 => ("1 problem.".to_owned(), ExitCode::FAILURE),
        n => (format!("{n} problems."), ExitCode::FAILURE),
    };
    writeln!(out, "\n  {line}")?;
    Ok(code)
}

fn show(out: &mut dyn Write, finding: &Finding, is_terminal: bool) -> std::io::Result<()> {
    let (sign, color) = match finding.level {
        Level::Fine => ("ok", AnsiColor::Green),
        Level::Warning => ("warning", AnsiColor::Yellow),
        Level::Problem => ("PROBLEM", AnsiColor::Red),
    };
    let style = if is_terminal { color.on_default() } else { Style::new() };
    let Finding { check, what, cure, .. } = finding;
    writeln!(out, "  {style}{sign:<7}{style:#}  {check:<13}  {what}")?;
    if !cure.is_empty() {
        writeln!(out, "{:26}→ {cure}", "")?;
    }
    Ok(())
}

fn patient(flags: DoctorFlags) -> Result<Patient, CommandError> {
    let DoctorFlags { url, app, origin, .. } = &flags;
    let AppFlags { app_id, key, secret, .. } = app;
    let is_whole = url.is_some() && key.is_some();
    let settings = match app.settings() {
        Ok(settings) => Some(settings),
        Err(_) if is_whole => None,
        Err(error) => return Err(error.into()),
    };
    let target = match (url, &settings) {
        (Some(url), _) => Target::parse(url).map_err(CommandError::Usage)?,
        (None, Some(settings)) => {
            Target::parse(&super::api::here(&settings.server)).map_err(CommandError::Usage)?
        }
        (None, None) => return Err(CommandError::Usage("name the server's address".to_owned())),
    };
    let app = match (key, &settings) {
        (Some(key), _) => {
            let key_of = |secret: &String| AppKey::new(key.as_str(), secret);
            let signer = app_id.clone().zip(secret.as_ref().map(key_of));
            Some(Credentials { key: key.clone(), signer })
        }
        (None, Some(settings)) => app.app(settings).map(|app| Credentials {
            key: app.key.key().to_owned(),
            signer: Some((app.id.clone(), app.key.clone())),
        }),
        (None, None) => None,
    };
    Ok(Patient {
        target,
        is_here: url.is_none(),
        settings,
        app,
        origin: origin.clone(),
        auth: endpoint(&flags)?,
        idle: flags.idle.map(Duration::from_secs),
        names: flags.event.zip(flags.listen),
    })
}

fn endpoint(flags: &DoctorFlags) -> Result<Option<auth::Endpoint>, CommandError> {
    let Some(url) = &flags.auth else { return Ok(None) };
    let target = Target::parse(url).map_err(CommandError::Usage)?;
    let headers = flags.header.iter().map(|text| header(text)).collect::<Result<_, _>>()?;
    let prefix = ChannelKind::Private.prefix();
    let channel = flags.channel.clone().unwrap_or_else(|| format!("{prefix}clarim-doctor"));
    Ok(Some(auth::Endpoint { target, headers, channel }))
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), CommandError> {
    text.split_once(':')
        .and_then(|(name, value)| Some((name.trim().parse().ok()?, value.trim().parse().ok()?)))
        // The value may be a secret, and is not told.
        .ok_or_else(|| CommandError::Usage("--header expects 'Name: value'".to_owned()))
}
