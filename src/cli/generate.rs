//! Completions and manual pages, made from the arguments themselves.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;
use serde_json::json;

use super::args::{Cli, Format};
use super::failure::Failure;

/// Prints a shell's completions.
pub(super) fn completions(shell: clap_complete::Shell, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "callgate", &mut text);
    match format {
        Format::Text => out.write_all(&text)?,
        Format::Json => writeln!(out, "{}", json!({ "script": String::from_utf8_lossy(&text) }))?,
    }
    Ok(())
}

/// Writes one page for each command, with its whole name: `callgate-calls-list.1`.
pub(super) fn man(directory: &Path, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
    let unable =
        |error: std::io::Error| Failure::Refused(format!("cannot write into {}: {error}", directory.display()));
    std::fs::create_dir_all(directory).map_err(unable)?;
    let mut command = Cli::command();
    command.build();
    let mut pages = Vec::new();
    page(command, "callgate", directory, &mut pages).map_err(unable)?;
    match format {
        Format::Text => writeln!(out, "{} pages are in {}", pages.len(), directory.display())?,
        Format::Json => writeln!(out, "{}", json!({ "directory": directory, "pages": pages }))?,
    }
    Ok(())
}

fn page(command: clap::Command, name: &str, directory: &Path, pages: &mut Vec<String>) -> std::io::Result<()> {
    let file = format!("{name}.1");
    let subcommands: Vec<clap::Command> =
        command.get_subcommands().filter(|sub| sub.get_name() != "help").cloned().collect();
    let mut text = Vec::new();
    clap_mangen::Man::new(command).title(name.to_owned()).manual("callgate").render(&mut text)?;
    std::fs::write(directory.join(&file), text)?;
    pages.push(file);
    for sub in subcommands {
        let name = format!("{name}-{}", sub.get_name());
        page(sub, &name, directory, pages)?;
    }
    Ok(())
}
