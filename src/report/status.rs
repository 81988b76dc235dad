//! The session on one screen.

use std::io::{self, Write};

use super::plan::{until_text, work_text};
use super::{bytes, short};
use crate::facts::{ArtifactFile, Server};
use crate::observed::Observed;
use crate::plan::{Bill, Plan};

/// Writes server, code, artifacts and money, one line each or a few.
pub fn status(out: &mut impl Write, plan: &Plan, observed: &Observed) -> io::Result<()> {
    writeln!(out, "session    {}", plan.session)?;
    server(out, observed)?;
    if let Some(code) = &plan.observed.code {
        writeln!(out, "code       {} at {}", code.branch, short(&code.commit))?;
    }
    artifacts(out, plan, observed)?;
    notebook(out, observed)?;
    for work in &plan.work {
        writeln!(out, "work       {}", work_text(work))?;
    }
    money(out, plan)
}

/// Writes what exists after `apply`, how to reach it, what it costs and what ends it.
pub fn summary(out: &mut impl Write, plan: &Plan, observed: &Observed, prefix: &str) -> io::Result<()> {
    writeln!(out)?;
    let Some(instance) = observed.instance().filter(|_| plan.observed.machine.is_some()) else {
        return no_server(out, plan);
    };
    status(out, plan, observed)?;
    writeln!(out, "reach it   {prefix} run -- COMMAND   (in the checkout, on {})", instance.hostname)?;
    if plan.observed.notebook.is_some() {
        writeln!(out, "open it    {prefix} notebook --open   (the notebook, in your browser)")?;
    }
    writeln!(out, "end it     {prefix} down")
}

/// A machine that vanished may have left a volume behind: gone is not free.
fn no_server(out: &mut impl Write, plan: &Plan) -> io::Result<()> {
    let Bill { now, currency, .. } = &plan.money;
    if now.is_empty() {
        return writeln!(out, "`{}` has no server, and nothing of it bills.", plan.session);
    }
    writeln!(out, "`{}` has no server, but this still bills:", plan.session)?;
    for billing in now {
        let discard = if billing.kind == "volume" {
            format!("; `dacapo down --discard volume:{}` deletes it", billing.id)
        } else {
            String::new()
        };
        let name = super::printable(&billing.name);
        let price = billing.price_per_hour;
        writeln!(out, "  {} {} (`{name}`) at {price} {currency}/h{discard}", billing.kind, billing.id)?;
    }
    Ok(())
}

fn server(out: &mut impl Write, observed: &Observed) -> io::Result<()> {
    let Some(instance) = observed.instance() else {
        return writeln!(out, "server     none");
    };
    writeln!(
        out,
        "server     {} in {}, {}, {}",
        instance.r#type,
        instance.location,
        instance.status,
        instance.ip.as_deref().unwrap_or("no address")
    )?;
    match &observed.server {
        Server::Seen(probe) => writeln!(
            out,
            "           {}, Python {}, {} free",
            super::printable(probe.gpu.as_deref().unwrap_or("no GPU reported")),
            super::printable(&probe.python),
            bytes(probe.disk_free)
        ),
        Server::Unreachable(why) => writeln!(out, "           can't be looked at: {}", super::printable(why)),
        Server::None => Ok(()),
    }
}

fn artifacts(out: &mut impl Write, plan: &Plan, observed: &Observed) -> io::Result<()> {
    let Server::Seen(probe) = &observed.server else { return Ok(()) };
    for (name, file) in &probe.artifacts {
        let stored = plan.observed.artifacts.get(name);
        let version =
            stored.map_or("no version of it is stored".to_owned(), |a| format!("version {}", a.version));
        match file {
            ArtifactFile::Missing => writeln!(out, "artifact   {name}: nothing there")?,
            ArtifactFile::File { size, content } => {
                let same = stored.is_some_and(|artifact| artifact.content == Some(*content));
                let relation = if same { version } else { format!("changed since {version}") };
                writeln!(
                    out,
                    "artifact   {name}: {}, content {}, {relation}",
                    bytes(*size),
                    content.short()
                )?;
            }
            ArtifactFile::Unreadable { why } => {
                writeln!(out, "artifact   {name}: {}", super::printable(why))?;
            }
        }
    }
    Ok(())
}

fn notebook(out: &mut impl Write, observed: &Observed) -> io::Result<()> {
    let Some(notebook) = observed.notebook() else { return Ok(()) };
    writeln!(out, "notebook   {}", super::notebook::state(notebook))?;
    for kernel in notebook.kernels.iter().filter(|_| notebook.running) {
        writeln!(out, "           {}", super::notebook::kernel(kernel))?;
    }
    Ok(())
}

fn money(out: &mut impl Write, plan: &Plan) -> io::Result<()> {
    let (money, unit) = (&plan.money, &plan.money.currency);
    writeln!(
        out,
        "money      {} {unit}/h, {} {unit} so far, balance {} {unit}",
        money.per_hour(),
        money.spent,
        money.balance
    )?;
    match &money.until {
        Some(until) => writeln!(out, "deadline   {}", until_text(until, unit)),
        None => Ok(()),
    }
}

/// Writes the embedded cloud's own ledger.
pub fn sandbox_bill(out: &mut impl Write, bill: &serde_json::Value) -> io::Result<()> {
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let billing = bill["billing"].as_array().map(Vec::as_slice).unwrap_or_default();
    if billing.is_empty() {
        writeln!(out, "nothing bills")?;
    }
    for item in billing {
        let (kind, id, name) = (text(&item["kind"]), text(&item["id"]), text(&item["name"]));
        writeln!(out, "{kind:<9} {id} `{name}` {} {}/h", item["price_per_hour"], text(&bill["currency"]))?;
    }
    writeln!(out, "spent {}, balance {} {}", bill["spent"], bill["balance"], text(&bill["currency"]))
}
