//! What nodes say to each other. Every field is absolute, none is a difference: a message that comes twice, late or not at
//! all does no harm.

use serde::{Deserialize, Serialize};

use super::ids::{Epoch, Incarnation, LedgerId, NodeName, Seq};
use super::resource::{Licenses, ResourceId};
use super::wire::{RESOURCE_NAME_BYTES_MAX, RESOURCES_MAX};

/// An instant of its sender's clock, which its receiver only echoes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Anchor(pub u64);

/// A message on a stream between two nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// The first on each connection.
    Hello(Hello),
    /// From a borrower: request, renewal, return and acknowledgement in one.
    Req(Req),
    /// From a lender: what may be held.
    Lend(Lend),
    /// From a lender to a borrower that restarted.
    Adopt(Adopt),
    /// Whether the sender still lends and borrows.
    Leave(Leave),
    /// What does the receiver hold of a node?
    Census(Census),
    /// The answer to a census.
    Counted(Counted),
    /// May the sender keep what a lost node left?
    Ballot(Ballot),
    /// The answer to a ballot.
    Vote(Vote),
    /// From a node that was lost and is back: give up what was kept of it.
    Release(Release),
    /// The answer to that: what is still kept.
    Released(Released),
    /// From a node that holds its own hard units only while a majority hears it.
    Beat(Beat),
    /// The answer to a beat.
    BeatAck(BeatAck),
}

impl Message {
    /// What kind it is, as a metric's label has it.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Req(_) => "req",
            Self::Lend(_) => "lend",
            Self::Adopt(_) => "adopt",
            Self::Leave(_) => "leave",
            Self::Census(_) => "census",
            Self::Counted(_) => "counted",
            Self::Ballot(_) => "ballot",
            Self::Vote(_) => "vote",
            Self::Release(_) => "release",
            Self::Released(_) => "released",
            Self::Beat(_) => "beat",
            Self::BeatAck(_) => "beat_ack",
        }
    }

    /// The life of its sender that moves rights with it, if it does.
    pub(super) const fn life(&self) -> Option<Incarnation> {
        match self {
            Self::Req(req) => Some(req.binc),
            Self::Lend(lend) => Some(lend.linc),
            Self::Adopt(adopt) => Some(adopt.linc),
            Self::Hello(_)
            | Self::Leave(_)
            | Self::Census(_)
            | Self::Counted(_)
            | Self::Ballot(_)
            | Self::Vote(_)
            | Self::Release(_)
            | Self::Released(_)
            | Self::Beat(_)
            | Self::BeatAck(_) => None,
        }
    }

    /// Whether it names no more and nothing longer than any node has.
    pub(super) fn is_bounded(&self) -> bool {
        match self {
            Self::Hello(hello) => bounded(hello.resources.iter()),
            Self::Req(req) => bounded([&req.resource]),
            Self::Lend(lend) => bounded([&lend.resource]),
            Self::Adopt(adopt) => bounded([&adopt.resource]),
            Self::Counted(counted) => {
                bounded(counted.held.iter().map(|(resource, _)| resource))
                    && bounded(counted.kept.iter().map(|(resource, _)| resource))
            }
            Self::Released(released) => bounded(released.kept.iter().map(|(resource, _)| resource)),
            Self::Vote(vote) => bounded(vote.spare.iter().map(|spare| &spare.resource)),
            Self::Beat(beat) => bounded(beat.spare.iter().map(|spare| &spare.resource)),
            Self::Leave(_) | Self::Census(_) | Self::Ballot(_) | Self::Release(_) | Self::BeatAck(_) => true,
        }
    }
}

/// The most trustees of a lost node that a vote names. Who would be one more is given no vote.
pub(super) const TRUSTEES_MAX: usize = 16;

fn bounded<'a>(resources: impl IntoIterator<Item = &'a ResourceId>) -> bool {
    let mut count = 0;
    resources.into_iter().all(|resource| {
        count += 1;
        count <= RESOURCES_MAX && resource.name.len() <= RESOURCE_NAME_BYTES_MAX
    })
}

/// Who speaks, and what it understands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The lowest version of the protocol that the sender speaks.
    pub proto_min: u16,
    /// The highest.
    pub proto_max: u16,
    /// The sender.
    pub node: NodeName,
    /// Its ledger.
    pub ledger: LedgerId,
    /// Its ledger's incarnation.
    pub inc: Incarnation,
    /// Drawn at random by each process: one incarnation in two processes is a ledger that was copied.
    pub life: u64,
    /// The sender hasn't heard who the receiver is: it is to say so.
    pub asks: bool,
    /// What it can share, with its meaning: only what both sides name alike is lent.
    pub resources: Vec<ResourceId>,
}

/// What a borrower holds of a lender, and wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Req {
    /// Of what.
    pub resource: ResourceId,
    /// The borrower's incarnation.
    pub binc: Incarnation,
    /// The lender's incarnation as the borrower knows it.
    pub linc: Incarnation,
    /// When the borrower sent this, by its own clock.
    pub anchor: Anchor,
    /// What it holds, usage that hasn't cooled yet included.
    pub hold: Licenses,
    /// The newest `Lend` that it saw of that incarnation.
    pub seen: Seq,
    /// What it would like to hold in all.
    pub want: Licenses,
}

/// What a borrower may hold of a lender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lend {
    /// Of what.
    pub resource: ResourceId,
    /// The epoch of the lender's home count.
    pub epoch: Epoch,
    /// The lender's incarnation.
    pub linc: Incarnation,
    /// The borrower's incarnation that it answers.
    pub binc: Incarnation,
    /// Its number.
    pub seq: Seq,
    /// What may be held in all.
    pub k: Licenses,
    /// The anchor of the request that it answers; without one it renews nothing.
    pub anchor: Option<Anchor>,
    /// How long it holds from the anchor on, by the borrower's clock, in milliseconds; 0: no end.
    pub term_ms: u32,
}

/// What a borrower that restarted still holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopt {
    /// Of what.
    pub resource: ResourceId,
    /// The lender's incarnation.
    pub linc: Incarnation,
    /// The borrower's incarnation.
    pub binc: Incarnation,
    /// What is out to it.
    pub out: Licenses,
    /// The lender's newest number.
    pub seq: Seq,
}

/// Whether a node still lends and borrows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leave {
    /// Its incarnation.
    pub inc: Incarnation,
    /// It returns what it holds, recalls what it lent, and takes no part until it says otherwise.
    pub draining: bool,
}

/// A question to each member: what do you hold of this node?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Census {
    /// Of whom: the sender itself when its disk is new, a lost node otherwise.
    pub about: NodeName,
    /// The sender's own clock, echoed: an answer to an older question counts for nothing.
    pub anchor: Anchor,
    /// The sender's incarnation. It rises when its census about itself is over: what comes late is known by that.
    pub inc: Incarnation,
}

/// The answer to a [`Census`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Of whom.
    pub about: NodeName,
    /// The question's.
    pub anchor: Anchor,
    /// The highest incarnation that the sender ever saw of that node, under whatever ledger.
    pub inc_seen: Incarnation,
    /// What the sender holds of it, usage that hasn't cooled included; a resource that isn't named: none.
    pub held: Vec<(ResourceId, Licenses)>,
    /// Of that, what it keeps of it as a trustee.
    pub kept: Vec<(ResourceId, Licenses)>,
}

/// A question to each configured member: may the sender keep, for a lease's term, what a lost node left?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ballot {
    /// Who is lost.
    pub about: NodeName,
    /// The round: one vote is given in each.
    pub round: u64,
    /// The sender's own clock, echoed: the lease counts from it.
    pub anchor: Anchor,
}

/// The answer to a [`Ballot`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Who is lost.
    pub about: NodeName,
    /// The round that was asked for.
    pub round: u64,
    /// The ballot's.
    pub anchor: Anchor,
    /// The sender's vote in this round is the asker's, and durable.
    pub given: bool,
    /// The newest round that the sender voted in.
    pub newest: u64,
    /// Whoever had the sender's vote in an earlier round: what they still use of it is not there to be kept.
    pub before: Vec<NodeName>,
    /// What the lost node doesn't need, as the sender heard it say last; a resource that isn't named: nothing.
    pub spare: Vec<Spare>,
}

/// A node that was lost is back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its incarnation.
    pub inc: Incarnation,
    /// Its own clock, echoed.
    pub anchor: Anchor,
}

/// What the sender still keeps of the node that asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// The question's.
    pub anchor: Anchor,
    /// Still kept; a resource that isn't named: nothing.
    pub kept: Vec<(ResourceId, Licenses)>,
}

/// What a node can do without, should it be cut off: its home count less its floor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spare {
    /// Of what.
    pub resource: ResourceId,
    /// So many.
    pub licenses: Licenses,
    /// For how long yet, in milliseconds: then the node's grant lapses, and the licensing backend may give them to others.
    /// `None`: it has no end.
    pub lasts_ms: Option<u64>,
}

/// A sign of life, on which the sender's right to its own hard units rests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Its incarnation.
    pub inc: Incarnation,
    /// The sender's own clock, echoed: its lease counts from it. No two beats of a life have the same.
    pub anchor: Anchor,
    /// From the receiver's newest answer: its life and its clock then. What ends is counted from there.
    pub echo: Option<(Incarnation, Anchor)>,
    /// What a majority may keep, should the sender be cut off: it does without that whoever hears it.
    pub spare: Vec<Spare>,
}

/// A member heard a [`Beat`], and what it says is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeatAck {
    /// The beat's incarnation.
    pub inc: Incarnation,
    /// The beat's.
    pub anchor: Anchor,
    /// The sender's life and clock, echoed.
    pub at: (Incarnation, Anchor),
    /// The newest round in which the sender voted for a trustee over the other's licenses.
    pub round: u64,
    /// Whoever had its vote so far: what they still use is to be asked.
    pub trustees: Vec<NodeName>,
}

/// What a node has and needs, gossiped in datagrams. A hint: it moves no right, and a lie in it harms its sender's own
/// service alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// Whose.
    pub node: NodeName,
    /// Its incarnation.
    pub inc: Incarnation,
    /// Its number within the incarnation; the highest is the newest.
    pub stamp: u64,
    /// Each resource.
    pub of: Vec<HintOf>,
}

impl Hint {
    /// Whether it names no more and nothing longer than any node has.
    pub(super) fn is_bounded(&self) -> bool {
        bounded(self.of.iter().map(|of| &of.resource))
    }
}

/// What a node has and needs of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HintOf {
    /// Of what.
    pub resource: ResourceId,
    /// The epoch of its home count.
    pub epoch: Epoch,
    /// Its home count.
    pub home: Licenses,
    /// In use, in units.
    pub used: u32,
    /// Free within its limit, in units.
    pub free: u32,
    /// What it would lend now.
    pub surplus: Licenses,
    /// What it is asked for: units in use at once, or calls per second.
    pub demand: u32,
    /// Calls are refused for want of units.
    pub starving: bool,
}
