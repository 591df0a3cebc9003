//! Files of a crate import each other in one direction.
//!
//! The graph of a crate has its files as nodes, and an edge from a file to each file that defines something it names: through `use`,
//! or by a path. A declaration `mod x;` is no edge, nor is a re-export (`pub use`), unless the file uses that name itself: names
//! are followed through both to where they are defined. Tests are left out.

use std::collections::{BTreeMap, BTreeSet};

/// A module's path within its crate; the crate itself is empty.
type ModulePath = Vec<String>;

/// One `use` of a module.
struct Import {
    /// As it is written: may begin with `crate`, `self` or `super`.
    path: Vec<String>,
    /// What it is called here.
    name: String,
    is_public: bool,
}

#[derive(Default)]
struct Module {
    /// Index of the file.
    file: usize,
    imports: Vec<Import>,
    /// Paths of `use path::*`.
    globs: Vec<Vec<String>>,
    /// Names of items that are defined here.
    defined: BTreeSet<String>,
    /// Paths and single names in the code, but for those of `use`.
    named: BTreeSet<Vec<String>>,
}

#[derive(Default)]
struct Crate {
    modules: BTreeMap<ModulePath, Module>,
    /// Modules that are there for tests only.
    of_tests: Vec<ModulePath>,
}

/// Where a name leads to.
enum Target {
    Module(ModulePath),
    /// An item, in this module.
    Item(ModulePath),
}

/// Cuts a source into names, `::` and single characters; comments, texts and lifetimes are left out.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        let next = rest.get(1).copied().unwrap_or(' ');
        match rest[0] {
            '/' if next == '/' => at += rest.iter().take_while(|c| **c != '\n').count(),
            '/' if next == '*' => {
                let end = rest.windows(2).skip(2).position(|pair| pair == ['*', '/']);
                at += end.map_or(rest.len(), |end| end + 4);
            }
            '"' => at += text_length(rest),
            'r' if next == '"' || (next == '#' && rest.get(2).is_some_and(|c| "\"#".contains(*c))) => {
                at += raw_text_length(rest);
            }
            '\'' if next == '\\' => at += rest.iter().skip(3).take_while(|c| **c != '\'').count() + 4,
            '\'' if rest.get(2) == Some(&'\'') => at += 3,
            '\'' => at += 1 + rest[1..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').count(),
            c if c.is_alphanumeric() || c == '_' => {
                let word: String = rest.iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
                at += word.chars().count();
                found.push(word);
            }
            ':' if next == ':' => {
                at += 2;
                found.push("::".to_owned());
            }
            c => {
                at += 1;
                if !c.is_whitespace() {
                    found.push(c.to_string());
                }
            }
        }
    }
    found
}

fn text_length(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_text_length(rest: &[char]) -> usize {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let start = 2 + hashes;
    let length = rest.get(start..).and_then(|body| body.windows(end.len()).position(|part| part == end));
    length.map_or(rest.len(), |length| start + length + end.len())
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Reads the modules of one file into a crate.
struct Reader<'a> {
    tokens: Vec<String>,
    at: usize,
    krate: &'a mut Crate,
    file: usize,
}

impl Reader<'_> {
    fn token(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", String::as_str)
    }

    fn is_next(&self, expected: &[&str]) -> bool {
        expected.iter().enumerate().all(|(ahead, token)| self.token(ahead) == *token)
    }

    /// Reads items up to the brace that closes the module, or the end.
    fn module(&mut self, path: &ModulePath) {
        let file = self.file;
        self.krate.modules.entry(path.clone()).or_default().file = file;
        let mut depth = 0;
        while self.at < self.tokens.len() {
            match self.token(0) {
                "#" if self.is_next(&["#", "[", "cfg", "(", "test", ")", "]"])
                    || self.is_next(&["#", "[", "cfg", "(", "all", "(", "test"]) =>
                {
                    self.item_of_tests(path);
                }
                "use" => {
                    let is_public = self.at > 0 && ["pub", ")"].contains(&self.tokens[self.at - 1].as_str());
                    self.at += 1;
                    self.use_tree(path, &[], is_public);
                }
                "mod" if is_name(self.token(1)) && self.token(2) == "{" => {
                    let inner = [path.as_slice(), &[self.token(1).to_owned()]].concat();
                    self.at += 3;
                    self.module(&inner);
                }
                "mod" if is_name(self.token(1)) => self.at += 3,
                "pub" if self.is_next(&["pub", "(", "in"]) => self.skip_to_end_of_brackets(),
                "{" => {
                    depth += 1;
                    self.at += 1;
                }
                "}" if depth == 0 => {
                    self.at += 1;
                    return;
                }
                "}" => {
                    depth -= 1;
                    self.at += 1;
                }
                "struct" | "enum" | "union" | "trait" | "type" | "fn" | "const" | "static" | "macro_rules"
                    if depth == 0 =>
                {
                    let ahead = (1..4).find(|ahead| !["unsafe", "mut", "!", "async"].contains(&self.token(*ahead)));
                    let name = self.token(ahead.unwrap_or(1)).to_owned();
                    self.of(path).defined.insert(name);
                    self.at += 1;
                }
                token if is_name(token) => self.path(path),
                _ => self.at += 1,
            }
        }
    }

    fn of(&mut self, path: &ModulePath) -> &mut Module {
        self.krate.modules.entry(path.clone()).or_default()
    }

    fn path(&mut self, module: &ModulePath) {
        let mut path = vec![self.token(0).to_owned()];
        let is_after_path = self.at > 0 && ["::", "."].contains(&self.tokens[self.at - 1].as_str());
        self.at += 1;
        while self.token(0) == "::" && is_name(self.token(1)) {
            path.push(self.token(1).to_owned());
            self.at += 2;
        }
        if !is_after_path {
            self.of(module).named.insert(path);
        }
    }

    fn use_tree(&mut self, module: &ModulePath, before: &[String], is_public: bool) {
        let mut path = before.to_vec();
        loop {
            match self.token(0) {
                "::" => self.at += 1,
                "*" => {
                    self.at += 1;
                    self.of(module).globs.push(path);
                    return;
                }
                "{" => {
                    self.at += 1;
                    while !["}", ""].contains(&self.token(0)) {
                        self.use_tree(module, &path, is_public);
                        if self.token(0) == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "as" => {
                    let name = self.token(1).to_owned();
                    self.at += 2;
                    self.of(module).imports.push(Import { path, name, is_public });
                    return;
                }
                token if is_name(token) => {
                    path.push(token.to_owned());
                    self.at += 1;
                }
                _ => {
                    if path.last().is_some_and(|last| last == "self") {
                        path.pop();
                    }
                    if let Some(name) = path.last().cloned() {
                        self.of(module).imports.push(Import { path, name, is_public });
                    }
                    return;
                }
            }
        }
    }

    fn skip_to_end_of_brackets(&mut self) {
        let mut depth = 0;
        while self.at < self.tokens.len() {
            match self.token(0) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 && [")", "]", "}"].contains(&self.tokens[self.at - 1].as_str()) {
                return;
            }
        }
    }

    /// Passes over an attribute and the item below it.
    fn item_of_tests(&mut self, path: &ModulePath) {
        while self.token(0) == "#" {
            self.skip_to_end_of_brackets();
        }
        while self.at < self.tokens.len() {
            match self.token(0) {
                "mod" if self.token(2) == ";" => {
                    let module = [path.as_slice(), &[self.token(1).to_owned()]].concat();
                    self.krate.of_tests.push(module);
                    self.at += 3;
                    return;
                }
                ";" | "," | "}" => {
                    self.at += usize::from(self.token(0) != "}");
                    return;
                }
                "(" | "[" => self.skip_to_end_of_brackets(),
                "{" => {
                    self.skip_to_end_of_brackets();
                    return;
                }
                _ => self.at += 1,
            }
        }
    }
}

impl Crate {
    /// Where a path that is written in a module leads to; `None`: out of the crate.
    fn resolve(&self, from: &ModulePath, path: &[String], steps_max: usize) -> Option<Target> {
        let steps_max = steps_max.checked_sub(1)?;
        let (first, mut rest) = path.split_first()?;
        let mut module = match first.as_str() {
            "crate" => Vec::new(),
            "self" => from.clone(),
            "super" => parent(from)?,
            _ => match self.member(from, first, steps_max)? {
                Target::Module(module) => module,
                item => return Some(item),
            },
        };
        while let Some((name, after)) = rest.split_first() {
            rest = after;
            if name == "super" {
                module = parent(&module)?;
                continue;
            }
            match self.member(&module, name, steps_max) {
                Some(Target::Module(inner)) => module = inner,
                Some(item) => return Some(item),
                None => return Some(Target::Item(module)),
            }
        }
        Some(Target::Module(module))
    }

    /// What a name means in a module.
    fn member(&self, module: &ModulePath, name: &str, steps_max: usize) -> Option<Target> {
        let inner = [module.as_slice(), &[name.to_owned()]].concat();
        if self.modules.contains_key(&inner) {
            return Some(Target::Module(inner));
        }
        let here = self.modules.get(module)?;
        if here.defined.contains(name) {
            return Some(Target::Item(module.clone()));
        }
        let import = here.imports.iter().find(|import| import.name == name && import.path != [name]);
        if let Some(import) = import {
            return self.resolve(module, &import.path, steps_max);
        }
        here.globs.iter().find_map(|glob| match self.resolve(module, glob, steps_max)? {
            Target::Module(from) if from != *module => self.member(&from, name, steps_max.checked_sub(1)?),
            _ => None,
        })
    }

    /// Pairs of files of which the first names something of the second.
    fn edges(&self) -> BTreeSet<(usize, usize)> {
        const STEPS_MAX: usize = 16;
        let mut edges = BTreeSet::new();
        for (path, module) in &self.modules {
            if self.of_tests.iter().any(|of_tests| path.starts_with(of_tests)) {
                continue;
            }
            let is_named = |name: &String| module.named.iter().any(|path| path[0] == *name);
            let imports = module.imports.iter().filter(|import| !import.is_public || is_named(&import.name));
            let paths = imports.map(|import| &import.path).chain(&module.named);
            for target in paths.filter_map(|named| self.resolve(path, named, STEPS_MAX)) {
                // A module that is imported is none yet: what is named of it is.
                if let Target::Item(target) = target {
                    edges.insert((module.file, self.modules[&target].file));
                }
            }
        }
        edges.retain(|(from, to)| from != to);
        edges
    }
}

fn parent(module: &ModulePath) -> Option<ModulePath> {
    module.split_last().map(|(_, parent)| parent.to_vec())
}

/// The path of the module that a file is, given the file's path below `src/`; `None` for programs beside the crate.
fn module_of(file: &str) -> Option<ModulePath> {
    let mut path: ModulePath = file.strip_suffix(".rs")?.split('/').map(str::to_owned).collect();
    if path[0] == "bin" || path == ["main"] {
        return None;
    }
    if path.last().is_some_and(|last| last == "mod") || path == ["lib"] {
        path.pop();
    }
    Some(path)
}

/// The circles among the files of a crate, which are given by their paths below `src/` and their texts.
pub fn circles<'a>(files: &[(&'a str, &str)]) -> Vec<Vec<&'a str>> {
    let mut krate = Crate::default();
    for (file, (path, text)) in files.iter().enumerate() {
        if let Some(module) = module_of(path) {
            let tokens = tokens(text);
            Reader { tokens, at: 0, krate: &mut krate, file }.module(&module);
        }
    }
    let edges = krate.edges();
    let reached: Vec<BTreeSet<usize>> = (0..files.len()).map(|from| reached_from(from, &edges)).collect();
    let mut circles = BTreeSet::new();
    for file in 0..files.len() {
        let circle: Vec<usize> =
            reached[file].iter().copied().filter(|other| reached[*other].contains(&file)).collect();
        if !circle.is_empty() {
            circles.insert(circle);
        }
    }
    circles.iter().map(|circle| circle.iter().map(|file| files[*file].0).collect()).collect()
}

fn reached_from(from: usize, edges: &BTreeSet<(usize, usize)>) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut waiting = vec![from];
    while let Some(file) = waiting.pop() {
        let next = edges.range((file, 0)..(file + 1, 0)).map(|(_, to)| *to);
        waiting.extend(next.filter(|to| reached.insert(*to)));
    }
    reached
}

#[test]
fn circles_are_found() {
    // Two files that import each other; what only one imports is not in the circle.
    let files = [("lib.rs", "mod a; mod b; mod c;"), ("a.rs", "use crate::b::B; pub struct A(B);")];
    let b = ("b.rs", "pub struct B; fn f(a: super::a::A) { c::g() } use super::c;");
    assert_eq!(circles(&[files[0], files[1], b, ("c.rs", "pub fn g() {}")]), [["a.rs", "b.rs"]]);

    // Parent and child; tests, comments, texts and the declaration do not count.
    let lib = "mod child; use child::C; pub struct P(C);";
    assert_eq!(circles(&[("lib.rs", lib), ("child.rs", "use super::P; pub struct C;")]), [["lib.rs", "child.rs"]]);
    let quiet =
        "pub struct C; // super::P\nconst T: &str = \"super::P\";\n#[cfg(test)]\nmod tests { use super::super::P; }";
    assert!(circles(&[("lib.rs", lib), ("child.rs", quiet)]).is_empty());
    let declares = "mod child; pub struct P;\n#[cfg(test)]\nmod tests;\n";
    let tests = ("tests.rs", "use super::child::C;");
    assert!(circles(&[("lib.rs", declares), ("child.rs", "use super::P; pub struct C;"), tests]).is_empty());

    // A re-export is none, and is followed to the definition; one that the file uses itself counts.
    let exports = "mod child; mod other; pub use child::C; pub struct P;";
    let child = ("child.rs", "use super::P; pub struct C(P);");
    assert!(circles(&[("lib.rs", exports), child, ("other.rs", "use crate::C;")]).is_empty());
    let uses = "mod child; mod other; pub use child::C; pub struct P(Box<C>);";
    assert_eq!(circles(&[("lib.rs", uses), child]), [["lib.rs", "child.rs"]]);
    let other = ("other.rs", "pub struct O; fn f(c: crate::C) {}");
    let child = ("child.rs", "pub struct C(crate::other::O);");
    assert_eq!(circles(&[("lib.rs", exports), child, other]), [["child.rs", "other.rs"]]);

    // Modules in folders, and modules written out in a file.
    let files = [
        ("lib.rs", "mod a;"),
        ("a/mod.rs", "mod x; mod y; mod inner { use super::y::Y; }"),
        ("a/x.rs", "use super::y::Y; pub struct X;"),
        ("a/y.rs", "pub struct Y(super::x::X);"),
    ];
    assert_eq!(circles(&files), [["a/x.rs", "a/y.rs"]]);
}
