//! All checkers of a run: the limit of all calls, those of trunks, and ids. PURE.

use serde::{Deserialize, Serialize};

use crate::checker::{Admission, IdChecker, IdVerdict, WindowChecker, WindowVerdict};
use crate::scenario::Check;

/// The checkers.
#[derive(Debug, Default)]
pub struct Checks {
    all: Option<WindowChecker>,
    /// By position of the trunk in the plan.
    trunks: Vec<(String, Option<WindowChecker>)>,
    ids: IdChecker,
    admitted: u64,
}

/// What they found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Verdict {
    /// By limit. Empty: no limit was given, and no window was checked.
    pub windows: Vec<WindowVerdict>,
    /// Ids.
    pub ids: IdVerdict,
}

impl Verdict {
    /// Whether nothing was found.
    #[must_use]
    pub fn clean(&self) -> bool {
        self.ids.twice == 0 && self.windows.iter().all(|window| window.violations == 0)
    }
}

impl Checks {
    /// Checkers of those limits, for calls over those trunks.
    #[must_use]
    pub fn new(check: &Check, trunks: &[String]) -> Self {
        let of_trunk = |name: &String| (name.clone(), check.trunks.get(name).copied().map(WindowChecker::new));
        Self {
            all: check.limit.map(WindowChecker::new),
            trunks: trunks.iter().map(of_trunk).collect(),
            ..Self::default()
        }
    }

    /// A call was admitted anew.
    #[inline]
    pub fn admitted(&mut self, call: u32, trunk: u16, sent: u64, answered: u64) {
        self.admitted += 1;
        if self.ids.admitted(call) == Admission::AfterItsEnd {
            return;
        }
        if let Some(all) = &mut self.all {
            all.admitted(sent, answered);
        }
        if let Some((_, Some(checker))) = self.trunks.get_mut(usize::from(trunk)) {
            checker.admitted(sent, answered);
        }
    }

    /// A release is about to be sent.
    #[inline]
    pub fn release_sent(&mut self, call: u32) {
        self.ids.release_sent(call);
    }

    /// What was found.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let trunks = self.trunks.iter().filter_map(|(name, checker)| Some((name, checker.as_ref()?)));
        let windows = self.all.iter().map(|all| all.verdict("calls"));
        Verdict {
            windows: windows.chain(trunks.map(|(name, checker)| checker.verdict(&format!("trunk {name}")))).collect(),
            ids: self.ids.verdict(self.admitted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_after_a_calls_end_may_pay_nothing_and_is_not_counted() {
        let mut checks = Checks::new(&Check { limit: Some(1), ..Check::default() }, &[]);
        checks.admitted(1, 0, 10, 20);
        checks.release_sent(1);
        checks.admitted(1, 0, 30, 40);
        assert!(checks.verdict().clean());
        checks.admitted(2, 0, 50, 60);
        assert!(!checks.verdict().clean());
    }

    #[test]
    fn each_limit_has_a_verdict_of_its_own() {
        let check = Check { limit: Some(2), trunks: [("b".to_owned(), 1)].into() };
        let mut checks = Checks::new(&check, &["a".to_owned(), "b".to_owned()]);
        for (call, trunk) in [(0, 1), (1, 1)] {
            checks.admitted(call, trunk, 10, 20);
        }
        let verdict = checks.verdict();
        let found: Vec<_> = verdict.windows.iter().map(|window| (window.scope.as_str(), window.violations)).collect();
        assert_eq!(found, [("calls", 0), ("trunk b", 1)]);
        assert!(!verdict.clean());
    }
}
