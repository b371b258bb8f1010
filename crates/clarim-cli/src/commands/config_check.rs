//! `clarim config check`: the settings in force, or what is wrong with them.

use std::io::Write;

use super::CommandError;
use crate::apps_database;
use clarim_config::{Config, Flags};

pub(super) fn run(flags: &Flags, out: &mut dyn Write) -> Result<(), CommandError> {
    let settings = Config::check(flags, &super::sources())?;
    let table = apps_database::table(&settings)?;
    table.as_ref().map_or(Ok(()), apps_database::Table::check)?;
    let width = |of: fn(&clarim_config::Row) -> &str| {
        settings.rows.iter().map(|row| of(row).chars().count()).max().unwrap_or(0)
    };
    let (name_width, value_width) = (width(|row| row.name), width(|row| &row.value).min(40));
    writeln!(out, "The settings are fine. Names have the prefix CLARIM_ or REVERB_.")?;
    let mut group = "";
    for row in &settings.rows {
        if row.group != group {
            group = &row.group;
            writeln!(out, "\n{group}")?;
        }
        let (name, value, source) = (row.name, &row.value, &row.source);
        writeln!(out, "  {name:name_width$}  {value:value_width$}  {source}")?;
    }
    if let Some(table) = table {
        let ids: Vec<_> = table.apps().map(|it| it.app.id.as_str()).collect();
        let apps = if ids.is_empty() { "none yet".to_owned() } else { ids.join(", ") };
        writeln!(out, "\nApps in the database: {apps}.")?;
    }
    if let Some(file) = &settings.development {
        let file = file.display();
        let made = if settings.apps.is_empty() { "will be made at start" } else { "is used" };
        writeln!(out, "\nDevelopment mode: no app is configured; the one in {file} {made}.")?;
    }
    for warning in &settings.warnings {
        writeln!(out, "\nWarning: {warning}.")?;
    }
    Ok(())
}
