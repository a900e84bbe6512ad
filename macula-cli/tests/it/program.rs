//! Runs the program, to its end or in the background.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn macula(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_macula"));
    command
        .args(args)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    macula(args).output().unwrap()
}

/// Runs the program to its end and gives its exit code and the JSON it printed, on standard output
/// if it succeeded and on standard error if not.
pub(crate) fn run_json(args: &[&str]) -> (i32, Value) {
    let output = run(&[args, &["--json"]].concat());
    let code = output.status.code().unwrap();
    let text = if code == 0 {
        output.stdout
    } else {
        output.stderr
    };
    let text = String::from_utf8(text).unwrap();
    let json = serde_json::from_str(text.trim())
        .unwrap_or_else(|error| panic!("{args:?} printed {text:?}: {error}"));
    (code, json)
}

/// A program that runs until it is told to end; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    ready: Value,
}

impl Running {
    /// Starts the program with `--json` and waits until it says that it is ready.
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = macula(&[args, &["--json"]].concat())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (line, first_line) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let mut text = String::new();
            BufReader::new(stdout).read_line(&mut text).unwrap();
            // The receiver is gone when it has lost its patience.
            let _ = line.send(text);
        });
        let line = first_line.recv_timeout(PATIENCE).unwrap();
        let ready: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{args:?} printed {line:?}: {error}"));
        assert_eq!(ready["event"], "ready");
        Self { child, ready }
    }

    /// How others reach it.
    pub(crate) fn contact(&self) -> &str {
        self.ready["contact"].as_str().unwrap()
    }

    pub(crate) fn node(&self) -> &str {
        self.ready["node"].as_str().unwrap()
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it as Ctrl-C does, and gives its exit code.
    pub(crate) fn interrupt(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &pid])
                .status()
                .unwrap()
                .success()
        );
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail harmlessly when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A node for others to enter a network by.
pub(crate) fn up() -> Running {
    Running::start(&["up", "--listen", "127.0.0.1:0"])
}

/// A provider that enters the network by a node.
pub(crate) fn serve(name: &str, args: &[&str], bootstrap: &str) -> Running {
    let listen = [
        "serve",
        name,
        "--listen",
        "127.0.0.1:0",
        "--bootstrap",
        bootstrap,
    ];
    Running::start(&[&listen, args].concat())
}
