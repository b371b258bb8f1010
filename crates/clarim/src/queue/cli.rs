//! Commands for an application's queue. Needs the feature `cli`.
//!
//! Three lines in `main` add them:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use clarim::Clarim;
//!
//! #[tokio::main]
//! async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
//!     let clarim = Clarim::from_env()?;
//!     if let Some(code) = clarim::queue::cli::run(&clarim).await {
//!         return Ok(code);
//!     }
//!     // … the application
//!     Ok(ExitCode::SUCCESS)
//! }
//! ```
//!
//! An application with its own command line adds [`Command`] as a subcommand:
//!
//! ```
//! #[derive(clap::Parser)]
//! enum MyApp {
//!     /// Serve requests
//!     Serve,
//!     /// Run queued jobs, and manage failed ones
//!     #[command(subcommand)]
//!     Queue(clarim::queue::cli::Command),
//! }
//! # use clap::Parser;
//! # let parsed = MyApp::parse_from(["myapp", "queue", "work", "--queue", "high,default"]);
//! # assert!(matches!(parsed, MyApp::Queue(_)));
//! ```
//!
//! and calls [`Command::run`].

pub use crate::commands::clear::Clear;
pub use crate::commands::command::{Command, Id, InvalidId, run};
pub use crate::commands::work::Work;
