//! Rust code as tokens, and the paths in it that lead to the crate's own modules.
//! It reads enough of the language for that, and no more.

/// Whether the allowed path `entry` is `path` or stands above it.
pub(crate) fn covers(entry: &str, path: &str) -> bool {
    path.strip_prefix(entry)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// A path in the code of the crate, however it is written there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CratePath {
    pub(crate) line: usize,
    /// From the crate's root, without the word for it.
    pub(crate) segments: Vec<String>,
    /// It stands in a `pub use`.
    pub(crate) reexported: bool,
}

impl CratePath {
    pub(crate) fn text(&self) -> String {
        self.segments.join("::")
    }
}

/// All paths to the crate's own modules and items: those that begin with `crate`,
/// `super`, `self` or the crate's name, and those that begin with one of `children`,
/// the modules below this one. Code under `#[cfg(test)]` is passed over.
pub(crate) fn crate_paths(code: &str, module: &[String], children: &[String]) -> Vec<CratePath> {
    let tokens = tokens(code);
    let text = |at: usize| tokens.get(at).map_or("", |token| &*token.text);
    let mut found = Vec::new();
    // For each open brace, the inline module that it opened.
    let mut braces: Vec<Option<String>> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if begins_test_module(&tokens, at) {
            at = end_of_item(&tokens, at);
            continue;
        }
        match text(at) {
            "{" => {
                let opens_module = at >= 2 && text(at - 2) == "mod";
                braces.push(opens_module.then(|| text(at - 1).to_owned()));
            }
            "}" => {
                braces.pop();
            }
            word if begins_path(&tokens, at, word, children) => {
                let mut here = module.to_vec();
                here.extend(braces.iter().flatten().cloned());
                let mut paths = Vec::new();
                let end = expand(&tokens, at, Vec::new(), &mut paths);
                let reexported =
                    at >= 2 && text(at - 1) == "use" && matches!(text(at - 2), "pub" | ")");
                let line = tokens[at].line;
                found.extend(paths.iter().filter_map(|path| {
                    let segments = from_root(path, &here)?;
                    Some(CratePath {
                        line,
                        segments,
                        reexported,
                    })
                }));
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

fn begins_path(tokens: &[Token], at: usize, word: &str, children: &[String]) -> bool {
    let text = |at: usize| tokens.get(at).map_or("", |token| &*token.text);
    let is_root = matches!(word, "crate" | "secure_chat" | "super" | "self");
    let is_child = children.iter().any(|child| child == word);
    (is_root || is_child) && text(at + 1) == "::" && (at == 0 || text(at - 1) != "::")
}

/// Whether `#[cfg(test)]` stands here, before a module.
pub(crate) fn begins_test_module(tokens: &[Token], at: usize) -> bool {
    let attribute = ["#", "[", "cfg", "(", "test", ")", "]"];
    let text = |at: usize| tokens.get(at).map_or("", |token| &*token.text);
    let mut behind = at + attribute.len();
    if !attribute
        .iter()
        .enumerate()
        .all(|(index, word)| text(at + index) == *word)
    {
        return false;
    }
    // Over `pub(super)` and the like.
    while !matches!(text(behind), "mod" | ";" | "{" | "") {
        behind += 1;
    }
    text(behind) == "mod"
}

/// Where the item that begins here ends: behind its `;` or its closing brace.
fn end_of_item(tokens: &[Token], mut at: usize) -> usize {
    let mut depth = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token.text.as_str() {
            "{" => depth += 1,
            "}" if depth == 1 => break,
            "}" => depth -= 1,
            ";" if depth == 0 => break,
            _ => {}
        }
    }
    at
}

/// Follows a path, through groups in braces, and gives where it ends.
fn expand(
    tokens: &[Token],
    mut at: usize,
    mut path: Vec<String>,
    into: &mut Vec<Vec<String>>,
) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| &*token.text);
    loop {
        match text(at) {
            "{" => {
                at += 1;
                while !matches!(text(at), "}" | "") {
                    at = expand(tokens, at, path.clone(), into);
                    // Over a rename and the comma.
                    while !matches!(text(at), "," | "}" | "") {
                        at += 1;
                    }
                    if text(at) == "," {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "<" | "" => break,
            segment => path.push(segment.to_owned()),
        }
        at += 1;
        if text(at) != "::" {
            break;
        }
        at += 1;
    }
    into.push(path);
    at
}

/// The path from the crate's root, for one that stands in the module `here`; none
/// if it leads above the root.
fn from_root(path: &[String], here: &[String]) -> Option<Vec<String>> {
    let ups = path
        .iter()
        .take_while(|segment| *segment == "super")
        .count();
    let (base, rest) = match path.first()?.as_str() {
        "crate" | "secure_chat" => (&[][..], &path[1..]),
        "self" => return from_root_of_self(path, here),
        "super" => (here.get(..here.len().checked_sub(ups)?)?, &path[ups..]),
        _ => (here, path),
    };
    Some([base, rest].concat())
}

/// `self::x`, and `self::super::x`, which means the same as `super::x`.
fn from_root_of_self(path: &[String], here: &[String]) -> Option<Vec<String>> {
    match path.get(1)?.as_str() {
        "super" => from_root(&path[1..], here),
        _ => Some([here, &path[1..]].concat()),
    }
}

/// A word, `::`, or one other character of code.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// The code's tokens: comments, texts and characters are left out.
pub(crate) fn tokens(code: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = code;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = literal(rest) {
            length
        } else {
            let word = |character: char| character.is_alphanumeric() || character == '_';
            let length = match rest
                .find(|character| !word(character))
                .unwrap_or(rest.len())
            {
                0 if rest.starts_with("::") => 2,
                0 => first.len_utf8(),
                length => length,
            };
            if !first.is_whitespace() {
                let text = rest[..length].to_owned();
                tokens.push(Token { text, line });
            }
            length
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// The length of the text or character that the code begins with.
fn literal(code: &str) -> Option<usize> {
    let plain = code.trim_start_matches(['b', 'c']);
    let prefix = code.len() - plain.len();
    if prefix <= 1
        && let Some(raw) = plain.strip_prefix('r')
    {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let end = format!("\"{}", "#".repeat(hashes));
        let body = raw[hashes..].strip_prefix('"')?;
        let length = body.find(&end).map_or(body.len(), |at| at + end.len());
        return Some(prefix + 1 + hashes + 1 + length);
    }
    let quote = plain
        .chars()
        .next()
        .filter(|c| prefix <= 1 && matches!(c, '"' | '\''))?;
    let mut characters = plain.char_indices().skip(1);
    let is_character = quote == '"' || {
        let mut next = plain[1..].chars();
        matches!(
            (next.next(), next.next()),
            (Some('\\'), _) | (_, Some('\''))
        )
    };
    if !is_character {
        return None; // A lifetime.
    }
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => {
                characters.next();
            }
            character if character == quote => return Some(prefix + at + 1),
            _ => {}
        }
    }
    Some(code.len())
}
