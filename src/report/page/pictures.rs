//! The two pictures of a page: the last run's steps by the second, and the cost of all sessions over time.

use jiff::Timestamp;
use maud::{Markup, html};

use super::{Page, span};
use crate::report::timeline::Timeline;

/// How wide a picture is, in the units that it is drawn in: about a phone's pixels.
pub const WIDTH: u32 = 360;
/// What fits on a line.
const LETTERS: usize = 58;
const ROW: u32 = 30;
const CHART: f64 = 110.0;

/// Something drawn, `WIDTH` wide.
pub struct Picture {
    pub height: u32,
    pub drawn: Markup,
}

/// Draws a bar for each step, under its words.
pub fn timeline(run: &Timeline) -> Picture {
    let whole = run.seconds().max(0.001);
    let x = |at: f64| at / whole * f64::from(WIDTH);
    let rows = run.steps.iter().enumerate().map(|(row, step)| {
        let y = row as u32 * ROW;
        let wide = (x(step.to()) - x(step.from)).max(1.5);
        let took = step.seconds.map_or("didn't end".to_owned(), span);
        let class = if step.failed.is_some() || step.seconds.is_none() { "bar bad" } else { "bar" };
        html! {
            text x="0" y=(y + 12) { title { (step.what) } (fitting(&step.what, &took)) }
            text.faint x=(WIDTH) y=(y + 12) text-anchor="end" { (took) }
            rect class=(class) x=(place(x(step.from))) y=(y + 16) width=(place(wide)) height="8" rx="2" {}
        }
    });
    let rows: Vec<Markup> = rows.collect();
    Picture { height: (rows.len() as u32 * ROW).max(ROW), drawn: html! { @for row in rows { (row) } } }
}

/// Draws what the machines cost together, in the account's currency; none where none ever cost anything.
pub fn cost(page: &Page<'_>) -> Option<Picture> {
    let unit = &page.bill.currency;
    let mut points: Vec<(Timestamp, f64)> = Vec::new();
    let mut sum = 0.0;
    let ended = page.receipts.iter().filter(|receipt| receipt.currency == *unit);
    let ended = ended.map(|receipt| (receipt.from, receipt.to, receipt.cost().units()));
    let present = page.since.map(|since| (since, page.now, page.bill.spent.units()));
    for (from, to, cost) in ended.chain(present) {
        points.push((from, sum));
        sum += cost;
        points.push((to, sum));
    }
    // Machines that overlap are drawn one after the other.
    points.sort_by_key(|(at, _)| *at);
    let first = points.first()?.0;
    let last = page.now.max(points.last()?.0);
    points.push((last, sum));
    let whole = last.duration_since(first).as_secs_f64().max(1.0);
    let most = sum.max(0.000_001);
    let x = |at: Timestamp| at.duration_since(first).as_secs_f64() / whole * f64::from(WIDTH);
    let y = |cost: f64| 18.0 + CHART * (1.0 - cost / most);
    let line: Vec<String> =
        points.iter().map(|(at, cost)| format!("{},{}", place(x(*at)), place(y(*cost)))).collect();
    let line = line.join(" ");
    let (floor, right) = (y(0.0), f64::from(WIDTH));
    let area = format!("0,{} {line} {},{}", place(floor), place(right), place(floor));
    let day = |at: Timestamp| at.strftime("%Y-%m-%d %H:%M UTC").to_string();
    let drawn = html! {
        text x=(WIDTH) y="11" text-anchor="end" { (format!("{sum:.2} {unit}")) }
        line.axis x1="0" y1=(place(floor)) x2=(WIDTH) y2=(place(floor)) {}
        polygon.area points=(area) {}
        polyline.line points=(line) {}
        text.faint x="0" y=(place(floor + 15.0)) { (day(first)) }
        text.faint x=(WIDTH) y=(place(floor + 15.0)) text-anchor="end" { (day(last)) }
    };
    Some(Picture { height: 148, drawn })
}

/// As much of the words as leaves room for what stands at the end of the line.
fn fitting(words: &str, end: &str) -> String {
    let room = LETTERS.saturating_sub(end.chars().count() + 2);
    if words.chars().count() <= room {
        return words.to_owned();
    }
    let kept: String = words.chars().take(room.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

fn place(at: f64) -> String {
    format!("{at:.1}")
}
