//! What the kernel tells of the machine and of a process.
//!
//! Must not: change anything, but for the mark of a process's highest memory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The kernel's ticks are hundredths of a second, whatever its own clock does.
const TICK_MS: f64 = 10.0;
/// How long the machine is looked at before it is called busy or quiet.
const LOOK: Duration = Duration::from_millis(700);
/// Looks that a busy machine gets to become quiet.
const LOOKS: u32 = 15;
/// Processors that may be busy on a quiet machine.
const QUIET: f64 = 0.25;

/// Nanoseconds of a clock.
fn clock(id: ClockId) -> i128 {
    let at = clock_gettime(id).expect("a clock");
    i128::from(at.tv_sec()) * 1_000_000_000 + i128::from(at.tv_nsec())
}

/// Boot time in nanoseconds: the clock of every measurement.
pub fn now() -> i128 {
    clock(ClockId::CLOCK_BOOTTIME)
}

/// Milliseconds from one instant to another.
pub fn ms(from: i128, to: i128) -> f64 {
    (to - from) as f64 / 1e6
}

/// Milliseconds since an instant.
pub fn since(start: i128) -> f64 {
    ms(start, now())
}

/// Boot time of an instant that is given in wall time.
pub fn of_wall(at: jiff::Timestamp) -> i128 {
    at.as_nanosecond() - (clock(ClockId::CLOCK_REALTIME) - now())
}

fn read(path: impl Into<PathBuf>) -> String {
    fs::read_to_string(path.into()).unwrap_or_default()
}

/// The number behind a word at the start of a line.
fn field(text: &str, key: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// Processor time that the whole machine has used, in milliseconds.
pub fn busy_ms() -> f64 {
    let stat = read("/proc/stat");
    let ticks: Vec<f64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    // user, nice, system, (idle, iowait,) irq, softirq
    [0, 1, 2, 5, 6].iter().filter_map(|place| ticks.get(*place)).sum::<f64>() * TICK_MS
}

/// How many processors are busy, over a short while.
fn busy() -> f64 {
    let (start, before) = (now(), busy_ms());
    thread::sleep(LOOK);
    (busy_ms() - before) / since(start)
}

/// Waits a while for the machine to become quiet; how many processors are busy if it does not.
pub fn settle() -> Option<f64> {
    let mut found = busy();
    for _ in 1..LOOKS {
        if found <= QUIET {
            return None;
        }
        found = busy();
    }
    (found > QUIET).then_some(found)
}

/// One line: the load averages.
pub fn load() -> String {
    read("/proc/loadavg").split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// Processor time of a process and of the children that it has waited for, in milliseconds.
pub fn process_ms(pid: u32) -> (f64, f64) {
    let stat = read(format!("/proc/{pid}/stat"));
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let ticks: Vec<f64> = rest.split_whitespace().skip(11).take(4).filter_map(|word| word.parse().ok()).collect();
    match ticks[..] {
        [user, system, of_children, of_their_system] => {
            ((user + system) * TICK_MS, (of_children + of_their_system) * TICK_MS)
        }
        _ => (0.0, 0.0),
    }
}

/// What the threads of a process have done so far: name, processor time in milliseconds, how often it was woken.
pub struct Threads(BTreeMap<OsString, (String, f64, f64)>);

/// The threads of a process now.
pub fn threads(pid: u32) -> Threads {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let done = |task: fs::DirEntry| {
        let ran = field(&read(task.path().join("schedstat")), "") / 1e6;
        let wakes = field(&read(task.path().join("status")), "voluntary_ctxt_switches:");
        (task.file_name(), (read(task.path().join("comm")).trim().to_owned(), ran, wakes))
    };
    Threads(tasks.map(done).collect())
}

impl Threads {
    /// What they have done since an earlier look. A thread that is gone counts no more.
    fn since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = (&'a str, f64, f64)> {
        self.0.iter().map(|(id, (name, ran, wakes))| {
            let (_, ran_before, woken_before) = before.0.get(id).cloned().unwrap_or_default();
            (name.as_str(), ran - ran_before, wakes - woken_before)
        })
    }

    /// Processor time since an earlier look, in milliseconds.
    pub fn ran_since(&self, before: &Self) -> f64 {
        self.since(before).map(|(_, ran, _)| ran).sum()
    }

    /// Wake-ups since an earlier look, by the name of the thread.
    pub fn woken_since(&self, before: &Self) -> BTreeMap<String, f64> {
        let mut found: BTreeMap<String, f64> = BTreeMap::new();
        self.since(before).for_each(|(name, _, wakes)| *found.entry(name.to_owned()).or_default() += wakes);
        found.retain(|_, wakes| *wakes > 0.0);
        found
    }
}

/// Proportional memory of a process, in megabytes.
pub fn pss_mb(pid: u32) -> f64 {
    field(&read(format!("/proc/{pid}/smaps_rollup")), "Pss:") * 1024.0 / 1e6
}

/// The highest resident memory of a process so far, in megabytes.
pub fn peak_mb(pid: u32) -> f64 {
    field(&read(format!("/proc/{pid}/status")), "VmHWM:") * 1024.0 / 1e6
}

/// Lets the highest resident memory be noted from now on.
pub fn forget_peak(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("root may do that");
}

/// Bytes that a process has caused to be written to a disk.
pub fn written(pid: u32) -> f64 {
    field(&read(format!("/proc/{pid}/io")), "write_bytes:")
}

/// Connections to a Unix socket, by the side that accepted them.
pub fn connections(socket: &str) -> usize {
    const CONNECTED: &str = "03";
    let all = read("/proc/net/unix");
    let ours = all.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    ours.filter(|words| words.get(7) == Some(&socket) && words.get(5) == Some(&CONNECTED)).count()
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    output.lines().next().unwrap_or("not there").to_owned()
}

/// The machine and the versions, a line each.
pub fn described() -> Vec<String> {
    let processors = read("/proc/cpuinfo");
    let models = || processors.lines().filter_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let memory = field(&read("/proc/meminfo"), "MemTotal:") / 1024.0 / 1024.0;
    let model = models().next().map_or("unknown", |(_, model)| model.trim());
    vec![
        format!("{} × {model}, {memory:.0} GiB, {}", models().count(), said("uname", &["-srm"])),
        format!(
            "{}; {}; {}",
            said("podman", &["--version"]),
            said("runc", &["--version"]),
            said("rustc", &["--version"])
        ),
    ]
}
