//! How often the bytes of an argument or an object are copied on their way, counted by valgrind.
//!
//! `valgrind --tool=dhat --mode=copy` counts the bytes that each call of `memcpy`, `memmove` and their like copies, in all
//! processes of a run. A path is run for few operations and for many with a text of 64 KiB, and the difference is
//! divided by the operations and the length: what is copied once is 1. What the kernel copies (once when a datagram is
//! sent, once when it is received) and what is encrypted in place is not counted.

use std::path::Path;
use std::process::{Command, Stdio};

use actinic::prelude::*;

use crate::Result;
use crate::args::Options;
use crate::groups::this_program;
use crate::measure::check;
use crate::rows::actors::Echo;

/// The length of a text that travels within the call, and of one that is an object of its own.
const INSIDE: usize = 64 << 10;
const OBJECT: usize = 1 << 20;

const PATHS: &[&str] = &[
    "task, embedded, argument",
    "task, embedded, result",
    "task, worker process, argument",
    "task, worker process, result",
    "actor call, in process, argument",
    "actor call, over QUIC, argument",
    "object, embedded",
    "object, worker process",
    "put and get, embedded",
    "get of a large local object",
];

#[actinic::remote]
fn length(text: String) -> i64 {
    text.len() as i64
}

#[actinic::remote]
fn text_of(length: i64) -> String {
    text(usize::try_from(length).unwrap_or_default())
}

/// Filled, not copied.
fn text(length: usize) -> String {
    String::from_utf8(vec![b'x'; length]).unwrap_or_default()
}

/// Runs one path: `--internal-part copies NAME N`.
pub(crate) async fn part(name: &str, count: usize) -> Result<()> {
    let over_quic = name.contains("worker process") || name.contains("QUIC");
    let init = actinic::init().num_cpus(1);
    let cluster = if over_quic { init.workers(Workers::Processes).await? } else { init.await? };
    let actor = if name.starts_with("actor") { Some(Echo::remote()) } else { None };
    let size = size(name);
    if name.starts_with("get") {
        let object = actinic::put(&Buffer::from(vec![b'x'; size])).await?;
        for _ in 0..count {
            check(actinic::get(&object).await?.len() == size, "the length of a buffer")?;
        }
        drop(object);
        return Ok(cluster.shutdown().await?);
    }
    for _ in 0..count {
        let text = text(size);
        let got = match &actor {
            Some(actor) => actor.length(text).await?,
            None if name.ends_with("result") => text_of::remote(size as i64).await?.len() as i64,
            None if name.starts_with("put") => actinic::get(&actinic::put(&text).await?).await?.len() as i64,
            None if name.starts_with("object") => length::remote(actinic::put(&text).await?).await?,
            None => length::remote(text).await?,
        };
        check(got == size as i64, "the length of a text")?;
    }
    drop(actor);
    Ok(cluster.shutdown().await?)
}

fn size(name: &str) -> usize {
    if name.starts_with("object") || name.starts_with("get") { OBJECT } else { INSIDE }
}

pub(crate) fn run_all(options: &Options) -> Result<bool> {
    let (few, many) = (10, options.size(110, 30));
    for name in PATHS.iter().filter(|name| options.wants("copies", name)) {
        let copied = (counted(name, many)? - counted(name, few)?) / (many - few) as f64;
        println!("{name}: {:.2} copies of {} KiB", copied / size(name) as f64, size(name) >> 10);
    }
    Ok(true)
}

/// The bytes that all processes of a run copy.
fn counted(name: &str, count: usize) -> Result<f64> {
    let out = std::env::temp_dir().join(format!("bench-copies-{}", std::process::id()));
    std::fs::create_dir_all(&out)?;
    let counted = counted_into(&out, name, count);
    let _ = std::fs::remove_dir_all(&out);
    counted
}

fn counted_into(out: &Path, name: &str, count: usize) -> Result<f64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=dhat", "--mode=copy", "--trace-children=yes", "-q"]);
    command.arg(format!("--dhat-out-file={}/%p", out.display()));
    command.arg(this_program()?.get_program());
    command.args(["--internal-part", "copies", name, &count.to_string()]);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let status = status.map_err(|error| format!("valgrind: {error}"))?;
    if !status.success() {
        return Err(format!("valgrind of {name}: {status}").into());
    }
    let mut bytes = 0.0;
    for file in std::fs::read_dir(out)? {
        let dhat: serde_json::Value = serde_json::from_reader(std::fs::File::open(file?.path())?)?;
        let points = dhat["pps"].as_array().map(Vec::as_slice).unwrap_or_default();
        bytes += points.iter().filter_map(|point| point["tb"].as_f64()).sum::<f64>();
    }
    Ok(bytes)
}
