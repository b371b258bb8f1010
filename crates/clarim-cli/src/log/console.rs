//! The output of `--debug`: time, title, dots, subject, app and size, and the message below, with colours
//! on a terminal.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use anstyle::{AnsiColor, Style};
use clarim_server::TRAFFIC_TARGET;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::NonBlocking;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::printable::{has_colours, now};

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
        Self { colour: has_colours(&std::io::stdout()), output }
    }
}

impl<S: Subscriber> Layer<S> for Console {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != TRAFFIC_TARGET {
            return;
        }
        let mut line = Line { time: now(), ..Line::default() };
        event.record(&mut line);
        // A closed terminal must not stop the server.
        let _ = self.output.clone().write_all(line.render(self.colour).as_bytes());
    }
}

#[derive(Debug, Default)]
struct Line {
    time: String,
    title: String,
    subject: String,
    app: String,
    /// Size of the message in bytes.
    size: String,
    payload: String,
}

impl Line {
    fn render(&self, colour: bool) -> String {
        let style = |style: Style| if colour { style } else { Style::new() };
        let bold = style(Style::new().bold());
        let dim = style(Style::new().dimmed());
        let green = style(AnsiColor::Green.on_default());
        let Self { time, title, subject, app, size, .. } = self;
        let mut about = String::new();
        // Writing to a String cannot fail.
        if !app.is_empty() {
            let _ = write!(about, "  app {app}");
        }
        if !size.is_empty() {
            let _ = write!(about, "  {size} B");
        }
        let used: usize =
            [time, title, subject, &about].iter().map(|text| text.chars().count()).sum();
        let dots = ".".repeat(WIDTH.saturating_sub(used + 5).max(3));
        let mut out = format!(
            "  {dim}{time}{dim:#} {bold}{title}{bold:#} {dim}{dots}{dim:#} {green}{subject}{green:#}{dim}{about}{dim:#}\n"
        );
        for (n, text) in self.payload.lines().enumerate() {
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
            "app" => self.app = value,
            "size" => self.size = value,
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
            time: "12:00:00.000Z".to_owned(),
            title: "Message Received".to_owned(),
            subject: "1.2".to_owned(),
            app: "7".to_owned(),
            size: "3".to_owned(),
            payload: "{\n}".to_owned(),
        };
        let text = line.render(false);
        let (first, rest) = text.split_once('\n').unwrap();
        assert!(
            first.starts_with("  12:00:00.000Z Message Received ....")
                && first.ends_with("... 1.2  app 7  3 B"),
            "{first}"
        );
        assert_eq!(first.len(), WIDTH);
        assert_eq!(rest, "      1 ▕ {\n      2 ▕ }\n\n");
        assert!(line.render(true).contains("\u{1b}[1m"));
    }
}
