//! The program `rain-engine`.

fn main() -> std::process::ExitCode {
    rain_launcher::mpi::main()
}
