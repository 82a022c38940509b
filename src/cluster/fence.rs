//! A node whose ledger is new knows nothing of what its name lent before. Until it does, it has no home units. PURE.
//!
//! Either every configured member answered what it holds of this node, and the loans are rebuilt from that exactly; or the
//! licensing backend says that no grant of an earlier ledger is in force any more, and whoever didn't answer counts as
//! holding the most that one peer is lent until it does.
//!
//! Where it stops: it asks and remembers; the engine rebuilds. It is durable that a node is fenced: a restart before the end
//! begins the census anew.

use std::collections::{BTreeMap, BTreeSet};

use super::ids::{Incarnation, NodeName};
use super::message::{Anchor, Census, Counted, Message};
use super::resource::{Licenses, ResourceId};
use super::retention::{Out, View};
use crate::units::Tick;

/// Who didn't answer is asked again so often, in milliseconds.
const AGAIN_MS: u64 = 1000;

/// The census of a node about itself.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct Fence {
    anchor: Anchor,
    asked: Option<Tick>,
    answers: BTreeMap<NodeName, BTreeMap<ResourceId, Licenses>>,
    /// The highest incarnation that anybody saw under this name.
    inc_seen: Incarnation,
    released: bool,
}

impl Fence {
    pub(in crate::cluster) const fn new(now: Tick) -> Self {
        Self { anchor: Anchor(now.0), asked: None, answers: BTreeMap::new(), inc_seen: Incarnation(0), released: false }
    }

    /// The members that haven't answered.
    pub(in crate::cluster) fn missing(&self, configured: &BTreeSet<NodeName>) -> BTreeSet<NodeName> {
        configured.iter().filter(|node| !self.answers.contains_key(*node)).cloned().collect()
    }

    /// When [`step`](Self::step) is due.
    pub(in crate::cluster) fn due(&self) -> Tick {
        self.asked.map_or(Tick(0), |asked| asked.plus_millis(AGAIN_MS))
    }

    /// Asks whoever hasn't answered.
    pub(in crate::cluster) fn step(&mut self, view: &View<'_>) -> Vec<Out> {
        if view.now < self.due() {
            return Vec::new();
        }
        self.asked = Some(view.now);
        let census = Message::Census(Census { about: view.node.clone(), anchor: self.anchor, inc: view.inc });
        self.missing(view.configured).into_iter().map(|node| Out::Send(node, census.clone())).collect()
    }

    /// A member answered.
    pub(in crate::cluster) fn on_counted(&mut self, from: &NodeName, counted: &Counted, view: &View<'_>) {
        if counted.about != *view.node || counted.anchor != self.anchor || !view.configured.contains(from) {
            return;
        }
        self.inc_seen = self.inc_seen.max(counted.inc_seen);
        self.answers.insert(from.clone(), counted.held.iter().cloned().collect());
    }

    /// The operator says that a member is gone for good, or never was: it holds nothing.
    pub(in crate::cluster) fn forget(&mut self, node: &NodeName) {
        self.answers.entry(node.clone()).or_default();
    }

    /// The backend says that no grant of an earlier ledger is in force.
    pub(in crate::cluster) const fn release(&mut self) {
        self.released = true;
    }

    /// Whether the home units may be used, once the loans are rebuilt.
    pub(in crate::cluster) fn is_over(&self, configured: &BTreeSet<NodeName>) -> bool {
        self.released || self.missing(configured).is_empty()
    }

    /// The highest incarnation that anybody saw under this name.
    pub(in crate::cluster) const fn inc_seen(&self) -> Incarnation {
        self.inc_seen
    }

    /// What a member holds of a resource; `None` if it didn't answer.
    pub(in crate::cluster) fn held(&self, by: &NodeName, resource: &ResourceId) -> Option<Licenses> {
        Some(self.answers.get(by)?.get(resource).copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::params::Parameters;
    use crate::cluster::resource::{Class, Kind};
    use crate::cluster::rules::Rules;

    fn name(text: &str) -> NodeName {
        text.parse().unwrap()
    }

    fn sessions() -> ResourceId {
        ResourceId { name: "session".into(), kind: Kind::Session, class: Class::Hard }
    }

    fn with_view(now: Tick, test: impl FnOnce(&View<'_>)) {
        let (node, params, rules) = (name("x"), Parameters::default(), Rules::default());
        let configured = [name("a"), name("b")].into();
        test(&View {
            now,
            wall: None,
            node: &node,
            inc: Incarnation(1),
            configured: &configured,
            reachable: &BTreeSet::new(),
            params: &params,
            rules: &rules,
        });
    }

    fn counted(anchor: Tick, held: u32) -> Counted {
        Counted {
            about: name("x"),
            anchor: Anchor(anchor.0),
            inc_seen: Incarnation(9),
            held: vec![(sessions(), Licenses(held))],
            kept: Vec::new(),
        }
    }

    const T: Tick = Tick::from_secs(5);

    #[test]
    fn a_fence_stands_until_every_configured_member_answered() {
        with_view(T, |view| {
            let mut fence = Fence::new(T);
            assert_eq!(fence.step(view).len(), 2);
            assert_eq!(fence.step(view), [], "asked a moment ago");
            fence.on_counted(&name("a"), &counted(T, 7), view);
            assert!(!fence.is_over(view.configured));
            fence.on_counted(&name("b"), &counted(T, 0), view);
            assert!(fence.is_over(view.configured));
            assert_eq!(fence.held(&name("a"), &sessions()), Some(Licenses(7)));
            assert_eq!(fence.inc_seen(), Incarnation(9));
        });
        with_view(T.plus_secs(2), |view| {
            let mut fence = Fence::new(T);
            fence.on_counted(&name("a"), &counted(T, 7), view);
            assert_eq!(fence.step(view).len(), 1, "who answered isn't asked again");
        });
    }

    #[test]
    fn answers_of_strangers_and_to_earlier_questions_count_for_nothing() {
        with_view(T, |view| {
            let mut fence = Fence::new(T);
            fence.on_counted(&name("c"), &counted(T, 7), view);
            fence.on_counted(&name("a"), &counted(Tick(1), 7), view);
            fence.on_counted(&name("b"), &Counted { about: name("a"), ..counted(T, 7) }, view);
            assert_eq!(fence.missing(view.configured).len(), 2);
        });
    }

    #[test]
    fn the_backends_word_ends_it_though_not_all_answered() {
        with_view(T, |view| {
            let mut fence = Fence::new(T);
            fence.release();
            assert!(fence.is_over(view.configured));
            assert_eq!(fence.held(&name("a"), &sessions()), None);
        });
    }
}
