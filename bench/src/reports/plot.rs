//! Charts of the results of `compare`, as SVG with a background.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use plotters::coord::Shift;
use plotters::coord::combinators::LogCoord;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde::Deserialize;

use super::outcome::{Outcome, median, short};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: u32 = 960;
const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(36, 41, 47);
const FAINT: RGBColor = RGBColor(225, 228, 232);
/// The palette of Okabe and Ito, which is safe for colour-blind readers. The first server, the floor, is
/// grey.
const COLOURS: [RGBColor; 6] = [
    RGBColor(130, 130, 130),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
];
/// Width of the names on the left, and height of one row.
const NAMES: u32 = 330;
const ROW: u32 = 20;
const QUANTILES: [&str; 3] = ["p50, ms", "p99, ms", "p99.9, ms"];

/// Options of `plot`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Files that `compare --json` has written. All of them go into one set of charts.
    #[arg(required = true)]
    results: Vec<PathBuf>,
    /// Folder for the charts.
    #[arg(long, default_value = "docs/performance")]
    out: PathBuf,
}

/// The part of a file that is drawn.
#[derive(Debug, Deserialize)]
struct Results {
    results: Vec<Outcome>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut outcomes = Vec::new();
    for file in &options.results {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let read: Results =
            serde_json::from_str(&text).with_context(|| format!("in {}", file.display()))?;
        outcomes.extend(read.results);
    }
    let plot = Plot::new(outcomes);
    std::fs::create_dir_all(&options.out)?;
    let drawn = [
        ("scale.svg", plot.scale(&options.out.join("scale.svg"))?),
        ("latency.svg", plot.latency(&options.out.join("latency.svg"))?),
        ("cpu.svg", plot.cpu(&options.out.join("cpu.svg"))?),
    ];
    for (name, is_drawn) in drawn {
        let what = if is_drawn { "drawn" } else { "not drawn: no figures for this chart" };
        println!("{}: {what}", options.out.join(name).display());
    }
    ensure!(drawn.iter().any(|(_, is_drawn)| *is_drawn), "nothing to draw");
    Ok(())
}

/// One row of a chart.
struct Row {
    server: String,
    /// Values, each with the index of its symbol.
    values: Vec<(usize, f64)>,
}

/// The outcomes that are drawn, and their servers.
struct Plot {
    outcomes: Vec<Outcome>,
    /// In the order of measurement.
    servers: Vec<String>,
}

impl Plot {
    fn new(outcomes: Vec<Outcome>) -> Self {
        let mut servers: Vec<String> = Vec::new();
        for outcome in &outcomes {
            if !servers.contains(&outcome.server) {
                servers.push(outcome.server.clone());
            }
        }
        Self { outcomes, servers }
    }

    fn colour(&self, server: &str) -> RGBColor {
        let place = self.servers.iter().position(|known| known == server).unwrap_or(0);
        COLOURS[place % COLOURS.len()]
    }

    /// CPU per delivery by number of subscribers. Returns whether there was anything to draw.
    fn scale(&self, file: &Path) -> Result<bool> {
        let panels = [("fanout, closed", "closed loop"), ("fanout, open", "open loop")];
        let lines = panels.map(|(kind, title)| (title, self.lines(kind)));
        let points = lines.iter().flat_map(|(_, lines)| lines.values().flatten());
        // Only one axis has whole decades, because plotters draws few ticks on a part of one.
        let Some(x) = range(points.clone().map(|point| point.0), roomy) else { return Ok(false) };
        let Some(y) = range(points.map(|point| point.1), decades) else { return Ok(false) };
        let area = SVGBackend::new(file, (WIDTH, 460)).into_drawing_area();
        area.fill(&WHITE)?;
        let area =
            area.titled("Server CPU per delivery, by number of subscribers (log-log)", text(20))?;
        for (panel, (title, lines)) in area.split_evenly((1, 2)).iter().zip(&lines) {
            self.panel(panel, title, lines, x.clone(), y.clone())?;
        }
        area.present()?;
        Ok(true)
    }

    /// For each server, the numbers of subscribers and the costs.
    fn lines(&self, kind: &str) -> BTreeMap<String, Vec<(f64, f64)>> {
        let mut lines: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for outcome in self.outcomes.iter().filter(|outcome| outcome.kind == kind) {
            let cost = outcome.figures.get("CPU per delivery, µs").and_then(|all| median(all));
            if let (Some(n), Some(cost)) = (outcome.scale, cost.filter(|cost| *cost > 0.0)) {
                lines.entry(outcome.server.clone()).or_default().push((n as f64, cost));
            }
        }
        for line in lines.values_mut() {
            line.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        lines
    }

    fn panel(
        &self,
        area: &Area<'_>,
        title: &str,
        lines: &BTreeMap<String, Vec<(f64, f64)>>,
        x: Range<f64>,
        y: Range<f64>,
    ) -> Result<()> {
        let mut chart = ChartBuilder::on(area)
            .caption(title, text(16))
            .margin(14)
            .x_label_area_size(46)
            .y_label_area_size(58)
            .build_cartesian_2d(x.log_scale(), y.log_scale())?;
        chart
            .configure_mesh()
            .x_desc("subscribers")
            .y_desc("µs of CPU per delivery")
            .x_label_formatter(&|x| short_number(*x))
            .y_label_formatter(&|y| short_number(*y))
            .label_style(text(13))
            .axis_desc_style(text(14))
            .bold_line_style(FAINT)
            .light_line_style(TRANSPARENT)
            .axis_style(INK)
            .draw()?;
        for server in &self.servers {
            let Some(line) = lines.get(server) else { continue };
            let colour = self.colour(server);
            chart
                .draw_series(LineSeries::new(line.iter().copied(), colour.stroke_width(2)))?
                .label(server.clone())
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2))
                });
            chart.draw_series(line.iter().map(|point| Circle::new(*point, 4, colour.filled())))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE)
            .border_style(FAINT)
            .label_font(text(13))
            .draw()?;
        Ok(())
    }

    /// Delivery times of open loops, for each server a line over p50, p99 and p99.9.
    fn latency(&self, file: &Path) -> Result<bool> {
        let rows = self.rows(|outcome| {
            let phases = ["", "quiet, ", "disturbed, "].map(|phase| {
                let value =
                    |(n, q): (usize, &&str)| Some((n, value(outcome, &format!("{phase}{q}"))?));
                let values: Vec<_> = QUANTILES.iter().enumerate().filter_map(value).collect();
                (format!("{phase}{}", outcome.load), values)
            });
            phases.into_iter().filter(|(_, values)| !values.is_empty()).collect()
        });
        let title = "Delivery times in open loops, ms: ● p50   ■ p99   ▲ p99.9";
        self.draw_rows(
            file,
            title,
            "ms from when an event was due (log scale)",
            &rows,
            |x, y, n| match n {
                0 => Mark::Circle(x, y),
                1 => Mark::Square(x, y),
                _ => Mark::Triangle(x, y),
            },
        )
    }

    /// CPU per delivery, request or connection.
    fn cpu(&self, file: &Path) -> Result<bool> {
        let rows = self.rows(|outcome| {
            let costs = outcome.figures.iter().filter(|(name, _)| name.contains("CPU per "));
            costs
                .filter_map(|(name, values)| {
                    let what = name.trim_end_matches(", µs");
                    Some((format!("{}: {what}", outcome.load), vec![(0, median(values)?)]))
                })
                .collect()
        });
        let title = "Server CPU per delivery, request, join, …";
        self.draw_rows(file, title, "µs of CPU (log scale)", &rows, |x, y, _| Mark::Bar(x, y))
    }

    /// Rows grouped by subject, in the order of measurement.
    fn rows(
        &self,
        of: impl Fn(&Outcome) -> Vec<(String, Vec<(usize, f64)>)>,
    ) -> Vec<(String, Vec<Row>)> {
        let mut groups: Vec<(String, Vec<Row>)> = Vec::new();
        for outcome in &self.outcomes {
            for (name, values) in of(outcome) {
                let row = Row { server: outcome.server.clone(), values };
                match groups.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, rows)) => rows.push(row),
                    None => groups.push((name, vec![row])),
                }
            }
        }
        groups
    }

    fn draw_rows(
        &self,
        file: &Path,
        title: &str,
        unit: &str,
        groups: &[(String, Vec<Row>)],
        mark: impl Fn(f64, f64, usize) -> Mark,
    ) -> Result<bool> {
        let values = groups.iter().flat_map(|(_, rows)| rows).flat_map(|row| &row.values);
        let values = values.map(|(_, value)| value.max(0.001));
        let Some(Range { start: x0, end: x1 }) = range(values, decades) else { return Ok(false) };
        let count: u32 = groups.iter().map(|(_, rows)| rows.len() as u32 + 1).sum();
        let height = count * ROW + 110;
        let area = SVGBackend::new(file, (WIDTH, height)).into_drawing_area();
        area.fill(&WHITE)?;
        let area = area.titled(title, text(20))?;
        let mut chart = ChartBuilder::on(&area)
            .margin(14)
            .x_label_area_size(46)
            .y_label_area_size(NAMES)
            // The values follow the bars.
            .build_cartesian_2d((x0..x1 * 1.6).log_scale(), f64::from(count)..0.0)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .y_labels(0)
            .x_desc(unit)
            .x_label_formatter(&|x| short_number(*x))
            .label_style(text(13))
            .axis_desc_style(text(14))
            .bold_line_style(FAINT)
            .light_line_style(TRANSPARENT)
            .axis_style(FAINT)
            .draw()?;
        let left = text(12).pos(Pos::new(HPos::Left, VPos::Center));
        let mut y = 0.5;
        for (name, rows) in groups {
            let label = text(13).pos(Pos::new(HPos::Right, VPos::Center));
            chart.draw_series([
                EmptyElement::at((x0, y)) + Text::new(name.clone(), (-8, 0), label)
            ])?;
            for row in rows {
                y += 1.0;
                let colour = self.colour(&row.server);
                let label = text(12).color(&colour).pos(Pos::new(HPos::Right, VPos::Center));
                let at = EmptyElement::at((x0, y));
                chart.draw_series([at + Text::new(row.server.clone(), (-8, 0), label)])?;
                let values = row.values.iter().map(|(n, value)| (*n, value.max(0.001)));
                let line = values.clone().map(|(_, x)| (x, y));
                chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?;
                for (n, x) in values.clone() {
                    mark(x, y, n).draw(&mut chart, x0, colour)?;
                }
                let end = values.map(|(_, x)| x).next_back().unwrap_or(x0);
                let told: Vec<String> = row.values.iter().map(|(_, v)| short(*v)).collect();
                let told = Text::new(told.join(" / "), (10, 0), left.clone());
                chart.draw_series([EmptyElement::at((end, y)) + told])?;
            }
            y += 1.0;
        }
        area.present()?;
        Ok(true)
    }
}

/// The symbol of a value.
enum Mark {
    Circle(f64, f64),
    Square(f64, f64),
    Triangle(f64, f64),
    Bar(f64, f64),
}

type Chart<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<LogCoord<f64>, plotters::coord::types::RangedCoordf64>,
>;

impl Mark {
    fn draw(self, chart: &mut Chart<'_, '_>, x0: f64, colour: RGBColor) -> Result<()> {
        let style = colour.filled();
        match self {
            Self::Circle(x, y) => {
                chart.draw_series([Circle::new((x, y), 5, style)])?;
            }
            Self::Square(x, y) => {
                let square = Rectangle::new([(-4, -4), (4, 4)], style);
                chart.draw_series([EmptyElement::at((x, y)) + square])?;
            }
            Self::Triangle(x, y) => {
                chart.draw_series([TriangleMarker::new((x, y), 6, style)])?;
            }
            Self::Bar(x, y) => {
                chart.draw_series([Rectangle::new([(x0, y - 0.36), (x, y + 0.36)], style)])?;
            }
        }
        Ok(())
    }
}

fn text(size: u32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&INK)
}

fn value(outcome: &Outcome, name: &str) -> Option<f64> {
    median(outcome.figures.get(name)?)
}

/// A tick's label, with only the digits it needs.
fn short_number(value: f64) -> String {
    format!("{}", (value * 1e4).round() / 1e4)
}

/// The range of all values, widened by `widen`. `None` without values.
fn range(
    values: impl Iterator<Item = f64> + Clone,
    widen: fn(f64, f64) -> (f64, f64),
) -> Option<Range<f64>> {
    let low = values.clone().min_by(f64::total_cmp)?;
    let high = values.max_by(f64::total_cmp)?;
    let (low, high) = widen(low, high);
    Some(low..high)
}

/// Widens a range to powers of ten.
fn decades(low: f64, high: f64) -> (f64, f64) {
    (10f64.powf(low.log10().floor()), 10f64.powf((high * 1.01).log10().ceil()))
}

/// Widens a range so that the points keep a distance from the edges.
fn roomy(low: f64, high: f64) -> (f64, f64) {
    (low / 1.6, high * 1.6)
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Plot};

    #[test]
    fn each_chart_shows_its_servers_and_without_figures_nothing_is_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let outcome = |server: &str, n: usize, cost: f64| Outcome {
            load: format!("open loop to {n}"),
            kind: "fanout, open".to_owned(),
            scale: Some(n),
            server: server.to_owned(),
            figures: [
                ("CPU per delivery, µs".to_owned(), vec![cost, cost * 2.0, cost]),
                ("p50, ms".to_owned(), vec![0.5]),
                ("p99, ms".to_owned(), vec![4.0]),
            ]
            .into(),
            ..Outcome::default()
        };
        let mut all = Vec::new();
        for n in [100, 1_000] {
            all.extend([outcome("floor", n, 1.5), outcome("quick", n, 2.25)]);
        }
        let plot = Plot::new(all);
        let file = |name: &str| folder.path().join(name);
        assert!(plot.scale(&file("scale.svg")).unwrap());
        assert!(plot.latency(&file("latency.svg")).unwrap());
        assert!(plot.cpu(&file("cpu.svg")).unwrap());
        for name in ["scale.svg", "latency.svg", "cpu.svg"] {
            let text = std::fs::read_to_string(file(name)).unwrap();
            assert!(text.contains("quick") && text.contains("floor"), "{name}");
            assert!(text.contains("#FFFFFF"), "{name} has a background of its own");
        }
        let cpu = std::fs::read_to_string(file("cpu.svg")).unwrap();
        assert!(cpu.contains("2.25"), "the median follows the bar");
        assert!(!Plot::new(Vec::new()).scale(&file("none.svg")).unwrap());
        assert!(!file("none.svg").exists());
    }
}
