//! The program: arguments, then what they ask for; exit codes.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use loadtest::cli::{Cli, Command, CompareArgs, EchoArgs, PeersArgs, RunArgs};
use loadtest::compare::compare;
use loadtest::drive::Progress;
use loadtest::report::{FORMAT, Report, page, summary};
use loadtest::run::Loaded;
use loadtest::{bar, echo, peers, pin};

/// A limit was broken, or a question was not answered.
const UNSOUND: u8 = 3;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run(args),
        Command::Compare(args) => compared(&args),
        Command::Peers(args) => measured(&args),
        Command::Echo(args) => echoed(&args),
        Command::Check { files } => checked(&files),
    };
    done.unwrap_or_else(|reason| {
        // Nobody is left to tell if this fails.
        let _told = writeln!(io::stderr(), "loadtest: {reason}");
        ExitCode::FAILURE
    })
}

fn run(args: RunArgs) -> Result<ExitCode, String> {
    let mut loaded = Loaded::read(&args.file).map_err(|error| error.to_string())?;
    let scenario = &mut loaded.scenario;
    if let Some(address) = args.target {
        scenario.target.address = address;
    }
    scenario.seconds = args.seconds.unwrap_or(scenario.seconds);
    scenario.seed = args.seed.unwrap_or(scenario.seed);
    scenario.target.connections = args.connections.unwrap_or(scenario.target.connections);
    scenario.target.pipeline = args.pipeline.unwrap_or(scenario.target.pipeline);
    scenario.check.limit = args.limit.or(scenario.check.limit);
    scenario.judge(Path::new("command line")).map_err(|error| error.to_string())?;
    let plan = loaded.plan().map_err(|error| error.to_string())?;
    let progress = Progress::default();
    let shown = !args.quiet && io::stderr().is_terminal();
    let report = bar::during(shown, &loaded.name, loaded.scenario.seconds, &progress, || {
        if let Some(core) = args.pin {
            pin::to(core).map_err(|error| format!("core {core}: {error}"))?;
        }
        loaded.run(&plan, &progress).map_err(|error| error.to_string())
    })?;
    if let Some(file) = &args.json {
        write(file, &(serde_json::to_string_pretty(&report).map_err(|error| error.to_string())? + "\n"))?;
    }
    if let Some(file) = &args.html {
        write(file, &page(&report))?;
    }
    say(&summary(&report))?;
    Ok(if report.sound() { ExitCode::SUCCESS } else { ExitCode::from(UNSOUND) })
}

fn compared(args: &CompareArgs) -> Result<ExitCode, String> {
    let comparison = compare(&read_report(&args.a)?, &read_report(&args.b)?);
    if args.json {
        say(&(serde_json::to_string_pretty(&comparison).map_err(|error| error.to_string())? + "\n"))?;
    } else {
        say(&comparison.text())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read_report(file: &Path) -> Result<Report, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let wrong = |error| format!("{}: {error}; expected what `loadtest run --json` writes", file.display());
    let report: Report = serde_json::from_str(&text).map_err(wrong)?;
    if report.format == FORMAT {
        Ok(report)
    } else {
        Err(format!("{}: format {}, expected {FORMAT}", file.display(), report.format))
    }
}

fn measured(args: &PeersArgs) -> Result<ExitCode, String> {
    let tell = |line: &str| {
        // Progress only.
        let _told = writeln!(io::stderr(), "{line}");
    };
    let table = peers::measure(args, &tell).map_err(|error| error.to_string())?;
    if let Some(file) = &args.json {
        write(file, &(serde_json::to_string_pretty(&table).map_err(|error| error.to_string())? + "\n"))?;
    }
    say(&table.text())?;
    Ok(ExitCode::SUCCESS)
}

fn echoed(args: &EchoArgs) -> Result<ExitCode, String> {
    echo::serve(args.listen, |address| {
        // Whoever waits for the line finds out soon that it doesn't come.
        let _told = say(&format!("{address}\n"));
    })
    .map_err(|error| format!("{}: {error}", args.listen))?;
    Ok(ExitCode::SUCCESS)
}

fn checked(files: &[std::path::PathBuf]) -> Result<ExitCode, String> {
    for file in files {
        let loaded = Loaded::read(file).map_err(|error| error.to_string())?;
        let plan = loaded.plan().map_err(|error| error.to_string())?;
        let seconds = loaded.scenario.seconds.seconds();
        say(&format!(
            "{}: good; {} calls in {seconds:.0} s. {}\n",
            file.display(),
            plan.calls.len(),
            loaded.scenario.about
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}

fn say(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // `loadtest ... | head` has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.to_string()),
        Ok(()) | Err(_) => Ok(()),
    }
}
