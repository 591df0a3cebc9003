//! Rules for the sources that no compiler checks. Each test prints every line that breaks its rule.

mod circles;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const LINES_MAX: usize = 600;

/// A text file of the repository; its path is relative to the top.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn has_extension(&self, extensions: &[&str]) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| extensions.iter().any(|wanted| found == *wanted))
    }

    fn is_below(&self, directories: &[&str]) -> bool {
        directories.iter().any(|directory| self.path.starts_with(directory))
    }
}

/// What a rule says of one line.
struct Complaint {
    line: usize,
    message: String,
}

fn complaint(index: usize, message: impl Into<String>) -> Complaint {
    Complaint { line: index + 1, message: message.into() }
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is below the top").to_owned()
}

/// Paths of all files that are, or could be, committed.
fn paths() -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(top())
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).split_terminator('\0').map(str::to_owned).collect());
    let mut paths: Vec<String> = listed.unwrap_or_else(|| {
        let mut found = Vec::new();
        walk(&top(), "", &mut found);
        found
    });
    paths.retain(|path| top().join(path).is_file());
    paths.sort();
    paths.dedup();
    paths
}

/// For sources that came without git: everything but what builds and tools leave.
fn walk(top: &Path, below: &str, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(top.join(below)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        let left_by_tools = name == "target" || name == "__pycache__" || name.ends_with(".egg-info");
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !left_by_tools && (name == ".ci" || !name.starts_with('.')) => {
                walk(top, &path, found);
            }
            Ok(kind) if kind.is_file() => found.push(path),
            _ => {}
        }
    }
}

fn sources() -> Vec<Source> {
    let readable = |path: String| fs::read_to_string(top().join(&path)).ok().map(|text| Source { path, text });
    let sources: Vec<Source> = paths().into_iter().filter_map(readable).collect();
    assert!(sources.len() > 20, "found only {} files: is this the repository?", sources.len());
    sources
}

/// Applies a rule to the sources that it is about, of which there must be some: else it would hold whatever is written.
fn check(applies: impl Fn(&Source) -> bool, rule: impl Fn(&str) -> Vec<Complaint>) {
    let mut lines = Vec::new();
    let mut checked = 0;
    for source in sources().iter().filter(|source| applies(source)) {
        checked += 1;
        let found = rule(&source.text);
        lines.extend(found.iter().map(|found| format!("{}:{}: {}", source.path, found.line, found.message)));
    }
    assert!(checked > 0, "this rule applies to no file: was what it is about renamed?");
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

/// Code without comments and without the tests at the end of a Rust file, by line.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .map(|(index, line)| (index, line.split("//").next().unwrap_or(line)))
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether `word` stands in `line` and is not a part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(start, _)| {
        let before = line.as_bytes()[..start].last().copied();
        let after = line.as_bytes().get(start + word.len()).copied();
        !before.is_some_and(is_word_byte) && !after.is_some_and(is_word_byte)
    })
}

fn forbid(text: &str, words: &[&str], why: &str) -> Vec<Complaint> {
    code_lines(text)
        .flat_map(|(index, line)| words.iter().filter(|word| has_word(line, word)).map(move |word| (index, word)))
        .map(|(index, word)| complaint(index, format!("`{word}`: {why}")))
        .collect()
}

// Layers ------------------------------------------------------------------------------------------------------------

/// Crates without sockets, files, threads and clocks; time comes in as an argument.
const PURE: [&str; 7] = [
    "engine/model/src/",
    "engine/protocol/src/",
    "engine/server/src/",
    "engine/governor/src/",
    "engine/pool/src/",
    "engine/link/src/",
    "engine/planner/src/",
];
const IMPURE: [&str; 13] = [
    "std::fs",
    "std::net",
    "std::os",
    "std::env",
    "std::process",
    "std::thread",
    "Instant",
    "SystemTime",
    "mio",
    "nix",
    "libc",
    "memmap2",
    "println",
];

#[test]
fn pure_crates_do_no_io_and_read_no_clock() {
    for directory in PURE {
        let why = "this crate is pure (ARCHITECTURE.md)";
        check(|source| source.is_below(&[directory]), |text| forbid(text, &IMPURE, why));
    }
}

#[test]
fn the_state_machines_have_no_order_but_their_own() {
    let why = "its order differs from run to run; use a BTreeMap, a BTreeSet or a Vec";
    let names = ["HashMap", "HashSet", "hash_map", "hash_set", "RandomState"];
    for directory in &PURE[..4] {
        check(|source| source.is_below(&[directory]), |text| forbid(text, &names, why));
    }
}

/// Which crates of ours the crates of the engine may use; other folders may use all of it.
const LAYERS: [(&str, &[&str]); 18] = [
    ("engine/model/", &[]),
    ("engine/protocol/", &["rain-model"]),
    ("engine/server/", &["rain-model", "rain-protocol"]),
    ("engine/governor/", &["rain-model", "rain-pool", "rain-protocol"]),
    ("engine/planner/", &[]),
    ("engine/pool/", &[]),
    ("engine/data/", &["rain-model"]),
    ("engine/topology/", &[]),
    ("engine/exec/", &["rain-data", "rain-model", "rain-protocol"]),
    ("engine/transport/", &["rain-model", "rain-protocol"]),
    ("engine/sim/", &["rain-governor", "rain-model", "rain-planner", "rain-pool", "rain-protocol", "rain-server"]),
    ("engine/io/", &[]),
    ("engine/link/", &[]),
    ("engine/wire/", &["rain-data", "rain-io", "rain-model", "rain-protocol", "rain-transport"]),
    ("engine/events/", &["rain-model", "rain-protocol"]),
    (
        "engine/runtime/",
        &[
            "rain-data",
            "rain-events",
            "rain-exec",
            "rain-governor",
            "rain-io",
            "rain-model",
            "rain-pool",
            "rain-protocol",
            "rain-server",
            "rain-topology",
            "rain-transport",
        ],
    ),
    ("transport-tcp/", &["rain-io", "rain-link", "rain-model", "rain-protocol", "rain-transport", "rain-wire"]),
    ("transport-mpi/", &["rain-io", "rain-model", "rain-protocol", "rain-transport", "rain-wire"]),
];

/// The crates of ours that a manifest names, but for its tests.
fn own_dependencies(manifest: &str) -> Vec<(usize, &str)> {
    let mut section = "";
    let mut found = Vec::new();
    for (index, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            section = line;
        } else if section.contains("dependencies") && !section.contains("dev-dependencies") && line.starts_with("rain-")
        {
            found.push((index, line.split(['.', ' ', '=']).next().unwrap_or(line)));
        }
    }
    found
}

#[test]
fn crates_use_only_what_is_below_them() {
    for (directory, allowed) in LAYERS {
        let manifest = format!("{directory}Cargo.toml");
        check(
            |source| source.path == manifest,
            |text| {
                let forbidden = own_dependencies(text).into_iter().filter(|(_, name)| !allowed.contains(name));
                forbidden.map(|(index, name)| complaint(index, format!("{directory} must not use {name}"))).collect()
            },
        );
    }
}

#[test]
fn files_import_each_other_in_one_direction() {
    let sources = sources();
    let crates = sources.iter().filter_map(|source| source.path.strip_suffix("src/lib.rs"));
    let mut lines = Vec::new();
    for directory in crates {
        let prefix = format!("{directory}src/");
        let files: Vec<(&str, &str)> = sources
            .iter()
            .filter(|source| source.path.starts_with(&prefix) && source.has_extension(&["rs"]))
            .map(|source| (&source.path[prefix.len()..], source.text.as_str()))
            .collect();
        let found = circles::circles(&files);
        lines.extend(found.iter().map(|circle| format!("{prefix}: these import each other: {}", circle.join(", "))));
    }
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

// Size, names, words --------------------------------------------------------------------------------------------------

#[test]
fn files_are_short() {
    check(
        |source| source.has_extension(&["rs", "py", "cpp", "cc", "h", "hpp"]),
        |text| {
            let lines = text.lines().count();
            let message = format!("{lines} lines, more than {LINES_MAX}: it has two subjects");
            if lines > LINES_MAX { vec![complaint(LINES_MAX, message)] } else { Vec::new() }
        },
    );
}

/// The user's guide names this package.
const NAMES_GIVEN: [&str; 1] = ["python/rain/common/"];

fn empty_name(path: &str) -> Option<&str> {
    let said = path.split('/').map(|part| part.split('.').next().unwrap_or(part));
    said.filter(|part| !part.is_empty())
        .find(|part| ["util", "utils", "common", "misc", "helper", "helpers", "imp"].contains(part))
}

#[test]
fn exceptions_are_about_files_that_exist() {
    for given in NAMES_GIVEN {
        check(|source| source.path.starts_with(given), |_| Vec::new());
    }
}

#[test]
fn names_say_what_is_inside() {
    let wrong: Vec<String> = paths()
        .iter()
        .filter(|path| !NAMES_GIVEN.iter().any(|given| path.starts_with(given)))
        .filter_map(|path| empty_name(path).map(|name| format!("{path}:1: `{name}` does not say what is inside")))
        .collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// Written so that this file does not contain them.
const UNFINISHED: [&str; 5] = [
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
    concat!("d", "bg!("),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
];

fn unfinished(text: &str) -> Vec<Complaint> {
    let found = |line: &str, word: &str| {
        if word.ends_with('(') {
            has_word(line, word.trim_end_matches("!(")) && line.contains(word)
        } else {
            has_word(line, word)
        }
    };
    text.lines()
        .enumerate()
        .flat_map(|(index, line)| {
            UNFINISHED.iter().filter(move |word| found(line, word)).map(move |word| (index, word))
        })
        .map(|(index, word)| complaint(index, format!("`{word}` is left from work that is not finished")))
        .collect()
}

#[test]
fn nothing_is_left_unfinished() {
    check(|source| source.has_extension(&["rs", "py", "cpp", "h", "sh", "toml"]), unfinished);
}

const MACHINE_PATHS: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];

fn machine_paths(text: &str) -> Vec<Complaint> {
    let begins = |line: &str, start: usize| {
        let before = line.as_bytes()[..start].last().copied();
        !before.is_some_and(|byte| is_word_byte(byte) || b".-})*".contains(&byte))
    };
    text.lines()
        .enumerate()
        .flat_map(|(index, line)| MACHINE_PATHS.iter().map(move |path| (index, line, *path)))
        .filter(|(_, line, path)| line.match_indices(path).any(|(start, _)| begins(line, start)))
        .map(|(index, _, path)| complaint(index, format!("a path of one machine: {path}")))
        .collect()
}

#[test]
fn no_path_of_one_machine_is_written_down() {
    check(|_| true, machine_paths);
}

/// Bounds that only a test which hangs exceeds.
const PATIENT: [&str; 2] = ["PATIENCE", "LONG"];

fn judged_times(text: &str) -> Vec<Complaint> {
    let judges = |line: &str| {
        let rust = ["assert", concat!(".elap", "sed()"), "<"].iter().all(|piece| line.contains(piece));
        let python =
            line.trim_start().starts_with("assert ") && ["monotonic() -", "<"].iter().all(|p| line.contains(p));
        (rust || python) && !PATIENT.iter().any(|bound| has_word(line, bound))
    };
    let wrong = text.lines().enumerate().filter(|(_, line)| judges(line));
    wrong.map(|(index, _)| complaint(index, "a test judges how long something took")).collect()
}

#[test]
fn tests_judge_no_times() {
    check(|source| source.has_extension(&["rs", "py"]), judged_times);
}

// Notes -------------------------------------------------------------------------------------------------------------

/// Whether the comment above the statement of line `index`, or one in it, has the note.
fn has_note(lines: &[&str], index: usize, note: &str) -> bool {
    if lines[index].contains(note) {
        return true;
    }
    let mut in_comment = false;
    for line in lines[..index].iter().rev().map(|line| line.trim()) {
        let comment = line.starts_with("//");
        if comment && line.contains(note) {
            return true;
        }
        let ends_statement = line.is_empty() || line.ends_with([';', '{', '}', ',']);
        if !comment && !line.starts_with("#[") && (in_comment || ends_statement) {
            return false;
        }
        in_comment |= comment;
    }
    false
}

fn unsafe_without_note(text: &str) -> Vec<Complaint> {
    let lines: Vec<&str> = text.lines().collect();
    let code = |line: &str| line.split("//").next().unwrap_or(line).split('"').next().unwrap_or(line).to_owned();
    (0..lines.len())
        .filter(|&index| has_word(&code(lines[index]), "unsafe"))
        .filter_map(|index| {
            let declares = ["unsafe fn", "unsafe trait"].iter().any(|what| lines[index].contains(what));
            let note = if declares { "# Safety" } else { "SAFETY:" };
            (!has_note(&lines, index, note))
                .then(|| complaint(index, format!("`unsafe` without a `{note}` note above")))
        })
        .collect()
}

#[test]
fn unsafe_code_says_why_it_is_right() {
    check(|source| source.has_extension(&["rs"]), unsafe_without_note);
}

#[test]
fn every_crate_says_what_it_is() {
    check(
        |source| source.path.ends_with("src/lib.rs") || source.path.ends_with("src/main.rs"),
        |text| {
            if text.starts_with("//!") { Vec::new() } else { vec![complaint(0, "a crate begins with a `//!` note")] }
        },
    );
}

/// The pieces of a Markdown text that stand in backticks or are targets of links, by line; blocks of code are left out.
fn quoted(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut in_block = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block && !line.starts_with("    ") {
            found.extend(line.split('`').skip(1).step_by(2).map(|piece| (index, piece)));
            let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            found.extend(links.map(|target| (index, target.split('#').next().unwrap_or(target))));
        }
    }
    found
}

/// Whether a piece of text is meant as a path of a file or folder of this repository.
fn is_repository_path(piece: &str, top_folders: &BTreeSet<&str>) -> bool {
    let plain = |byte: u8| is_word_byte(byte) || b"./-".contains(&byte);
    if piece.is_empty() || !piece.bytes().all(plain) || piece.starts_with(['/', '-', '.']) {
        return false;
    }
    let in_folder = piece.split_once('/').is_some_and(|(first, _)| top_folders.contains(first));
    in_folder || [".rs", ".md"].iter().any(|extension| piece.ends_with(extension) && piece != *extension)
}

#[test]
fn documents_name_only_files_that_exist() {
    let paths = paths();
    let mut known: BTreeSet<&str> = paths.iter().map(String::as_str).collect();
    for path in &paths {
        known.extend(path.match_indices('/').map(|(end, _)| &path[..end]));
    }
    let top_folders = paths.iter().filter_map(|path| Some(path.split_once('/')?.0)).collect();
    let exists = |piece: &str| {
        let piece = piece.trim_end_matches('/');
        known.contains(piece) || known.iter().any(|path| path.ends_with(&format!("/{piece}")))
    };
    check(
        |source| source.has_extension(&["md"]) && source.path != "CHANGELOG.md",
        |text| {
            let named = quoted(text).into_iter().filter(|(_, piece)| is_repository_path(piece, &top_folders));
            let missing = named.filter(|(_, piece)| !exists(piece));
            missing.map(|(index, piece)| complaint(index, format!("there is no {piece}"))).collect()
        },
    );
}

// The rules themselves ----------------------------------------------------------------------------------------------

fn lines_of(complaints: &[Complaint]) -> Vec<usize> {
    complaints.iter().map(|complaint| complaint.line).collect()
}

#[test]
fn rules_find_what_they_are_for() {
    let text = "use std::fs;\n// std::fs\nlet a = my_std::fsx();\nInstant::now()\n#[cfg(test)]\nuse std::fs;\n";
    assert_eq!(lines_of(&forbid(text, &IMPURE, "")), [1, 4]);

    let text =
        "[dependencies]\nrain-data.workspace = true\nserde = 1\n[dev-dependencies]\nrain-exec.workspace = true\n";
    assert_eq!(own_dependencies(text), [(1, "rain-data")]);

    assert_eq!(empty_name("engine/utils/src/lib.rs"), Some("utils"));
    assert_eq!(empty_name("engine/model/src/common.rs"), Some("common"));
    assert_eq!(empty_name("python/tests/unit/test_common.py"), None);

    let text = UNFINISHED.join("\n") + "\nmytodo!()\nfile XXX\n";
    assert_eq!(lines_of(&unfinished(&text)), [1, 2, 3, 4, 5]);

    let text = MACHINE_PATHS.join("a\n") + "\n/tmp/rain/work/\nruntime / work/\n";
    assert_eq!(lines_of(&machine_paths(&text)), [1, 2]);

    let text = "\
        // SAFETY: it is.\nunsafe { a() };\nunsafe { b() };\n// SAFETY: it is.\nlet c =\n    unsafe { c() };\n\n\
        /// # Safety\n/// Never.\npub unsafe fn d() {}\npub unsafe fn e() {}\n// unsafe\n#![deny(unsafe_op_in_unsafe_fn)]\n\
        // SAFETY: one.\nunsafe impl Send for A {}\nunsafe impl Sync for A {}\n";
    assert_eq!(lines_of(&unsafe_without_note(text)), [3, 11, 16]);

    let text = "\
        assert!(start.elapsed() < SOON);\nassert!(start.elapsed() < PATIENCE);\nassert!(start.elapsed() >= SOON);\n\
        \x20   assert time.monotonic() - start < 2\nif time.monotonic() - start < 2:\n";
    assert_eq!(lines_of(&judged_times(text)), [1, 4]);

    let text = "`docs/a.md` and `b` in [c](docs/d.md#e)\n```\n`docs/no.md`\n```\n    `docs/no.md`\n";
    assert_eq!(quoted(text), [(0, "docs/a.md"), (0, "b"), (0, "docs/d.md")]);
    let folders = BTreeSet::from(["docs"]);
    let are_paths: Vec<bool> = ["docs/a", "x.rs", "b", "/docs/a", "buildin/noop", "docs/*", "https://docs/a"]
        .map(|piece| is_repository_path(piece, &folders))
        .into();
    assert_eq!(are_paths, [true, true, false, false, false, false, false]);
}
