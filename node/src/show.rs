//! `actinic status`, `list` and `token`: looking at a cluster.

use std::collections::BTreeMap;
use std::path::Path;

use actinic::node::{Demand, Tool, local};
use serde_json::{Value, json};

use crate::flags::{Format, List, To, Token, TokenWhat, What};
use crate::{Result, told};

/// Connects to the cluster that is meant.
fn connect(base: &Path, to: &To) -> Result<Tool> {
    let set = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    let address = to.address.clone().or_else(|| set("ACTINIC_ADDRESS")).unwrap_or_else(|| "auto".to_owned());
    if address == "auto" || to.token.is_none() {
        local::verify(base).map_err(told)?;
    }
    let nodes = local::nodes(base).into_iter().filter(|found| found.alive).filter_map(|found| found.entry);
    let mut here: Vec<local::Entry> = nodes.collect();
    here.sort_by_key(|entry| !entry.head);
    let known = here.into_iter().find(|entry| address == "auto" || entry.address.to_string() == address);
    // One in the environment may be of another cluster: a node of this machine has its own.
    let token = to.token.clone().or_else(|| set("ACTINIC_TOKEN").filter(|_| known.is_none()));
    match (known, token) {
        (Some(entry), None) => Tool::join(&entry.address.to_string(), &entry.token).map_err(told),
        (Some(entry), Some(token)) => Tool::join(&entry.address.to_string(), &token).map_err(told),
        (None, _) if address == "auto" => {
            let log = Some(local::last_log(base)).filter(|log| log.exists());
            let log = log.map(|log| format!("; the log of the last is {}", log.display())).unwrap_or_default();
            Err(format!(
                "no node runs on this machine ({}){log}: start one with `actinic start --head`, or name one with --address",
                base.display()
            ))
        }
        (None, Some(token)) => Tool::join(&address, &token).map_err(told),
        (None, None) => Err(format!("there is no token for the cluster at {address}: give --token or ACTINIC_TOKEN")),
    }
}

fn round(amount: f64) -> String {
    if amount == amount.round() { format!("{amount:.0}") } else { format!("{amount}") }
}

fn bytes(amount: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut amount = amount;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{amount} B") } else { format!("{amount:.1} {}", UNITS[unit]) }
}

pub(crate) fn status(base: &Path, to: &To) -> Result<()> {
    let tool = connect(base, to)?;
    let nodes = tool.nodes().map_err(told)?;
    let (workers, loads) = tool.workers().map_err(told)?;
    let mut total: BTreeMap<String, f64> = BTreeMap::new();
    let mut free: BTreeMap<String, f64> = BTreeMap::new();
    for node in nodes.iter().filter(|node| node.alive) {
        for (name, amount) in &node.resources {
            *total.entry(name.clone()).or_default() += amount;
        }
        for (name, amount) in &node.available {
            *free.entry(name.clone()).or_default() += amount;
        }
    }
    let of_actors = tool.demands().map_err(told)?;
    let waiting: Vec<&Demand> = loads.iter().flat_map(|load| &load.demands).chain(&of_actors).collect();
    let mut demands: BTreeMap<&str, u32> = BTreeMap::new();
    for demand in &waiting {
        *demands.entry(&demand.shape).or_default() += demand.count;
    }
    let queued: usize = loads.iter().map(|load| load.queued).sum();
    let stored: u64 = loads.iter().map(|load| load.stored).sum();
    if to.format == Format::Json {
        let nodes: Vec<Value> = nodes.iter().map(node_row).collect();
        let document = json!({
            "cluster": tool.cluster(), "head": tool.head(), "nodes": nodes, "resources": total, "available": free,
            "workers": workers.len(), "queued": queued, "stored": stored,
            "demands": waiting,
        });
        println!("{document:#}");
        return Ok(());
    }
    let alive = nodes.iter().filter(|node| node.alive).count();
    println!("Cluster {}, head at {}", tool.cluster(), tool.head());
    println!("Nodes: {alive} alive, {} dead. Workers: {}.", nodes.len() - alive, workers.len());
    for node in &nodes {
        let kind = if node.head { "head" } else { "node" };
        let state = if node.alive { "alive" } else { "dead" };
        let heard = node.heard.as_secs_f64();
        let host = plain(&node.hostname);
        println!("  {kind} {} {} ({host}) {state}, heard {heard:.1} s ago", node.id, node.address);
    }
    println!("Resources, used of all:");
    for (name, amount) in total.iter().filter(|(name, _)| !name.starts_with("node:")) {
        // Nothing is scheduled by it, so that nodes do not tell it with what is free.
        let used = match name.as_str() {
            "object_store_memory" => stored as f64,
            _ => amount - free.get(name).copied().unwrap_or_default(),
        };
        let show = |amount: f64| if name.contains("memory") { bytes(amount) } else { round(amount) };
        println!("  {} of {} {}", show(used), show(*amount), plain(name));
    }
    println!(
        "Demands: {}",
        if demands.is_empty() { "none waits" } else { "what waits, and for how many workers or actors" }
    );
    for (shape, count) in demands {
        println!("  {{{}}} × {count}", plain(shape));
    }
    Ok(())
}

fn node_row(node: &actinic::NodeInfo) -> Value {
    json!({
        "id": node.id.to_string(), "state": if node.alive { "ALIVE" } else { "DEAD" }, "head": node.head,
        "address": node.address, "hostname": node.hostname, "resources": node.resources, "available": node.available,
        "labels": node.labels, "heard_ms": node.heard.as_millis() as u64,
    })
}

pub(crate) fn list(base: &Path, list: &List) -> Result<()> {
    let tool = connect(base, &list.to)?;
    let rows = |rows: serde_json::Result<Value>| match rows {
        Ok(Value::Array(rows)) => Ok(rows),
        _ => Err("the rows cannot be shown".to_owned()),
    };
    let (columns, mut rows): (&[&str], Vec<Value>) = match list.what {
        What::Nodes => {
            let rows = tool.nodes().map_err(told)?.iter().map(node_row).collect();
            (&["id", "state", "head", "address", "hostname", "resources"], rows)
        }
        What::Actors => (
            &["id", "class", "name", "state", "node", "restarts", "waits_for"],
            rows(serde_json::to_value(tool.actors().map_err(told)?))?,
        ),
        What::Jobs => {
            (&["id", "state", "entry", "namespace", "node"], rows(serde_json::to_value(tool.jobs().map_err(told)?))?)
        }
        What::Workers => {
            (&["id", "node", "pid", "alive"], rows(serde_json::to_value(tool.workers().map_err(told)?.0))?)
        }
    };
    let all = rows.len();
    rows.truncate(list.limit);
    if list.to.format == Format::Json {
        println!("{:#}", Value::Array(rows));
        return Ok(());
    }
    table(columns, &rows);
    if all > list.limit {
        println!("({} more; --limit shows them)", all - list.limit);
    }
    Ok(())
}

/// So many characters of a cell are shown.
const CELL_MAX: usize = 200;

/// What programs have named is shown on one line, and does nothing to the terminal.
fn plain(text: &str) -> String {
    text.chars().map(|one| if one.is_control() { char::REPLACEMENT_CHARACTER } else { one }).collect()
}

fn cell(value: &Value) -> String {
    let text = plain(&said(value));
    match text.char_indices().nth(CELL_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

fn said(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(map) => {
            let shown = map.iter().filter(|(name, _)| !name.starts_with("node:"));
            shown.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

fn table(columns: &[&str], rows: &[Value]) {
    let mut lines: Vec<Vec<String>> = vec![columns.iter().map(|name| name.to_uppercase()).collect()];
    lines.extend(rows.iter().map(|row| columns.iter().map(|name| cell(&row[*name])).collect()));
    let widths: Vec<usize> =
        (0..columns.len()).map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0)).collect();
    for line in lines {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("{}", cells.join("  ").trim_end());
    }
}

pub(crate) fn token(base: &Path, token: &Token) -> Result<()> {
    match &token.what {
        TokenWhat::Create(to) => {
            let none_here = to.address.is_none() && !local::nodes(base).iter().any(|found| found.alive);
            let token = if none_here && std::env::var_os("ACTINIC_ADDRESS").is_none() {
                eprintln!("No node runs here: this token is for a head that is started here with --token.");
                actinic::node::prepare_token(base).map_err(told)?
            } else {
                connect(base, to)?.create_token().map_err(told)?
            };
            println!("{token}");
        }
        TokenWhat::Show(to) => {
            for token in connect(base, to)?.show_tokens().map_err(told)? {
                println!("{token}");
            }
        }
        TokenWhat::Revoke { revoked, to } => {
            connect(base, to)?.revoke_token(revoked).map_err(told)?;
            println!("Revoked.");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{CELL_MAX, cell};

    /// Names are the programs': they fill no line, end none, and steer no terminal.
    #[test]
    fn what_programs_have_named_is_shown_plainly() {
        assert_eq!(cell(&json!("a\n\u{1b}[2Jb")), "a\u{fffd}\u{fffd}[2Jb");
        assert_eq!(cell(&json!({"zone\n": 1})), "zone\u{fffd}=1");
        let long = cell(&json!("x".repeat(70_000)));
        assert_eq!(long.chars().count(), CELL_MAX + 1);
        assert!(long.ends_with('…'));
    }
}
