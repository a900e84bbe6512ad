//! Runs the program, to its end or in the background.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program with these arguments, to be started.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_macula"));
    command
        .args(args)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    command(args).output().unwrap()
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
        Self::spawn(&mut command(&[args, &["--json"]].concat()))
    }

    /// Starts it likewise, and gives the thread that collects what it tells on standard error.
    pub(crate) fn start_telling(args: &[&str]) -> (Self, thread::JoinHandle<String>) {
        let mut command = command(&[args, &["--json"]].concat());
        let mut running = Self::spawn(command.stderr(Stdio::piped()));
        let mut stderr = running.child.stderr.take().unwrap();
        let told = thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        (running, told)
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
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
            .unwrap_or_else(|error| panic!("{command:?} printed {line:?}: {error}"));
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
        interrupt(&self.child);
        self.child.wait().unwrap().code()
    }

    /// Ends it as whoever stops services does, and gives its exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        signal(&self.child, "-TERM");
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

/// Does to a process what Ctrl-C does.
pub(crate) fn interrupt(child: &Child) {
    signal(child, "-INT");
}

fn signal(child: &Child, signal: &str) {
    let pid = child.id().to_string();
    let kill = Command::new("kill").args([signal, &pid]).status();
    assert!(kill.unwrap().success());
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
