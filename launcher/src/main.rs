//! The program `rain`.

fn main() -> std::process::ExitCode {
    rain_launcher::main()
}
