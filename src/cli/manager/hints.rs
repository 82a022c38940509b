//! What the shipped product profiles ask for, for hints at purchases and tokens.
//!
//! A manager takes any tag and any product: profiles of one's own have theirs. What no shipped one knows may be a typing
//! error, so it is hinted at, and done all the same.

use std::collections::BTreeSet;

use crate::license::agent::UsageClass;
use crate::license::{BuiltinProfile, Profile};

fn shipped() -> impl Iterator<Item = Profile> {
    BuiltinProfile::ALL.into_iter().filter_map(|profile| Profile::builtin(profile).ok())
}

/// The tags that shipped profiles ask for, in production and in the lab.
fn tags() -> BTreeSet<String> {
    let both = [UsageClass::Production, UsageClass::Lab];
    let of = |profile: Profile| {
        let types = profile.types.iter().flat_map(|licensed| both.map(|usage| profile.tag(&licensed.name, usage)));
        let export = both.map(|usage| profile.export_tag(usage)).into_iter().filter(|_| profile.hard_cap.enabled);
        types.chain(export).collect::<Vec<String>>()
    };
    shipped().flat_map(of).collect()
}

/// What to think of, where no shipped profile asks for this tag and the manager doesn't know it yet.
pub(super) fn of_tag(tag: &str, known: bool) -> Option<String> {
    let tags = tags();
    if known || tags.contains(tag) {
        return None;
    }
    let lab = |tag: &str| tag.split('.').any(|part| part == "lab");
    let like = |other: &&String| {
        lab(other) == lab(tag) && (other.split('.').any(|part| part == tag) || distance(other, tag) <= 2)
    };
    let meant: Vec<&str> = tags.iter().filter(like).take(6).map(String::as_str).collect();
    let meant = if meant.is_empty() { String::new() } else { format!(" Was {} meant?", meant.join(" or ")) };
    Some(format!(
        "Hint: no shipped product profile asks for {tag}; it serves types and profiles of your own only.{meant}"
    ))
}

/// The same for products, by the name of their profile or their product id.
pub(super) fn of_products(products: &[String]) -> Option<String> {
    let unknown: Vec<&str> = products.iter().filter(|name| profile(name).is_none()).map(String::as_str).collect();
    if unknown.is_empty() {
        return None;
    }
    let names = BuiltinProfile::ALL.map(BuiltinProfile::name).join(", ");
    Some(format!(
        "Hint: no shipped product profile is called {}; the token registers a profile of your own of that name only. \
         Shipped are: {names}.",
        unknown.join(", ")
    ))
}

/// Days that a token for these products is good, by their profiles: the fewest. `None` where one is not shipped.
pub(super) fn token_days(products: &[String]) -> Option<u32> {
    let days: Option<Vec<u32>> = products.iter().map(|name| Some(profile(name)?.token.default_days)).collect();
    days?.into_iter().min()
}

fn profile(name: &str) -> Option<Profile> {
    shipped().find(|profile| profile.name == name || profile.pid == name)
}

/// Letters to add, drop or change to make one of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, wanted) in row.iter_mut().skip(1).zip(&other) {
            let changed = diagonal + usize::from(letter != *wanted);
            diagonal = *cell;
            left = changed.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_that_no_shipped_profile_asks_for_is_hinted_at_with_what_may_be_meant() {
        for known in ["open.cps", "ccx.premium.lab", "expressway.export", "expressway.export.lab", "ncs540.tracking"] {
            assert_eq!(of_tag(known, false), None, "{known}");
        }
        assert_eq!(of_tag("mine.trunk", true), None, "the manager knows it: somebody defined or bought it before");
        let meant = |tag: &str| of_tag(tag, false).unwrap_or_default();
        assert!(meant("open.csp").ends_with("Was open.cps meant?"), "{}", meant("open.csp"));
        assert!(meant("cps").contains("cccsp.cps or cusp.cps or open.cps"), "{}", meant("cps"));
        assert!(meant("nonsense.tag").ends_with("your own only."), "{}", meant("nonsense.tag"));
        assert!(of_tag("open.export", false).is_some(), "this product has no export control");
    }

    #[test]
    fn a_token_for_a_product_is_good_for_its_profiles_days_and_an_unknown_product_is_hinted_at() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(token_days(&names(&["ncs540"])), Some(290));
        assert_eq!(token_days(&names(&["CALLGATE-NCS540"])), Some(290), "the product id names it too");
        assert_eq!(token_days(&names(&["ncs540", "cusp"])), Some(30));
        assert_eq!(token_days(&names(&["ncs540", "mine"])), None);
        assert_eq!(token_days(&[]), None);
        assert_eq!(of_products(&names(&["cusp", "CALLGATE"])), None);
        let hint = of_products(&names(&["cusp", "nosuch"])).unwrap_or_default();
        assert!(hint.contains("called nosuch;") && hint.contains("open, cusp, cccsp"), "{hint}");
    }

    #[test]
    fn the_distance_of_two_words_is_in_letters() {
        for (one, other, letters) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("cps", "csp", 2), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(one, other), letters, "{one} {other}");
        }
    }
}
