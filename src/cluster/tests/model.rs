//! Every schedule of a pair, to a depth: the real lender and the real borrower under stateright.
//!
//! The story begins with a loan under way. From there any of the two oldest packets may arrive or be lost, either disk may
//! write, either node may be killed and start again, calls may come at the borrower, and time may pass in steps that end a
//! term. All states within [`DEPTH`] steps are visited; in each, I1, I2 and I5 hold.

use std::hash::{Hash, Hasher};

use stateright::{Checker, Model, Property};

use super::pair::{Step, check, take};
use super::world::{Body, World, rate, session};
use crate::cluster::*;

/// Steps from the beginning of the story.
const DEPTH: usize = 5;

#[derive(Clone)]
struct State {
    world: World,
    broken: Option<String>,
}

/// What tells states apart: all of both nodes, their disks and the wire.
impl State {
    fn text(&self) -> String {
        let World { now, nodes, disks, wire, calls, admitted, .. } = &self.world;
        format!("{now} {nodes:?} {disks:?} {wire:?} {calls:?} {}", admitted.len())
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at {}", self.broken, self.world.now)
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.text().hash(hasher);
    }
}

struct Pair(Resource, Rules);

impl Model for Pair {
    type State = State;
    type Action = Choice;

    fn init_states(&self) -> Vec<State> {
        let mut world = World::new(&[2, 2], vec![self.0.clone()], self.1.clone());
        world.start_all();
        world.run(100, 1);
        // Node 1 uses all of its own and asks for more.
        for _ in 0..30 {
            world.offer(1, 0);
            world.run(2, 1);
        }
        world.wire.retain(|packet| matches!(packet.body, Body::Message(_)));
        vec![State { world, broken: None }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Choice>) {
        if state.broken.is_some() {
            return;
        }
        for pick in 0..state.world.wire.len().min(2) {
            actions.extend([Choice::Arrive(pick), Choice::Lose(pick)]);
        }
        for node in 0..2 {
            if state.world.nodes[node].as_ref().is_some_and(|node| node.batch.is_some()) {
                actions.push(Choice::Write(node));
            }
            actions.push(Choice::Crash(node));
        }
        actions.extend([Choice::Calls, Choice::Pass(50), Choice::Pass(1990)]);
    }

    fn next_state(&self, last: &State, choice: Choice) -> Option<State> {
        let mut state = last.clone();
        let pick = |pick: usize| u8::try_from(pick).unwrap();
        let step = match choice {
            Choice::Arrive(place) => Step::Arrive(pick(place)),
            Choice::Lose(place) => Step::Lose(pick(place)),
            Choice::Write(node) => Step::Write(node),
            Choice::Crash(node) => Step::Crash(node),
            Choice::Calls => Step::Calls(1, 6),
            Choice::Pass(ms) => Step::Pass(ms),
        };
        take(&mut state.world, step);
        // Hints move no right.
        state.world.wire.retain(|packet| matches!(packet.body, Body::Message(_)));
        state.broken = check(&mut state.world).err();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("I1, I2 and I5 hold", |_, state: &State| state.broken.is_none())]
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Arrive(usize),
    Lose(usize),
    Write(usize),
    Crash(usize),
    Calls,
    Pass(u16),
}

fn explore(resource: Resource, rules: Rules, depth: usize) -> impl Checker<Pair> {
    let checker = Pair(resource, rules).checker().target_max_depth(depth + 1).spawn_bfs().join();
    println!("{} states within {depth} steps", checker.unique_state_count());
    checker
}

#[test]
fn every_schedule_of_a_pair_keeps_the_cap_of_a_rate() {
    explore(rate(Class::Hard), Rules::default(), DEPTH).assert_properties();
}

#[test]
fn every_schedule_of_a_pair_keeps_the_cap_of_sessions() {
    explore(session(Class::Hard), Rules::default(), DEPTH).assert_properties();
}
