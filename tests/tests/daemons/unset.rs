//! Nodes of which next to nothing is said: where they listen, keep their state, and what token they have.

use std::net::IpAddr;

use super::*;

impl Machine {
    /// One whose commands are told nothing of its state directory: they find it by the user's home.
    fn at_home(name: &str) -> Machine {
        let home = std::env::temp_dir().join(format!("actinic-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&home).expect("a home");
        Machine { dir: home.join("actinic"), home: Some(home) }
    }
}

/// This machine's address as others see it, or loopback if there is no way to any.
fn outward() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
    let routed = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
    routed.map_or(IpAddr::from([127, 0, 0, 1]), |at| at.ip())
}

/// A node listens on the default route's address, and is found in the default directory by whatever runs beside it.
#[test]
fn a_node_needs_no_setting() {
    let (machine, second) = (Machine::at_home("home"), Machine::at_home("home-second"));
    // Any port: the default one may be another's on the machine that runs this.
    machine.ok(&["start", "--head", "--port", "0"]);
    assert_eq!(machine.entry("address").parse::<std::net::SocketAddr>().expect("an address").ip(), outward());
    assert!(machine.dir.is_dir(), "it is at home");
    let status = machine.ok(&["status"]);
    assert!(status.contains("1 alive") && status.contains("none waits"), "{status}");
    machine.start("one").ends();
    second.ok(&["start", "--address", &machine.entry("address"), "--token", &machine.token()]);
    assert_eq!(second.entry("address").parse::<std::net::SocketAddr>().expect("an address").ip(), outward());
    assert!(second.ok(&["status"]).contains("2 alive"));
    machine.ok(&["stop"]);
    assert!(!machine.dir.exists());
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
