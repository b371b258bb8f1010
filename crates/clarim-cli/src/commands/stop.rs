//! `clarim stop`: drains the running server.

use std::io::Write;

use clarim_config::Config;
use rustix::process::Signal;

use super::target::Target;
use crate::error::CommandError;
use crate::flags::ConfigInputs;

pub(crate) fn run(inputs: &ConfigInputs, out: &mut dyn Write) -> Result<(), CommandError> {
    let target = Target::find(&Config::check(&inputs.flags, &inputs.sources)?)?;
    target.signal(Signal::TERM)?;
    writeln!(out, "The server on port {} is draining and will exit.", target.port)?;
    Ok(())
}
