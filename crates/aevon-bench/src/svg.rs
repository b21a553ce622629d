//! Plots: lines over a plain pair of axes, as SVG that stands alone. It brings its background, light
//! or dark as the reader has it, and says in words what it shows.
//!
//! Invariant: a function of its figures alone, so that a plot changes where they do.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 52.0;
/// Between the names of lines.
const NAME_HEIGHT: f64 = 18.0;
const STEPS: f64 = 5.0;
/// Kinds of lines, which differ by colour and by dashes.
const KINDS: usize = 4;

const STYLE: &str = "
  .back { fill: #ffffff } text { fill: #24292f; font: 13px sans-serif }
  .title { font-weight: bold; font-size: 15px }
  .axis { stroke: #57606a } .grid { stroke: #d8dee4 } .line { fill: none; stroke-width: 2 }
  .c0 { stroke: #0550ae } .c1 { stroke: #a04000 } .c2 { stroke: #116329 } .c3 { stroke: #8250df }
  .c1 { stroke-dasharray: 6 3 } .c2 { stroke-dasharray: 2 3 } .c3 { stroke-dasharray: 8 3 2 3 }
  @media (prefers-color-scheme: dark) {
    .back { fill: #161b22 } text { fill: #e6edf3 }
    .axis { stroke: #9198a1 } .grid { stroke: #30363d }
    .c0 { stroke: #79c0ff } .c1 { stroke: #ffa657 } .c2 { stroke: #7ee787 } .c3 { stroke: #d2a8ff }
  }
";

/// A line of a plot.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) name: String,
    /// In the order of x.
    pub(crate) points: Vec<(f64, f64)>,
}

/// How far apart values of x are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    Linear,
    /// With a mark at each value that a line has.
    Log,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Plot {
    pub(crate) title: &'static str,
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    pub(crate) scale: Scale,
    pub(crate) lines: Vec<Line>,
}

/// From a value to a place in the picture.
struct Axes {
    x: (f64, f64),
    y_max: f64,
    scale: Scale,
}

impl Axes {
    fn of(plot: &Plot) -> Self {
        let points = || plot.lines.iter().flat_map(|line| &line.points);
        let smallest = match plot.scale {
            Scale::Linear => 0.0,
            Scale::Log => points().map(|(x, _)| *x).fold(f64::INFINITY, f64::min),
        };
        let largest = points().map(|(x, _)| *x).fold(smallest, f64::max);
        let y_max = points().map(|(_, y)| *y).fold(0.0, f64::max);
        Self {
            x: (smallest, largest),
            y_max: step(y_max) * (y_max / step(y_max)).ceil().max(1.0),
            scale: plot.scale,
        }
    }

    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let part = |x: f64, from: f64, to: f64| {
            if to > from {
                (x - from) / (to - from)
            } else {
                0.5
            }
        };
        let part = match self.scale {
            Scale::Linear => part(x, self.x.0, self.x.1),
            Scale::Log => part(x.ln(), self.x.0.ln(), self.x.1.ln()),
        };
        let across = LEFT + part * (WIDTH - LEFT - RIGHT);
        let up = (y / self.y_max) * (HEIGHT - TOP - BOTTOM);
        (across, HEIGHT - BOTTOM - up)
    }
}

/// The largest of 1, 2, 5 times a power of ten that goes into a range at least [`STEPS`] times, about.
fn step(range: f64) -> f64 {
    if range <= 0.0 {
        return 1.0;
    }
    let rough = range / STEPS;
    let power = 10f64.powf(rough.log10().floor());
    let factor = [5.0, 2.0]
        .into_iter()
        .find(|factor| factor * power <= rough);
    power * factor.unwrap_or(1.0)
}

/// `150k`, `2M`, `0.5`.
fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        1e6.. => (value / 1e6, "M"),
        1e3.. => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{unit}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

impl Plot {
    /// What it shows, in words.
    pub(crate) fn told(&self) -> String {
        let line = |line: &Line| {
            let last = line.points.last().map_or(0.0, |(_, y)| *y);
            let first = line.points.first().map_or(0.0, |(_, y)| *y);
            let largest = line.points.iter().map(|(_, y)| *y).fold(0.0, f64::max);
            let [first, last, largest] = [first, last, largest].map(short);
            format!(
                "{} goes from {first} to {last}, at most {largest}",
                line.name
            )
        };
        let lines: Vec<String> = self.lines.iter().map(line).collect();
        format!(
            "{}, {} by {}: {}.",
            self.title,
            self.y,
            self.x,
            lines.join("; ")
        )
    }

    /// The picture.
    pub(crate) fn svg(&self) -> String {
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-labelledby=\"t d\">\n<title id=\"t\">{}</title>\n<desc id=\"d\">{}</desc>\n\
             <style>{STYLE}</style>\n<rect class=\"back\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n",
            escaped(self.title),
            escaped(&self.told())
        );
        let axes = Axes::of(self);
        text(&mut out, (LEFT, 24.0), "start", "title", self.title);
        self.frame(&mut out, &axes);
        for (at, line) in self.lines.iter().enumerate() {
            polyline(&mut out, &axes, at, line);
        }
        self.names(&mut out, &axes);
        out.push_str("</svg>\n");
        out
    }

    fn frame(&self, out: &mut String, axes: &Axes) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let apart = step(axes.y_max);
        for n in 0..=(axes.y_max / apart).round() as u32 {
            let value = f64::from(n) * apart;
            let (_, y) = axes.at((axes.x.0, value));
            segment(out, "grid", [LEFT, y, right, y]);
            text(out, (LEFT - 8.0, y + 4.0), "end", "", &short(value));
        }
        for value in self.marks(axes) {
            let (x, _) = axes.at((value, 0.0));
            segment(out, "axis", [x, bottom, x, bottom + 5.0]);
            text(out, (x, bottom + 20.0), "middle", "", &short(value));
        }
        segment(out, "axis", [LEFT, bottom, right, bottom]);
        let middle = f64::midpoint(LEFT, right);
        text(out, (middle, HEIGHT - 10.0), "middle", "", self.x);
        text(out, (right + 10.0, 24.0), "start", "", self.y);
    }

    fn marks(&self, axes: &Axes) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let apart = step(axes.x.1);
                let count = (axes.x.1 / apart).floor() as u32;
                (0..=count).map(|n| f64::from(n) * apart).collect()
            }
            Scale::Log => {
                let points = self.lines.iter().flat_map(|line| &line.points);
                let mut marks: Vec<f64> = points.map(|(x, _)| *x).collect();
                marks.sort_by(f64::total_cmp);
                marks.dedup();
                marks
            }
        }
    }

    /// Each beside the end of its line, moved where they would lie on each other.
    fn names(&self, out: &mut String, axes: &Axes) {
        let ends = self.lines.iter().enumerate().filter_map(|(at, line)| {
            let (_, y) = axes.at(*line.points.last()?);
            Some((y, at, &line.name))
        });
        let mut ends: Vec<_> = ends.collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut free = TOP;
        let mut behind = ends.len() as f64;
        for (y, at, name) in ends {
            let lowest = HEIGHT - BOTTOM - NAME_HEIGHT * (behind - 1.0);
            let y = y.min(lowest).max(free);
            (free, behind) = (y + NAME_HEIGHT, behind - 1.0);
            let x = WIDTH - RIGHT + 10.0;
            segment(out, &format!("line c{}", at % KINDS), [x, y, x + 24.0, y]);
            text(out, (x + 30.0, y + 4.0), "start", "", name);
        }
    }
}

// Writing to a text can't fail.
fn segment(out: &mut String, class: &str, [x1, y1, x2, y2]: [f64; 4]) {
    let _ = writeln!(
        out,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

fn text(out: &mut String, (x, y): (f64, f64), anchor: &str, class: &str, told: &str) {
    let told = escaped(told);
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{told}</text>"
    );
}

fn polyline(out: &mut String, axes: &Axes, at: usize, line: &Line) {
    let places = line.points.iter().map(|point| axes.at(*point));
    let places: Vec<String> = places.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(
        out,
        "<polyline class=\"line c{}\" points=\"{}\"/>",
        at % KINDS,
        places.join(" ")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(scale: Scale) -> Plot {
        let line = |name: &str, ys: [f64; 3]| Line {
            name: name.to_owned(),
            points: [1e6, 1e7, 5e7].into_iter().zip(ys).collect(),
        };
        Plot {
            title: "Rate & size",
            x: "events",
            y: "events/s",
            scale,
            lines: vec![
                line("ordered <ids>", [150e3, 140e3, 130e3]),
                line("random", [120e3, 90e3, 129e3]),
            ],
        }
    }

    #[test]
    fn it_is_the_same_each_time_stands_alone_and_says_what_it_shows() {
        let svg = plot(Scale::Log).svg();
        assert_eq!(svg, plot(Scale::Log).svg());
        assert!(svg.contains("prefers-color-scheme: dark") && svg.contains("role=\"img\""));
        assert!(svg.contains("ordered &lt;ids&gt; goes from 150k to 130k, at most 150k"));
        assert!(!svg.contains("ids>") && !svg.contains("& ") && !svg.contains("NaN"));
        for mark in ["1M", "10M", "50M", "160k"] {
            assert!(svg.contains(&format!(">{mark}</text>")), "{mark}: {svg}");
        }
    }

    #[test]
    fn places_are_by_the_scale() {
        let across = |scale| {
            let plot = plot(scale);
            Axes::of(&plot).at((1e7, 0.0)).0
        };
        let width = WIDTH - LEFT - RIGHT;
        assert!((across(Scale::Linear) - (LEFT + 0.2 * width)).abs() < 0.1);
        let part = 10f64.ln() / 50f64.ln();
        assert!((across(Scale::Log) - (LEFT + part * width)).abs() < 0.1);
    }

    #[test]
    fn names_do_not_lie_on_each_other() {
        let svg = plot(Scale::Log).svg();
        let of_name = |name: &str| {
            let line = svg
                .lines()
                .find(|line| line.ends_with(&format!(">{name}</text>")));
            let y = line.unwrap().split("y=\"").nth(1).unwrap();
            y.split('"').next().unwrap().parse::<f64>().unwrap()
        };
        let apart = of_name("random") - of_name("ordered &lt;ids&gt;");
        assert!(apart.abs() >= NAME_HEIGHT - 0.1, "{apart}");
    }

    #[test]
    fn marks_are_round_also_where_there_is_nothing() {
        assert_eq!([0.0, 7.0, 150.0, 12e4].map(step), [1.0, 1.0, 20.0, 2e4]);
        assert_eq!(
            [0.0, 0.25, 1500.0, 5e7].map(short),
            ["0", "0.25", "1.5k", "50M"]
        );
        let empty = Plot {
            lines: Vec::new(),
            ..plot(Scale::Linear)
        };
        assert!(!empty.svg().contains("NaN"));
    }
}
