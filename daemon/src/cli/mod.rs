//! Shell: the tool that ground and operators use. Each command has its file; this one has the grammar.
//!
//! Must not: hold rules of flight; ground validation is flight validation because both call the core.

mod asked;
mod client;
mod describe;
mod exit;
mod expand;
mod ground;
mod inventory;
mod ledger;
mod operate;
mod replay;
mod run;
mod table;
mod verbs;
mod watch;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::bundle::{ExecutionId, Tenant};
use asked::{List, Logs, Purge, Status, Stop, Wait, Which};
use client::Client;
use exit::Failed;

/// Packs operations, hands bundles to the flight daemon, and shows what becomes of them.
#[derive(Debug, Parser)]
#[command(name = "perigee", version, after_help = EXIT_CODES)]
struct Arguments {
    /// Socket of the daemon [default: /run/perigee/control.sock; questions fall back to status.sock beside it].
    #[arg(long, global = true, value_name = "PATH", env = "PERIGEE_SOCKET")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
    /// Print the causes of an error, too.
    #[arg(short, long, global = true)]
    verbose: bool,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 fault of ours, 2 bad usage, operation, bundle or configuration, 3 refused, \
4 not found, 5 timed out, 6 ended otherwise or replay differs, 7 daemon unreachable.";

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// How to print; accepted before and after the command, except after `pack`, whose `-o` is the bundle.
#[derive(Debug, Clone, Copy, Args)]
struct Format {
    /// How to print; json is stable [default: table].
    #[arg(short, long, value_enum)]
    output: Option<Output>,
}

/// A command's own arguments, and how to print.
#[derive(Debug, Args)]
struct With<T: Args> {
    #[command(flatten)]
    own: T,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Validate an operation: every finding at once, then its steps, groups and time budgets.
    Check(With<Check>),
    /// Print the JSON Schema of operation files, for editors.
    Schema(With<Nothing>),
    /// Write a bundle. Same input and execution id, same bytes.
    Pack(Pack),
    /// Verify a bundle and show what it holds.
    Inspect(With<BundleFile>),
    /// Hand a bundle to the daemon; prints its execution id.
    Submit(With<Submit>),
    /// Show the daemon, or executions, groups, steps or jobs.
    Status(With<Status>),
    /// Show one execution with the graph of its jobs.
    Describe(With<OneId>),
    /// Run one program as an execution of its own; prints its job id and batch id.
    Run(With<run::Run>),
    /// Show a line per execution, most important first, within a budget of bytes.
    Digest(Digest),
    /// List executions, newest first.
    List(With<List>),
    /// Show the transitions of an execution, group, step or job.
    History(With<OneId>),
    /// Wait until executions, groups, steps or jobs have ended, or are in a state.
    Wait(With<Wait>),
    /// Print console output.
    Logs(With<Logs>),
    /// Print what a step has put out: a listing, images, a build's log, a pod's final state. JSON.
    Output(With<OneId>),
    /// Print the event stream.
    Events(With<Events>),
    /// Keep what waits from starting.
    Hold(With<Which>),
    /// Lift the hold.
    Release(With<Which>),
    /// Freeze what runs; its time goes on.
    Pause(With<Which>),
    /// Let what is paused go on.
    Resume(With<Which>),
    /// Stop executions, groups, steps or jobs: SIGTERM, then SIGKILL after the grace.
    Stop(With<Stop>),
    /// Forget ended executions: record, output, what is left on the nodes; volumes and outbox entries stay.
    Purge(With<Purge>),
    /// List the images aboard.
    Images(With<Nothing>),
    /// List the nodes and whether their Podman answers.
    Nodes(With<Nothing>),
    /// List the tenants' volumes.
    Volumes(With<Nothing>),
    /// List the outbox, or acknowledge what the ground has.
    Downlink(With<DownlinkAction>),
    /// Look whether a ledger is whole, or print its records; works without the daemon.
    Ledger(With<ledger::LedgerAction>),
    /// Run bundles one after another, compare with what is expected; exit 6 on a difference.
    Replay(With<Replay>),
}

#[derive(Debug, Args)]
struct Nothing {}

#[derive(Debug, Args)]
struct BundleFile {
    /// The bundle; `-` reads standard input.
    bundle: PathBuf,
}

#[derive(Debug, Args)]
struct Submit {
    /// The bundle; `-` reads standard input.
    bundle: PathBuf,
    /// Accept it, but wait for `release`.
    #[arg(long)]
    hold: bool,
}

#[derive(Debug, Args)]
struct Digest {
    /// Not a byte more [default: 1024].
    #[arg(long, value_name = "N")]
    bytes: Option<usize>,
}

#[derive(Debug, Args)]
struct OneId {
    /// As for status.
    id: String,
}

#[derive(Debug, Args)]
struct Events {
    /// Resume after this cursor [default: the oldest event that is kept].
    #[arg(long, value_name = "CURSOR")]
    since: Option<u64>,
    /// Go on for ever.
    #[arg(short, long)]
    follow: bool,
}

#[derive(Debug, Args)]
struct DownlinkAction {
    #[command(subcommand)]
    action: Option<Downlink>,
}

#[derive(Debug, Args)]
struct Check {
    /// The operation file.
    operation: PathBuf,
    /// Tenant, for hostnames [default: tenant].
    #[arg(long)]
    tenant: Option<Tenant>,
    /// Show every job and what it waits for. Makes nothing.
    #[arg(long, conflicts_with = "graph")]
    expand: bool,
    /// Draw the tasks and what each waits for. Makes nothing.
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    graph: Option<expand::Drawing>,
    #[command(flatten)]
    ground: Ground,
}

/// What the ground knows.
#[derive(Debug, Args)]
struct Ground {
    /// Folder of the files to uplink [default: that of the operation].
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    /// Folder of the image archives to load on board [default: that of the operation].
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// A node that the board has besides mpu, gpu and fpga; may be repeated.
    #[arg(long = "node", value_name = "NODE")]
    nodes: Vec<String>,
}

#[derive(Debug, Args)]
struct Pack {
    /// The operation file.
    operation: PathBuf,
    /// Who flies it.
    #[arg(long)]
    tenant: Tenant,
    #[command(flatten)]
    ground: Ground,
    /// Identity of the execution [default: a new one].
    #[arg(long, value_name = "UUID")]
    execution: Option<ExecutionId>,
    /// Revision number of the operation.
    #[arg(long)]
    revision: Option<u32>,
    /// When it was packed, RFC 3339 [default: none].
    #[arg(long, value_name = "TIME")]
    created: Option<jiff::Timestamp>,
    /// The board accepts it from this instant on, RFC 3339.
    #[arg(long, value_name = "TIME")]
    valid_from: Option<jiff::Timestamp>,
    /// The board accepts it until this instant, RFC 3339.
    #[arg(long, value_name = "TIME")]
    valid_until: Option<jiff::Timestamp>,
    /// It waits for `release` after acceptance.
    #[arg(long)]
    hold: bool,
    /// Compress it with zstd.
    #[arg(long)]
    zstd: bool,
    /// Where to write it.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Downlink {
    /// List the entries that wait for a pass.
    List,
    /// Remove entries that the ground has.
    Ack {
        /// Executions.
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct Replay {
    /// Bundles, or folders of *.bundle files, in order.
    #[arg(required = true)]
    bundles: Vec<PathBuf>,
    /// What is expected, YAML.
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// Write a JUnit report.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Give up on a bundle after this long.
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    timeout: String,
}

/// Parses, runs, prints, and says how it went.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let verbose = arguments.verbose;
    match obey(arguments, &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            let mut err = io::stderr().lock();
            for line in failed.message.lines() {
                let _ = writeln!(err, "perigee: {line}");
            }
            if let Some(cause) = failed.cause.filter(|_| verbose) {
                let _ = writeln!(err, "perigee: cause: {cause}");
            }
            failed.exit.into()
        }
    }
}

fn obey(arguments: Arguments, out: &mut dyn Write) -> Result<(), Failed> {
    let json = |format: Format| format.output.or(arguments.format.output) == Some(Output::Json);
    let client = || Client::new(arguments.socket.clone());
    match arguments.command {
        Command::Check(with) => ground::check(&with.own, json(with.format), out),
        Command::Schema(_) => ground::schema(out),
        Command::Pack(pack) => ground::pack(&pack, out),
        Command::Inspect(with) => ground::inspect(&with.own.bundle, json(with.format), out),
        Command::Submit(with) => operate::submit(&client()?, &with.own.bundle, with.own.hold, json(with.format), out),
        Command::Status(with) => operate::status(&client()?, &with.own, json(with.format), out),
        Command::Describe(with) => describe::describe(&client()?, &with.own.id, json(with.format), out),
        Command::Run(with) => run::run(&client()?, &with.own, json(with.format), out),
        Command::Digest(digest) => operate::digest(&client()?, digest.bytes, out),
        Command::List(with) => operate::list(&client()?, &with.own, json(with.format), out),
        Command::History(with) => operate::history(&client()?, &with.own.id, json(with.format), out),
        Command::Wait(with) => watch::wait(&client()?, &with.own, json(with.format), out),
        Command::Logs(with) => watch::logs(&client()?, &with.own, json(with.format), out),
        Command::Output(with) => inventory::output(&client()?, &with.own.id, out),
        Command::Events(with) => watch::events(&client()?, &with.own, json(with.format), out),
        Command::Hold(with) => verbs::verb(&client()?, &with.own, "hold", json(with.format), out),
        Command::Release(with) => verbs::verb(&client()?, &with.own, "release", json(with.format), out),
        Command::Pause(with) => verbs::verb(&client()?, &with.own, "pause", json(with.format), out),
        Command::Resume(with) => verbs::verb(&client()?, &with.own, "resume", json(with.format), out),
        Command::Purge(with) => verbs::purge(&client()?, &with.own.which, with.own.stop, json(with.format), out),
        Command::Stop(with) => {
            let verb = if with.own.now { "stop?now=true" } else { "stop" };
            verbs::verb(&client()?, &with.own.which, verb, json(with.format), out)
        }
        Command::Images(with) => inventory::images(&client()?, json(with.format), out),
        Command::Nodes(with) => inventory::nodes(&client()?, json(with.format), out),
        Command::Volumes(with) => inventory::volumes(&client()?, json(with.format), out),
        Command::Downlink(with) => match with.own.action {
            None | Some(Downlink::List) => inventory::downlinks(&client()?, json(with.format), out),
            Some(Downlink::Ack { ids }) => verbs::acknowledge(&client()?, &ids, json(with.format), out),
        },
        Command::Ledger(with) => ledger::ledger(&with.own, json(with.format), out),
        Command::Replay(with) => replay::replay(&client()?, &with.own, json(with.format), out),
    }
}
