//! `actinic status`, `list` and `token`: looking at a cluster.

use std::collections::BTreeMap;
use std::path::Path;

use actinic::NodeInfo;
use actinic::node::{Demand, Tool, local};
use serde_json::{Value, json};

use crate::flags::{Format, List, Status, To, Token, TokenWhat, What};
use crate::say::{self, complain};
use crate::{Result, told};

fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// The address that is meant, if it is not whatever runs here.
fn address(to: &To) -> Option<String> {
    to.address.clone().or_else(|| set("ACTINIC_ADDRESS")).filter(|address| address != "auto")
}

/// Connects to the cluster that is meant.
fn connect(base: &Path, to: &To) -> Result<Tool> {
    let address = address(to);
    if address.is_none() || to.token.is_none() {
        local::verify(base).map_err(told)?;
    }
    let known = match (&address, &to.token) {
        (None, _) => Some(local::auto(base).ok_or_else(|| nobody(base))?),
        // Whoever runs there, the token is what was given.
        (Some(_), Some(_)) => None,
        (Some(address), None) => local::at(base, address),
    };
    let at = known.as_ref().map(|entry| entry.address.to_string()).or(address).unwrap_or_default();
    // One in the environment may be of another cluster: a node of this machine has its own.
    let own = || known.map(|entry| entry.token);
    match to.token.clone().or_else(own).or_else(|| set("ACTINIC_TOKEN")) {
        Some(token) => Tool::join(&at, &token).map_err(told),
        None => Err(format!("there is no token for the cluster at {at}: give --token or ACTINIC_TOKEN")),
    }
}

fn nobody(base: &Path) -> String {
    let log = Some(local::last_log(base)).filter(|log| log.exists());
    let log = log.map(|log| format!("; the log of the last is {}", log.display())).unwrap_or_default();
    format!(
        "no node runs on this machine ({}){log}: start one with `{}`, or name one with --address",
        base.display(),
        say::command(base, "start --head")
    )
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

/// By name, of all nodes that live together.
fn sums(nodes: &[NodeInfo], of: impl Fn(&NodeInfo) -> &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    for (name, amount) in nodes.iter().filter(|node| node.alive).flat_map(of) {
        *sums.entry(name.clone()).or_default() += amount;
    }
    sums
}

pub(crate) fn status(base: &Path, status: &Status) -> Result<String> {
    let tool = connect(base, &status.to)?;
    let nodes = tool.nodes().map_err(told)?;
    let (workers, loads) = tool.workers().map_err(told)?;
    let (total, free) = (sums(&nodes, |node| &node.resources), sums(&nodes, |node| &node.available));
    let of_actors = tool.demands().map_err(told)?;
    let waiting: Vec<&Demand> = loads.iter().flat_map(|load| &load.demands).chain(&of_actors).collect();
    let stored: u64 = loads.iter().map(|load| load.stored).sum();
    if status.format == Format::Json {
        let rows: Vec<Value> = nodes.iter().map(node_row).collect();
        let queued: usize = loads.iter().map(|load| load.queued).sum();
        let document = json!({
            "cluster": tool.cluster(), "head": tool.head(), "nodes": rows, "resources": total, "available": free,
            "workers": workers.len(), "queued": queued, "stored": stored,
            "demands": waiting,
        });
        return Ok(format!("{document:#}"));
    }
    let alive = nodes.iter().filter(|node| node.alive).count();
    let mut lines = vec![
        format!("Cluster {}, head at {}", tool.cluster(), tool.head()),
        format!("Nodes: {alive} alive, {} dead. Workers: {}.", nodes.len() - alive, workers.len()),
    ];
    lines.extend(nodes.iter().map(node_line));
    lines.push("Resources, used of all:".to_owned());
    for (name, amount) in total.iter().filter(|(name, _)| !name.starts_with("node:")) {
        // Nothing is scheduled by it, so that nodes do not tell it with what is free.
        let used = match name.as_str() {
            "object_store_memory" => stored as f64,
            _ => amount - free.get(name).copied().unwrap_or_default(),
        };
        let show = |amount: f64| if name.contains("memory") { bytes(amount) } else { round(amount) };
        lines.push(format!("  {} of {} {}", show(used), show(*amount), plain(name)));
    }
    lines.extend(demand_lines(&waiting));
    Ok(lines.join("\n"))
}

fn node_line(node: &NodeInfo) -> String {
    let kind = if node.head { "head" } else { "node" };
    let state = if node.alive { "alive" } else { "dead" };
    let heard = node.heard.as_secs_f64();
    let host = plain(&node.hostname);
    format!("  {kind} {} {} ({host}) {state}, heard {heard:.1} s ago", node.id, node.address)
}

fn demand_lines(waiting: &[&Demand]) -> Vec<String> {
    let mut demands: BTreeMap<&str, u32> = BTreeMap::new();
    for demand in waiting {
        *demands.entry(&demand.shape).or_default() += demand.count;
    }
    let what = if demands.is_empty() { "none waits" } else { "what waits, and for how many workers or actors" };
    let each = demands.into_iter().map(|(shape, count)| format!("  {{{}}} × {count}", plain(shape)));
    std::iter::once(format!("Demands: {what}")).chain(each).collect()
}

fn node_row(node: &NodeInfo) -> Value {
    json!({
        "id": node.id.to_string(), "state": if node.alive { "ALIVE" } else { "DEAD" }, "head": node.head,
        "address": node.address, "hostname": node.hostname, "resources": node.resources, "available": node.available,
        "labels": node.labels, "heard_ms": node.heard.as_millis() as u64,
    })
}

/// How many rows of a table are shown if nobody says.
const ROWS: usize = 100;

/// Those that live first: the dead are kept for long, and may be all that a table has room for.
fn living_first(rows: &mut [Value]) {
    rows.sort_by_key(|row| row["state"] == "DEAD");
}

pub(crate) fn list(base: &Path, list: &List) -> Result<String> {
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
    if list.what == What::Actors {
        living_first(&mut rows);
    }
    if list.format == Format::Json {
        // What reads it would take some for all.
        rows.truncate(list.limit.unwrap_or(usize::MAX));
        return Ok(format!("{:#}", Value::Array(rows)));
    }
    let all = rows.len();
    rows.truncate(list.limit.unwrap_or(ROWS));
    let mut lines = table(columns, &rows);
    if all > rows.len() {
        lines.push(format!("({} more; --limit shows them)", all - rows.len()));
    }
    Ok(lines.join("\n"))
}

/// So many characters of a cell are shown: far more than any of ours has.
const CELL_MAX: usize = 2_000;

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

fn table(columns: &[&str], rows: &[Value]) -> Vec<String> {
    let mut lines: Vec<Vec<String>> = vec![columns.iter().map(|name| name.to_uppercase()).collect()];
    lines.extend(rows.iter().map(|row| columns.iter().map(|name| cell(&row[*name])).collect()));
    let widths: Vec<usize> =
        (0..columns.len()).map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0)).collect();
    let aligned = |line: Vec<String>| {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    lines.into_iter().map(aligned).collect()
}

pub(crate) fn token(base: &Path, token: &Token) -> Result<String> {
    match &token.what {
        TokenWhat::Create(to) => {
            if address(to).is_some() || local::nodes(base).iter().any(|found| found.alive) {
                return connect(base, to)?.create_token().map_err(told);
            }
            let token = actinic::node::prepare_token(base).map_err(told)?;
            complain("no node runs here: this token is for a head that is started here with --token");
            Ok(token)
        }
        TokenWhat::Show(to) => {
            let tokens = connect(base, to)?.show_tokens().map_err(told)?;
            if tokens.is_empty() {
                complain(&format!("no token admits: `{}` makes one", say::command(base, "token create")));
            }
            Ok(tokens.join("\n"))
        }
        TokenWhat::Revoke { revoked, to } => {
            connect(base, to)?.revoke_token(revoked).map_err(told)?;
            Ok("Revoked.".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{CELL_MAX, cell, living_first};

    #[test]
    fn actors_that_live_come_first() {
        let row = |(id, state): (u32, &str)| json!({"id": id, "state": state});
        let mut rows = [(1, "DEAD"), (2, "ALIVE"), (3, "DEAD"), (4, "PENDING_CREATION")].map(row);
        living_first(&mut rows);
        assert_eq!(rows.map(|row| row["id"].as_u64().unwrap_or_default()), [2, 4, 1, 3]);
    }

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
