//! The log: one line for each thing worth knowing, to standard error.

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::console::Console;
use crate::settings::{LogFormat, LogLevel};
use crate::traffic::TARGET;

/// Starts the log. `debug` also prints the traffic to standard output.
///
/// # Errors
/// When the process has a log already.
pub(crate) fn start(format: LogFormat, level: LogLevel, debug: bool) -> Result<(), TryInitError> {
    let wanted = Targets::new().with_default(filter(level)).with_target(TARGET, LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let traffic = debug.then(|| {
        Console::new().with_filter(Targets::new().with_target(TARGET, LevelFilter::DEBUG))
    });
    tracing_subscriber::registry().with(lines.with_filter(wanted)).with(traffic).try_init()
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
