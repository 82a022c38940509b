//! Each rule left out once: the laws must notice. A rule that nothing misses is not needed, or not tested.

use callgate::cluster::{Rule, Rules};

use crate::course::tell;
use crate::story::{Story, homecoming, story};
use crate::{asked, first_of};

/// Seeds that a run searches in when the known ones notice nothing any more.
const SEARCHED: u64 = 1000;

/// A rule, stories, and a seed of them that notices its absence.
fn is_noticed(rule: Rule, known: u64, story: fn(u64) -> Story) {
    let rules = Rules::without(rule);
    // Service is not what these rules are for.
    let is_of_safety = |law: &String| rule == Rule::Lends || !["I9", "I10", "use"].iter().any(|of| law.starts_with(of));
    let notices = |seed: u64| tell(&story(seed), &rules, false).broken.filter(is_of_safety);
    let found = match asked("CALLGATE_SIM_MUTANTS") {
        Some(seeds) => first_of(0, seeds, notices),
        None => notices(known).map(|law| (known, law)).or_else(|| first_of(0, SEARCHED, notices)),
    };
    let Some((seed, law)) = found else { panic!("no seed misses the rule {rule:?}") };
    assert_eq!(tell(&story(seed), &Rules::default(), false).broken, None, "with all rules nothing is wrong");
    println!("{rule:?} is missed by seed {seed}: {law}");
}

macro_rules! mutants {
    ($($name:ident: $rule:ident, $known:expr, $story:ident;)+) => {
        $(#[test]
        fn $name() {
            is_noticed(Rule::$rule, $known, $story);
        })+
    };
}

mutants! {
    mutant_units_of_a_rate_come_back_without_a_rest: Limbo, 0, story;
    mutant_the_window_is_nine_tenths_of_a_second: FullWindow, 0, story;
    mutant_a_borrower_that_has_not_seen_the_newest_word_is_believed: SeenNewest, 0, story;
    mutant_a_term_is_counted_from_the_answers_arrival: AnchoredTerm, 131, story;
    mutant_nothing_rests_after_a_restart: RestartQuarantine, 10, story;
    mutant_what_has_not_cooled_is_not_reported: ReportUncooled, 0, story;
    mutant_admissions_do_not_check_the_end_of_loans: ValidUntil, 129, story;
    mutant_an_adoption_is_taken_each_time: AdoptOnce, 2, story;
    mutant_words_are_compared_across_lives: IncarnationFirst, 0, story;
    mutant_sessions_that_come_home_are_used_before_the_ledger_has_it: HomeWhenDurable, 0, homecoming;
    mutant_nothing_is_ever_lent: Lends, 0, story;
    mutant_the_next_trustee_does_not_wait: TrusteeWaits, 0, story;
}
