//! The progress bar: drawn by a thread of its own, a few times a second.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::drive::Progress;
use crate::num;
use crate::report::grouped;
use crate::span::{MILLISECOND, Span};

const REDRAW: Duration = Duration::from_millis(200);

/// Does `work` while a bar shows how far it is. Where nobody looks (stderr is no terminal), there is no bar.
pub fn during<T>(shown: bool, name: &str, length: Span, progress: &Progress, work: impl FnOnce() -> T) -> T {
    if !shown {
        return work();
    }
    let bar = ProgressBar::new(length.0 / MILLISECOND);
    let template = format!("{name} [{{bar:30}}] {{msg}}");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style.progress_chars("=> "));
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let drawer = scope.spawn(|| {
            // Relaxed: nothing else is read because of it.
            while !over.load(Ordering::Relaxed) {
                draw(&bar, length, progress);
                std::thread::park_timeout(REDRAW);
            }
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        drawer.thread().unpark();
        // It draws and can't fail; if it did, the work is done all the same.
        let _drawn = drawer.join();
        bar.finish_and_clear();
        done
    })
}

fn draw(bar: &ProgressBar, length: Span, progress: &Progress) {
    let seen = progress.read();
    bar.set_position((seen.now / MILLISECOND).min(length.0 / MILLISECOND));
    let rate = num::float(seen.asked) / Span(seen.now.max(MILLISECOND)).seconds();
    let trouble = if seen.errors > 0 { format!("  {} errors", grouped(seen.errors)) } else { String::new() };
    bar.set_message(format!(
        "{:.0} of {:.0} s  {} admitted  {} refused  {} live  {} per second{trouble}",
        Span(seen.now).seconds(),
        length.seconds(),
        grouped(seen.admitted),
        grouped(seen.refused),
        grouped(seen.live),
        grouped(num::whole(rate)),
    ));
}
