//! Parses arguments, calls the CLI, turns its outcome into an exit code; nothing else.

fn main() -> std::process::ExitCode {
    hythe::edges::cli::main()
}
