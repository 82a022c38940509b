//! The house rules that no compiler checks: which layer may import which, how long a file may get, which words may not
//! stay, and whether what the pages name is there.
//!
//! It reads the sources as text; [`product`] says which part of them is no test, [`requirements`] which requirement a test holds. It stops where clippy starts: lints,
//! formatting and documentation are not its business.

mod product;
mod requirements;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The top-level modules and what each may import: one way only, from the shell down to the units.
///
/// A new top-level module needs a row here, which is the moment to think about where it stands.
const LAYERS: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("sync", &[]),
    ("limits", &["units", "sync"]),
    ("admission", &["limits", "units", "sync"]),
    ("license", &["protocol", "limits", "units", "sync"]),
    ("protocol", &["units", "sync"]),
    ("codec", &["admission", "limits", "units"]),
    ("cluster", &["limits", "units", "sync"]),
    ("node", &["admission", "license", "cluster", "limits", "units"]),
    // What operators are told: alarms of the sidecar and alerts of the manager alike.
    ("notice", &["units"]),
    ("shell", &["node", "notice", "cluster", "admission", "license", "protocol", "codec", "limits", "units", "sync"]),
    // Of the shell it uses what any process needs, see GENERIC.
    ("manager", &["shell", "notice", "protocol", "units", "sync"]),
    // Commands speak to a running sidecar over its admin socket; `serve` and `config` start from the same configuration.
    ("cli", &["shell", "manager", "notice", "license", "cluster", "admission", "protocol", "limits", "units"]),
    // Starts the program's own subcommands, and watches them as a command does.
    ("demo", &["cli", "shell", "units"]),
    ("main", &["cli", "demo", "manager", "shell"]),
];

/// What the manager may take of the shell: what any process needs, and nothing of the sidecar.
const GENERIC: &[&str] =
    &["clock::", "config::", "notices::", "notify", "process", "store::", "telemetry::Histogram", "telemetry::log"];

/// Modules that hold no IO: what they may not name, outside their tests.
const PURE: &[&str] =
    &["units", "sync", "limits", "admission", "license", "cluster", "protocol", "notice", "node", "codec"];
/// An address as plain data is `core::net::IpAddr` or `core::net::SocketAddr`: that module knows no socket.
const IMPURE_WORDS: &[&str] = &[
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::env",
    "std::io",
    "std::os",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "Instant::now",
    "SystemTime::now",
    "tokio::",
    "getrandom::",
];

const LINES_MAX: usize = 600;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `dir` with that extension, in a fixed order.
fn files(dir: &str, extension: &str) -> Vec<PathBuf> {
    fn walk(dir: &Path, extension: &str, found: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                if !path.ends_with("target") && !path.ends_with("corpus") {
                    walk(&path, extension, found);
                }
            } else if extension.is_empty() || path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(dir), extension, &mut found);
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The line without its comment. Good enough for paths: no string here holds `//` before a `crate::`.
fn code(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// The top-level modules that a piece of source names as `crate::x` or `crate::{x, y::z}`.
fn imported(source: &str) -> BTreeSet<String> {
    let code: String = source.lines().map(|line| format!("{}\n", code(line))).collect();
    let mut names = BTreeSet::new();
    for prefix in ["crate::", "callgate::"] {
        for (at, _) in code.match_indices(prefix) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
                continue;
            }
            let rest = &code[at + prefix.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                names.extend(group_heads(group));
            } else {
                names.insert(ident(rest));
            }
        }
    }
    names
}

fn ident(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first names of the entries of an import group whose opening brace was just read.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let mut depth = 0_usize;
    let mut fresh = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && (c.is_alphanumeric() || c == '_') => {
                heads.push(ident(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    heads
}

/// The top-level module that a file under `src` belongs to.
fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).expect("a file under src");
    let first = inside.components().next().expect("a file name").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The lines of a text, the product of a file, that name what a pure module may not.
fn impurities(product: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for (number, line) in product.lines().enumerate() {
        found.extend(IMPURE_WORDS.iter().filter(|word| line.contains(**word)).map(|word| (number + 1, *word)));
    }
    // `use std::{fs, time::Duration}` names the first of them too.
    for (at, opening) in product.match_indices("std::{") {
        let heads = group_heads(&product[at + opening.len()..]);
        let named = IMPURE_WORDS.iter().filter(|word| heads.iter().any(|head| format!("std::{head}") == **word));
        let number = product[..at].matches('\n').count() + 1;
        found.extend(named.map(|word| (number, *word)));
    }
    found
}

#[test]
fn imports_point_one_way() {
    let known: BTreeSet<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    let mut wrong = Vec::new();
    for path in files("src", "rs") {
        let module = module_of(&path);
        if module == "lib" {
            continue;
        }
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{}: the module `{module}` has no row in LAYERS", shown(&path)));
            continue;
        };
        for name in imported(&read(&path)) {
            if name != module && known.contains(name.as_str()) && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{}: `{module}` must not import `{name}`", shown(&path)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_manager_takes_of_the_shell_only_what_any_process_needs() {
    let mut wrong = Vec::new();
    for path in files("src/manager", "rs") {
        let pure = path.starts_with(root().join("src/manager/domain"));
        for (number, line) in read(&path).lines().enumerate() {
            for (at, found) in code(line).match_indices("crate::shell::") {
                let taken = &line[at + found.len()..];
                if pure || !GENERIC.iter().any(|name| taken.starts_with(name)) {
                    wrong.push(format!("{}:{}: `{}`", shown(&path), number + 1, line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_modules_name_no_clock_file_socket_or_thread() {
    let sources: Vec<(PathBuf, String)> = files("src", "rs")
        .into_iter()
        .filter(|path| PURE.contains(&module_of(path).as_str()) || path.starts_with(root().join("src/manager/domain")))
        .map(|path| (path.clone(), read(&path)))
        .collect();
    let tests: BTreeSet<PathBuf> =
        sources.iter().flat_map(|(path, source)| product::test_modules(path, source)).collect();
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (path, source) in &sources {
        if path.ancestors().any(|part| tests.contains(part)) {
            continue;
        }
        checked += 1;
        for (number, word) in impurities(&product::product(source)) {
            wrong.push(format!("{}:{number}: a pure module names `{word}`", shown(path)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked * 3 > sources.len(), "only {checked} of {} files were checked", sources.len());
}

#[test]
fn what_a_pure_module_may_not_name_is_found_behind_its_tests_and_within_groups() {
    let found = |source: &str| impurities(&product::product(source));
    assert_eq!(found("#[cfg(test)]\nmod tests;\n\nuse std::net::TcpStream;\n"), [(4, "std::net"), (4, "TcpStream")]);
    assert_eq!(found("fn f() { std::process::exit(1) }"), [(1, "std::process")]);
    assert_eq!(found("use std::{\n    collections::{BTreeMap, VecDeque},\n    fs,\n};"), [(1, "std::fs")]);
    assert_eq!(found("use std::thread;\nfn f() { thread::spawn(g); }"), [(1, "std::thread")]);
    assert_eq!(found("fn f() { Instant::now() }\n#[cfg(test)]\nmod tests {}"), [(1, "Instant::now")]);
    // Its tests, its comments, its texts and plain addresses are free.
    assert_eq!(found("#[cfg(test)]\nmod tests {\n    use std::net::TcpStream;\n}\n"), []);
    assert_eq!(found("//! Not `std::fs`.\nuse core::net::IpAddr; /* std::env */ const A: &str = \"tokio::\";"), []);
}

#[test]
fn no_file_is_longer_than_six_hundred_lines() {
    let long: Vec<String> = ["src", "tests", "benches", "loadtest"]
        .iter()
        .flat_map(|dir| files(dir, "rs"))
        .map(|path| (read(&path).lines().count(), path))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .map(|(lines, path)| format!("{}: {lines} lines; it is asking to be two files", shown(&path)))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn no_word_of_unfinished_work_or_of_one_machine_stays() {
    // Written in two halves, so that this file does not hold what it looks for.
    let banned: Vec<String> = [
        ("to", "do!("),
        ("unimple", "mented!("),
        ("db", "g!("),
        ("FIX", "ME"),
        ("TO", "DO:"),
        ("XX", "X:"),
        ("place", "holder"),
        ("shared/", "design"),
        ("../", "shared"),
        ("/work", "/main"),
        ("/work", "/shared"),
        ("/tmp", "/cg"),
        ("/ro", "ot/"),
        ("/ho", "me/"),
        ("allow(dead", "_code"),
    ]
    .iter()
    .map(|(head, tail)| format!("{head}{tail}"))
    .collect();
    let mut wrong = Vec::new();
    let mut all: Vec<PathBuf> =
        ["src", "tests", "benches", "config", "loadtest", ".ci"].iter().flat_map(|dir| files(dir, "")).collect();
    all.extend(["README.md", "CHANGELOG.md", "Cargo.toml", ".clippy.toml", "deny.toml"].map(|name| root().join(name)));
    for path in all.iter().filter(|path| path.exists()) {
        // Recorded bytes and pictures are not prose.
        let Ok(text) = fs::read_to_string(path) else { continue };
        for (number, line) in text.lines().enumerate() {
            let figures = line.trim() == concat!("FIG", "URES");
            let unfinished = path.ends_with("README.md") && line.contains(concat!("TO", "DO"));
            if figures || unfinished {
                wrong.push(format!("{}:{}: `{line}`", shown(path), number + 1));
            }
            for word in banned.iter().filter(|word| line.contains(word.as_str())) {
                wrong.push(format!("{}:{}: `{word}`", shown(path), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The names in backticks of a table's cell.
fn backticked(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The lines of the shell blocks of a page, fenced or indented, and the commands of ours that stand in backticks.
fn shell_lines(page: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut fenced, mut shell) = (false, false);
    for line in page.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            fenced = !fenced;
            shell = fenced && matches!(language.trim(), "sh" | "bash" | "console" | "shell");
        } else if shell || (!fenced && line.starts_with("    ")) {
            lines.push(line.trim_start().trim_start_matches("$ ").split(" #").next().unwrap_or("").trim().to_owned());
        } else if !fenced {
            lines.extend(backticked(line).filter(|code| code.starts_with("callgate ")).map(str::to_owned));
        }
    }
    lines
}

#[test]
fn the_commands_of_the_readme_exist() {
    let page = root().join("README.md");
    if !page.exists() {
        return;
    }
    let mut wrong = Vec::new();
    let mut checked = 0;
    for line in shell_lines(&read(&page)) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ours = match words.as_slice() {
            ["callgate", rest @ ..] | ["./target/release/callgate", rest @ ..] => rest,
            ["cargo", "run", rest @ ..] => rest.split(|word| *word == "--").nth(1).unwrap_or(&[]),
            _ => &[],
        };
        let commands: Vec<&str> =
            ours.iter().copied().take_while(|word| word.chars().all(|c| c.is_ascii_lowercase())).take(1).collect();
        if !commands.is_empty() {
            checked += 1;
            let answer = Command::new(env!("CARGO_BIN_EXE_callgate"))
                .args(&commands)
                .arg("--help")
                .output()
                .expect("callgate runs");
            if !answer.status.success() {
                wrong.push(format!("`{line}`: callgate knows no `{}`", commands.join(" ")));
            }
        }
        for word in words {
            let word = word.trim_matches(['"', '\'']);
            let ours = ["tests/", "config/", "benches/", "loadtest/", ".ci/"]
                .iter()
                .any(|dir| word.trim_start_matches("./").starts_with(dir));
            if ours && !root().join(word).exists() {
                wrong.push(format!("`{line}`: {word} does not exist"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked >= 3, "only {checked} commands were found in README.md");
}

#[test]
fn shell_lines_are_found_wherever_they_stand() {
    let page = "Say `callgate status` or `other`.\n\n    $ callgate a  # why\n\n```\n    callgate no\n```\n```sh\ncallgate b\n```\n";
    assert_eq!(shell_lines(page), ["callgate status", "callgate a", "callgate b"]);
}

#[test]
fn import_groups_are_read_to_their_heads() {
    let heads = imported("use crate::{limits::{Rate, Pool}, units::Tick};\nuse crate::sync::Mutex; // crate::shell\n");
    assert_eq!(heads.into_iter().collect::<Vec<_>>(), ["limits", "sync", "units"]);
}
