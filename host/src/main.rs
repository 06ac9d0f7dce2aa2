//! The program `plimsoll`.

fn main() -> std::process::ExitCode {
    plimsoll::cli::main()
}
