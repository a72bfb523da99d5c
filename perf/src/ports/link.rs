//! The generator's side of the device under test: starts it, is joined with it, talks to it, ends it.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use dpdk::{Eal, MbufPool, RxQueue, StartedPort, TxQueue};

use crate::bench::Bench;
use crate::cli::Mode;
use crate::cores::{self, Pinned};
use crate::ports::dut::Stats;
use crate::ports::{PORT, Side, device};

/// The device under test runs here, the generator on the core before it.
const DUT_CORE: usize = 1;

/// Buffers of the generator: 2 rings each way and what it is just making.
const BUFFERS: u32 = 8191;

/// How long the ports may take to find each other.
const PATIENCE: Duration = Duration::from_secs(10);

/// A device under test that runs, and the ports to both its sides.
pub(crate) struct Link {
    pub(crate) a: (RxQueue, TxQueue),
    pub(crate) b: (RxQueue, TxQueue),
    pub(crate) pool: MbufPool,
    /// Trials, and those among them that the kernel disturbed each time they were repeated.
    pub(crate) trials: usize,
    pub(crate) disturbed: usize,
    ports: [StartedPort; 2],
    dut: Dut,
    _pinned: Pinned,
}

/// The process and the directory of its sockets. Both go when dropped, if not before.
struct Dut {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    dir: PathBuf,
}

/// How to start a device under test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) mode: Mode,
    pub(crate) max_macs: usize,
    /// Counts the devices that this process has started.
    pub(crate) number: usize,
}

impl Link {
    pub(crate) fn start(bench: &mut Bench, setup: Setup) -> Result<Self, String> {
        if cores::count() < 2 {
            return Err("the scenarios on ports need two cores".into());
        }
        let eal = bench.eal()?;
        let dut = Dut::start(setup)?;
        // After the device, which would inherit it.
        let pinned = Pinned::to(DUT_CORE - 1)?;
        let text = |error: dpdk::Error| error.to_string();
        let name = format!("generator{}", setup.number);
        let pool = MbufPool::new(eal, &name, BUFFERS, 2304).map_err(text)?;
        let (port_a, a) = join(eal, &pool, 2 * setup.number, Side::A, &dut)?;
        let (port_b, b) = join(eal, &pool, 2 * setup.number + 1, Side::B, &dut)?;
        let deadline = Instant::now() + PATIENCE;
        // Asking a memif client for its link makes it try to connect.
        while !(port_a.link().up && port_b.link().up) {
            if Instant::now() > deadline {
                return Err("the device under test does not answer on its ports".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // Both ends have found each other and need the sockets no more. Now they go even when this process is killed.
        let _ = std::fs::remove_dir_all(&dut.dir);
        Ok(Self { a, b, pool, trials: 0, disturbed: 0, ports: [port_a, port_b], dut, _pinned: pinned })
    }

    /// Asks the device about itself.
    pub(crate) fn stats(&mut self) -> Result<Stats, String> {
        let line = self.dut.ask("stats")?;
        serde_json::from_str(&line).map_err(|error| format!("the device under test says {line:?}: {error}"))
    }

    /// A note on the trials that are not to be trusted, if there are any.
    pub(crate) fn doubts(&self) -> Option<String> {
        let Self { trials, disturbed, .. } = self;
        (*disturbed > 0).then(|| {
            format!(
                "{disturbed} of {trials} trials were disturbed by pauses of the kernel however often they were repeated: \
                 their loss and their tails are the machine's, not the program's, and a throughput is a lower bound"
            )
        })
    }

    /// Makes the device forget all addresses.
    pub(crate) fn flush(&mut self) -> Result<(), String> {
        self.dut.ask("flush").map(drop)
    }

    /// Ends it. The ports go first: a memif must not be polled when its peer is gone.
    pub(crate) fn stop(self, bench: &mut Bench) -> Result<(), String> {
        bench.tried(self.trials, self.disturbed);
        let Self { a, b, ports: [port_a, port_b], mut dut, .. } = self;
        port_a.stop(vec![a]).and_then(|()| port_b.stop(vec![b])).map_err(|error| error.to_string())?;
        let _ = writeln!(dut.stdin, "quit");
        dut.child.wait().map_err(|error| error.to_string())?;
        Ok(())
    }
}

fn join(
    eal: &Eal,
    pool: &MbufPool,
    number: usize,
    side: Side,
    dut: &Dut,
) -> Result<(StartedPort, (RxQueue, TxQueue)), String> {
    let port = eal.open(&device(number, side, "client", &dut.dir)).map_err(|error| error.to_string())?;
    let (port, mut queues) = port.start(&PORT, pool).map_err(|error| error.to_string())?;
    Ok((port, queues.pop().ok_or("a port without queues")?))
}

impl Dut {
    fn start(setup: Setup) -> Result<Self, String> {
        let dir = std::env::temp_dir().join(format!("causeway-perf-{}-{}", std::process::id(), setup.number));
        std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mode = if setup.mode == Mode::Forward { "forward" } else { "causeway" };
        let mut child = Command::new(program)
            .args(["dut", "--mode", mode, "--core", &DUT_CORE.to_string(), "--dir"])
            .arg(&dir)
            .args(["--max-macs", &setup.max_macs.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start the device under test: {error}"))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stdin = stdin.ok_or("no stdin of the device under test")?;
        let stdout = BufReader::new(stdout.ok_or("no stdout of the device under test")?);
        let mut dut = Self { child, stdin, stdout, dir };
        match dut.line()?.as_str() {
            "ready" => Ok(dut),
            other => Err(format!("the device under test says {other:?}")),
        }
    }

    fn ask(&mut self, order: &str) -> Result<String, String> {
        writeln!(self.stdin, "{order}").map_err(|error| format!("the device under test is gone: {error}"))?;
        self.line()
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        let read = self.stdout.read_line(&mut line).map_err(|error| error.to_string())?;
        if read == 0 { Err("the device under test has ended".into()) } else { Ok(line.trim().to_owned()) }
    }
}

impl Drop for Dut {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
