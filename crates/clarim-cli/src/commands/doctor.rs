//! `clarim doctor`: finds problems and their remedies.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clarim_protocol::ChannelKind;
use hyper::header::{HeaderName, HeaderValue};

use crate::doctor::{AppCredentials, Checkup, Endpoint, EventNames, Finding, Level, Target};
use crate::error::CommandError;
use crate::flags::{AppFlags, DoctorFlags};
use crate::printable::{has_colours, printable_lines};
use crate::remote::local_url;

pub(crate) fn run(flags: DoctorFlags, out: &mut dyn Write) -> Result<ExitCode, CommandError> {
    let checkup = checkup(flags)?;
    let is_coloured = has_colours(&io::stdout());
    writeln!(out, "\n  {}\n", checkup.target.shown())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut problems = 0;
    let mut printed = Ok(());
    runtime.block_on(checkup.run(&mut |finding| {
        problems += usize::from(finding.level == Level::Problem);
        if printed.is_ok() {
            printed = print(out, &finding, is_coloured);
        }
    }));
    printed?;
    let summary = match problems {
        0 => "No problem found.".to_owned(),
        1 => "1 problem.".to_owned(),
        n => format!("{n} problems."),
    };
    writeln!(out, "\n  {summary}")?;
    Ok(if problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(out: &mut dyn Write, finding: &Finding, is_coloured: bool) -> io::Result<()> {
    let (label, color) = match finding.level {
        Level::Ok => ("ok", AnsiColor::Green),
        Level::Warning => ("warning", AnsiColor::Yellow),
        Level::Problem => ("PROBLEM", AnsiColor::Red),
    };
    let style = if is_coloured { color.on_default() } else { Style::new() };
    let Finding { check, what, remedy, .. } = finding;
    // Both may contain what a server has answered.
    writeln!(out, "  {style}{label:<7}{style:#}  {check:<13}  {}", printable_lines(what))?;
    if !remedy.is_empty() {
        writeln!(out, "{:26}→ {}", "", printable_lines(remedy))?;
    }
    Ok(())
}

fn checkup(flags: DoctorFlags) -> Result<Checkup, CommandError> {
    let is_complete = flags.url.is_some() && flags.app.key.is_some();
    let settings = match flags.app.settings() {
        Ok(settings) => Some(settings),
        Err(_) if is_complete => None,
        Err(error) => return Err(error.into()),
    };
    let url = flags.url.clone().or_else(|| settings.as_ref().map(local_url));
    let target = Target::parse(&url.ok_or(CommandError::NoServer)?)?;
    let app = match flags.app.credentials(settings.as_ref()) {
        Ok(signer) => {
            Some(AppCredentials { key: signer.key.key().to_owned(), signer: Some(signer) })
        }
        // Clients need the key alone.
        Err(_) if is_key_alone(&flags.app) => {
            flags.app.key.clone().map(|key| AppCredentials { key, signer: None })
        }
        Err(error) if flags.app.is_any_given() => return Err(error),
        Err(_) => None,
    };
    let endpoint = endpoint(&flags)?;
    let names = flags.event.zip(flags.listen);
    Ok(Checkup {
        target,
        is_local: flags.url.is_none(),
        settings,
        app,
        origin: flags.origin,
        endpoint,
        idle: flags.idle.map(Duration::from_secs),
        names: names.map(|(event, listen)| EventNames { event, listen }),
    })
}

fn is_key_alone(app: &AppFlags) -> bool {
    app.key.is_some() && app.app_id.is_none() && app.secret.is_none()
}

fn endpoint(flags: &DoctorFlags) -> Result<Option<Endpoint>, CommandError> {
    let Some(url) = &flags.auth else { return Ok(None) };
    let target = Target::parse(url)?;
    let headers = flags.header.iter().map(|text| header(text)).collect::<Result<_, _>>()?;
    let prefix = ChannelKind::Private.prefix();
    let channel = flags.channel.clone().unwrap_or_else(|| format!("{prefix}clarim-doctor"));
    Ok(Some(Endpoint { target, headers, channel }))
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), CommandError> {
    text.split_once(':')
        .and_then(|(name, value)| Some((name.trim().parse().ok()?, value.trim().parse().ok()?)))
        .ok_or(CommandError::Header)
}
