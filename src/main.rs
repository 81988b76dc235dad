//! The `dacapo` command: parse the command line, run it, exit with its code.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(dacapo::cli::main().code())
}
