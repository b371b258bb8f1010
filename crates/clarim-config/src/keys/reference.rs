//! The reference of all settings.

use std::fmt::Write as _;

use super::table::{ALL, Key, Kind, Place, find, of};

/// Returns the reference of all settings, in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from(
        "Set a setting with the prefix `CLARIM_` or `REVERB_` in the environment or in `.env`, or under its\n\
         TOML name in `clarim.toml`. The first of these sources that has a value wins: flag, `CLARIM_` in the\n\
         environment, `REVERB_` in the environment, `CLARIM_` in `.env`, `REVERB_` in `.env`, TOML file,\n\
         default.\n\
         \n\
         `.env` is read by Laravel's rules. `--env NAME`, or `APP_ENV` in the environment, selects `.env.NAME` if\n\
         that file exists. `--directory` or `CLARIM_DIRECTORY` names the directory of the files. Without an app,\n\
         the server starts in development mode, but not on an address that other machines can reach, under a\n\
         supervisor or with `APP_ENV=production`.\n\
         \n\
         In a Laravel application, `config/reverb.php` is evaluated by PHP and comes after the TOML file: allowed\n\
         origins, further apps, TLS. It is not read if the apps are in `clarim.toml` or in a database. Without PHP, a\n\
         warning names what may differ.\n",
    );
    for (place, title) in [
        (Place::Environment, "Environment only"),
        (Place::Server, "Server: `[server]`"),
        (Place::App, "App: `[[apps]]`"),
    ] {
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "\n## {title}\n\n| Name | TOML | Unit | Default | Meaning |\n|---|---|---|---|---|\n"
        );
        for Key { name, toml, default, doc, .. } in of(place) {
            let unit = match find(name).map(|key| key.kind) {
                Some(Kind::Choice(words)) => words.join(", "),
                _ => find(name).map_or("", Key::unit).to_owned(),
            };
            let _ =
                writeln!(out, "| `{name}` | {} | {unit} | {} | {doc} |", code(toml), code(default));
        }
    }
    out
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

/// Returns the reference for a terminal.
pub fn help() -> String {
    let mut out = String::from(
        "Settings (with the prefix CLARIM_ or REVERB_; the name in clarim.toml is in brackets):\n",
    );
    for Key { name, toml, default, doc, .. } in ALL {
        let toml = if toml.is_empty() { String::new() } else { format!(" [{toml}]") };
        let default =
            if default.is_empty() { String::new() } else { format!(" Default: {default}.") };
        let _ = write!(out, "\n  {name}{toml}\n      {doc}{default}");
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_reference_lists_each_setting_once() {
        let reference = reference();
        for key in ALL {
            assert_eq!(reference.matches(&format!("| `{}` |", key.name)).count(), 1);
        }
    }

    #[test]
    fn docs_settings_md_is_up_to_date() {
        let page = format!("# Settings\n\n{}", reference());
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&file, &page).unwrap();
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), page, "UPDATE_DOCS=1 updates it");
    }
}
