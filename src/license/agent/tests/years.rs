//! A year of each product: never registered, out of contact from day 10, out of compliance from day 5.
//!
//! Each line says from which day on which verdict holds, as far as the days that are looked at show it.

use super::world::{DAY, HOUR, Link, World};
use crate::license::BuiltinProfile;
use crate::license::agent::{Command, TransportStep};

const DAYS: [u64; 19] = [0, 30, 89, 90, 91, 94, 95, 96, 99, 100, 101, 179, 180, 181, 189, 190, 191, 365, 366];

#[derive(Debug, Clone, Copy)]
enum Story {
    NeverRegistered,
    ContactLostOnDay10,
    OutOfComplianceFromDay5,
}

/// The verdicts of the days; of equal neighbors the first alone.
fn year(builtin: BuiltinProfile, story: Story) -> String {
    let mut world = World::of(builtin);
    world.coarse_ms = 4 * HOUR;
    let turn = |world: &mut World, day: u64| match (story, day) {
        (Story::ContactLostOnDay10, 10) => world.link = Link::Down(TransportStep::Tcp),
        (Story::OutOfComplianceFromDay5, 5) => {
            world.manager.bought.values_mut().for_each(|bought| *bought = 1);
            world.command(Command::RenewAuthorization).unwrap();
        }
        _ => {}
    };
    if !matches!(story, Story::NeverRegistered) {
        world.register();
    }
    let mut told: Vec<(u64, &'static str)> = Vec::new();
    for day in 0..=366 {
        world.run_to(day * DAY);
        turn(&mut world, day);
        if DAYS.contains(&day) && told.last().is_none_or(|(_, word)| *word != world.word()) {
            told.push((day, world.word()));
        }
    }
    told.iter().map(|(day, word)| format!("{day}: {word}")).collect::<Vec<_>>().join(" | ")
}

fn years(story: Story) -> Vec<(&'static str, String)> {
    std::thread::scope(|scope| {
        let lives: Vec<_> =
            BuiltinProfile::ALL.map(|builtin| (builtin.name(), scope.spawn(move || year(builtin, story)))).into();
        lives.into_iter().map(|(name, life)| (name, life.join().unwrap())).collect()
    })
}

fn table(rows: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    rows.iter().map(|(name, row)| (*name, (*row).to_owned())).collect()
}

#[test]
fn a_year_without_registration() {
    let expected = table(&[
        ("open", "0: allow"),
        ("cusp", "0: allow | 90: reject (evaluation-expired)"),
        ("cccsp", "0: allow | 90: reject (evaluation-expired)"),
        ("expressway", "0: allow | 90: no new registrations"),
        ("ccx", "0: allow | 90: config freeze"),
        ("ncs540", "0: allow"),
    ]);
    assert_eq!(years(Story::NeverRegistered), expected);
}

/// The last contact is on day 10, or a little before it: expiry comes ninety days later. After 365 days from day 0 the id
/// certificate ends, and evaluation counts, of which nothing was used.
#[test]
fn a_year_out_of_contact_from_day_10() {
    let expected = table(&[
        ("open", "0: allow"),
        ("cusp", "0: allow | 100: reject (authorization-expired) | 365: allow"),
        ("cccsp", "0: allow"),
        ("expressway", "0: allow"),
        ("ccx", "0: allow | 190: config freeze | 365: allow"),
        ("ncs540", "0: allow"),
    ]);
    assert_eq!(years(Story::ContactLostOnDay10), expected);
}

/// Overage begins on day 5 where the product has one, and ends ninety days later.
#[test]
fn a_year_out_of_compliance_from_day_5() {
    let expected = table(&[
        ("open", "0: allow"),
        ("cusp", "0: allow"),
        ("cccsp", "0: allow"),
        ("expressway", "0: allow"),
        ("ccx", "0: allow | 95: config freeze"),
        ("ncs540", "0: allow"),
    ]);
    assert_eq!(years(Story::OutOfComplianceFromDay5), expected);
}
