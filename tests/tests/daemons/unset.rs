//! Nodes of which next to nothing is said: where they listen, keep their state, and what token they have.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::support::alone_in;

/// This machine's address as others see it, or loopback if there is no way to any.
fn outward() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
    let routed = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
    routed.map_or(IpAddr::from([127, 0, 0, 1]), |at| at.ip())
}

/// Where commands and programs look that are told nothing: the same for all sessions of a user. It runs in a `/tmp` that is
/// no other process's, for a node there is this user's.
#[test]
#[ignore = "run by the next one"]
fn in_a_tmp_of_its_own() {
    let user = std::fs::metadata("/proc/self").expect("there is /proc").uid();
    let machine = Machine { dir: PathBuf::from(format!("/tmp/actinic-{user}")), default: true };
    let second = Machine::new("unset-second");
    let session = |program: &Path, args: &[&str], home: &str| {
        let mut command = machine.command(program, args);
        command.env("HOME", home).env("XDG_RUNTIME_DIR", home).env("ACTINIC_ADDRESS", "auto");
        command
    };
    // Any port: the default one may be another's on the machine that runs this.
    let started = session(actinic(), &["start", "--head", "--port", "0"], "/var/tmp").status();
    assert!(started.expect("the command runs").success());
    assert_eq!(machine.entry("address").parse::<std::net::SocketAddr>().expect("an address").ip(), outward());
    let status = machine.ok(&["status"]);
    assert!(status.contains("1 alive") && status.contains("none waits"), "{status}");
    machine.start("one").ends();
    Program::new(&mut session(Path::new(PROGRAM), &["one"], "/")).ends();
    second.ok(&["start", "--address", &machine.entry("address"), "--token", &machine.token()]);
    assert_eq!(second.entry("address").parse::<std::net::SocketAddr>().expect("an address").ip(), outward());
    assert!(second.ok(&["status"]).contains("2 alive"));
    machine.ok(&["stop"]);
    assert!(!machine.dir.exists());
}

/// A node listens on the default route's address, and is found in the default directory by whatever runs beside it.
#[test]
fn a_node_needs_no_setting() {
    let tmp = Scratch::new();
    let dir = tmp.dir();
    let this = std::env::current_exe().expect("this program has a path");
    let mounted = r#"mount --bind "$0" /tmp && test -x "$1" && test -x "$2" || exit 125; shift; shift; exec "$@""#;
    let wrap = ["unshare", "--map-current-user", "--mount", "sh", "-c", mounted, &dir];
    let paths = [&this, actinic()].map(|path| path.display().to_string());
    let wrap: Vec<&str> = wrap.into_iter().chain(paths.iter().map(String::as_str)).collect();
    let may = Command::new(wrap[0]).args(&wrap[1..]).arg("true").output();
    if may.as_ref().is_ok_and(|out| out.status.success()) {
        alone_in(&wrap, "daemons::unset::in_a_tmp_of_its_own", &[]);
    } else {
        println!("not tried: this user may have no /tmp of its own here: {may:?}");
    }
}

/// A token that was made before there was a head admits to the head that is started with it.
#[test]
fn a_token_may_be_made_before_its_head() {
    let (machine, second) = (Machine::new("early"), Machine::new("early-second"));
    let token = machine.ok(&["token", "create"]).trim().to_owned();
    let head = ["start", "--head", "--node-ip-address", "127.0.0.1", "--port", "0", "--num-cpus", "2"];
    let said = machine.ok(&[&head[..], &["--token", &token]].concat());
    assert!(said.contains(&token), "{said}");
    assert_eq!(machine.token(), token);
    second.join(&machine.entry("address"), &token);
    assert!(machine.ok(&["status"]).contains("2 alive"));
    let mut program = machine.command(Path::new(PROGRAM), &["one"]);
    program.env("ACTINIC_ADDRESS", machine.entry("address")).env("ACTINIC_TOKEN", &token);
    Program::new(&mut program).ends();
    // One of another cluster is for none that is started here.
    let said = second.fails(&[&head[..], &["--token", &token]].concat());
    assert!(said.contains("actinic token create"), "{said}");
}
