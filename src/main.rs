//! The program: arguments, then the configuration, then the sidecar, the manager, the demo or a command; exit codes.

use std::io::{self, Write};
use std::process::ExitCode;

use callgate::cli::{
    Cli, Command, ConfigArgs, Failure, Format, ManagerCommand, ManagerServeArgs, Surroundings, page_text, run,
};
use callgate::demo;
use callgate::manager;
use callgate::shell::clock::Clock;
use callgate::shell::config::Inputs;
use callgate::shell::{process, wiring};
use clap::Parser;

fn main() -> ExitCode {
    let Cli { format, command } = Cli::parse();
    if let Err(reason) = process::end_with_parent() {
        return failed(&Failure::Refused(reason), format);
    }
    let inputs = Inputs::of_process();
    if let Command::Serve(args) = command {
        return serve(&args, inputs, format);
    }
    if let Command::Manager(ManagerCommand::Serve(args)) = command {
        return serve_manager(&args, &inputs, format);
    }
    if let Command::Demo(args) = command {
        return demo::run(&args, format).map_or_else(|failure| failed(&failure, format), |()| ExitCode::SUCCESS);
    }
    let (input, output) = (io::stdin().lock(), io::stdout().lock());
    let surroundings = Surroundings { inputs, now: Clock.wall(), input, output };
    run(command, format, surroundings).map_or_else(|failure| failed(&failure, format), |()| ExitCode::SUCCESS)
}

fn serve(args: &ConfigArgs, inputs: Inputs, format: Format) -> ExitCode {
    let loaded = match args.loader(inputs).load() {
        Ok(loaded) => loaded,
        Err(problems) => return failed(&Failure::from(problems), format),
    };
    match wiring::serve(loaded, page_text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error.to_string(), error.exit_code(), format);
            ExitCode::from(error.exit_code())
        }
    }
}

fn serve_manager(args: &ManagerServeArgs, inputs: &Inputs, format: Format) -> ExitCode {
    let config = match args.config.loader().load(inputs) {
        Ok(config) => config,
        Err(problems) => return failed(&Failure::from(problems), format),
    };
    match manager::serve::serve(config, args.accept_new_root) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error.to_string(), error.exit_code(), format);
            ExitCode::from(error.exit_code())
        }
    }
}

fn failed(failure: &Failure, format: Format) -> ExitCode {
    if failure.exit_code() != 0 {
        match format {
            Format::Text => tell(&failure.to_string(), failure.exit_code(), format),
            Format::Json => say(&failure.to_json().to_string()),
        }
    }
    ExitCode::from(failure.exit_code())
}

fn tell(reason: &str, exit_code: u8, format: Format) {
    match format {
        Format::Text => say(&format!("callgate: {reason}")),
        Format::Json => say(&serde_json::json!({ "error": reason, "exit_code": exit_code }).to_string()),
    }
}

/// To stderr; where that is closed, nobody can be told.
fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
