//! The `adit` binary.

fn main() -> std::process::ExitCode {
    adit::cli::run()
}
