//! Wrong addresses, tokens and ports: each is named in time, with what to do, and harms nobody.

use actinic::Error;

use super::*;

#[test]
fn what_goes_wrong_is_said_in_one_line_with_exit_code_1() {
    let (machine, other) = (Machine::new("wrong"), Machine::new("wrong-other"));
    assert!(machine.fails(&["status"]).contains("actinic start --head"));
    assert!(machine.ok(&["stop"]).contains("No node runs"), "stopping nothing is no failure");
    let address = machine.head();
    let port = address.rsplit_once(':').expect("host and port").1;
    let second = ["start", "--head", "--node-ip-address", "127.0.0.1", "--port", port];
    let said = timed("a port in use", IN_TIME, || machine.fails(&second));
    assert!(said.contains("in use") && said.contains("actinic stop"), "{said}");
    let said = timed("a port in use", IN_TIME, || other.fails(&second));
    assert!(said.contains("in use") && said.contains(&address) && said.contains("choose another port"), "{said}");
    assert!(!other.dir.exists(), "a node that did not start leaves nothing");
    assert_eq!(machine.nodes().len(), 1, "the first one is unharmed");

    let token = machine.token();
    let tail = if token.ends_with('0') { '1' } else { '0' };
    let mistyped = format!("{}{tail}", &token[..token.len() - 1]);
    let refused = |token: &str| {
        let start = ["start", "--address", &address, "--token", token];
        timed("a wrong token", IN_TIME, || other.fails(&start))
    };
    assert!(refused(&mistyped).contains("mistyped"));
    let said = other.fails(&["start", "--address", &address]);
    assert!(said.contains("--token") && said.contains("ACTINIC_TOKEN"), "{said}");
    machine.ok(&["token", "create"]);
    machine.ok(&["token", "revoke", &token]);
    let said = refused(&token);
    assert!(said.contains(&address) && said.contains("refused the token") && said.contains("token show"), "{said}");
    assert!(machine.fails(&["token", "revoke", &token]).contains("does not know"));
    machine.ok(&["status"]);
}

#[test]
fn a_program_is_told_why_it_cannot_connect() {
    let (machine, other) = (Machine::new("refused"), Machine::new("refused-other"));
    let stderr = |machine: &Machine, variables: &[(&str, &str)]| {
        let mut command = machine.command(Path::new(PROGRAM), &["one"]);
        let command = command.envs(variables.iter().copied());
        let out = timed("a refusal", IN_TIME, || command.output().expect("the program runs"));
        assert!(!out.status.success());
        text(&out.stderr)
    };
    let said = stderr(&machine, &[("ACTINIC_ADDRESS", "auto")]);
    assert!(said.contains("Connection") && said.contains("actinic start --head"), "{said}");
    let address = machine.head();
    other.head();
    let said = stderr(&machine, &[("ACTINIC_ADDRESS", &address), ("ACTINIC_TOKEN", &other.token())]);
    assert!(said.contains("Unauthorized") && said.contains("token show"), "{said}");
    let said = stderr(&other, &[("ACTINIC_ADDRESS", &address)]);
    assert!(said.contains("Unauthorized") && said.contains("ACTINIC_TOKEN"), "{said}");
    for wrong in ["127.0.0.1", "127.0.0.1:port", "no such host:6379"] {
        let said = stderr(&machine, &[("ACTINIC_ADDRESS", wrong), ("ACTINIC_TOKEN", &machine.token())]);
        assert!(said.contains("Connection") && said.contains("no address of a cluster"), "{said}");
    }
    let out = machine
        .command(Path::new(PROGRAM), &["one"])
        .envs([("ACTINIC_ADDRESS", &address), ("ACTINIC_TOKEN", &machine.token())])
        .output()
        .expect("the program runs");
    assert!(out.status.success(), "address and token: {}", text(&out.stderr));
}

/// A port of this machine that is closed.
fn closed() -> String {
    let nobody = UdpSocket::bind("127.0.0.1:0").expect("a port");
    nobody.local_addr().expect("an address").to_string()
}

/// Where nobody answers: a command, a node and a program are told so in time, whatever token they have.
#[test]
fn a_wrong_address_is_known_in_time() {
    let (machine, other) = (Machine::new("address"), Machine::new("address-other"));
    machine.head();
    let token = machine.token();
    // It takes what arrives, and answers nothing.
    let mute = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let mute = (mute.local_addr().expect("an address").to_string(), mute);
    let soon = Duration::from_secs(3);
    for (at, says, remedy, within) in [
        (&closed(), "nobody listens", "start a node there, or correct the address", soon),
        (&mute.0, "no answer", "check the address", soon + Duration::from_secs(1)),
    ] {
        let named = |said: &str| {
            for part in [at, says, remedy] {
                assert!(said.contains(part), "{part:?} is not in: {said}");
            }
        };
        for command in ["status", "start"] {
            let args = [command, "--address", at, "--token", &token];
            named(&timed(command, within, || other.fails(&args)));
        }
        let init = actinic::init().separate().address(at).token(&token);
        let error = timed("init", within, || init.blocking().expect_err("nobody is there"));
        assert!(matches!(error, Error::Connection { .. }), "{error:?}");
        named(&error.to_string());
    }
    assert!(!other.dir.exists(), "a node that did not start leaves nothing");
    assert!(machine.ok(&["status"]).contains("1 alive"));
    machine.start("one").ends();
}

/// An address that others cannot use is refused; a token in the environment that is of another cluster does no harm on the
/// machine of a node; and a state directory that others may enter is named, not passed over.
#[test]
fn what_cannot_be_meant_is_said() {
    let (machine, other) = (Machine::new("meant"), Machine::new("meant-other"));
    let said = machine.fails(&["start", "--head", "--node-ip-address", "0.0.0.0", "--port", "0"]);
    assert!(said.contains("0.0.0.0") && said.contains("--node-ip-address"), "{said}");
    other.head();
    let foreign = other.token();
    let with = |args: &[&str]| {
        let said = machine.command(actinic(), args).env("ACTINIC_TOKEN", &foreign).output().expect("the command runs");
        assert!(said.status.success(), "{args:?}: {}", text(&said.stderr));
        text(&said.stdout)
    };
    let said = with(&["start", "--head", "--node-ip-address", "127.0.0.1", "--port", "0"]);
    assert!(!said.contains(&foreign), "{said}");
    with(&["status"]);
    let open = |mode: &str| Command::new("chmod").arg(mode).arg(&machine.dir).status().expect("chmod runs").success();
    assert!(open("755"));
    for command in ["status", "stop"] {
        let said = machine.fails(&[command]);
        assert!(said.contains("others may enter it") && said.contains("0700"), "{said}");
    }
    assert!(open("700"));
    assert!(machine.ok(&["stop"]).contains("Stopped 1 node."));
}

/// A node in the foreground says what a daemon says in its log.
#[test]
fn a_node_in_the_foreground_says_what_happens() {
    let machine = Machine::new("says");
    let args = ["start", "--head", "--node-ip-address", "127.0.0.1", "--port", "0", "--block"];
    let mut command = machine.command(actinic(), &args);
    command.env("ACTINIC_LOG", "actinic=info").stdout(Stdio::null()).stderr(Stdio::piped());
    let node = command.spawn().expect("the command runs");
    eventually("it runs", LONG, || !machine.nodes().is_empty());
    assert!(Command::new("kill").arg(node.id().to_string()).status().expect("kill runs").success());
    let said = node.wait_with_output().expect("it ends");
    assert!(text(&said.stderr).contains("the node ends"), "{}", text(&said.stderr));
}

/// A directory that commands would not find by themselves is in every line that is to be typed, as a shell reads it.
#[test]
fn a_state_directory_is_said_wherever_it_must_be() {
    // What runs in the second is told of it by the flag alone.
    let (machine, second) = (Machine::new("said"), Machine::new("said's own"));
    let dir = second.dir.display().to_string();
    let here = |args: &[&'static str]| [&["--state-dir", dir.as_str()][..], args].concat();
    let typed = format!("actinic --state-dir '{}'", dir.replace('\'', r"'\''"));
    let said = machine.fails(&here(&["status"]));
    assert!(said.contains(&format!("`{typed} start --head`")), "{said}");
    let said = machine.ok(&here(&["start", "--head", "--node-ip-address", "127.0.0.1", "--port", "0"]));
    for wanted in ["stop", "status"] {
        assert!(said.lines().any(|line| line.ends_with(&format!("{typed} {wanted}"))), "{wanted}: {said}");
    }
    let program = said.lines().find(|line| line.contains("ACTINIC_ADDRESS=auto")).expect("how to connect");
    let program = program.replace("cargo run", &format!("{PROGRAM} one"));
    let status = Command::new("sh").args(["-c", &program]).env_remove("ACTINIC_STATE_DIR").status();
    assert!(status.expect("a shell runs").success(), "{program}");
    let address = second.entry("address");
    let port = address.rsplit_once(':').expect("host and port").1;
    let again = ["start", "--head", "--node-ip-address", "127.0.0.1", "--port", port];
    let said = machine.fails(&[&["--state-dir", dir.as_str()][..], &again].concat());
    assert!(said.contains(&format!("`{typed} stop` ends it")), "{said}");
    machine.ok(&here(&["stop"]));
}

/// By a name of the machine too a node of it needs no token, whoever connects.
#[test]
fn a_node_of_this_machine_is_found_by_a_name() {
    let (machine, second) = (Machine::new("name"), Machine::new("name-second"));
    let port = machine.head();
    let port = port.rsplit_once(':').expect("host and port").1;
    let at = format!("localhost:{port}");
    assert!(machine.ok(&["status", "--address", &at]).contains("1 alive"));
    let mut program = machine.command(Path::new(PROGRAM), &["one"]);
    assert!(program.env("ACTINIC_ADDRESS", &at).status().expect("the program runs").success());
    machine.ok(&["start", "--address", &at, "--node-ip-address", "127.0.0.1"]);
    assert!(second.fails(&["status", "--address", &at]).contains("--token"), "of another machine it needs one");
    assert!(machine.ok(&["stop"]).contains("Stopped 2 nodes."));
}

/// Tokens: one that is made before a cluster, none that is left, and what is not asked of these commands.
#[test]
fn tokens_say_what_is_left_of_them() {
    let machine = Machine::new("tokens");
    for address in ["", "auto"] {
        let out = machine.command(actinic(), &["token", "create"]).env("ACTINIC_ADDRESS", address).output();
        let out = out.expect("the command runs");
        assert!(out.status.success() && text(&out.stderr).contains("a head that is started here"), "{out:?}");
    }
    machine.head();
    let token = machine.token();
    machine.ok(&["token", "revoke", &token]);
    let out = machine.run(&["token", "show"]);
    assert!(out.status.success() && out.stdout.is_empty(), "{out:?}");
    assert!(text(&out.stderr).contains("no token admits: `actinic token create` makes one"), "{out:?}");
    let said = machine.fails(&["start", "--head", "--port", "0", "--labels", "=a"]);
    assert!(said.contains("label: a key cannot be empty"), "{said}");
}
