//! Texts from elsewhere, made fit for every format: no control characters, nothing that XML forbids, nothing that turns
//! the reading direction of what stands around it; and not too long.

/// What cannot stay becomes this.
const REPLACEMENT: char = '\u{FFFD}';

/// A text as one line of at most `max` characters.
pub(super) fn line(text: &str, max: usize) -> String {
    cut(text.chars().map(|c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { tame(c) }), max)
}

/// A text of several lines, at most `max` characters.
pub(super) fn lines(text: &str, max: usize) -> String {
    // A carriage return is read back by XML as a line feed: it goes at once.
    cut(text.replace("\r\n", "\n").chars().map(|c| if matches!(c, '\n' | '\t') { c } else { tame(c) }), max)
}

fn cut(chars: impl Iterator<Item = char>, max: usize) -> String {
    let mut out = String::new();
    let mut last = 0;
    for (count, c) in chars.enumerate() {
        if count == max {
            // The last one that fits makes room for the sign that more was there.
            out.truncate(last);
            out.push('…');
            return out;
        }
        last = out.len();
        out.push(c);
    }
    out
}

/// Controls, non-characters, line separators and marks of direction go.
const fn tame(c: char) -> char {
    match c {
        '\u{0}'..='\u{1F}'
        | '\u{7F}'..='\u{9F}'
        | '\u{200B}'..='\u{200F}'
        | '\u{2028}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}'
        | '\u{FDD0}'..='\u{FDEF}'
        | '\u{FEFF}'
        | '\u{FFF9}'..='\u{FFFB}'
        | '\u{FFFE}'..='\u{FFFF}' => REPLACEMENT,
        c => c,
    }
}
