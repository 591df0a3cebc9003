//! `rain-sim`: runs the engine in virtual time, one seed or many (README.md).

use clap::{Parser, Subcommand};
use rain_sim::faults::FaultKind;
use rain_sim::makespan;
use rain_sim::mutation::Mutation;
use rain_sim::run::{Options, Outcome, run, shrink};
use rain_sim::sweep::sweep;
use rain_sim::violation::{Verdict, Violation};
use std::process::ExitCode;
use std::time::Instant;

#[derive(Parser)]
#[command(
    about = "Runs the engine in virtual time from a seed. Ends with 0; 10 when a run went wrong, 11 when one is stuck, 12 after a panic, 2 when it was asked for nonsense."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Put a fault of the engine back
    #[arg(long, global = true)]
    mutation: Option<Mutation>,
    /// Leave kinds of faults out, separated by commas
    #[arg(long, global = true, value_delimiter = ',')]
    without: Vec<FaultKind>,
}

#[derive(Subcommand)]
enum Command {
    /// Run one seed
    Run {
        seed: u64,
        /// Print all actions
        #[arg(long)]
        trace: bool,
    },
    /// Run COUNT seeds from FROM on, and print a line for each that fails
    Sweep { from: u64, count: u64 },
    /// Say which kinds of faults a failing seed does not need
    Shrink { seed: u64 },
    /// Place the tasks of graphs on clusters, and say how long they take
    Makespan(makespan::options::Options),
}

fn exit_code(verdict: Option<Verdict>) -> ExitCode {
    ExitCode::from(match verdict {
        None => 0,
        Some(Verdict::Wrong) => 10,
        Some(Verdict::Stuck) => 11,
        Some(Verdict::Crash) => 12,
    })
}

fn flags(options: &Options) -> String {
    let name = |value: Option<clap::builder::PossibleValue>| value.map(|v| v.get_name().to_owned()).unwrap_or_default();
    let mutation =
        options.mutation.map(|mutation| format!(" --mutation {}", name(clap::ValueEnum::to_possible_value(&mutation))));
    let without: Vec<String> =
        options.without.iter().map(|kind| name(clap::ValueEnum::to_possible_value(kind))).collect();
    let without = if without.is_empty() { String::new() } else { format!(" --without {}", without.join(",")) };
    mutation.unwrap_or_default() + &without
}

fn run_one(seed: u64, options: &Options) -> ExitCode {
    let Outcome { hash, actions, tasks, time, violation } = run(seed, options);
    println!(
        "seed {seed}: {tasks} tasks, {actions} actions, {:.3} s of virtual time, hash {hash:016x}",
        time as f64 / 1e6
    );
    if let Some(violation) = &violation {
        println!("{violation}");
    }
    exit_code(violation.map(|violation| violation.verdict))
}

fn main() -> ExitCode {
    let Arguments { command, mutation, without } = Arguments::parse();
    let mut options = Options { mutation, without, prints: false };
    match command {
        Command::Run { seed, trace } => {
            options.prints = trace;
            run_one(seed, &options)
        }
        Command::Sweep { from, count } => {
            // What a panic says is in the line of its seed.
            std::panic::set_hook(Box::new(|_| {}));
            let begin = Instant::now();
            let with = flags(&options);
            let failed = |seed: u64, violation: &Violation| println!("rain-sim run {seed}{with}    # {violation}");
            let swept = sweep(from..from.saturating_add(count), &options, failed);
            println!(
                "{} seeds, {} tasks, {} actions, {:.0} s of virtual time in {:.1} s: {} failed",
                swept.seeds,
                swept.tasks,
                swept.actions,
                swept.time as f64 / 1e6,
                begin.elapsed().as_secs_f64(),
                swept.failed.len()
            );
            exit_code(swept.failed.first().map(|(_, violation)| violation.verdict))
        }
        Command::Shrink { seed } => {
            options.without = shrink(seed, &options);
            println!("rain-sim run {seed}{}", flags(&options));
            run_one(seed, &options)
        }
        Command::Makespan(asked) => match makespan::run(&asked, |line| println!("{line}")) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("rain-sim: {error}");
                ExitCode::from(2)
            }
        },
    }
}
