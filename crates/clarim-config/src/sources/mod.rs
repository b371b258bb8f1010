//! Reading of the sources: command-line flags, environment variables, `.env`, the TOML file, Laravel's
//! configuration and the development app.

pub(crate) mod dev_app;
mod dotenv;
mod env;
mod file;
mod flags;
mod laravel;
mod reading;
mod state_dir;
mod table;

pub use dev_app::{CreateIfMissing, Credentials};
pub use dotenv::variable_name;
pub use flags::Flags;
pub use reading::{ConfigSources, HANDOVER};
pub use state_dir::prepare as prepare_state_dir;
pub(crate) use table::Item;
