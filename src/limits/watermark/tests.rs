use proptest::prelude::*;

use super::*;

const PLAIN: WatermarkLimits = WatermarkLimits { limit: 2500, webrtc: None, latch: Latch::Alone };
const WEBRTC: WatermarkLimits = WatermarkLimits { limit: 2244, webrtc: Some(256), latch: Latch::Alone };

fn admit(mark: &Watermark, webrtc: bool) -> Result<(), Refused> {
    mark.take(webrtc, 0).map(|taken| mark.commit(taken))
}

fn refusal(mark: &Watermark, webrtc: bool) -> Option<Refused> {
    mark.take(webrtc, 0).map(|taken| mark.undo(taken)).err()
}

fn with_use(limits: WatermarkLimits, plain: u32, webrtc: u32) -> Watermark {
    let mark = Watermark::new(limits);
    (0..plain).for_each(|_| mark.force(false));
    (0..webrtc).for_each(|_| mark.force(true));
    mark
}

#[test]
fn a_reached_limit_refuses_until_use_is_below_the_low_mark() {
    for (limits, low) in [(PLAIN, 2475), (WEBRTC, 2222)] {
        assert_eq!(limits.low_mark(), low);
        let mark = Watermark::new(limits);
        for _ in 0..limits.limit {
            assert_eq!(admit(&mark, false), Ok(()));
        }
        assert!(mark.view().latched);
        for used in (low..limits.limit).rev() {
            mark.release(false);
            assert_eq!((refusal(&mark, false), mark.view().count), (Some(Refused::Latched), used));
        }
        mark.release(false);
        assert_eq!(refusal(&mark, false), None, "{} is below {low}", mark.view().count);
        for _ in low - 1..limits.limit {
            assert_eq!(admit(&mark, false), Ok(()), "open up to the limit again");
        }
        assert_eq!(refusal(&mark, false), Some(Refused::Latched));
    }
}

#[test]
fn a_tentative_session_fills_the_limit_but_does_not_close_the_gate() {
    let mark = with_use(PLAIN, 2499, 0);
    let last = mark.take(false, 0).unwrap();
    assert_eq!(mark.take(false, 0), Err(Refused::Reached));
    assert!(!mark.view().latched);
    mark.undo(last);
    assert_eq!(admit(&mark, false), Ok(()));
    assert_eq!(mark.take(false, 0), Err(Refused::Latched));
}

#[test]
fn a_commit_closes_the_gate_only_when_committed_use_has_reached_the_limit() {
    let mark = with_use(PLAIN, 2498, 0);
    let (first, second) = (mark.take(false, 0).unwrap(), mark.take(false, 0).unwrap());
    mark.commit(first);
    assert!(!mark.view().latched, "one of the 2500 may still be undone");
    mark.commit(second);
    assert!(mark.view().latched);
}

#[test]
fn an_open_webrtc_take_does_not_hide_that_the_limit_was_reached() {
    let mark = with_use(WEBRTC, 2243, 0);
    let open = mark.take(true, 0).unwrap();
    assert_eq!(admit(&mark, false), Ok(()));
    assert!(mark.view().latched);
    mark.undo(open);
    mark.release(false);
    assert_eq!(refusal(&mark, false), Some(Refused::Latched));
}

#[test]
fn webrtc_sessions_are_counted_apart_and_have_no_latch() {
    let mark = Watermark::new(WEBRTC);
    (0..256).for_each(|_| assert_eq!(admit(&mark, true), Ok(())));
    assert_eq!(mark.take(true, 0), Err(Refused::WebrtcFull));
    mark.release(true);
    assert_eq!(admit(&mark, true), Ok(()));
    (0..2244).for_each(|_| assert_eq!(admit(&mark, false), Ok(())));
    mark.release(true);
    assert_eq!(
        (refusal(&mark, true), refusal(&mark, false)),
        (None, Some(Refused::Latched)),
        "the latch is not theirs"
    );
    assert_eq!(Watermark::new(PLAIN).take(true, 0), Err(Refused::WebrtcOff));
}

#[test]
fn headroom_is_left_to_those_who_may_use_it() {
    let mark = with_use(WatermarkLimits { limit: 100, webrtc: Some(10), latch: Latch::Alone }, 90, 8);
    assert_eq!(mark.take(false, 10), Err(Refused::Reached));
    assert_eq!(mark.take(true, 2), Err(Refused::WebrtcFull));
    assert_eq!((refusal(&mark, false), refusal(&mark, true)), (None, None));
}

#[test]
fn switching_webrtc_on_above_its_limit_drops_nobody_and_refuses_until_below_its_low_mark() {
    let mark = with_use(PLAIN, 2300, 0);
    mark.set(WEBRTC);
    let view = mark.view();
    assert_eq!((view.count, view.limit, view.webrtc_limit, view.latched), (2300, 2244, Some(256), true));
    assert_eq!((refusal(&mark, false), refusal(&mark, true)), (Some(Refused::Latched), None));
    (0..2300 - 2222).for_each(|_| mark.release(false));
    assert_eq!(refusal(&mark, false), Some(Refused::Latched));
    mark.release(false);
    assert_eq!(refusal(&mark, false), None);
    let below = with_use(PLAIN, 2243, 0);
    below.set(WEBRTC);
    assert_eq!(refusal(&below, false), None, "2243 had not reached 2244");
}

#[test]
fn switching_webrtc_off_counts_the_remaining_sessions_toward_the_limit() {
    let mark = with_use(WEBRTC, 2243, 256);
    mark.set(PLAIN);
    let view = mark.view();
    assert_eq!((view.count, view.webrtc, view.latched), (2499, 256, false));
    assert_eq!(refusal(&mark, true), Some(Refused::WebrtcOff));
    assert_eq!(admit(&mark, false), Ok(()));
    assert!(mark.view().latched);
    (0..25).for_each(|_| mark.release(true));
    assert_eq!((refusal(&mark, false), mark.view().count), (Some(Refused::Latched), 2475));
    mark.release(true);
    assert_eq!(refusal(&mark, false), None, "a WebRTC session's end counts like any other now");
    let full = with_use(WEBRTC, 2244, 256);
    full.set(PLAIN);
    assert!(full.view().latched, "2500 at the switch");
}

#[test]
fn a_session_taken_as_webrtc_is_released_as_such_after_any_switch() {
    let mark = with_use(WEBRTC, 10, 3);
    mark.set(PLAIN);
    mark.release(true);
    mark.set(WEBRTC);
    let view = mark.view();
    assert_eq!((view.count, view.webrtc), (10, 2));
}

#[test]
fn a_take_that_outlives_a_switch_is_still_only_tentative() {
    let mark = with_use(WEBRTC, 2243, 255);
    let (web, plain) = (mark.take(true, 0).unwrap(), mark.take(false, 0).unwrap());
    mark.set(PLAIN);
    assert_eq!((mark.view().count, mark.view().latched), (2500, false), "two of them may still be undone");
    mark.undo(web);
    mark.commit(plain);
    assert_eq!((mark.view().count, mark.view().latched), (2499, false));
}

#[test]
fn a_raised_limit_opens_the_gate_if_use_is_below_its_low_mark() {
    let mark = with_use(PLAIN, 2500, 0);
    mark.set(WatermarkLimits { limit: 2520, webrtc: None, latch: Latch::Alone });
    assert_eq!(refusal(&mark, false), Some(Refused::Latched), "2500 is above 2495");
    mark.set(WatermarkLimits { limit: 3000, webrtc: None, latch: Latch::Alone });
    assert_eq!(refusal(&mark, false), None);
    mark.set(WatermarkLimits { limit: u32::MAX, webrtc: Some(u32::MAX), latch: Latch::Alone });
    let view = mark.view();
    assert_eq!((view.limit, view.webrtc_limit), (2_000_000, Some(256)), "bounds");
}

#[test]
fn emergency_is_counted_past_the_limit_and_closes_the_gate() {
    let mark = with_use(PLAIN, 2499, 0);
    mark.force(false);
    mark.force(false);
    let view = mark.view();
    assert_eq!((view.count, view.latched), (2501, true));
}

#[test]
fn more_open_takes_than_the_word_counts_are_committed_early_and_none_is_lost() {
    let mark = Watermark::new(WatermarkLimits { limit: 200, webrtc: Some(100), latch: Latch::Alone });
    let open: Vec<Taken> = (0..200).map(|_| mark.take(false, 0).unwrap()).collect();
    let web: Vec<Taken> = (0..100).map(|_| mark.take(true, 0).unwrap()).collect();
    open.into_iter().chain(web).for_each(|taken| mark.undo(taken));
    let view = mark.view();
    assert_eq!((view.count, view.webrtc, view.latched), (0, 0, false));
    (0..199).for_each(|_| assert_eq!(admit(&mark, false), Ok(())));
    let last = mark.take(false, 0).unwrap();
    assert!(!mark.view().latched, "tentative again");
    mark.commit(last);
    assert!(mark.view().latched);
}

#[test]
fn hundreds_of_changes_of_the_limits_keep_the_last_one_in_force() {
    let mark = with_use(PLAIN, 5, 2);
    for limit in 100..1000 {
        mark.set(WatermarkLimits { limit, webrtc: (limit % 2 == 0).then_some(limit % 256), latch: Latch::Alone });
        assert_eq!(mark.view().limit, limit);
    }
    assert_eq!((mark.view().count, mark.view().webrtc), (7, 2));
}

#[test]
fn releasing_more_than_was_taken_stops_at_zero() {
    let mark = Watermark::new(PLAIN);
    mark.release(false);
    mark.release(true);
    assert_eq!((mark.view().count, mark.view().webrtc), (0, 0));
}

#[test]
fn a_limit_of_zero_refuses_all() {
    let mark = Watermark::new(WatermarkLimits { limit: 0, webrtc: None, latch: Latch::Alone });
    assert_eq!(mark.take(false, 0), Err(Refused::Reached));
    mark.force(false);
    assert_eq!(mark.take(false, 0), Err(Refused::Latched));
}

/// What the watermark should be, in plain words.
#[derive(Debug)]
struct Model {
    limits: WatermarkLimits,
    committed: [u32; 2],
    open: Vec<bool>,
    latched: bool,
}

impl Model {
    fn counted(&self, committed_only: bool) -> u32 {
        let tentative = |webrtc: bool| {
            let open = self.open.iter().filter(|open| **open == webrtc).count();
            if committed_only { 0 } else { u32::try_from(open).unwrap() }
        };
        let plain = self.committed[0] + tentative(false);
        if self.limits.webrtc.is_some() { plain } else { plain + self.committed[1] + tentative(true) }
    }

    fn rose(&mut self) {
        self.latched |= self.counted(true) >= self.limits.limit;
    }

    fn fell(&mut self) {
        self.latched &= self.counted(false) >= self.limits.low_mark();
    }

    fn refusal(&self, webrtc: bool, headroom: u32) -> Option<Refused> {
        let open_webrtc = u32::try_from(self.open.iter().filter(|open| **open).count()).unwrap();
        match (webrtc, self.limits.webrtc) {
            (true, None) => Some(Refused::WebrtcOff),
            (true, Some(limit)) => (self.committed[1] + open_webrtc + headroom >= limit).then_some(Refused::WebrtcFull),
            (false, _) if self.latched => Some(Refused::Latched),
            (false, _) => (self.counted(false) + headroom >= self.limits.limit).then_some(Refused::Reached),
        }
    }
}

proptest! {
    #[test]
    fn it_does_what_the_model_does(
        steps in proptest::collection::vec((0..10_u8, any::<bool>(), 0..300_u32, proptest::option::of(0..6_u32)), 0..300),
    ) {
        let limits = WatermarkLimits { limit: 110, webrtc: Some(4), latch: Latch::Alone };
        let mark = Watermark::new(limits);
        let mut model = Model { limits, committed: [0, 0], open: Vec::new(), latched: false };
        let mut open: Vec<Taken> = Vec::new();
        for (op, webrtc, number, webrtc_limit) in steps {
            match op {
                0..=2 => {
                    let headroom = if number < 30 { number / 10 } else { 0 };
                    for _ in 0..number / 3 {
                        match mark.take(webrtc, headroom) {
                            Ok(taken) => {
                                prop_assert_eq!(model.refusal(webrtc, headroom), None);
                                mark.commit(taken);
                                model.committed[usize::from(webrtc)] += 1;
                                model.rose();
                            }
                            Err(refused) => {
                                prop_assert_eq!(model.refusal(webrtc, headroom), Some(refused));
                                break;
                            }
                        }
                    }
                }
                3 | 4 => {
                    if let Ok(taken) = mark.take(webrtc, 0) {
                        prop_assert_eq!(model.refusal(webrtc, 0), None);
                        open.push(taken);
                        model.open.push(webrtc);
                    }
                }
                5 if !open.is_empty() => {
                    mark.commit(open.remove(0));
                    let webrtc = model.open.remove(0);
                    model.committed[usize::from(webrtc)] += 1;
                    model.rose();
                }
                6 if !open.is_empty() => {
                    mark.undo(open.remove(0));
                    model.open.remove(0);
                    model.fell();
                }
                7 => {
                    mark.force(webrtc);
                    model.committed[usize::from(webrtc)] += 1;
                    model.rose();
                }
                8 => {
                    for _ in 0..number.min(model.committed[usize::from(webrtc)]) {
                        mark.release(webrtc);
                        model.committed[usize::from(webrtc)] -= 1;
                        model.fell();
                    }
                }
                9 => {
                    model.limits = WatermarkLimits { limit: number, webrtc: webrtc_limit, latch: Latch::Alone };
                    mark.set(model.limits);
                    model.fell();
                    model.rose();
                }
                _ => {}
            }
            let view = mark.view();
            prop_assert_eq!(view.latched, model.latched);
            prop_assert_eq!((view.count, view.limit), (model.counted(false), model.limits.limit));
        }
    }
}

#[test]
fn threads_never_pass_the_limit_and_leave_nothing_behind() {
    let mark = Watermark::new(WatermarkLimits { limit: 20, webrtc: Some(3), latch: Latch::Alone });
    let held = [AtomicU64::new(0), AtomicU64::new(0)];
    std::thread::scope(|scope| {
        for thread in 0..3_u64 {
            let (mark, held) = (&mark, &held);
            scope.spawn(move || {
                let mut mine = [0_u32; 2];
                for round in 0..40_000_u64 {
                    let webrtc = (round + thread).is_multiple_of(5);
                    let (own, max) = if webrtc { (1, 3) } else { (0, 20) };
                    if mine[own] > 0 && round.is_multiple_of(3) {
                        held[own].fetch_sub(1, Ordering::SeqCst);
                        mark.release(webrtc);
                        mine[own] -= 1;
                    } else if let Ok(taken) = mark.take(webrtc, 0) {
                        assert!(held[own].fetch_add(1, Ordering::SeqCst) < max);
                        if round.is_multiple_of(7) {
                            held[own].fetch_sub(1, Ordering::SeqCst);
                            mark.undo(taken);
                        } else {
                            mark.commit(taken);
                            mine[own] += 1;
                        }
                    }
                }
                for (own, webrtc) in [(0, false), (1, true)] {
                    for _ in 0..mine[own] {
                        held[own].fetch_sub(1, Ordering::SeqCst);
                        mark.release(webrtc);
                    }
                }
            });
        }
    });
    let view = mark.view();
    assert_eq!((view.count, view.webrtc, view.latched), (0, 0, false));
}
