//! The rows of the table that are in force.

use std::collections::{BTreeMap, HashMap};

use clarim_config::{AppConfig, AppRow, ConfigError, Problem, Source, read_row};
use clarim_server::App;
use clarim_server::config::ServerConfig;

/// The rows of the table, and the apps in force.
#[derive(Debug)]
pub(crate) struct Table {
    /// Limits of rows are checked against its limits.
    server: ServerConfig,
    rows: Vec<AppRow>,
    apps: ValidRows,
    /// Invalid rows by the app's id.
    invalid: BTreeMap<String, InvalidRow>,
}

/// Rows of an app that are invalid. Rows that change and stay invalid are reported again.
#[derive(Debug, Clone, PartialEq)]
struct InvalidRow {
    rows: Vec<AppRow>,
    error: ConfigError,
}

type ValidRows = BTreeMap<String, AppConfig>;
type Errors = BTreeMap<String, ConfigError>;

/// Valid rows, and the errors of the others.
#[derive(Default)]
struct Checked {
    valid: ValidRows,
    errors: Errors,
}

const REMEDY: &str = "give each app its own, or remove it in one place";

/// The changes of an update.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) added: usize,
    pub(crate) changed: usize,
    pub(crate) removed: usize,
    /// Rows that became invalid in a new way: the app's id and the error.
    pub(crate) wrong: Vec<(String, ConfigError)>,
}

impl Change {
    /// Whether other apps are in force than before.
    pub(crate) fn is_any(&self) -> bool {
        self.added + self.changed + self.removed > 0
    }
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(server: &ServerConfig) -> Self {
        Self {
            server: server.clone(),
            rows: Vec::new(),
            apps: BTreeMap::new(),
            invalid: BTreeMap::new(),
        }
    }

    /// The apps in force.
    pub(crate) fn apps(&self) -> impl Iterator<Item = &AppConfig> {
        self.apps.values()
    }

    /// Checks that no row is invalid.
    ///
    /// # Errors
    /// With all problems of all rows.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let problems: Vec<_> =
            self.invalid.values().flat_map(|row| row.error.0.iter().cloned()).collect();
        if problems.is_empty() { Ok(()) } else { Err(ConfigError(problems)) }
    }

    /// Replaces the rows. `others` are the apps of the files. The app of an invalid row stays as it was.
    pub(crate) fn update(&mut self, rows: Vec<AppRow>, others: &[App]) -> Change {
        self.rows = rows;
        self.settle(others)
    }

    /// Decides again which rows are in force, with these apps of the files.
    pub(crate) fn settle(&mut self, others: &[App]) -> Change {
        let Checked { mut valid, mut errors } = self.check_rows(others);
        // An app that stays as it was keeps its key. Rows that want this key are invalid too.
        while let Some((id, error)) = self.key_conflict(&valid, &errors) {
            valid.remove(&id);
            errors.insert(id, error);
        }
        for id in errors.keys() {
            if let Some(app) = self.apps.get(id) {
                valid.insert(id.clone(), app.clone());
            }
        }
        let mut change = self.difference(&valid);
        self.apps = valid;
        let before = std::mem::take(&mut self.invalid);
        for (id, error) in errors {
            let rows: Vec<_> = self.rows.iter().filter(|row| row.id == id).cloned().collect();
            let now = InvalidRow { rows, error };
            if before.get(&id) != Some(&now) {
                change.wrong.push((id.clone(), now.error.clone()));
            }
            self.invalid.insert(id, now);
        }
        change
    }

    /// Checks each row by itself, and against the other rows and `others`.
    fn check_rows(&self, others: &[App]) -> Checked {
        let mut checked = Checked::default();
        let mut ids = HashMap::new();
        let mut keys = HashMap::new();
        for row in &self.rows {
            *ids.entry(&row.id).or_insert(0) += 1;
            *keys.entry(&row.key).or_insert(0) += 1;
        }
        for row in &self.rows {
            let id = row.id.clone();
            let refused = |what: String| refused(&row.id, what);
            let shared = others.iter().find_map(|other| shared(other, &row.id, &row.key));
            // A table can't have the same id or key twice, but a view can.
            let app = if ids[&row.id] > 1 || keys[&row.key] > 1 {
                let what = if ids[&row.id] > 1 { "id" } else { "key" };
                Err(refused(format!("has the same {what} as another row; give each app its own")))
            } else if let Some(what) = shared {
                Err(refused(format!(
                    "has the same {what} as an app of the file or the environment; {REMEDY}"
                )))
            } else {
                read_row(row, &self.server)
            };
            match app {
                Ok(app) => drop(checked.valid.insert(id, app)),
                Err(error) => drop(checked.errors.insert(id, error)),
            }
        }
        checked
    }

    /// A valid row with the key of an app that stays as it was because its own row is invalid.
    fn key_conflict(&self, valid: &ValidRows, errors: &Errors) -> Option<(String, ConfigError)> {
        errors.keys().filter_map(|id| self.apps.get(id)).find_map(|kept| {
            let key = kept.app.key.key();
            let (id, _) = valid.iter().find(|(_, it)| it.app.key.key() == key)?;
            let owner = &kept.app.id;
            let what = format!("has the key of app {owner:?}, which keeps it while its own row is invalid; correct that row");
            Some((id.clone(), refused(id, what)))
        })
    }

    fn difference(&self, now: &ValidRows) -> Change {
        let known = now.iter().filter(|(id, _)| self.apps.contains_key(*id));
        Change {
            added: now.keys().filter(|id| !self.apps.contains_key(*id)).count(),
            changed: known.filter(|(id, app)| self.apps.get(*id) != Some(*app)).count(),
            removed: self.apps.keys().filter(|id| !now.contains_key(*id)).count(),
            wrong: Vec::new(),
        }
    }

    /// Checks that these apps of the files don't conflict with those in force here.
    ///
    /// # Errors
    /// With the conflicts.
    pub(crate) fn check_beside(&self, others: &[App]) -> Result<(), ConfigError> {
        let problems: Vec<_> = others
            .iter()
            .flat_map(|other| {
                self.apps().filter_map(move |it| {
                    let what = shared(other, &it.app.id, it.app.key.key())?;
                    let id = &it.app.id;
                    Some(Problem::new(
                        format_args!("app {:?}", other.id),
                        format_args!("has the same {what} as app {id:?} in clarim_apps; {REMEDY}"),
                    ))
                })
            })
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(ConfigError(problems)) }
    }
}

fn shared(other: &App, id: &str, key: &str) -> Option<&'static str> {
    if other.id == id {
        return Some("id");
    }
    (other.key.key() == key).then_some("key")
}

/// The error of a row as a whole.
fn refused(id: &str, what: String) -> ConfigError {
    let at = Source::Row { app: id.to_owned(), key: String::new() };
    ConfigError(vec![Problem::new(at, what)])
}

#[cfg(test)]
mod tests {
    use clarim_server::HistoryRule;

    use super::*;

    fn row(id: &str, key: &str, settings: &str) -> AppRow {
        let [id, key, settings] = [id, key, settings].map(str::to_owned);
        AppRow { id, key, secret: "hush".to_owned(), settings }
    }

    fn table() -> Table {
        Table::new(&ServerConfig::default())
    }

    /// Id and key of each app, and how many connections it may have.
    fn in_force(table: &Table) -> Vec<(&str, &str, Option<u32>)> {
        let shown = |it: &AppConfig| it.app.limits.connections;
        table.apps().map(|it| (it.app.id.as_str(), it.app.key.key(), shown(it))).collect()
    }

    fn counts(change: &Change) -> [usize; 4] {
        [change.added, change.changed, change.removed, change.wrong.len()]
    }

    const WRONG: &str = r#"{"max_connections": "many"}"#;

    #[test]
    fn rows_are_added_changed_and_removed() {
        let mut table = table();
        let first = table.update(vec![row("1", "a", "{}"), row("2", "b", "{}")], &[]);
        assert_eq!(counts(&first), [2, 0, 0, 0]);
        let limited = r#"{"max_connections": 7}"#;
        let second = table.update(vec![row("1", "a", limited), row("3", "c", "{}")], &[]);
        assert_eq!(counts(&second), [1, 1, 1, 0]);
        assert_eq!(in_force(&table), [("1", "a", Some(7)), ("3", "c", None)]);
        assert!(!table.update(vec![row("1", "a", limited), row("3", "c", "{}")], &[]).is_any());
    }

    #[test]
    fn an_invalid_row_leaves_its_app_as_it_was_and_is_reported_once_per_change() {
        let mut table = table();
        table.update(vec![row("1", "a", r#"{"max_connections": 7}"#)], &[]);
        table.check().unwrap();
        let rows = || vec![row("1", "a", WRONG), row("2", "b", WRONG), row("3", "c", "{}")];
        let change = table.update(rows(), &[]);
        assert_eq!(counts(&change), [1, 0, 0, 2]);
        assert_eq!(in_force(&table), [("1", "a", Some(7)), ("3", "c", None)]);
        assert_eq!(table.check().unwrap_err().0.len(), 2);
        let mut again = rows();
        again.push(row("4", "d", "{}"));
        assert_eq!(counts(&table.update(again, &[])), [1, 0, 0, 0]);
        let mut changed = rows();
        changed[1].settings = "[]".to_owned();
        let change = table.update(changed, &[]);
        assert_eq!(change.wrong.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["2"]);
        table.update(vec![row("1", "a", "{}")], &[]);
        assert_eq!(in_force(&table), [("1", "a", None)]);
        table.check().unwrap();
    }

    #[test]
    fn changed_history_rules_take_effect() {
        let mut table = table();
        let rules = |table: &Table| {
            let rules = table.apps().flat_map(|it| &it.app.history);
            rules.map(HistoryRule::pattern).collect::<Vec<_>>()
        };
        table.update(vec![row("1", "a", r#"{"history": "private-*:100:120s"}"#)], &[]);
        assert_eq!(rules(&table), ["private-*"]);
        let changed = table.update(vec![row("1", "a", r#"{"history": "news:100:120s"}"#)], &[]);
        assert_eq!((counts(&changed), rules(&table)), ([0, 1, 0, 0], vec!["news".to_owned()]));
        let wrong = table.update(vec![row("1", "a", r#"{"history": "news:0:120s"}"#)], &[]);
        assert_eq!((counts(&wrong), rules(&table)), ([0, 0, 0, 1], vec!["news".to_owned()]));
        table.update(vec![row("1", "a", "{}")], &[]);
        assert_eq!(rules(&table), Vec::<String>::new());
    }

    #[test]
    fn an_id_or_key_is_in_one_place_only() {
        let mut table = table();
        let others = [App::new("9", "z", "secret")];
        table.update(vec![row("1", "a", "{}"), row("2", "b", "{}")], &others);
        for (new, expected) in [
            (row("9", "c", "{}"), "the same id as an app of the file"),
            (row("3", "z", "{}"), "the same key as an app of the file"),
            (row("3", "b", "{}"), "the same key as another row"),
        ] {
            let change = table.update(vec![row("1", "a", "{}"), row("2", "b", "{}"), new], &others);
            assert!(!change.is_any());
            assert!(
                change.wrong.iter().any(|(_, error)| error.to_string().contains(expected)),
                "{expected}"
            );
        }
        assert_eq!(in_force(&table).len(), 2);
        let error = table.check_beside(&[App::new("5", "a", "s")]).unwrap_err().to_string();
        assert!(
            error.contains(r#"app "5": has the same key as app "1" in clarim_apps"#),
            "{error}"
        );
        assert!(table.check_beside(&[App::new("2", "x", "s")]).is_err());
        table.check_beside(&others).unwrap();
        // Without the other app the row is valid.
        table.update(vec![row("9", "c", "{}")], &others);
        assert_eq!(in_force(&table), []);
        assert_eq!(counts(&table.settle(&[])), [1, 0, 0, 0]);
    }

    #[test]
    fn an_app_that_stays_as_it_was_keeps_its_key() {
        let mut table = table();
        table.update(vec![row("1", "a", "{}"), row("2", "b", "{}"), row("3", "c", "{}")], &[]);
        // Each app takes the key of the app before it, but the first keeps its own.
        let change =
            table.update(vec![row("1", "x", WRONG), row("2", "a", "{}"), row("3", "b", "{}")], &[]);
        assert_eq!(counts(&change), [0, 0, 0, 3]);
        assert_eq!(in_force(&table), [("1", "a", None), ("2", "b", None), ("3", "c", None)]);
        let change =
            table.update(vec![row("1", "x", "{}"), row("2", "a", "{}"), row("3", "b", "{}")], &[]);
        assert_eq!(counts(&change), [0, 3, 0, 0]);
    }
}
