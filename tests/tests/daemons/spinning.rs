//! What a driver asks of two daemons while user code spins on one of them.

use super::*;
use crate::promise::SPINNING;

/// The driver, what spins, and each daemon are processes of their own: the questions for objects go over UDP to the process
/// that spins, as do the cancellations of an actor's calls, and the heartbeats of its node go from daemon to daemon.
#[test]
fn all_is_answered_while_a_worker_of_a_daemon_spins() {
    let (head, second) = (Machine::new("spinning"), Machine::new("spinning-second"));
    head.ok(&["start", "--head", "--node-ip-address", "127.0.0.1", "--port", "0", "--num-cpus", "0"]);
    second.join(&head.entry("address"), &head.token());
    let _alone = SPINNING.blocking_lock();
    let mut program = head.start("spins");
    program.until("connected");
    let mut said = Vec::new();
    while said.last().is_none_or(|line| line != "ok") {
        said.push(program.line());
        println!("{}", said[said.len() - 1]);
    }
    assert_eq!(said.iter().filter(|line| line.starts_with("a heartbeat, late: ")).count(), 3);
    program.ends();
}
