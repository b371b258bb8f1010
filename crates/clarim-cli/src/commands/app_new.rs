//! `clarim app new`: credentials for .env and clarim.toml.

use std::io::Write;

use clarim_config::Credentials;

use crate::error::CommandError;

pub(crate) fn run(out: &mut dyn Write) -> Result<(), CommandError> {
    let Credentials { id, key, secret } = Credentials::random()?;
    write!(
        out,
        "# .env of the server and of its backend\n\
         REVERB_APP_ID={id}\nREVERB_APP_KEY={key}\nREVERB_APP_SECRET={secret}\n\n\
         # or clarim.toml\n\
         [[apps]]\nid = \"{id}\"\nkey = \"{key}\"\nsecret = \"{secret}\"\n"
    )?;
    Ok(())
}
