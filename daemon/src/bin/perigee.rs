//! The tool: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    perigee::cli::main()
}
