//! What of a source file is in the product: its text without comments, without the inside of literals, and without the
//! items that only tests see.
//!
//! It knows as much of Rust as it takes to find where an item ends. Lines and bytes stay where they are: what goes
//! becomes spaces, so that a finding's line number is the file's.

use std::ops::Range;
use std::path::{Path, PathBuf};

/// The text of the product in a file.
pub(super) fn product(source: &str) -> String {
    let mut text = masked(source).into_bytes();
    for item in test_items(source) {
        text[item].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
    }
    String::from_utf8(text).expect("whole characters became spaces")
}

/// The files of the modules that `source`, which is the file `path`, declares for tests alone.
///
/// Each comes as the module's file and as the directory of the modules within it.
pub(super) fn test_modules(path: &Path, source: &str) -> Vec<PathBuf> {
    let directory = path.parent().expect("a file stands in a directory");
    let stem = path.file_stem().expect("a file has a name");
    let inside =
        if ["mod", "lib", "main"].iter().any(|name| stem == *name) { directory.into() } else { directory.join(stem) };
    let mut files = Vec::new();
    for item in test_items(source) {
        let text = &source[item];
        let Some((_, rest)) = text.split_once("mod ") else { continue };
        let Some(name) = rest.trim().strip_suffix(';') else { continue };
        let named = text.split_once("#[path = \"").and_then(|(_, rest)| rest.split_once('"'));
        match named {
            Some((file, _)) => files.push(directory.join(file)),
            None => files.extend([inside.join(format!("{name}.rs")), inside.join(name)]),
        }
    }
    files
}

/// The items that an attribute gives to tests alone, each with its attributes.
fn test_items(source: &str) -> Vec<Range<usize>> {
    let text = masked(source);
    let mut items: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while let Some(start) = ["#[", "#!["].iter().filter_map(|open| Some(at + text[at..].find(open)?)).min() {
        let whole_file = text[start..].starts_with("#!");
        let (attributes, for_tests) = attributes(&text, start);
        at = attributes;
        if for_tests {
            at = if whole_file { text.len() } else { item_end(&text, attributes) };
            items.push(start..at);
        }
    }
    items
}

/// Where the attributes that begin at `start` end, and whether one of them says: for tests alone.
fn attributes(text: &str, start: usize) -> (usize, bool) {
    let (mut at, mut for_tests) = (start, false);
    loop {
        let rest = &text[at..];
        let open = at + (rest.len() - rest.trim_start().len());
        let Some(inner) = text[open..].strip_prefix("#[").or_else(|| text[open..].strip_prefix("#![")) else {
            return (at, for_tests);
        };
        let begin = text.len() - inner.len();
        let end = closed(text, begin);
        let predicate = text[begin..end].trim().strip_prefix("cfg(").and_then(|rest| rest.strip_suffix(')'));
        for_tests |= predicate.is_some_and(implies_test);
        at = text.len().min(end + 1);
    }
}

/// Where the bracket closes within which `at` stands; the end of the text if nowhere.
fn closed(text: &str, at: usize) -> usize {
    let mut depth = 0_usize;
    for (place, byte) in text.bytes().enumerate().skip(at) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' if depth == 0 => return place,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// Whether a `cfg` predicate holds in tests alone: `test`, `all(test, ...)`, `any(test)`, and those within one another.
fn implies_test(predicate: &str) -> bool {
    let predicate = predicate.trim();
    let list = |name: &str| {
        let inner = predicate.strip_prefix(name)?.trim_start().strip_prefix('(')?.strip_suffix(')')?;
        Some(arguments(inner))
    };
    if let Some(arguments) = list("all") {
        return arguments.into_iter().any(implies_test);
    }
    if let Some(arguments) = list("any") {
        return !arguments.is_empty() && arguments.into_iter().all(implies_test);
    }
    predicate == "test"
}

fn arguments(list: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                found.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&list[start..]);
    found.retain(|argument| !argument.trim().is_empty());
    found
}

/// Where the item that begins at `start`, after its attributes, ends.
fn item_end(text: &str, start: usize) -> usize {
    let item = text[start..].trim_start();
    let item = item.strip_prefix("pub").map_or(item, |rest| match rest.trim_start().strip_prefix('(') {
        Some(rest) => rest.split_once(')').map_or("", |(_, rest)| rest),
        None => rest,
    });
    let mut words = item.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    let (first, second) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let function = ["fn", "unsafe", "async", "extern"].contains(&second);
    // `use a::{b};` and `const A: B = B {};` go on behind their brace.
    let to_semicolon = ["use", "static", "type", "let"].contains(&first) || (first == "const" && !function);
    let with_body = ["fn", "mod", "struct", "enum", "union", "trait", "impl", "unsafe", "async", "extern", "const"];
    // A field, a variant, an arm: up to its comma.
    let member = !to_semicolon && !with_body.contains(&first);
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' if depth == 0 => return at,
            b'}' if depth == 1 && !to_semicolon => return at + 1,
            b')' | b']' | b'}' => depth -= 1,
            b';' if depth == 0 => return at + 1,
            b',' if depth == 0 && member => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The source with its comments and the inside of its literals as spaces.
fn masked(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(next) = rest.chars().next() {
        let (kept, gone) = if rest.starts_with("//") {
            (0, rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            (0, block_comment(rest))
        } else if let Some(length) = raw_string(rest).filter(|_| !text.ends_with(word)) {
            (0, length)
        } else if next == '"' {
            (0, quoted(rest, '"'))
        } else if next == '\'' && is_character(rest) {
            (0, quoted(rest, '\''))
        } else {
            (next.len_utf8(), 0)
        };
        text.push_str(&rest[..kept]);
        text.extend(rest[..gone].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        rest = &rest[kept + gone..];
    }
    text
}

fn word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// How long the comment that `text` begins with is; they nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        let (opens, closes) = (text[at..].find("/*"), text[at..].find("*/"));
        match (opens, closes) {
            (Some(open), close) if close.is_none_or(|close| open < close) => {
                depth += 1;
                at += open + 2;
            }
            (_, Some(close)) => {
                depth -= 1;
                at += close + 2;
                if depth == 0 {
                    return at;
                }
            }
            (_, None) => return text.len(),
        }
    }
}

/// How long the raw string that `text` begins with is, if it begins with one.
fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let inside = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", &after[..hashes]);
    let begin = text.len() - inside.len();
    Some(inside.find(&end).map_or(text.len(), |at| begin + at + end.len()))
}

/// How long the literal between these quotes is that `text` begins with.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// Whether a text that begins with `'` begins with a character, not with a lifetime.
fn is_character(text: &str) -> bool {
    let mut inside = text.chars().skip(1);
    inside.next().is_some_and(|c| c == '\\' || inside.next() == Some('\''))
}

#[test]
fn an_item_for_tests_goes_and_what_stands_behind_it_stays() {
    for (item, what) in [
        ("#[cfg(test)] mod tests;", "a module in a file of its own"),
        ("#[cfg(test)]\n#[cfg(not(loom))]\nmod tests { fn f() { if a { b } } }", "a module with another attribute"),
        ("#[cfg(not(loom))]\n#[cfg(test)] mod tests;", "the attribute that says so comes second"),
        ("#[cfg(all(test, not(loom)))] mod tests {}", "all of several conditions"),
        ("#[cfg(any(test, all(loom, test)))] mod tests {}", "any of several conditions, each of them test"),
        ("#[cfg(test)] pub(crate) use a::{b, c::{d}};", "an import with braces"),
        ("#[cfg(test)] pub(super) const fn f(&self) -> [u8; 2] { [1; 2] }", "a function, not a constant"),
        ("#[cfg(test)] const A: B = B { c: [0; 3] };", "a constant with braces"),
        ("#[cfg(test)] fn f<'a>(b: &'a str) -> char { \"}\\\"\"; '}' }", "quoted braces"),
        ("#[cfg(test)] fn f() { r#\"}\"}\"#; /* } /* } */ */ } // }", "raw strings and comments"),
        ("#[cfg(test)] struct A(u8);", "a struct without a body"),
    ] {
        let source = format!("fn before() {{}}\n{item}\nfn behind() {{ std::fs }}\n");
        let text = product(&source);
        assert!(text.starts_with("fn before() {}\n"), "{what}: {text}");
        assert!(text.ends_with("\nfn behind() { std::fs }\n"), "{what}: {text}");
        assert_eq!(text.split_whitespace().count(), 8, "{what} is left: {text}");
        assert_eq!(text.len(), source.len(), "{what}");
    }
    assert_eq!(product("struct A { #[cfg(test)] b: B<1>, c: C }").split_whitespace().last(), Some("}"));
    assert!(product("struct A { #[cfg(test)] b: (u8, u8), c: C }").contains("c: C"), "a field");
    assert_eq!(product("#![cfg(test)]\n#[inline]\nfn f() {}").trim(), "", "a whole file");
}

#[test]
fn an_item_that_the_product_has_too_stays() {
    for source in [
        "#[cfg(not(test))] fn f() {}",
        "#[cfg(any(feature = \"shell\", test))] mod f;",
        "#[cfg_attr(test, derive(Debug))] struct F;",
        "#[doc = \"test\"] fn f() {}",
        "#[cfg(all())] fn f() {}",
    ] {
        assert!(product(source).contains(&['f', 'F'][..]), "{source}");
        assert!(test_items(source).is_empty(), "{source}");
    }
}

#[test]
fn the_files_of_tests_are_those_that_a_module_declares_so() {
    let source = "#[cfg(test)]\nmod stress;\nmod real;\n#[cfg(test)]\nmod inline { }\n#[cfg(test)]\n#[path = \"b_tests.rs\"]\nmod tests;\n";
    let of = |path: &str| test_modules(Path::new(path), source);
    let expected = |directory: &str| {
        vec![
            format!("{directory}/stress.rs").into(),
            format!("{directory}/stress").into(),
            PathBuf::from("a/b_tests.rs"),
        ]
    };
    assert_eq!(of("a/mod.rs"), expected("a"));
    assert_eq!(of("a/b.rs"), expected("a/b"));
}
