//! Reads documents as `mongoexport` writes them: a JSON object on each line, an array of objects, or
//! either of them on several lines (`--pretty`). Values are in MongoDB's Extended JSON, version 1 or 2
//! (`{"$oid": "…"}`, `{"$binary": …}`).
//!
//! Only the ends of objects are found here; `serde_json` then says whether each is JSON.

use std::fmt;
use std::io::BufRead;

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::document::{Document, FormatError, MAX_DOCUMENT, Position, Value};

/// The documents of a stream.
pub(super) struct Documents<R> {
    source: R,
    buffer: Vec<u8>,
    /// The number of the line that is being read.
    line: u64,
    between: Between,
}

/// What may come outside of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    /// A document, or an array of them.
    Beginning,
    /// A document.
    Documents,
    /// In an array: a document, or the array's end if there was none yet.
    ArrayBegins,
    /// In an array: a comma or the end.
    Comma,
    /// In an array, behind a comma: a document.
    Item,
    /// Behind an array: nothing.
    End,
}

/// Where within a document's text a byte is.
#[derive(Default)]
struct Nesting {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    /// Takes the next byte. Returns whether the document ends with it.
    fn ends_with(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.depth == 0
    }
}

impl<R: BufRead> Documents<R> {
    /// Those of a stream from its beginning.
    pub(super) fn new(source: R) -> Self {
        Documents {
            source,
            buffer: Vec::new(),
            line: 1,
            between: Between::Beginning,
        }
    }

    /// The next one, with the line on which it begins; `None` at the end.
    ///
    /// # Errors
    /// Reading failed, or what comes is no whole document.
    pub(super) fn next(&mut self) -> Result<Option<(Position, Document)>, FormatError> {
        if !self.find_document()? {
            return Ok(None);
        }
        let position = Position::Line(self.line);
        self.read_document(position)?;
        let document = parse(&self.buffer).map_err(|why| FormatError::Wrong(position, why))?;
        Ok(Some((position, document)))
    }

    /// Skips what lies between documents. Returns `false` at the end.
    fn find_document(&mut self) -> Result<bool, FormatError> {
        loop {
            let here = Position::Line(self.line);
            let Some(byte) = self.peek()? else {
                return match self.between {
                    Between::Beginning | Between::Documents | Between::End => Ok(false),
                    _ => Err(FormatError::Cut(here)),
                };
            };
            self.between = match (self.between, byte) {
                (_, b'\n') => {
                    self.line += 1;
                    self.between
                }
                (_, b' ' | b'\t' | b'\r') => self.between,
                (Between::Beginning | Between::Documents, b'{') => {
                    self.between = Between::Documents;
                    return Ok(true);
                }
                (Between::ArrayBegins | Between::Item, b'{') => {
                    self.between = Between::Comma;
                    return Ok(true);
                }
                (Between::Beginning, b'[') => Between::ArrayBegins,
                (Between::Comma, b',') => Between::Item,
                (Between::ArrayBegins | Between::Comma, b']') => Between::End,
                _ => {
                    let why = "there is something else than an object";
                    return Err(FormatError::Wrong(here, why));
                }
            };
            self.source.consume(1);
        }
    }

    fn peek(&mut self) -> Result<Option<u8>, FormatError> {
        Ok(self.source.fill_buf()?.first().copied())
    }

    /// Reads an object up to its end into the buffer.
    fn read_document(&mut self, position: Position) -> Result<(), FormatError> {
        self.buffer.clear();
        let mut nesting = Nesting::default();
        loop {
            let bytes = self.source.fill_buf()?;
            if bytes.is_empty() {
                return Err(FormatError::Cut(position));
            }
            let end = bytes.iter().position(|byte| nesting.ends_with(*byte));
            let part = &bytes[..end.map_or(bytes.len(), |end| end + 1)];
            if self.buffer.len() + part.len() > MAX_DOCUMENT {
                return Err(FormatError::Wrong(
                    position,
                    "it is longer than MongoDB's documents are",
                ));
            }
            self.line += memchr::memchr_iter(b'\n', part).count() as u64;
            self.buffer.extend_from_slice(part);
            let taken = part.len();
            self.source.consume(taken);
            if end.is_some() {
                return Ok(());
            }
        }
    }
}

/// The fields of an object that count. `serde` refuses a second one of the same name.
#[derive(Default, Deserialize)]
struct Fields {
    #[serde(default, rename = "_id")]
    id: Option<Value>,
    #[serde(default)]
    username: Option<Value>,
    #[serde(default)]
    password: Option<Value>,
    #[serde(default)]
    sender: Option<Value>,
    #[serde(default)]
    message: Option<Value>,
}

fn parse(text: &[u8]) -> Result<Document, &'static str> {
    let fields: Fields = match serde_json::from_slice(text) {
        Ok(fields) => fields,
        // It is JSON, and a field came twice.
        Err(error) if error.is_data() => {
            return Ok(Document {
                is_ambiguous: true,
                ..Document::default()
            });
        }
        Err(_) => return Err("it is not JSON"),
    };
    Ok(Document {
        id: fields.id,
        username: fields.username,
        password: fields.password,
        sender: fields.sender,
        message: fields.message,
        is_ambiguous: false,
    })
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

/// Takes every value, and keeps only those that a field of an export can have.
struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut found = Value::Other;
        while let Some(name) = fields.next_key::<String>()? {
            let text = match &*name {
                "$oid" | "$binary" | "base64" => fields.next_value::<Value>()?,
                _ => {
                    fields.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            found = match (&*name, text) {
                ("$oid", Value::Text(digits)) => object_id(&digits),
                // Version 1 has the text itself, version 2 an object around it.
                ("$binary" | "base64", Value::Text(text)) => bytes(&text),
                ("$binary", Value::Binary(bytes)) => Value::Binary(bytes),
                _ => Value::Other,
            };
        }
        Ok(found)
    }
}

fn object_id(digits: &str) -> Value {
    let id = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok();
    let id = id.and_then(|id| id.try_into().ok());
    id.map_or(Value::Other, Value::ObjectId)
}

fn bytes(base64: &str) -> Value {
    let bytes = BASE64.decode(base64.as_bytes());
    bytes.map_or(Value::Other, Value::Binary)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<Vec<(Position, Document)>, FormatError> {
        // A buffer of one byte finds what depends on where a read ends.
        let mut documents = Documents::new(std::io::BufReader::with_capacity(1, text.as_bytes()));
        let mut found = Vec::new();
        while let Some(next) = documents.next()? {
            found.push(next);
        }
        Ok(found)
    }

    const TWO: &str = r#"{"username":"a","password":"{\"]"}
{"username":"b","message":{"$binary":{"base64":"AQI=","subType":"00"}}}"#;

    #[test]
    fn lines_arrays_and_several_lines_are_the_same() {
        let pretty = TWO.replace(",\"", ",\n  \"").replace("}\n{", "}\n\n{");
        let comma = TWO.replace("}\n{", "},\n{");
        for (text, lines) in [
            (TWO.to_owned(), [1, 2]),
            (format!("{TWO}\n\n"), [1, 2]),
            (format!("[{comma}]\n"), [1, 2]),
            (format!(" [\n{comma}\n]"), [2, 3]),
            (pretty, [1, 4]),
        ] {
            let found = all(&text).unwrap();
            assert_eq!(found.len(), 2, "{text}");
            assert_eq!(
                [found[0].0, found[1].0],
                lines.map(Position::Line),
                "{text}"
            );
            assert_eq!(found[0].1.password, Some(Value::Text("{\"]".to_owned())));
            assert_eq!(found[1].1.message, Some(Value::Binary(vec![1, 2])));
        }
        assert!(all("").unwrap().is_empty() && all(" \n[ ]\n").unwrap().is_empty());
    }

    #[test]
    fn both_versions_of_extended_json_are_understood() {
        let id = r#"{"_id":{"$oid":"5F9d88b2c3d4e5f6a7b8c9d0"},"message":"#;
        for (message, expected) in [
            (
                r#"{"$binary":"AQI=","$type":"00"}"#,
                Value::Binary(vec![1, 2]),
            ),
            (
                r#"{"$binary":{"base64":"AQI=","subType":"00"}}"#,
                Value::Binary(vec![1, 2]),
            ),
            (r#""text""#, Value::Text("text".to_owned())),
            (r#"{"$numberLong":"5"}"#, Value::Other),
            (r#"{"$binary":"!"}"#, Value::Other),
            ("true", Value::Other),
            (r#"[{"$oid":"00"}]"#, Value::Other),
        ] {
            let found = all(&format!("{id}{message}}}")).unwrap();
            assert_eq!(found[0].1.message, Some(expected), "{message}");
            assert_eq!(found[0].1.object_id().unwrap()[..2], [0x5f, 0x9d]);
        }
        let twice = all(r#"{"username":"a","username":"b"}"#).unwrap();
        assert!(twice[0].1.is_ambiguous);
        let nulls = all(r#"{"username":null,"sender":"b","other":1,"other":2}"#).unwrap();
        assert!(!nulls[0].1.is_ambiguous && nulls[0].1.username.is_none());
    }

    #[test]
    fn what_is_cut_or_no_export_is_refused_with_its_line() {
        for end in 1..TWO.len() {
            let cut = all(&TWO[..end]);
            let whole = end == TWO.find('\n').unwrap() || end == TWO.find('\n').unwrap() + 1;
            match whole {
                true => assert_eq!(cut.unwrap().len(), 1),
                false => assert!(matches!(cut, Err(FormatError::Cut(_))), "{end}: {cut:?}"),
            }
        }
        for (text, line) in [
            ("{}\nusername,password\n", 2),
            ("{}\n{oops}", 2),
            ("[{}\n{}]", 2),
            ("[{},]", 1),
            ("[{}]\n{}", 2),
            ("[[]]", 1),
            ("{\"_id\" : ObjectId(\"00\")}", 1),
            ("{}\n\u{0}", 2),
        ] {
            let said = all(text);
            assert!(
                matches!(said, Err(FormatError::Wrong(Position::Line(at), _)) if at == line),
                "{text}: {said:?}"
            );
        }
        assert!(matches!(all("[{}"), Err(FormatError::Cut(_))));
        assert!(matches!(
            all(&"[".repeat(200_000)),
            Err(FormatError::Wrong(..))
        ));
        // What is passed over may be as deep as it likes; what is looked into may not.
        let deep = |open: &str, close: &str| {
            let (open, close) = (open.repeat(5000), close.repeat(5000));
            all(&format!("{{\"message\":{open}1{close}}}"))
        };
        assert_eq!(deep("[", "]").unwrap()[0].1.message, Some(Value::Other));
        assert!(matches!(
            deep("{\"$oid\":", "}"),
            Err(FormatError::Wrong(..))
        ));
    }
}
