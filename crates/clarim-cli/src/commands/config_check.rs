//! `clarim config check`: all settings with their sources, or all problems.

use std::io::Write;

use clarim_config::{Config, Row};

use crate::apps_database::{self, Table};
use crate::error::CommandError;
use crate::flags::ConfigInputs;

pub(crate) fn run(inputs: &ConfigInputs, out: &mut dyn Write) -> Result<(), CommandError> {
    let settings = Config::check(&inputs.flags, &inputs.sources)?;
    let table = apps_database::read_table(&settings)?;
    table.as_ref().map_or(Ok(()), Table::check)?;
    let width = |of: fn(&Row) -> &str| {
        settings.rows.iter().map(|row| of(row).chars().count()).max().unwrap_or(0)
    };
    let name_width = width(|row| row.name);
    let value_width = width(|row| &row.value).min(40);
    writeln!(out, "No problems. Names have the prefix CLARIM_ or REVERB_.")?;
    let mut group = "";
    for row in &settings.rows {
        if row.group != group {
            group = &row.group;
            writeln!(out, "\n{group}")?;
        }
        let Row { name, value, source, .. } = row;
        writeln!(out, "  {name:name_width$}  {value:value_width$}  {source}")?;
    }
    if let Some(table) = table {
        let ids: Vec<_> = table.apps().map(|it| it.app.id.as_str()).collect();
        let apps = if ids.is_empty() { "none".to_owned() } else { ids.join(", ") };
        writeln!(out, "\nApps in the database: {apps}.")?;
    }
    if let Some(file) = &settings.development {
        let file = file.display();
        let state = if settings.apps.is_empty() { "will be created at start" } else { "is used" };
        writeln!(out, "\nDevelopment mode: no app is configured, so the one in {file} {state}.")?;
    }
    for warning in &settings.warnings {
        writeln!(out, "\nWarning: {warning}.")?;
    }
    Ok(())
}
