//! `actinic start`: a node in this process, or as a daemon of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use actinic::node::{Node, Resources, Role, Settings, local};
use serde::{Deserialize, Serialize};

use crate::flags::Start;
use crate::left::end_processes;
use crate::say::{self, complain};
use crate::{Result, daemon, told};

const PORT: u16 = 6379;

/// What a daemon tells `start` when its node runs, or why it does not.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    Started { entry: local::Entry, token: Option<String>, log: String },
    Failed(String),
}

pub(crate) fn run(base: &Path, flags: Box<Start>) -> Result<String> {
    notices(&flags).iter().for_each(|notice| complain(notice));
    local::prepare(base).map_err(told)?;
    daemon::raise_open_files();
    clean(base);
    let block = flags.block;
    let settings = settings(base, *flags)?;
    if block { blocking(&settings).map(|()| String::new()) } else { detached(&settings) }
}

/// Removes dead nodes, and what still runs of them first: nobody else would know whose it is.
fn clean(base: &Path) {
    let dead: Vec<local::Found> = local::nodes(base).into_iter().filter(|found| !found.alive).collect();
    let left = end_processes(base, &dead, false);
    if left > 0 {
        complain(&format!("{left} process(es) that dead nodes had left were killed"));
    }
    if let Some(log) = dead.iter().find_map(|found| local::keep_log(base, &found.dir)) {
        complain(&format!("a node had ended without a word; its log is kept as {}", log.display()));
    }
    local::clean(base, &dead);
}

/// What is understood and not there yet.
fn notices(flags: &Start) -> Vec<String> {
    let mut notices = Vec::new();
    if flags.dashboard_host.is_some() || flags.dashboard_port.is_some() {
        notices.push("there is no dashboard yet: --dashboard-host and --dashboard-port have no effect".to_owned());
    }
    if flags.object_manager_port.is_some() || flags.node_manager_port.is_some() {
        notices.push(
            "a node has one port, --port: --object-manager-port and --node-manager-port have no effect".to_owned(),
        );
    }
    if let Some(storage) = &flags.storage {
        notices.push(format!("the GCS keeps its tables in memory as yet: --storage {storage} has no effect"));
    }
    notices
}

fn settings(base: &Path, flags: Start) -> Result<Settings> {
    let set = || std::env::var("ACTINIC_TOKEN").ok().filter(|token| !token.is_empty());
    let role = match flags.address {
        None => {
            // One in the environment is of another cluster, unless it was made for this one.
            let prepared = || set().filter(|token| actinic::node::is_prepared(base, token));
            Role::Head { token: flags.token.or_else(prepared), port: flags.port.unwrap_or(PORT) }
        }
        Some(address) => {
            // On the head's own machine its token need not be said.
            let known = || local::at(base, &address).and_then(|entry| head_token(&entry));
            let token = flags.token.or_else(known).or_else(set).ok_or(
                "a node joins with a token: give --token or ACTINIC_TOKEN, as `actinic token show` prints it on the head's \
                 machine (with --state-dir, if the head was started with one)",
            )?;
            Role::Join { address, token, port: flags.port.unwrap_or(0) }
        }
    };
    let resources = Resources {
        num_cpus: flags.num_cpus,
        num_gpus: flags.num_gpus,
        memory: flags.memory.map(|bytes| bytes as f64),
        resources: flags.resources.map(|amounts| amounts.0).unwrap_or_default(),
        labels: flags.labels.map(|labels| labels.0).unwrap_or_default(),
        object_store_memory: flags.object_store_memory,
    };
    Ok(Settings { role, resources, ip: flags.node_ip_address, base: base.to_path_buf() })
}

/// A token for other machines, asked of the head of this one.
fn head_token(entry: &local::Entry) -> Option<String> {
    let tool = actinic::node::Tool::join(&entry.address.to_string(), &entry.token).ok()?;
    tool.show_tokens().ok()?.into_iter().next()
}

fn blocking(settings: &Settings) -> Result<()> {
    let signals = daemon::Signals::block();
    daemon::log();
    let claim = local::claim(&settings.base).map_err(told)?;
    let node = begin(settings, claim)?;
    let text = how_to_use(settings, node.entry(), node.token().as_deref(), None);
    // Whoever was to read it may have gone: the node is as good without.
    let _ = say::print(&format!("{text}\nThe node runs in the foreground; Ctrl-C ends it."));
    let why = daemon::watch(&node, signals);
    tracing::info!(target: "actinic", why, "the node ends");
    daemon::end(node, &settings.base);
    match why.strip_prefix(daemon::SIGNAL) {
        Some(_) => Ok(()),
        None => Err(format!("the node ended: {why}")),
    }
}

/// Starts a node; its directory goes if that fails.
pub(crate) fn begin(settings: &Settings, claim: local::Claim) -> Result<Node> {
    let dir = claim.dir.clone();
    Node::start(settings, claim).map_err(|error| {
        let _ = std::fs::remove_dir_all(dir);
        local::tidy(&settings.base);
        in_use(settings, told(error))
    })
}

/// If the port is in use by a node of this machine, that is the thing to say.
fn in_use(settings: &Settings, text: String) -> String {
    let other = local::nodes(&settings.base)
        .into_iter()
        .filter(|found| found.alive)
        .filter_map(|found| found.entry)
        .find(|entry| text.contains(&format!("{} is in use", entry.address)));
    match other {
        Some(entry) => format!(
            "{} is in use by a node that runs already (pid {}): `{}` ends it, or choose another --port",
            entry.address,
            entry.pid,
            say::command(&settings.base, "stop")
        ),
        None => text,
    }
}

fn detached(settings: &Settings) -> Result<String> {
    let this = std::env::current_exe().map_err(|error| format!("this program cannot be found: {error}"))?;
    let mut command = Command::new(this);
    // What a task has started names the task's node; a daemon is of no other node.
    command.env_remove(actinic::node::WORKER_NODE);
    command.arg("daemon").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    // SAFETY: setsid is safe to call between fork and exec, and touches no memory.
    unsafe {
        command.pre_exec(|| {
            // The child is no group's leader, so this cannot fail: it has no terminal from now on.
            libc::setsid();
            Ok(())
        });
    }
    let mut child = command.spawn().map_err(|error| format!("the daemon could not be started: {error}"))?;
    // By a pipe, so that no token is seen in a list of processes.
    let text = serde_json::to_vec(settings).map_err(|error| error.to_string())?;
    let written = child.stdin.take().map(|mut pipe| pipe.write_all(&text));
    if let Some(Err(error)) = written {
        return Err(format!("the daemon does not listen: {error}"));
    }
    let mut line = String::new();
    if let Some(pipe) = child.stdout.take() {
        BufReader::new(pipe).take(1 << 20).read_line(&mut line).map_err(|error| error.to_string())?;
    }
    match serde_json::from_str(&line) {
        Ok(Report::Started { entry, token, log }) => {
            crate::end_with_reader();
            Ok(how_to_use(settings, &entry, token.as_deref(), Some(&log)))
        }
        Ok(Report::Failed(text)) => {
            let _ = child.wait();
            Err(text)
        }
        Err(_) => {
            let ended = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
            Err(format!("the daemon ended before it reported: {ended}"))
        }
    }
}

/// How the node is reached, and what to do next.
fn how_to_use(settings: &Settings, entry: &local::Entry, token: Option<&str>, log: Option<&str>) -> String {
    let base = &settings.base;
    let at = entry.address.to_string();
    let word = say::word(&at);
    let mut lines = Vec::new();
    if entry.head {
        lines.push(format!("The head of cluster {} listens at {at} (UDP).", entry.cluster));
    } else {
        let head = entry.head_address;
        lines.push(format!("Node {} joined the cluster at {head}, and listens at {at} (UDP).", entry.node));
    }
    lines.push(String::new());
    if let (true, Some(token)) = (entry.head, token) {
        lines.extend([
            "To join another machine, paste this there:".to_owned(),
            format!("  actinic start --address {word} --token {token}"),
            String::new(),
            "(Where others have accounts on that machine, set ACTINIC_TOKEN there in place of --token: they see commands.)".into(),
            String::new(),
            "To connect a program from another machine:".to_owned(),
            format!("  ACTINIC_ADDRESS={word} ACTINIC_TOKEN={token} cargo run"),
            String::new(),
        ]);
    }
    lines.extend([
        "To connect a program on this machine (in code: `actinic::init().address(\"auto\")`):".to_owned(),
        format!("  {}ACTINIC_ADDRESS=auto cargo run", say::variable(base)),
        String::new(),
        format!("To stop it:    {}", say::command(base, "stop")),
    ]);
    lines.extend(log.map(|log| format!("Its log:       {log}")));
    lines.push(format!("Next:          {}", say::command(base, "status")));
    lines.join("\n")
}
