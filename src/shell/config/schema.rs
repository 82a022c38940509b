//! Every key: what it means, what it takes, and whether a running sidecar can change it. The commented default file, the
//! errors, the layers and the reload all read this one table; a test holds it against the structs of `sections.rs`.

use super::keys::{KEYS, SECTIONS};

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// A text of 1 to `bytes_max` bytes.
    Text {
        bytes_max: usize,
    },
    /// A name of this host: letters, digits, `.`, `-`, `_`.
    HostName,
    Bool,
    /// A whole number. `of` says of what, for the message.
    Integer {
        min: u32,
        max: u32,
        of: &'static str,
    },
    /// A multiple of five.
    LicensedRate,
    Span {
        min_s: u32,
        max_s: u32,
    },
    Size {
        min: u64,
        max: u64,
    },
    Choice(&'static [&'static str]),
    Path,
    /// A shipped profile's name, or a path.
    Profile,
    FileMode,
    /// One address or `"off"`.
    Switched,
    /// A list of addresses.
    Addresses,
    /// A license manager's address.
    ManagerUrl,
    /// A proxy's address.
    Proxy,
    /// Hashes of public keys, with commas between.
    Pins,
    /// A license manager's root key.
    RootKey,
    /// A list of choices, each once.
    Choices(&'static [&'static str]),
    /// Where a webhook is.
    WebhookUrl,
    /// Where a syslog daemon is.
    SyslogAddress,
    /// A host and a port.
    HostPort,
    /// A mail address.
    Mailbox,
    /// A list of mail addresses.
    Mailboxes,
}

/// What a reload does with a changed key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reload {
    /// It takes effect at once, and no call is lost.
    Live,
    /// It needs a restart, for this reason.
    Restart(&'static str),
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// Its path; `*` stands for a name that the operator chooses, `#` for the number of a list's entry.
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    pub(super) reload: Reload,
    /// A value to show where the default is "not set".
    pub(super) example: &'static str,
    /// What it means, for the default file. Lines of at most 100 characters.
    pub(super) doc: &'static str,
}

/// A section of the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section {
    pub(super) path: &'static str,
    pub(super) doc: &'static str,
}

/// The key of this path, if there is one: the segments of a path, where a number can only stand for `#`.
pub(super) fn find(path: &[String]) -> Option<&'static Key> {
    KEYS.iter().find(|key| matches(key.path, path) && key.path.split('.').count() == path.len())
}

/// Whether this path leads towards at least one key.
pub(super) fn leads_somewhere(path: &[String]) -> bool {
    KEYS.iter().any(|key| matches(key.path, path))
}

/// Whether a key's path begins with these segments.
fn matches(pattern: &str, path: &[String]) -> bool {
    let mut segments = pattern.split('.');
    path.iter().all(|found| match segments.next() {
        Some("#") => found.bytes().all(|b| b.is_ascii_digit()),
        Some("*") => true,
        Some(name) => name == found,
        None => false,
    })
}

/// Whether entries of this path are a list of tables (`[[trunk]]`).
pub(super) fn is_list_of_tables(path: &[String]) -> bool {
    let lists = SECTIONS.iter().filter_map(|section| section.path.strip_suffix(".#"));
    lists.into_iter().any(|list| list.split('.').eq(path.iter().map(String::as_str)))
}

/// The list of tables that this path leads into, if it does.
pub(super) fn list_of_tables_within(path: &[String]) -> Option<&[String]> {
    (1..=path.len()).filter_map(|length| path.get(..length)).find(|head| is_list_of_tables(head))
}

/// The known key that an unknown one most likely stands for.
pub(super) fn nearest(path: &[String]) -> Option<String> {
    let (last, parents) = path.split_last()?;
    let siblings = KEYS.iter().filter(|key| matches(key.path, parents)).filter_map(|key| {
        let name = key.path.split('.').nth(parents.len())?;
        (name != "*" && name != "#").then(|| (slip(last, name), joined(parents, name)))
    });
    if let Some((_, best)) = siblings.filter(|(far, _)| *far <= close_enough(last)).min() {
        return Some(best);
    }
    // Right name, wrong section: `admission.count`, or a bare `data_dir`.
    let elsewhere = KEYS.iter().filter(|key| !key.path.contains(['*', '#'])).filter_map(|key| {
        let name = key.path.rsplit('.').next()?;
        Some((slip(last, name), key.path.to_owned()))
    });
    elsewhere.filter(|(far, _)| *far <= close_enough(last) / 2).min().map(|(_, path)| path)
}

fn joined(parents: &[String], name: &str) -> String {
    parents.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".")
}

/// How many letters may differ for a name to be taken as a slip of the pen.
fn close_enough(name: &str) -> usize {
    1 + name.len() / 3
}

/// How far two names are apart; one that only goes on longer than the other is near.
fn slip(a: &str, b: &str) -> usize {
    let far = distance(a, b);
    if a.len().min(b.len()) >= 3 && (a.starts_with(b) || b.starts_with(a)) { far.min(1) } else { far }
}

/// How many letters must be put in, left out or changed to make one word of the other (Levenshtein, 1965).
pub(super) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, above) in b.iter().zip(row.iter_mut().skip(1)) {
            let here = if x == *y { diagonal } else { 1 + diagonal.min(left).min(*above) };
            diagonal = *above;
            *above = here;
            left = here;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn distance_counts_letters() {
        for (a, b, far) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("count", "cuont", 2), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(a, b), far, "{a} {b}");
            assert_eq!(distance(b, a), far, "{b} {a}");
        }
    }

    #[test]
    fn a_slip_of_the_pen_finds_its_key() {
        for (wrong, right) in [
            ("license.cuont", Some("license.count")),
            ("licence", Some("license")),
            ("admision", Some("admission")),
            ("data_dir", Some("node.data_dir")),
            ("admission.count", Some("license.count")),
            ("listen.password", Some("listen.password_file")),
            ("trunk.0.session", Some("trunk.0.sessions")),
            ("license.types.premium.cuont", Some("license.types.premium.count")),
            ("nothing.like.it.at.all", None),
        ] {
            assert_eq!(nearest(&path(wrong)).as_deref(), right, "{wrong}");
        }
    }

    #[test]
    fn each_path_stands_once_and_within_a_section() {
        for (place, key) in KEYS.iter().enumerate() {
            assert!(KEYS.iter().skip(place + 1).all(|other| other.path != key.path), "{}", key.path);
            assert!(SECTIONS.iter().any(|s| key.path.starts_with(s.path)), "{}", key.path);
            for line in key.doc.lines() {
                assert!(line.len() <= 110, "{}: {line}", key.path);
            }
        }
    }
}
