//! What the other examples send, as TypeScript: `cargo run -p clarim --example types -- FILE` writes it, with
//! `--check` before the file it says whether it is up to date. An application has its events in one program,
//! and this as a subcommand of it.
#![expect(clippy::print_stderr, reason = "it says what is wrong")]

use std::process::ExitCode;

use clarim::types::Types;

#[path = "hello.rs"]
#[expect(dead_code, reason = "an example of its own")]
mod hello;
#[path = "orders.rs"]
#[expect(dead_code, reason = "an example of its own")]
mod orders;

fn types() -> Types {
    Types::new().event::<hello::Greeting>().event::<orders::OrderShipped>()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--check", file] => types().check(file),
        [file] => types().write(file),
        _ => {
            eprintln!("usage: types [--check] FILE");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = done {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
