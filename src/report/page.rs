//! A session as one page of HTML, or its pictures alone as SVG: no script, nothing from elsewhere.

mod pictures;

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

use super::plan::until_text;
use super::timeline::Timeline;
use super::{bytes, printable, short};
use crate::plan::Bill;
use crate::record::Receipt;
use crate::version::{Manifest, Version};
use pictures::{cost, timeline};

/// What a page tells.
pub struct Page<'a> {
    /// What it is about: a session's name, or the store's.
    pub title: &'a str,
    /// When everything was looked at.
    pub now: Timestamp,
    /// What the session costs.
    pub bill: &'a Bill,
    /// When the present machine was created.
    pub since: Option<Timestamp>,
    /// The sessions that ended, oldest first.
    pub receipts: &'a [Receipt],
    /// How many receipts can't be used.
    pub unusable: usize,
    /// The stored versions of each artifact, oldest first.
    pub artifacts: &'a [(String, Vec<Made>)],
    /// The last run of `apply`, `up` or `down` on this laptop.
    pub last: Option<&'a Timeline>,
}

/// A version, and what its manifest says.
pub struct Made {
    /// The version.
    pub version: Version,
    /// Its manifest; none where it has none, or none that can be used.
    pub manifest: Option<Manifest>,
}

/// Readable on a phone and on a desk, by day and by night.
const STYLE: &str = ":root{color-scheme:light dark;--paper:#fff;--ink:#1d2329;--faint:#59636e;--rule:#d5dbe1;--line:#0b62b0;\
--bar:#7fb2e5;--bad:#b3261e}\
@media(prefers-color-scheme:dark){:root{--paper:#14181c;--ink:#e6eaee;--faint:#9aa6b2;--rule:#343c45;--line:#6cb6ff;\
--bar:#2f6ca8;--bad:#ff8a80}}\
body{margin:0 auto;max-width:60rem;padding:1rem;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}\
h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.15rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--rule)}\
p{margin:.5rem 0}.faint{color:var(--faint)}.bad{color:var(--bad)}.big{font-size:1.4rem}\
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--rule)}\
td.number,th.number{text-align:right}.number,.line,td code{white-space:nowrap}code{font:.9em ui-monospace,monospace}\
svg{display:block;width:100%;max-width:36rem;height:auto}details{margin:.5rem 0}";

/// What the pictures are drawn with; in a page the colours are the page's.
const DRAWING: &str = "text{font:11px system-ui,sans-serif;fill:var(--ink)}text.faint{fill:var(--faint)}text.bad{fill:var(--bad)}\
.bar{fill:var(--bar)}.bar.bad{fill:var(--bad)}.axis{stroke:var(--rule)}.line{fill:none;stroke:var(--line);stroke-width:2}\
.area{fill:var(--bar);opacity:.35}";

const COLOURS: &str = "svg{--paper:#fff;--ink:#1d2329;--faint:#59636e;--rule:#d5dbe1;--line:#0b62b0;--bar:#7fb2e5;--bad:#b3261e;\
background:var(--paper)}\
@media(prefers-color-scheme:dark){svg{--paper:#14181c;--ink:#e6eaee;--faint:#9aa6b2;--rule:#343c45;--line:#6cb6ff;\
--bar:#2f6ca8;--bad:#ff8a80}}";

/// Returns the page as HTML.
pub fn page(page: &Page<'_>) -> String {
    let title = printable(page.title);
    let body = html! {
        h1 { (title) }
        p.faint { "As the cloud, the store and this laptop told it on " (full(page.now)) "." }
        (bills(page))
        (last_run(page))
        (sessions(page))
        @for (name, versions) in page.artifacts { (artifact(name, versions)) }
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta name="generator" content="dacapo";
                title { (title) " · dacapo" }
                style { (maud::PreEscaped(STYLE)) (maud::PreEscaped(DRAWING)) }
            }
            body { (body) }
        }
    };
    page.into_string()
}

/// Returns its pictures, one below the other, as SVG.
pub fn drawing(page: &Page<'_>) -> String {
    let pictures: Vec<_> = [page.last.map(timeline), cost(page)].into_iter().flatten().collect();
    let height: u32 = pictures.iter().map(|picture| picture.height + 12).sum::<u32>() + 24;
    let (title, mut y) = (printable(page.title), 24);
    let mut placed = Vec::new();
    for picture in &pictures {
        placed.push((y, &picture.drawn));
        y += picture.height + 12;
    }
    let frame = format!("-8 0 {} {height}", pictures::WIDTH + 16);
    let drawing = html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox=(frame) width=(pictures::WIDTH * 2) role="img" {
            title { (title) }
            style { (maud::PreEscaped(COLOURS)) (maud::PreEscaped(DRAWING)) }
            text x="0" y="15" { (title) }
            @for (y, drawn) in placed { g transform=(format!("translate(0 {y})")) { (drawn) } }
        }
    };
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n", drawing.into_string())
}

fn bills(page: &Page<'_>) -> Markup {
    let Bill { now, spent, until, balance, currency } = page.bill;
    html! {
        h2 { "What bills now" }
        @if now.is_empty() {
            p.big { "Nothing of this session bills." }
        } @else {
            p.big { (page.bill.per_hour()) " " (currency) " an hour" }
            div.wide { table {
                tr { th { "What" } th { "Id" } th.number { (currency) "/h" } }
                @for one in now {
                    tr { td { (one.kind) " " (printable(&one.name)) } td { code { (one.id) } } td.number { (one.price_per_hour) } }
                }
            } }
            p { (spent) " " (currency) " so far for the present machine." }
            @if let Some(until) = until { p { "Deadline: " (until_text(until, currency)) "." } }
        }
        p.faint { "Balance: " (balance) " " (currency) "." }
    }
}

fn last_run(page: &Page<'_>) -> Markup {
    let Some(last) = page.last else {
        return html! {
            h2 { "The last run" }
            p.faint { "Nothing was applied from this laptop yet." }
        };
    };
    html! {
        h2 { "The last run" }
        p { "Began " (full(last.began)) " and took " (span(last.seconds())) "." }
        (embedded(&timeline(last), "The steps of the last run, by the second"))
        details {
            summary { "Step by step" }
            div.wide { table {
                tr { th { "Step" } th.number { "From" } th.number { "Took" } }
                @for step in &last.steps {
                    tr {
                        td {
                            (step.what)
                            @if let Some(why) = &step.failed { br; span.bad { "failed: " (why) } }
                            @for (at, what) in &step.stages { br; span.faint { (span(*at)) " " (what) } }
                        }
                        td.number { (span(step.from)) }
                        td.number { (step.seconds.map_or("didn't end".to_owned(), span)) }
                    }
                }
            } }
        }
    }
}

fn sessions(page: &Page<'_>) -> Markup {
    html! {
        h2 { "What it cost" }
        @if page.receipts.is_empty() {
            p.faint { "No session has ended yet." }
        }
        @if let Some(picture) = cost(page) { (embedded(&picture, "What all sessions cost together, over time")) }
        @if !page.receipts.is_empty() {
            div.wide { table {
                tr { th { "When (UTC)" } th { "Machine" } th.number { "Hours" } th.number { "Cost" } th { "Code" } th { "Artifacts" } }
                @for receipt in page.receipts.iter().rev() { (session(receipt)) }
            } }
            p.faint { "Machines alone, without their disks." }
        }
        @if page.unusable > 0 {
            p.bad { (page.unusable) " receipt(s) can't be used: `dacapo log` says which, and why." }
        }
    }
}

fn session(receipt: &Receipt) -> Markup {
    let ([began, ended], [brought, left]) = (&receipt.code, &receipt.artifacts);
    html! {
        tr {
            td.line { (printable(&receipt.session)) br; (minute(receipt.from)) " to" br; (minute(receipt.to)) }
            td.line { (printable(&receipt.machine_type)) br; (printable(&receipt.location)) }
            td.number { (format!("{:.1}", receipt.seconds() as f64 / 3600.0)) }
            td.number { (receipt.cost()) " " (printable(&receipt.currency)) }
            td.line {
                @if let Some(commit) = &ended.commit {
                    @if let Some(branch) = &ended.branch { (printable(branch)) br; }
                    (change(began.commit.as_deref().map(short), &short(commit)))
                }
            }
            td {
                @for (name, kept) in left {
                    (printable(name)) ": "
                    (change(brought.get(name).map(|kept| printable(&kept.version)), &printable(&kept.version)))
                    br;
                }
                @for what in &receipt.discarded { span.bad { "discarded: " (printable(what)) } br; }
                @if let Some(volume) = &receipt.kept_disk { "kept disk: " code { (printable(volume)) } }
            }
        }
    }
}

/// What something was and what it became, one below the other.
fn change(before: Option<String>, after: &str) -> Markup {
    html! {
        @match before {
            Some(before) if before == after => { code { (after) } ", as it came" },
            Some(before) => { code { (before) } br; "→ " code { (after) } },
            None => { "→ " code { (after) } },
        }
    }
}

fn artifact(name: &str, versions: &[Made]) -> Markup {
    html! {
        h2 { "Artifact " (printable(name)) }
        @if versions.is_empty() {
            p.faint { "No version of it is stored." }
        } @else {
            div.wide { table {
                tr { th { "Version" } th.number { "Size" } th.number { "Stored" } th { "Commit" } th { "Content" } }
                @for Made { version, manifest } in versions.iter().rev() {
                    tr {
                        td { code { (printable(&version.name)) } br; span.faint { (minute(version.file.modified)) } }
                        td.number { (manifest.as_ref().map_or("?".to_owned(), |manifest| bytes(manifest.size))) }
                        td.number { (bytes(version.file.size)) }
                        td {
                            @match manifest.as_ref().and_then(|manifest| manifest.commit.as_deref()) {
                                Some(commit) => code { (short(commit)) },
                                None => "not known",
                            }
                        }
                        td { code { (version.payload.map_or("not known".to_owned(), |payload| payload.short())) } }
                    }
                }
            } }
        }
    }
}

/// A picture within the page.
fn embedded(picture: &pictures::Picture, told: &str) -> Markup {
    let frame = format!("0 0 {} {}", pictures::WIDTH, picture.height);
    html! { svg viewBox=(frame) role="img" aria-label=(told) { (picture.drawn) } }
}

fn full(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn minute(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M").to_string()
}

/// A time in words: `4.2 s`, `3 min 5 s`.
fn span(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    format!("{} min {:.0} s", (seconds / 60.0).floor(), seconds % 60.0)
}
