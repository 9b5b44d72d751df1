//! The command line.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

/// Actinic: Ray Core for Rust. Starts nodes, and looks at clusters.
#[derive(Debug, Parser)]
#[command(name = "actinic", version)]
pub(crate) struct Flags {
    /// Where the nodes of this machine keep their state [default: $ACTINIC_STATE_DIR or /tmp/actinic-UID]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a node on this machine: the head of a new cluster, or a further node of one
    Start(Box<Start>),
    /// End the nodes of this machine, and everything that runs on them
    Stop(Stop),
    /// What the cluster has, what of it is free, and what waits
    Status(Status),
    /// List nodes, actors, jobs or workers
    List(List),
    /// Make, show or take back the tokens that let machines and programs join
    Token(Token),
    /// The daemon itself; `start` runs it
    #[command(hide = true)]
    Daemon,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("role").required(true).args(["head", "address"])))]
pub(crate) struct Start {
    /// Begin a new cluster
    #[arg(long)]
    pub(crate) head: bool,
    /// Join the cluster whose head listens there
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) address: Option<String>,
    /// The cluster's token; for a head, one that `actinic token create` made before [default: $ACTINIC_TOKEN]
    #[arg(long, value_name = "T")]
    pub(crate) token: Option<String>,
    /// The port to listen on (UDP) [default: 6379 for a head, else any]
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// The address of this machine to listen on [default: the default route's]
    #[arg(long, value_name = "A")]
    pub(crate) node_ip_address: Option<IpAddr>,
    /// Logical CPUs [default: the machine's]
    #[arg(long, value_name = "N", value_parser = amount, allow_negative_numbers = true)]
    pub(crate) num_cpus: Option<f64>,
    /// Logical GPUs [default: those that NVIDIA's driver shows]
    #[arg(long, value_name = "N", value_parser = amount, allow_negative_numbers = true)]
    pub(crate) num_gpus: Option<f64>,
    /// Bytes of memory to schedule by, as in 4e9 [default: 60 % of what is available]
    #[arg(long, value_name = "B", value_parser = bytes, allow_negative_numbers = true)]
    pub(crate) memory: Option<u64>,
    /// Custom resources, as in '{"disk": 2}'
    #[arg(long, value_name = "JSON", value_parser = resources)]
    pub(crate) resources: Option<Amounts>,
    /// Labels, as in zone=a,kind=spot (or JSON)
    #[arg(long, value_name = "K=V,..", value_parser = labels)]
    pub(crate) labels: Option<Labels>,
    /// Bytes of the object store, as in 4e9 [default: 30 % of what is available]
    #[arg(long, value_name = "B", value_parser = bytes, allow_negative_numbers = true)]
    pub(crate) object_store_memory: Option<u64>,
    /// Stay in the foreground, and end with Ctrl-C
    #[arg(long)]
    pub(crate) block: bool,
    /// Where to serve the dashboard (no effect yet)
    #[arg(long, value_name = "H")]
    pub(crate) dashboard_host: Option<String>,
    /// Where to serve the dashboard (no effect yet)
    #[arg(long, value_name = "P")]
    pub(crate) dashboard_port: Option<u16>,
    /// The object manager's port (no effect yet)
    #[arg(long, value_name = "P")]
    pub(crate) object_manager_port: Option<u16>,
    /// The node manager's port (no effect yet)
    #[arg(long, value_name = "P")]
    pub(crate) node_manager_port: Option<u16>,
    /// Where the GCS keeps its tables: redb:PATH or redis://.. (no effect yet)
    #[arg(long, value_name = "URL")]
    pub(crate) storage: Option<String>,
}

/// Custom resources by name.
#[derive(Clone, Debug)]
pub(crate) struct Amounts(pub(crate) BTreeMap<String, f64>);

/// Labels by key.
#[derive(Clone, Debug)]
pub(crate) struct Labels(pub(crate) BTreeMap<String, String>);

fn amount(text: &str) -> Result<f64, String> {
    let amount: f64 = text.parse().map_err(|_| "a number is wanted".to_owned())?;
    if amount.is_finite() && amount >= 0.0 { Ok(amount) } else { Err("a number from 0 on is wanted".to_owned()) }
}

/// Bytes as people write them: 1000000000 or 1e9.
fn bytes(text: &str) -> Result<u64, String> {
    // As it is, where a number with a point would lose the last digits.
    if let Ok(bytes) = text.parse() {
        return Ok(bytes);
    }
    let bytes = amount(text).map_err(|_| "a number of bytes is wanted, as 1e9 is".to_owned())?;
    if bytes.fract() == 0.0 && bytes < u64::MAX as f64 {
        Ok(bytes as u64)
    } else {
        Err("whole bytes are wanted".to_owned())
    }
}

fn resources(text: &str) -> Result<Amounts, String> {
    let named: BTreeMap<String, f64> =
        serde_json::from_str(text).map_err(|error| format!("JSON of names and numbers is wanted: {error}"))?;
    Ok(Amounts(named))
}

fn labels(text: &str) -> Result<Labels, String> {
    if text.trim_start().starts_with('{') {
        let named = serde_json::from_str(text).map_err(|error| format!("JSON of keys and texts is wanted: {error}"))?;
        return Ok(Labels(named));
    }
    let pair = |part: &str| -> Result<(String, String), String> {
        let (key, value) = part.split_once('=').ok_or_else(|| format!("{part:?} is no key=value"))?;
        Ok((key.trim().to_owned(), value.trim().to_owned()))
    };
    let mut labels = BTreeMap::new();
    for part in text.split(',').filter(|part| !part.trim().is_empty()) {
        let (key, value) = pair(part)?;
        if let Some(first) = labels.insert(key.clone(), value) {
            return Err(format!("{key:?} is given twice, the first time as {first:?}"));
        }
    }
    Ok(Labels(labels))
}

#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Do not wait for anything to end in good order
    #[arg(long, short)]
    pub(crate) force: bool,
}

/// Which cluster is meant.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct To {
    /// A node of the cluster [default: $ACTINIC_ADDRESS, else the node of this machine]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) address: Option<String>,
    /// The cluster's token [default: $ACTINIC_TOKEN; on the machine of a node none is needed]
    #[arg(long, value_name = "T")]
    pub(crate) token: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) to: To,
    /// How to print it
    #[arg(long, default_value = "table")]
    pub(crate) format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns
    #[default]
    Table,
    /// One JSON document
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// What to list
    pub(crate) what: What,
    /// At most so many [default: 100 in a table, else all]
    #[arg(long)]
    pub(crate) limit: Option<usize>,
    #[command(flatten)]
    pub(crate) to: To,
    /// How to print it
    #[arg(long, default_value = "table")]
    pub(crate) format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Machines, dead ones included
    Nodes,
    /// Actors, dead ones included
    Actors,
    /// Drivers' work
    Jobs,
    /// Processes that run tasks and actors
    Workers,
}

#[derive(Debug, Args)]
pub(crate) struct Token {
    #[command(subcommand)]
    pub(crate) what: TokenWhat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenWhat {
    /// Make another token; without a cluster on this machine, one for the head that will be started
    Create(To),
    /// Print the tokens that admit, the newest first
    Show(To),
    /// Take a token back; whoever was admitted by it stays
    Revoke {
        /// The token
        #[arg(value_name = "TOKEN")]
        revoked: String,
        #[command(flatten)]
        to: To,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_takes_every_flag_of_start() {
        Flags::command().debug_assert();
        let line = "actinic start --head --port 1 --node-ip-address 127.0.0.1 --num-cpus 2 --num-gpus 0.5 \
                    --resources {\"a\":1} --labels zone=a,kind=b --object-store-memory 7 --dashboard-host h \
                    --dashboard-port 2 --object-manager-port 3 --node-manager-port 4 --storage redb:x --token t \
                    --state-dir d --block";
        let Command::Start(start) = Flags::try_parse_from(line.split_whitespace()).expect("it is right").command else {
            panic!("another command");
        };
        assert_eq!(start.resources.map(|amounts| amounts.0), Some(BTreeMap::from([("a".to_owned(), 1.0)])));
        assert_eq!(start.labels.map(|labels| labels.0.len()), Some(2));
    }

    #[test]
    fn a_wrong_command_line_says_what_is_wanted() {
        let cases = [
            ("actinic start", "--head|--address"),
            ("actinic start --token t", "--head|--address"),
            ("actinic start --head --address a:1", "cannot be used with"),
            ("actinic start --head --num-cpus -1", "from 0 on"),
            ("actinic start --head --num-cpus=-1", "from 0 on"),
            ("actinic start --head --object-store-memory -1", "a number of bytes"),
            ("actinic start --head --memory 1.5", "whole bytes"),
            ("actinic start --head --memory 1e30", "whole bytes"),
            ("actinic start --head --resources [1]", "JSON of names and numbers"),
            ("actinic start --head --labels zone", "key=value"),
            ("actinic start --head --labels zone=a,zone=b", "twice"),
            ("actinic token show --format json", "--format"),
            ("actinic start --head --port 70000", "65535"),
            ("actinic list things", "nodes, actors, jobs, workers"),
        ];
        for (line, says) in cases {
            let error = Flags::try_parse_from(line.split_whitespace()).expect_err(line).to_string();
            assert!(error.contains(says), "{line}: {error}");
        }
    }

    #[test]
    fn bytes_are_written_as_people_write_them() {
        for (text, read) in [("0", 0), ("1e9", 1_000_000_000), ("18446744073709551615", u64::MAX), ("2.5e3", 2_500)] {
            assert_eq!(bytes(text), Ok(read), "{text}");
        }
        for line in ["--memory 1e9", "--object-store-memory 1e9"] {
            let line = format!("actinic start --head {line}");
            Flags::try_parse_from(line.split_whitespace()).expect("it is right");
        }
    }
}
