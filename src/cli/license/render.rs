//! The pages as text, like `show license …`: what is at the top, what it does to calls and what comes at the end.

use super::sheet::Sheet;
use crate::cli::text::{Lean, number};
use crate::license::usage::report::licenses;
use crate::license::view::{
    AttemptLine, AuthorizationSection, EvaluationSection, Forecast, LicenseView, PlatformPage, RegistrationSection,
    StatisticsPage, StatusPage, SummaryPage, SupportPage, Track, UdiPage, UsageLine, UsagePage,
};
use crate::license::when::when;
use crate::units::UnixMillis;

const NONE: &str = "-";

fn time(at: Option<UnixMillis>) -> String {
    at.map_or_else(|| NONE.to_owned(), when)
}

const fn yes(flag: bool) -> &'static str {
    if flag { "Yes" } else { "No" }
}

fn top(sheet: &mut Sheet, of: &LicenseView) {
    sheet.text(&format!("{}, profile {}: {}", of.node, of.profile, of.heading()));
}

/// What it does to calls now, what comes next and when, what to do.
fn foot(sheet: &mut Sheet, of: &LicenseView) {
    sheet.blank().foot("now", &of.effect_now);
    let refused: Vec<String> = [
        ("new calls", &of.refused.calls),
        ("new registrations", &of.refused.registrations),
        ("configuration changes", &of.refused.configuration),
    ]
    .into_iter()
    .filter_map(|(what, cause)| Some(format!("{what} ({})", cause.as_ref()?)))
    .collect();
    if !refused.is_empty() {
        sheet.foot("refused", &refused.join(", "));
    }
    sheet.foot("next", &of.next);
    if let Some(at) = of.next_at {
        sheet.foot("when", &when(at));
    }
    sheet.foot("to do", &of.advice);
}

fn page(of: &LicenseView, body: impl FnOnce(&mut Sheet)) -> String {
    let mut sheet = Sheet::default();
    top(&mut sheet, of);
    body(&mut sheet);
    foot(&mut sheet, of);
    sheet.done()
}

fn registration(sheet: &mut Sheet, of: &RegistrationSection) {
    sheet.heading("Registration").line("Status", &of.status);
    sheet.line_if("Smart Account", of.account.as_deref());
    sheet.line_if("Virtual Account", of.virtual_account.as_deref());
    sheet.line_if("Product Instance", of.instance.as_deref());
    let export = of.export_allowed.map(|allowed| if allowed { "Allowed" } else { "Not Allowed" });
    sheet.line_if("Export-Controlled", export);
    if of.registered {
        sheet.line("Initial Registration", &time(of.registered_at));
        sheet.line("Last Renewal", &time(of.renewed_at));
        sheet.line("Next Renewal Attempt", &time(of.next_attempt));
        sheet.line("Registration Expires", &time(of.expires_at));
    } else if let Some(next) = of.next_attempt {
        sheet.line("Next Attempt", &when(next));
    }
    if let Some(refused) = &of.refused {
        sheet.line("Refused", &format!("{} on {}: {}", refused.code, when(refused.at), refused.text));
    }
}

fn attempt(of: &AttemptLine) -> String {
    match &of.failure {
        None => format!("SUCCEEDED on {} ({})", when(of.at), of.message),
        Some(failure) => format!("FAILED on {} ({}): {}: {}", when(of.at), of.message, failure.code, failure.text),
    }
}

fn authorization(sheet: &mut Sheet, of: &AuthorizationSection) {
    sheet.heading("License Authorization").line("Status", &of.status);
    sheet.line_if("Authorized on", of.authorized_at.map(when).as_deref());
    sheet.line_if("Last Communication Attempt", of.last_attempt.as_ref().map(attempt).as_deref());
    sheet.line_if("Next Communication Attempt", of.next_attempt.map(when).as_deref());
    sheet.line_if("Communication Deadline", of.communication_deadline.map(when).as_deref());
    sheet.line_if("Overage until", of.overage_until.map(when).as_deref());
    if of.failures > 0 {
        sheet.line("Failed Contacts", &number(u64::from(of.failures)));
    }
}

fn evaluation(sheet: &mut Sheet, of: &EvaluationSection) {
    sheet.heading("Evaluation Period").line("In Use", yes(of.in_use));
    let left = format!("{} h of {} h", number(of.hours_left), number(of.hours_granted));
    sheet.line("Running Time Left", &left);
    sheet.line_if("Ends", of.fixed_until.map(when).as_deref());
}

fn ways(sheet: &mut Sheet, of: &StatusPage) {
    sheet.heading("Data Privacy");
    sheet.line("Sending Hostname", yes(of.privacy.sends_hostname));
    sheet.line("Sending Version", yes(of.privacy.sends_version));
    sheet.heading("Transport").line("Type", &format!("{} (HTTPS)", of.transport.mode));
    sheet.line("Address", of.transport.server.as_deref().unwrap_or("none configured (license.url)"));
    sheet.line_if("Proxy", of.transport.proxy.as_deref());
    if of.transport.locked {
        sheet.line("Change", "deregister first");
    }
}

fn count(licenses: Option<u64>) -> String {
    licenses.map_or_else(|| NONE.to_owned(), number)
}

fn usage_table(sheet: &mut Sheet, lines: &[UsageLine]) {
    sheet.heading("License Usage");
    if lines.is_empty() {
        sheet.text("  No licenses in use.");
        return;
    }
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|of| {
            vec![
                of.description.clone(),
                of.tag.clone(),
                number(of.requested),
                count(of.granted),
                number(licenses(of.current_units, of.per_license)),
                of.status.clone(),
            ]
        })
        .collect();
    let columns = [
        ("LICENSE", Lean::Left),
        ("TAG", Lean::Left),
        ("REQUESTED", Lean::Right),
        ("GRANTED", Lean::Right),
        ("IN USE", Lean::Right),
        ("STATUS", Lean::Left),
    ];
    sheet.table(&columns, &rows);
}

pub(super) fn status(of: &StatusPage) -> String {
    page(&of.overview, |sheet| {
        registration(sheet, &of.registration);
        authorization(sheet, &of.authorization);
        evaluation(sheet, &of.evaluation);
        ways(sheet, of);
        usage_table(sheet, &of.usage);
    })
}

fn usage_block(sheet: &mut Sheet, of: &UsageLine) {
    sheet.heading(&format!("{} ({})", of.description, of.tag));
    sheet.line("Status", &of.status);
    let requested = match of.requested_units {
        Some(units) if of.per_license > 1 => {
            format!("{} (for {} units)", number(of.requested), number(u64::from(units)))
        }
        Some(_) => number(of.requested),
        None if of.requested == 0 && of.current_units > 0 => "none (not limited)".to_owned(),
        None => format!("{} (what is used)", number(of.requested)),
    };
    sheet.line("Requested", &requested);
    if let Some(granted) = of.granted {
        let cap = of.cap.filter(|cap| *cap != granted);
        let cap = cap.map_or_else(String::new, |cap| format!(", up to {} may be used", number(cap)));
        sheet.line("Granted", &format!("{}{cap}", number(granted)));
    }
    sheet.line_if("Term Ends", of.term_end.map(when).as_deref());
    let units = |units: u32| number(u64::from(units));
    sheet.line("In Use, units", &units(of.current_units));
    sheet.line("Peak of 24 h, units", &units(of.peak_day_units));
    let peak_at = of.peak_month_at.map_or_else(String::new, |at| format!(" on {}", when(at)));
    sheet.line("Peak of 30 days, units", &format!("{}{peak_at}", units(of.peak_month_units)));
    let of_samples = format!("{} (samples: {})", units(of.p95_month_units), number(of.samples_month));
    sheet.line("95 % of the time at most", &of_samples);
    if let Some(pool) = &of.pool {
        let balance = if pool.balance < 0 {
            format!("short of {}", number(pool.balance.unsigned_abs()))
        } else {
            format!("{} left", number(pool.balance.unsigned_abs()))
        };
        let text = format!("{} bought, {} in use: {balance}", number(pool.purchased), number(pool.in_use));
        sheet.line("Account", &text);
    }
    if !of.reported {
        sheet.line("Reported", "No: counted here only");
    }
}

pub(super) fn all(of: &StatusPage) -> String {
    page(&of.overview, |sheet| all_sections(sheet, of))
}

fn all_sections(sheet: &mut Sheet, of: &StatusPage) {
    registration(sheet, &of.registration);
    authorization(sheet, &of.authorization);
    evaluation(sheet, &of.evaluation);
    ways(sheet, of);
    if of.usage.is_empty() {
        usage_table(sheet, &of.usage);
    }
    for line in &of.usage {
        usage_block(sheet, line);
    }
    if let Some(product) = &of.product {
        sheet.heading("Product Information").line("UDI", &product.udi);
        sheet.line("Agent Version", &product.version).line("License Type", &product.usage);
        sheet.line("Reservation", if product.reservation { "Enabled" } else { "Disabled" });
    }
}

pub(super) fn summary(of: &SummaryPage) -> String {
    page(&of.overview, |sheet| {
        sheet.blank();
        let width = of.fields.iter().map(|field| field.label.chars().count()).max().unwrap_or(0);
        for field in &of.fields {
            sheet.text(&format!("{:<width$} : {}", field.label, field.value));
        }
    })
}

pub(super) fn udi(of: &UdiPage) -> String {
    page(&of.overview, |sheet| {
        sheet.heading(&format!("UDI: {}", of.udi));
        sheet.line("Product ID", &of.pid).line("Serial Number", &of.serial);
    })
}

pub(super) fn usage(of: &UsagePage) -> String {
    page(&of.overview, |sheet| {
        if of.usage.is_empty() {
            usage_table(sheet, &of.usage);
        }
        for line in &of.usage {
            usage_block(sheet, line);
        }
        sheet.heading("Reports");
        sheet.line("Reported until", &time(of.reported_until)).line("Next Report", &time(of.next_report));
    })
}

pub(super) fn platform(of: &PlatformPage, detail: bool) -> String {
    page(&of.overview, |sheet| platform_sections(sheet, of, detail))
}

fn platform_sections(sheet: &mut Sheet, of: &PlatformPage, detail: bool) {
    sheet.heading("Platform").line("Registration", &of.registration).line("Consumption Model", &of.model);
    if of.counts.is_empty() {
        sheet.text("  This product counts no ports: `callgate license usage` shows what is used.");
        return;
    }
    sheet.line_if("Counted on", of.counted_at.map(when).as_deref());
    sheet.line_if("Next Count", of.next_at.map(when).as_deref());
    sheet.blank();
    let number = |count: u32| number(u64::from(count));
    let rows: Vec<Vec<String>> = of
        .counts
        .iter()
        .map(|line| vec![line.description.clone(), line.tag.clone(), number(line.current), number(line.next)])
        .collect();
    let columns = [("LICENSE", Lean::Left), ("TAG", Lean::Left), ("CURRENT", Lean::Right), ("NEXT", Lean::Right)];
    sheet.table(&columns, &rows);
    if detail {
        sheet.blank();
        let rows: Vec<Vec<String>> = of
            .ports
            .iter()
            .map(|port| {
                vec![
                    port.name.clone(),
                    port.card.clone().unwrap_or_else(|| "fixed".to_owned()),
                    number(port.gbps),
                    if port.active { "active" } else { "inactive" }.to_owned(),
                    number(port.units()),
                    if port.features.is_empty() { NONE.to_owned() } else { port.features.join(", ") },
                ]
            })
            .collect();
        let columns = [
            ("PORT", Lean::Left),
            ("CARD", Lean::Left),
            ("GB/S", Lean::Right),
            ("STATE", Lean::Left),
            ("UNITS", Lean::Right),
            ("ADVANCED FEATURES", Lean::Left),
        ];
        sheet.table(&columns, &rows);
    }
}

pub(super) fn statistics(of: &StatisticsPage) -> String {
    page(&of.overview, |sheet| statistics_sections(sheet, of))
}

fn statistics_sections(sheet: &mut Sheet, of: &StatisticsPage) {
    sheet.heading("Messages to the license manager");
    let rows: Vec<Vec<String>> = of
        .messages
        .iter()
        .map(|line| {
            vec![
                line.subtype.clone(),
                number(line.success),
                number(line.failed),
                number(line.in_queue),
                number(line.dropped),
                time(line.last_sent),
            ]
        })
        .collect();
    let columns = [
        ("Msg Subtype", Lean::Left),
        ("Success", Lean::Right),
        ("Failed", Lean::Right),
        ("Inqueue", Lean::Right),
        ("Dropped", Lean::Right),
        ("Last-sent", Lean::Left),
    ];
    sheet.table(&columns, &rows);
    sheet
        .text("  Success: answered. Failed: not sent, or answered with an error. Inqueue: waiting. Dropped: not sent,");
    sheet.text("  because of the configuration.");
    for (event, count) in &of.unexpected {
        sheet.line("Ignored event", &format!("{event}, {} times", number(*count)));
    }
}

fn track(sheet: &mut Sheet, of: &Track) {
    sheet.text(&format!("  assuming that {}", of.assumes));
    if of.steps.is_empty() {
        sheet.text(&format!("  nothing changes: {}", of.at_the_end));
    }
    for step in &of.steps {
        let mark = if step.changes_calls { "!" } else { " " };
        sheet.text(&format!("{mark} {}  {}: {}", when(step.at), step.what, step.effect));
    }
}

fn forecast_sections(sheet: &mut Sheet, of: &Forecast) {
    sheet.heading(&format!("The next {} days, until {}, as things are now", of.days, when(of.until)));
    track(sheet, &of.as_now);
    if let Some(without) = &of.without_contact {
        sheet.heading("If the license manager is lost from now on");
        track(sheet, without);
    }
    let marked = of.as_now.steps.iter().chain(of.without_contact.iter().flat_map(|of| &of.steps));
    if marked.into_iter().any(|step| step.changes_calls) {
        sheet.blank().text("! what is refused changes then. Emergency calls and calls in progress are never affected.");
    }
}

pub(super) fn forecast(of: &Forecast) -> String {
    let Some(overview) = &of.overview else {
        let mut sheet = Sheet::default();
        forecast_sections(&mut sheet, of);
        return sheet.done();
    };
    page(overview, |sheet| forecast_sections(sheet, of))
}

pub(super) fn tech_support(of: &SupportPage) -> String {
    page(&of.all.overview, |sheet| {
        all_sections(sheet, &of.all);
        platform_sections(sheet, &of.platform, true);
        statistics_sections(sheet, &of.statistics);
        forecast_sections(sheet, &of.forecast);
        sheet.heading("Last Attempts");
        if of.attempts.is_empty() {
            sheet.text("  none");
        }
        for line in &of.attempts {
            sheet.text(&format!("  {}", attempt(line)));
        }
        if let Some(failure) = &of.latest_failure {
            sheet.heading("Latest Failure");
            sheet.text(&format!("  {} on {}: {}", failure.code, when(failure.at), failure.text));
        }
        sheet.heading("Alarms");
        if of.alarms.is_empty() {
            sheet.text("  none");
        }
        for alarm in &of.alarms {
            sheet.text(&format!("  {} {} since {}: {}", alarm.level, alarm.id, when(alarm.since), alarm.what));
        }
        let [grant, highest] = of.grant_seq;
        sheet.heading("Agent").line("Registration", &of.registration);
        sheet.line("Grant, highest seen", &format!("{}, {}", number(grant), number(highest)));
        sheet.line("Messages", &number(of.message_seq));
        sheet.line("Highest Time Confirmed", &when(of.time_high_water));
        sheet.line("Observations Dropped", &number(of.usage_dropped));
    })
}
