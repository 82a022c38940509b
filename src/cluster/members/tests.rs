#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at what it is about, and at nothing else")]

use super::*;
use crate::cluster::wire::decode_datagram;

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn setup(node: &str, inc: u64, peers: &[&str]) -> Setup {
    Setup {
        node: name(node),
        ledger: LedgerId(u128::from(node.as_bytes()[0])),
        inc: Incarnation(inc),
        peers: peers.iter().map(|peer| name(peer)).collect(),
        members_max: 64,
        seed: 7,
    }
}

/// Nodes on a network that loses what a test says.
struct Net {
    now: Tick,
    nodes: BTreeMap<NodeName, Members>,
    told: Vec<(NodeName, Output)>,
    cut: BTreeSet<NodeName>,
    sent: u64,
}

impl Net {
    fn new(setups: Vec<Setup>) -> Self {
        let now = Tick::from_secs(100);
        let nodes = setups.into_iter().map(|setup| (setup.node.clone(), Members::new(setup, now))).collect();
        Self { now, nodes, told: Vec::new(), cut: BTreeSet::new(), sent: 0 }
    }

    fn of(nodes: &[&str]) -> Self {
        let peers = |node: &str| nodes.iter().copied().filter(|other| *other != node).collect::<Vec<_>>();
        Self::new(nodes.iter().map(|node| setup(node, 1, &peers(node))).collect())
    }

    fn deliver(&mut self) {
        loop {
            let mut frames = Vec::new();
            for (from, node) in &mut self.nodes {
                while let Some(output) = node.poll_output() {
                    match output {
                        Output::Datagram { to, bytes } => frames.push((from.clone(), to, bytes)),
                        other @ (Output::Up(_)
                        | Output::Rejoined { .. }
                        | Output::Suspect(_)
                        | Output::Trusted(_)
                        | Output::Down(_)
                        | Output::Full { .. }) => self.told.push((from.clone(), other)),
                    }
                }
            }
            if frames.is_empty() {
                return;
            }
            for (from, to, bytes) in frames {
                self.sent += 1;
                if self.cut.contains(&from) || self.cut.contains(&to) {
                    continue;
                }
                let Some(node) = self.nodes.get_mut(&to) else { continue };
                match decode_datagram(&bytes).unwrap() {
                    Datagram::Membership(frame) => {
                        let _ = node.handle_datagram(&from, frame, self.now);
                    }
                    Datagram::Known(generation) => node.handle_known(generation, self.now),
                    Datagram::Hint(_) => unreachable!("membership sends no hints"),
                }
            }
        }
    }

    fn run(&mut self, seconds: u64) {
        let end = self.now.plus_secs(seconds);
        while self.now < end {
            for node in self.nodes.values_mut() {
                node.handle_timeout(self.now);
            }
            self.deliver();
            self.now = self.now.plus_millis(20);
        }
    }

    fn sees(&self, node: &str, peer: &str) -> Option<Standing> {
        self.nodes[&name(node)].standing(&name(peer))
    }

    fn told(&self, node: &str, what: impl Fn(&Output) -> bool) -> usize {
        self.told.iter().filter(|(who, output)| *who == name(node) && what(output)).count()
    }
}

#[test]
fn nodes_that_are_configured_to_know_one_find_all() {
    let mut net = Net::new(vec![setup("a", 1, &["b"]), setup("b", 1, &[]), setup("c", 1, &["b"])]);
    net.run(5);
    for (node, peer) in [("a", "b"), ("a", "c"), ("b", "a"), ("b", "c"), ("c", "a"), ("c", "b")] {
        assert_eq!(net.sees(node, peer), Some(Standing::Up), "{node} {peer}");
    }
    assert_eq!(net.told("a", |output| matches!(output, Output::Up(_))), 2);
}

#[test]
fn a_node_that_is_cut_off_is_suspected_then_down_and_up_again_when_it_is_back() {
    let mut net = Net::of(&["a", "b", "c"]);
    net.run(5);
    net.cut.insert(name("c"));
    net.run(4);
    assert_eq!(net.sees("a", "c"), Some(Standing::Suspect));
    assert_eq!(net.told("a", |output| *output == Output::Suspect(name("c"))), 1);
    net.run(16);
    assert_eq!(net.sees("a", "c"), Some(Standing::Down));
    assert_eq!(net.sees("a", "b"), Some(Standing::Up));
    assert_eq!(net.told("a", |output| *output == Output::Down(name("c"))), 1);
    assert_eq!(net.nodes[&name("c")].active_count(), 0);
    net.cut.clear();
    net.run(30);
    for (node, peer) in [("a", "c"), ("b", "c"), ("c", "a"), ("c", "b")] {
        assert_eq!(net.sees(node, peer), Some(Standing::Up), "{node} {peer}");
    }
}

#[test]
fn a_node_without_members_calls_the_configured_ones_until_one_answers() {
    let mut net = Net::of(&["a", "b"]);
    net.cut.insert(name("b"));
    net.run(120);
    assert_eq!(net.nodes[&name("a")].active_count(), 0);
    net.cut.clear();
    net.run(3);
    assert_eq!(net.sees("a", "b"), Some(Standing::Up));
    assert_eq!(net.sees("b", "a"), Some(Standing::Up));
}

#[test]
fn one_seed_gives_one_story() {
    let story = || {
        let mut net = Net::of(&["a", "b", "c", "d", "e"]);
        net.run(5);
        net.cut.insert(name("c"));
        net.run(20);
        net.cut.clear();
        net.run(10);
        (net.told, net.sent)
    };
    assert_eq!(story(), story());
}

#[test]
fn a_frame_under_another_name_than_its_certificates_counts_for_nothing() {
    let mut net = Net::of(&["a", "b", "c"]);
    let (now, mut b) = (net.now, net.nodes.remove(&name("b")).unwrap());
    b.handle_timeout(now);
    let frame = std::iter::from_fn(|| b.poll_output())
        .find_map(|output| match output {
            Output::Datagram { to, bytes } if to == name("a") => Some(bytes),
            _ => None,
        })
        .unwrap();
    let a = net.nodes.get_mut(&name("a")).unwrap();
    let frame = &frame[DATAGRAM_HEAD_BYTES..];
    assert_eq!(a.handle_datagram(&name("c"), frame, now), Err(FrameError::Forged));
    assert_eq!(a.active_count(), 0);
    assert_eq!(a.handle_datagram(&name("b"), frame, now), Ok(()));
    assert_eq!(a.active_count(), 1);
}

#[test]
fn no_bytes_make_it_panic_or_known_to_anyone() {
    let mut net = Net::of(&["a", "b"]);
    let now = net.now;
    let a = net.nodes.get_mut(&name("a")).unwrap();
    let mut dice = Dice::new(1);
    for length in 0..400 {
        let frame: Vec<u8> = (0..length).map(|_| u8::try_from(dice.below(256)).unwrap()).collect();
        assert!(a.handle_datagram(&name("b"), &frame, now).is_err());
    }
    assert_eq!(a.active_count(), 0);
}

#[test]
fn a_storm_of_members_is_capped_and_told_once() {
    let names: Vec<String> = (0..40).map(|n| format!("n{n}")).collect();
    let mut setups: Vec<Setup> = names.iter().map(|node| setup(node, 1, &["a"])).collect();
    setups.push(Setup { members_max: 10, ..setup("a", 1, &[]) });
    let mut net = Net::new(setups);
    net.run(3);
    let a = &net.nodes[&name("a")];
    assert_eq!(a.active_count(), 10);
    assert_eq!(a.foca.iter_membership_state().len(), 10, "those that gossip names stay out as well");
    assert_eq!(net.told("a", |output| matches!(output, Output::Full { .. })), 1);
}

#[test]
fn a_restarted_node_is_told_as_rejoined_under_its_new_incarnation() {
    let mut net = Net::of(&["a", "b", "c"]);
    net.run(5);
    let now = net.now;
    net.nodes.insert(name("c"), Members::new(setup("c", 2, &["a", "b"]), now));
    net.run(5);
    assert_eq!(net.sees("a", "c"), Some(Standing::Up));
    let rejoined = |output: &Output| matches!(output, Output::Rejoined { before, now } if before.inc == Incarnation(1) && now.inc == Incarnation(2));
    assert_eq!(net.told("a", rejoined), 1);
}

#[test]
fn a_replaced_node_whose_ledger_counts_lower_gets_in_all_the_same() {
    let mut setups = vec![setup("a", 1, &["b", "c"]), setup("b", 1, &["a", "c"])];
    setups.push(setup("c", 57, &["a", "b"]));
    let mut net = Net::new(setups);
    net.run(5);
    let now = net.now;
    let fresh = Setup { ledger: LedgerId(999), ..setup("c", 1, &["a", "b"]) };
    net.nodes.insert(name("c"), Members::new(fresh, now));
    net.run(10);
    assert_eq!(net.sees("a", "c"), Some(Standing::Up));
    assert_eq!(net.sees("c", "a"), Some(Standing::Up));
    assert!(net.nodes[&name("c")].identity().generation > 57);
}

#[test]
fn who_leaves_is_down_at_once_and_sends_nothing_more() {
    let mut net = Net::of(&["a", "b", "c"]);
    net.run(5);
    let now = net.now;
    net.nodes.get_mut(&name("c")).unwrap().leave(now);
    net.run(2);
    assert_eq!(net.sees("a", "c"), Some(Standing::Down));
    assert_eq!(net.sees("b", "c"), Some(Standing::Down));
    let c = net.nodes.get_mut(&name("c")).unwrap();
    assert_eq!(c.poll_timeout(), None);
}

#[test]
fn comings_and_goings_leave_no_timers_behind() {
    let mut net = Net::of(&["a", "b"]);
    net.run(2);
    for inc in 2..60 {
        let now = net.now;
        net.nodes.insert(name("b"), Members::new(setup("b", inc, &["a"]), now));
        net.run(2);
        net.nodes.get_mut(&name("b")).unwrap().leave(net.now);
        net.run(1);
    }
    let a = &net.nodes[&name("a")];
    assert!(a.timers.len() < 20, "{} timers", a.timers.len());
}
