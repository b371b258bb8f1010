//! TypeScript definitions of the other examples' events. `cargo run -p clarim --example types -- FILE`
//! writes them, and `--check` before the file checks that it is up to date. An application would have this
//! as a subcommand.
#![expect(clippy::print_stderr, reason = "the example prints errors")]

use std::process::ExitCode;

use clarim::types::Types;

#[path = "hello.rs"]
#[expect(dead_code, reason = "only its type is used")]
mod hello;
#[path = "orders.rs"]
#[expect(dead_code, reason = "only its type is used")]
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
