//! What of the table is in force.

use std::collections::{BTreeMap, HashMap};

use clarim_hub::app::App;

use clarim_config::{AppConfig, AppRow, ConfigError, Problem, Source, read_row};
use clarim_server::config::ServerConfig;

/// The table's apps: what was said last, and what is in force.
#[derive(Debug)]
pub(crate) struct Table {
    /// By which a row's limits are measured.
    server: ServerConfig,
    rows: Vec<AppRow>,
    apps: Right,
    /// Why a row is not used, by the app's id; and the row, for a change that is wrong too is news.
    wrong: BTreeMap<String, (Vec<AppRow>, ConfigError)>,
}

type Right = BTreeMap<String, AppConfig>;
type Wrong = BTreeMap<String, ConfigError>;

const CURE: &str = "give each app its own, or take it out in one place";

/// What a new look has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) added: usize,
    pub(crate) changed: usize,
    pub(crate) removed: usize,
    /// Rows that are wrong, and were not in this way before: the app's id, and why.
    pub(crate) wrong: Vec<(String, ConfigError)>,
}

impl Change {
    /// Whether anything else is in force than before.
    pub(crate) fn is_any(&self) -> bool {
        self.added + self.changed + self.removed > 0
    }
}

impl Table {
    /// Without any row.
    pub(crate) fn new(server: &ServerConfig) -> Self {
        let (rows, apps, wrong) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Self { server: server.clone(), rows, apps, wrong }
    }

    /// The apps in force.
    pub(crate) fn apps(&self) -> impl Iterator<Item = &AppConfig> {
        self.apps.values()
    }

    /// What is wrong with rows, for who can still refuse all of them.
    ///
    /// # Errors
    /// If there is anything.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let problems: Vec<_> =
            self.wrong.values().flat_map(|(_, error)| error.0.iter().cloned()).collect();
        if problems.is_empty() { Ok(()) } else { Err(ConfigError(problems)) }
    }

    /// Takes what the table says now; `others` are the apps of the files. A row that is wrong leaves its app
    /// as it was.
    pub(crate) fn take(&mut self, rows: Vec<AppRow>, others: &[App]) -> Change {
        self.rows = rows;
        self.settle(others)
    }

    /// What the table's rows mean beside other apps of the files.
    pub(crate) fn settle(&mut self, others: &[App]) -> Change {
        let (mut right, mut wrong) = self.sort(others);
        // Who is kept as it was keeps its key: of the others, who wants it is kept as it was too.
        while let Some((id, error)) = self.keyless(&right, &wrong) {
            right.remove(&id);
            wrong.insert(id, error);
        }
        for id in wrong.keys() {
            if let Some(app) = self.apps.get(id) {
                right.insert(id.clone(), app.clone());
            }
        }
        let mut change = self.difference(&right);
        self.apps = right;
        let said = std::mem::take(&mut self.wrong);
        for (id, error) in wrong {
            let rows: Vec<_> = self.rows.iter().filter(|row| row.id == id).cloned().collect();
            let now = (rows, error);
            if said.get(&id) != Some(&now) {
                change.wrong.push((id.clone(), now.1.clone()));
            }
            self.wrong.insert(id, now);
        }
        change
    }

    /// Those that are right by themselves and beside `others`, and why the others are not.
    fn sort(&self, others: &[App]) -> (Right, Wrong) {
        let (mut right, mut wrong) = (BTreeMap::new(), BTreeMap::new());
        let (mut ids, mut keys) = (HashMap::new(), HashMap::new());
        for row in &self.rows {
            *ids.entry(&row.id).or_insert(0) += 1;
            *keys.entry(&row.key).or_insert(0) += 1;
        }
        for row in &self.rows {
            let id = row.id.clone();
            // Of a table both can't be; of a view they can.
            if ids[&row.id] > 1 || keys[&row.key] > 1 {
                let what = if ids[&row.id] > 1 { "id" } else { "key" };
                let what = format!("has the same {what} as another row; give each app its own");
                wrong.insert(id, refused(&row.id, what));
                continue;
            }
            let shared = others.iter().find_map(|other| shared(other, &row.id, &row.key));
            if let Some(what) = shared {
                let what =
                    format!("has the same {what} as an app of the file or the environment; {CURE}");
                wrong.insert(id, refused(&row.id, what));
                continue;
            }
            match read_row(row, &self.server) {
                Ok(app) => drop(right.insert(id, app)),
                Err(error) => drop(wrong.insert(id, error)),
            }
        }
        (right, wrong)
    }

    /// One of `right` whose key is that of an app which stays as it was since its row is wrong.
    fn keyless(&self, right: &Right, wrong: &Wrong) -> Option<(String, ConfigError)> {
        wrong.keys().filter_map(|id| self.apps.get(id)).find_map(|kept| {
            let key = kept.app.key.key();
            let (id, _) = right.iter().find(|(_, it)| it.app.key.key() == key)?;
            let owner = &kept.app.id;
            let what = format!("has the key of app {owner:?}, which keeps it as long as its own row is wrong; put that one right");
            Some((id.clone(), refused(id, what)))
        })
    }

    fn difference(&self, now: &Right) -> Change {
        let known = now.iter().filter(|(id, _)| self.apps.contains_key(*id));
        Change {
            added: now.keys().filter(|id| !self.apps.contains_key(*id)).count(),
            changed: known.filter(|(id, app)| self.apps.get(*id) != Some(*app)).count(),
            removed: self.apps.keys().filter(|id| !now.contains_key(*id)).count(),
            wrong: Vec::new(),
        }
    }

    /// Whether these apps of the files can be beside those in force here.
    ///
    /// # Errors
    /// Which of them can't.
    pub(crate) fn allows(&self, others: &[App]) -> Result<(), ConfigError> {
        let problems: Vec<_> = others
            .iter()
            .flat_map(|other| {
                self.apps().filter_map(move |it| {
                    let what = shared(other, &it.app.id, it.app.key.key())?;
                    let id = &it.app.id;
                    Some(Problem::new(
                        format_args!("app {:?}", other.id),
                        format_args!("has the same {what} as app {id:?} in clarim_apps; {CURE}"),
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

/// What is said of a row as a whole.
fn refused(id: &str, what: String) -> ConfigError {
    let at = Source::Row { app: id.to_owned(), key: String::new() };
    ConfigError(vec![Problem::new(at, what)])
}

#[cfg(test)]
mod tests {
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
    fn rows_come_change_and_go() {
        let mut table = table();
        let first = table.take(vec![row("1", "a", "{}"), row("2", "b", "{}")], &[]);
        assert_eq!(counts(&first), [2, 0, 0, 0]);
        let limited = r#"{"max_connections": 7}"#;
        let second = table.take(vec![row("1", "a", limited), row("3", "c", "{}")], &[]);
        assert_eq!(counts(&second), [1, 1, 1, 0]);
        assert_eq!(in_force(&table), [("1", "a", Some(7)), ("3", "c", None)]);
        assert!(!table.take(vec![row("1", "a", limited), row("3", "c", "{}")], &[]).is_any());
    }

    #[test]
    fn a_wrong_row_leaves_its_app_as_it_was_and_is_named_once_for_each_change() {
        let mut table = table();
        table.take(vec![row("1", "a", r#"{"max_connections": 7}"#)], &[]);
        table.check().unwrap();
        let rows = || vec![row("1", "a", WRONG), row("2", "b", WRONG), row("3", "c", "{}")];
        let change = table.take(rows(), &[]);
        assert_eq!(counts(&change), [1, 0, 0, 2]);
        assert_eq!(in_force(&table), [("1", "a", Some(7)), ("3", "c", None)]);
        assert_eq!(table.check().unwrap_err().0.len(), 2);
        let mut again = rows();
        again.push(row("4", "d", "{}"));
        assert_eq!(counts(&table.take(again, &[])), [1, 0, 0, 0]);
        let mut changed = rows();
        changed[1].settings = "[]".to_owned();
        let change = table.take(changed, &[]);
        assert_eq!(change.wrong.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["2"]);
        table.take(vec![row("1", "a", "{}")], &[]);
        assert_eq!(in_force(&table), [("1", "a", None)]);
        table.check().unwrap();
    }

    #[test]
    fn no_id_or_key_is_there_twice() {
        let mut table = table();
        let others = [App::new("9", "z", "secret")];
        table.take(vec![row("1", "a", "{}"), row("2", "b", "{}")], &others);
        for (new, told) in [
            (row("9", "c", "{}"), "the same id as an app of the file"),
            (row("3", "z", "{}"), "the same key as an app of the file"),
            (row("3", "b", "{}"), "the same key as another row"),
        ] {
            let change = table.take(vec![row("1", "a", "{}"), row("2", "b", "{}"), new], &others);
            assert!(!change.is_any());
            assert!(
                change.wrong.iter().any(|(_, error)| error.to_string().contains(told)),
                "{told}"
            );
        }
        assert_eq!(in_force(&table).len(), 2);
        let error = table.allows(&[App::new("5", "a", "s")]).unwrap_err().to_string();
        assert!(
            error.contains(r#"app "5": has the same key as app "1" in clarim_apps"#),
            "{error}"
        );
        assert!(table.allows(&[App::new("2", "x", "s")]).is_err());
        table.allows(&others).unwrap();
        // When the other one has gone, the row is right.
        table.take(vec![row("9", "c", "{}")], &others);
        assert_eq!(in_force(&table), []);
        assert_eq!(counts(&table.settle(&[])), [1, 0, 0, 0]);
    }

    #[test]
    fn a_key_stays_with_who_keeps_it() {
        let mut table = table();
        table.take(vec![row("1", "a", "{}"), row("2", "b", "{}"), row("3", "c", "{}")], &[]);
        // Each takes the key of the one before; the first can't let go of its own.
        let change =
            table.take(vec![row("1", "x", WRONG), row("2", "a", "{}"), row("3", "b", "{}")], &[]);
        assert_eq!(counts(&change), [0, 0, 0, 3]);
        assert_eq!(in_force(&table), [("1", "a", None), ("2", "b", None), ("3", "c", None)]);
        let change =
            table.take(vec![row("1", "x", "{}"), row("2", "a", "{}"), row("3", "b", "{}")], &[]);
        assert_eq!(counts(&change), [0, 3, 0, 0]);
    }
}
