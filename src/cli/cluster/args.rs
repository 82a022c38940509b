//! Arguments of `callgate cluster`.

use std::path::PathBuf;

use clap::Subcommand;

use crate::cli::AdminArgs;

/// Members, loans, certificates.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// The members as this node sees them: connected or not, for how long, and when certificates end.
    #[command(after_help = "Example:\n  callgate cluster members")]
    Members(AdminArgs),
    /// What this node lends and borrows, by resource and member.
    #[command(
        after_help = "Examples:\n  callgate cluster loans\n  callgate cluster loans --format json | jq .resources"
    )]
    Loans(AdminArgs),
    /// Give up what is kept of a member that is gone for good.
    ///
    /// Only for one that will not come back with its old ledger: what it holds of this node is used again here.
    #[command(after_help = "Example:\n  callgate cluster forget sip-c --yes")]
    Forget {
        /// Which sidecar.
        #[command(flatten)]
        admin: AdminArgs,
        /// Don't ask.
        #[arg(long, short = 'y')]
        yes: bool,
        /// The member's name.
        node: String,
    },
    /// Return what is borrowed, recall what is lent, and take no part, as before a removal. Calls go on being decided.
    #[command(after_help = "Example:\n  callgate cluster drain")]
    Drain(AdminArgs),
    /// Take part again.
    #[command(after_help = "Example:\n  callgate cluster undrain")]
    Undrain(AdminArgs),
    /// The cluster's own certificate authority, and certificates of its nodes. Needs no running sidecar.
    #[command(subcommand)]
    Ca(CaCommand),
}

/// Certificates.
#[derive(Debug, Subcommand)]
pub enum CaCommand {
    /// Make a certificate authority in a directory: once for a cluster, on a host that is none of its nodes.
    #[command(after_help = "Example:\n  callgate cluster ca init /safe/callgate-ca")]
    Init {
        /// Where to; made if it isn't there. Nothing in it is overwritten.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Make a node's certificate and key, and say what goes where.
    ///
    /// Valid for a year. To renew one: move the old files away, issue, put the new ones in place on the node, and
    /// `callgate reload` there. No connection of a call is touched.
    #[command(after_help = "Example:\n  callgate cluster ca issue sip-a /safe/callgate-ca")]
    Issue {
        /// The node's name: its node.name.
        node: String,
        /// The authority's directory.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}
