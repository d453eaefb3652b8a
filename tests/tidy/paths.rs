//! Rust code as tokens, and the paths in it that lead out of a room. Enough of
//! the language for that, and no more.

/// Whether an entry of the allowed ones stands for this path.
pub(crate) fn covers(entry: &str, path: &str) -> bool {
    path.strip_prefix(entry)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// All paths that begin at the crate's root, however they are written, without
/// that root, and the lines they stand on.
pub(crate) fn outward_paths(code: &str, module: &[String]) -> Vec<(usize, String)> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    // For each open brace, whether it opened a module.
    let mut braces: Vec<bool> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let text = tokens[at].text.as_str();
        let follows = |distance: usize| tokens.get(at + distance).map(|token| &*token.text);
        let continues = at > 0 && tokens[at - 1].text == "::";
        match text {
            "{" => braces.push(at >= 2 && tokens[at - 2].text == "mod"),
            "}" => {
                braces.pop();
            }
            "crate" | "secure_chat" | "super" if follows(1) == Some("::") && !continues => {
                let line = tokens[at].line;
                let mut paths = Vec::new();
                let end = expand(&tokens, at, Vec::new(), &mut paths);
                let depth = module.len() + braces.iter().filter(|is_module| **is_module).count();
                let outward = paths.into_iter().filter_map(|path| from_root(&path, depth));
                found.extend(outward.map(|path| (line, path)));
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
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

/// The path below the crate's root, if it begins there: by name, or by going
/// up as far as the module is deep.
fn from_root(path: &[String], depth: usize) -> Option<String> {
    let below = match path.first()?.as_str() {
        "crate" | "secure_chat" => 1,
        _ => {
            let ups = path.iter().take_while(|segment| *segment == "super");
            Some(ups.count()).filter(|ups| *ups >= depth)?
        }
    };
    Some(path[below..].join("::"))
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
