//! The project's own rules, as far as a program can check them.

mod folders;
mod imports;
mod known;
mod shape;
mod source;
mod text;
mod words;

use anyhow::{Result, ensure};

use crate::run::root;
use known::Known;
use source::Source;

/// A breach of a rule.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    /// Name of the rule, as in tidy.toml.
    rule: &'static str,
    /// File or folder, below the top of the repository.
    place: String,
    /// Line in the file; 0 if it is about all of it.
    line: usize,
    message: String,
}

/// `--update` lowers the counts in tidy.toml, `--edges CRATE` prints the imports between a crate's modules.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let sources = Source::all(&root())?;
    if let [option, package] = args
        && option == "--edges"
    {
        print!("{}", imports::edges(&sources, package));
        return Ok(());
    }
    let mut known = Known::read()?;
    let problems = problems(&sources, &known)?;
    if args.iter().any(|arg| arg == "--update") {
        return known.update(&problems);
    }
    let new = known.exceeded(&problems);
    for problem in &new {
        println!("{problem}");
    }
    ensure!(new.is_empty(), "{} breaches of the project's rules", new.len());
    let fewer = known.fewer(&problems);
    if fewer > 0 {
        println!(
            "xtask/tidy.toml allows {fewer} breaches that are gone: cargo xtask tidy --update"
        );
    }
    println!("{} files are tidy, with {} known breaches", sources.len(), problems.len());
    Ok(())
}

fn problems(sources: &[Source], known: &Known) -> Result<Vec<Problem>> {
    let mut problems = folders::check(sources);
    for source in sources {
        text::check(source, &mut problems);
        words::check(source, &mut problems);
        shape::check(source, &mut problems)?;
    }
    imports::check(sources, known, &mut problems)?;
    Ok(problems)
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rule, place, line, message } = self;
        if *line > 0 {
            write!(f, "{place}:{line}: {message} [{rule}]")
        } else {
            write!(f, "{place}: {message} [{rule}]")
        }
    }
}
