//! End to end: SIPp calls through a real Kamailio, which runs the very files of `config/kamailio`, to a real sidecar.
//!
//! Every scenario ends with no live call, and its counts are asserted from the sidecar's status and from the packets.
//! `tests/run-all.sh` runs them; they need Debian's Kamailio and SIPp, and root for the network namespaces.

mod calls;
mod capture;
mod faults;
mod limits;
mod packets;
pub(crate) mod rig;
pub(crate) mod window;

use rig::Via;

/// One test for each way to ask.
macro_rules! over_both {
    ($($name:ident => $scenario:path;)+) => {
        mod resp {
            $(#[test]
            #[ignore = "needs Kamailio and SIPp; run by tests/run-all.sh"]
            fn $name() {
                $scenario(super::Via::Resp);
            })+
        }
        mod http {
            $(#[test]
            #[ignore = "needs Kamailio and SIPp; run by tests/run-all.sh"]
            fn $name() {
                $scenario(super::Via::Http);
            })+
        }
    };
}

over_both! {
    three_hundred_answered_calls_leave_nothing_live => super::calls::answered;
    a_cancel_while_ringing_gives_the_license_back => super::calls::cancel_while_ringing;
    a_busy_callee_gives_the_license_back => super::calls::busy;
    a_callee_who_never_answers_gives_the_license_back => super::calls::no_answer;
    a_cancel_during_the_question_leaves_no_slot_behind => super::calls::cancel_during_the_question;
    a_retransmitted_invite_asks_once => super::calls::retransmitted;
    a_forked_call_asks_once => super::calls::forked;
    a_reinvite_asks_nothing => super::calls::reinvite;
    a_challenged_call_takes_one_license => super::calls::challenged;
    calls_over_ipv6_are_admitted_and_released => super::calls::ipv6;
    a_lost_bye_ends_with_the_dialog => super::faults::lost_bye_with_dialog_timeout;
    a_lost_bye_without_dialog_timeout_ends_with_the_lease => super::faults::lost_bye_with_lease;
    a_killed_proxy_names_a_new_epoch_and_its_calls_are_freed => super::faults::proxy_killed;
    resync_claims_what_lives_and_frees_the_rest => super::faults::resync;
    resync_adopts_what_the_sidecar_never_heard_of => super::faults::resync_adopts;
    a_hung_sidecar_fails_no_call_with_the_breaker => super::faults::hung_with_breaker;
    a_hung_sidecar_without_breaker_leaks_no_slot => super::faults::hung_without_breaker;
    a_dead_sidecar_lets_calls_pass_when_open => super::faults::dead_open;
    a_dead_sidecar_stops_calls_when_closed => super::faults::dead_closed;
    a_killed_sidecar_knows_its_calls_again => super::faults::sidecar_killed;
    a_sidecar_killed_among_questions_fails_no_call_and_leaks_no_slot => super::faults::killed_among_questions;
    fifty_calls_a_second_pass_and_no_more => super::limits::rate;
    challenged_calls_are_counted_once_by_the_rate => super::limits::rate_challenged;
    an_emergency_call_passes_when_all_else_is_refused => super::limits::emergency;
    a_full_trunk_is_refused_with_480_and_cause_34 => super::limits::trunk;
    export_control_latches_at_its_limit_and_opens_below_its_low_mark => super::limits::export_control;
}

/// The other way does not ask again.
#[test]
#[ignore = "needs Kamailio and SIPp; run by tests/run-all.sh"]
fn a_question_asked_again_after_a_timeout_takes_one_license() {
    faults::asked_again(Via::Resp);
}
