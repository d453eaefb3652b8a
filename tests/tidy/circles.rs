//! Which file of the crate imports which, and the circles among them.
//!
//! An import counts for the file that defines the name: a `pub use` on the way hides
//! nothing. A file below another may import from it, since a module's parts share
//! what the module itself defines; such an import is not an edge.

use std::collections::{BTreeMap, BTreeSet};

use super::paths::{begins_test_module, crate_paths, tokens};

/// A module, from the crate's root.
pub(crate) type Module = Vec<String>;

/// The files of the crate by module, without those that only tests use.
pub(crate) struct Crate {
    /// Each module's imports: whole paths, with the line.
    imports: BTreeMap<Module, Vec<(usize, Vec<String>)>>,
    /// What a `pub use` offers under another path, and where that leads.
    reexports: BTreeMap<Vec<String>, Vec<String>>,
}

impl Crate {
    /// Reads the crate, given each file's module and code.
    pub(crate) fn read(files: &[(Module, String)]) -> Self {
        let tests = test_modules(files);
        let is_test = |module: &Module| tests.iter().any(|test| module.starts_with(test));
        let mut known = Crate {
            imports: BTreeMap::new(),
            reexports: BTreeMap::new(),
        };
        for (module, code) in files.iter().filter(|(module, _)| !is_test(module)) {
            let children: Vec<String> = files
                .iter()
                .filter(|(other, _)| other.len() == module.len() + 1 && other.starts_with(module))
                .filter_map(|(other, _)| other.last().cloned())
                .collect();
            let mut imports = Vec::new();
            for path in crate_paths(code, module, &children) {
                match path.segments.last() {
                    Some(name) if path.reexported => {
                        let offered = [&module[..], std::slice::from_ref(name)].concat();
                        known.reexports.insert(offered, path.segments);
                    }
                    _ => imports.push((path.line, path.segments)),
                }
            }
            known.imports.insert(module.clone(), imports);
        }
        known
    }

    /// The file that defines what a path names, if it is one of the crate's.
    fn definer(&self, path: &[String]) -> Option<Module> {
        let mut path = path.to_vec();
        // A re-export may lead to another; a chain longer than this is a mistake.
        for _ in 0..8 {
            let module = (0..=path.len())
                .rev()
                .map(|length| &path[..length])
                .find(|prefix| self.imports.contains_key(*prefix))?;
            let name = path.get(..=module.len());
            match name.and_then(|name| self.reexports.get(name)) {
                Some(target) => path = [&target[..], &path[module.len() + 1..]].concat(),
                None => return Some(module.to_vec()),
            }
        }
        None
    }

    fn edges(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        self.imports
            .iter()
            .map(|(module, imports)| {
                let seen = imports
                    .iter()
                    .filter_map(|(_, path)| self.definer(path))
                    .filter(|definer| !module.starts_with(definer));
                (module, seen.collect())
            })
            .collect()
    }

    /// The edges between the modules directly below each of these rooms, by name.
    pub(crate) fn edges_between(&self, rooms: &[&str]) -> BTreeSet<(String, String)> {
        let folder = |module: &Module| {
            let below = rooms
                .contains(&module.first()?.as_str())
                .then(|| module.get(..2))??;
            Some(below.join("::"))
        };
        let mut found = BTreeSet::new();
        for (from, targets) in self.edges() {
            for to in &targets {
                if let (Some(from), Some(to)) = (folder(from), folder(to))
                    && from != to
                    && from.split("::").next() == to.split("::").next()
                {
                    found.insert((from, to));
                }
            }
        }
        found
    }

    /// Each import that is part of a circle, as `from -> to`.
    pub(crate) fn circles(&self) -> Vec<String> {
        let edges = self.edges();
        let reaches = |from: &Module, to: &Module| {
            let mut waiting = vec![from.clone()];
            let mut seen = BTreeSet::new();
            while let Some(module) = waiting.pop() {
                for next in edges.get(&module).into_iter().flatten() {
                    if next == to {
                        return true;
                    }
                    if seen.insert(next.clone()) {
                        waiting.push(next.clone());
                    }
                }
            }
            false
        };
        let mut found = Vec::new();
        for (from, targets) in &edges {
            for to in targets.iter().filter(|to| reaches(to, from)) {
                found.push(format!("{} -> {}", from.join("::"), to.join("::")));
            }
        }
        found
    }
}

/// The modules that a file declares under `#[cfg(test)]`.
fn test_modules(files: &[(Module, String)]) -> Vec<Module> {
    let mut found = Vec::new();
    for (module, code) in files {
        let tokens = tokens(code);
        for at in (0..tokens.len()).filter(|at| begins_test_module(&tokens, *at)) {
            let declared = tokens[at..]
                .iter()
                .skip_while(|token| token.text != "mod")
                .nth(1);
            found.extend(
                declared.map(|name| [&module[..], std::slice::from_ref(&name.text)].concat()),
            );
        }
    }
    found
}

#[test]
fn a_circle_is_found_through_a_reexport_and_not_among_parent_and_child() {
    let file = |module: &str, code: &str| {
        let module = module.split("::").map(str::to_owned).collect();
        (module, code.to_owned())
    };
    let read = |files: &[(Module, String)]| Crate::read(files).circles();
    let parent = file(
        "a",
        "pub use self::b::B; mod b; use crate::c::C; pub struct A;",
    );
    let child = file("a::b", "use super::A; pub struct B;");
    let outside = file("c", "use crate::a::B; pub struct C;");
    let unrelated = file("d", "use crate::a::A;");
    let line = [parent, child, outside, unrelated];
    assert_eq!(read(&line), [""; 0], "c leads to a::b, which leads nowhere");
    let [parent, _, outside, _] = line;
    let child = file("a::b", "use crate::c::C; pub struct B;");
    let files = [parent, child, outside];
    assert_eq!(read(&files), ["a::b -> c", "c -> a::b"]);
    let tests = file(
        "e",
        "#[cfg(test)] mod tests { use crate::f::F; } pub struct E;",
    );
    assert_eq!(read(&[tests, file("f", "use crate::e::E;")]), [""; 0]);
}
