//! The output of `--debug`: a title, dots, a subject, and the message below, with colours on a terminal.

use std::fmt::{self, Write as _};
use std::io::{IsTerminal, Write as _};

use anstyle::{AnsiColor, Style};
use clarim_server::TRAFFIC_TARGET;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::NonBlocking;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

const WIDTH: usize = 78;

/// Prints the events of [`TRAFFIC_TARGET`], and no others.
#[derive(Debug)]
pub(crate) struct Console {
    colour: bool,
    output: NonBlocking,
}

impl Console {
    /// `output` writes to standard output.
    pub(crate) fn new(output: NonBlocking) -> Self {
        Self { colour: std::io::stdout().is_terminal(), output }
    }
}

impl<S: Subscriber> Layer<S> for Console {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != TRAFFIC_TARGET {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        // A closed terminal must not stop the server.
        let _ = self.output.clone().write_all(line.render(self.colour).as_bytes());
    }
}

#[derive(Debug, Default)]
struct Line {
    title: String,
    subject: String,
    payload: String,
}

impl Line {
    fn render(&self, colour: bool) -> String {
        let style = |style: Style| if colour { style } else { Style::new() };
        let bold = style(Style::new().bold());
        let dim = style(Style::new().dimmed());
        let green = style(AnsiColor::Green.on_default());
        let used = self.title.chars().count() + self.subject.chars().count() + 4;
        let dots = ".".repeat(WIDTH.saturating_sub(used).max(3));
        let Self { title, subject, .. } = self;
        let mut out =
            format!("  {bold}{title}{bold:#} {dim}{dots}{dim:#} {green}{subject}{green:#}\n");
        for (n, text) in self.payload.lines().enumerate() {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "    {dim}{:>3} ▕{dim:#} {text}", n + 1);
        }
        if !self.payload.is_empty() {
            out.push('\n');
        }
        out
    }

    fn set(&mut self, field: &Field, value: String) {
        match field.name() {
            "title" => self.title = value,
            "subject" => self.subject = value,
            "payload" => self.payload = value,
            _ => {}
        }
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_two_columns_and_the_message_below() {
        let line = Line {
            title: "Message Received".to_owned(),
            subject: "1.2".to_owned(),
            payload: "{\n}".to_owned(),
        };
        let text = line.render(false);
        let (first, rest) = text.split_once('\n').unwrap();
        assert!(
            first.starts_with("  Message Received ....") && first.ends_with("... 1.2"),
            "{first}"
        );
        assert_eq!(first.len(), WIDTH);
        assert_eq!(rest, "      1 ▕ {\n      2 ▕ }\n\n");
        assert!(line.render(true).contains("\u{1b}[1m"));
    }
}
