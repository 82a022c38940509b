//! Arguments.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::span::Span;

/// Loads a call-admission sidecar, and checks its answers while it does.
#[derive(Debug, Parser)]
#[command(
    name = "loadtest",
    version,
    max_term_width = 110,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Start here:\n  callgate serve &                              a sidecar with 100 calls per second\n  loadtest run loadtest/scenarios/steady.toml   loads it for twenty seconds\n  loadtest peers                                callgate beside Redis and others, under the same work\n\nExit codes:\n  0  done, and no limit was broken\n  1  could not be done\n  2  wrong usage\n  3  a limit was broken, an id admitted twice, or a question not answered"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Load a limiter by a scenario, and say how it did.
    #[command(
        after_help = "Examples:\n  loadtest run loadtest/scenarios/steady.toml\n  loadtest run loadtest/scenarios/http.toml --target http://127.0.0.1:7501 --seconds 60 --html out.html\n  loadtest run loadtest/scenarios/maximum.toml --pin 1 --json out.json"
    )]
    Run(RunArgs),
    /// Compare two results: ratios of A to B.
    #[command(after_help = "Example:\n  loadtest compare before.json after.json")]
    Compare(CompareArgs),
    /// Measure callgate and the peers that are installed, by turns, under the same work.
    ///
    /// Starts each server anew for each measurement, on a core of its own, and loads it from another core. Left out are peers
    /// that are not installed; a line says so.
    #[command(
        after_help = "Examples:\n  loadtest peers\n  loadtest peers --callgate target/release/callgate --rounds 7 --seconds 3 --json peers.json"
    )]
    Peers(PeersArgs),
    /// A server that parses nothing and answers the bytes that callgate would: the ceiling.
    Echo(EchoArgs),
    /// Say whether scenario files are good, and what they offer.
    #[command(after_help = "Example:\n  loadtest check loadtest/scenarios/*.toml")]
    Check {
        /// The files.
        #[arg(required = true, value_name = "SCENARIO")]
        files: Vec<PathBuf>,
    },
}

/// Arguments of `run`. What is given here lies over the file.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The scenario file.
    #[arg(value_name = "SCENARIO")]
    pub file: PathBuf,
    /// Who is asked: resp://HOST:PORT, resp+unix:/PATH or http://HOST:PORT.
    #[arg(long, value_name = "ADDRESS")]
    pub target: Option<String>,
    /// How long calls arrive.
    #[arg(long, value_name = "TIME", value_parser = Span::parse)]
    pub seconds: Option<Span>,
    /// What everything random is drawn from.
    #[arg(long)]
    pub seed: Option<u64>,
    /// How many connections.
    #[arg(long, value_name = "N")]
    pub connections: Option<usize>,
    /// Questions that a connection carries at once, at most.
    #[arg(long, value_name = "N")]
    pub pipeline: Option<usize>,
    /// Admissions in any second, at most: what the checker checks.
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Run on this core only.
    #[arg(long, value_name = "CORE")]
    pub pin: Option<usize>,
    /// Write the result as JSON, for `compare`.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the result as a page with plots.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// No progress bar.
    #[arg(long)]
    pub quiet: bool,
}

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The first result, as `run --json` wrote it.
    pub a: PathBuf,
    /// The second.
    pub b: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `peers`.
#[derive(Debug, Args)]
pub struct PeersArgs {
    /// The callgate program. Default: beside this one, else in PATH.
    #[arg(long, value_name = "FILE")]
    pub callgate: Option<PathBuf>,
    /// How many paired rounds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// How long each measurement takes.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = Span::parse)]
    pub seconds: Span,
    /// How long a server is loaded before it is measured.
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = Span::parse)]
    pub warm_up: Span,
    /// Pipelines, with commas between.
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,16,64", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub pipelines: Vec<u32>,
    /// How many connections.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: u32,
    /// Live calls at callgate.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub live: u32,
    /// The servers' core. Default: the first of two or more.
    #[arg(long, value_name = "CORE")]
    pub server_core: Option<usize>,
    /// The load's core. Default: the second.
    #[arg(long, value_name = "CORE")]
    pub load_core: Option<usize>,
    /// Leave out the latencies under four fifths of each peer's own maximum.
    #[arg(long)]
    pub no_latency: bool,
    /// Write everything measured as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Arguments of `echo`.
#[derive(Debug, Args)]
pub struct EchoArgs {
    /// Where it listens; port 0 lets the system choose. The address is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_fit_together() {
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["loadtest", "peers", "--pipelines", "1,8", "--seconds", "300ms"]).unwrap();
        let Command::Peers(args) = cli.command else { panic!("peers") };
        assert_eq!((args.pipelines, args.seconds, args.warm_up), (vec![1, 8], Span(300_000_000), Span(500_000_000)));
    }
}
