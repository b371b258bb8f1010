//! Values of tables, which are the TOML file's or a row's JSON.

use crate::keys::{self, Place, replaced, unknown};
use crate::problem::Problem;
use crate::source::Source;
use crate::typed::Values;

/// A value of TOML or JSON.
pub(crate) struct Item {
    /// The value as a user would type it in the environment; `None` if that is impossible.
    pub(crate) text: Option<String>,
    pub(crate) is_array: bool,
    /// Name of its type in the language.
    pub(crate) type_name: &'static str,
}

impl Item {
    /// Adds the value of the setting `name`.
    ///
    /// # Errors
    /// If the name is unknown or the value has the wrong type.
    pub(crate) fn add_to(
        self,
        values: &mut Values,
        source: Source,
        place: Place,
        name: &str,
    ) -> Result<(), Problem> {
        let Some(key) = keys::find_toml(place, name) else {
            if let Some(key) = keys::replacement(name) {
                return Err(Problem::new(source, replaced("", key.toml)));
            }
            let meant = keys::nearest(name, keys::of(place).map(|key| key.toml));
            return Err(Problem::new(source, unknown("a setting", "", meant)));
        };
        let Some(text) = self.text else {
            let what = format_args!("has the type {}; expected {}", self.type_name, key.expected());
            return Err(Problem::new(source, what));
        };
        if text.is_empty() && self.is_array {
            // In the environment an empty value is "not set". An empty array can only mean "nobody".
            let what = "is empty, which allows no page to connect; list hosts or remove it";
            return Err(Problem::new(source, what));
        }
        values.add(key, &text, source);
        Ok(())
    }
}
