//! Reading a request without building a tree: objects and lists are read where they stand, leaves stay raw, and what is wrong is told with its path.
//!
//! The wire types are flat: each member is an optional leaf. A later member of the same name wins, `null` counts as not set, and what a type does not
//! know it skips. `serde`'s derive does none of that with a path, so a small macro stands in for it.
//!
//! Memory stays proportional to the body: a list is handed over item by item, so that an item that is nonsense ends the reading instead of filling a vector.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::chat::{ApiError, ErrorKind, Extra};
use crate::wire::json::{Kind, Raw, Reader, Syntax, Text};

/// The deepest nesting that a value may have which is carried without being read: what an upstream's parser, or ours in another place, takes for sure.
const MAX_NESTING: usize = 100;

/// What is wrong with a body that is not a JSON object, in the words of `serde_json`, which reads it again for that.
pub fn malformed(body: &str, Syntax { at }: Syntax) -> ApiError {
    // Value by value it has the better words, for a comma too many above all; but there it also stops at numbers and halves of surrogate pairs that are JSON.
    let strict = serde_json::Deserializer::from_str(body).deserialize_map(AnyValue).err().filter(|error| offset(body, error) >= at);
    let error = strict.or_else(|| serde_json::from_str::<IgnoredAny>(body).err());
    let reason = error.map_or_else(|| "unexpected character".to_owned(), |error| error.to_string());
    let reason = reason.split(" at line ").next().unwrap_or_default();
    ApiError::new(ErrorKind::InvalidRequest, format!("The request body is not valid JSON: {reason} at byte {at}."))
}

/// Where the parser stopped, in bytes from the start of its text.
fn offset(text: &str, error: &serde_json::Error) -> usize {
    if error.is_eof() {
        return text.len();
    }
    let start = match error.line().checked_sub(2) {
        Some(before) => text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').nth(before).map_or(0, |(at, _)| at + 1),
        None => 0,
    };
    start + error.column().saturating_sub(1)
}

/// Any value, for the sake of what the parser says when there is none.
struct AnyValue;

impl<'de> Deserialize<'de> for AnyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

/// Where a value stands in the body: `messages[2].content[0].text`. Lives on the stack and becomes text only for an error.
#[derive(Clone, Copy)]
pub enum Path<'p> {
    /// The body.
    Root,
    /// A member of an object.
    Member(&'p Path<'p>, &'p str),
    /// An item of a list.
    Item(&'p Path<'p>, usize),
}

impl Path<'_> {
    /// A member of the value here.
    pub fn key<'p>(&'p self, name: &'p str) -> Path<'p> {
        Path::Member(self, name)
    }

    /// An item of the list here.
    pub fn item(&self, index: usize) -> Path<'_> {
        Path::Item(self, index)
    }
}

impl fmt::Display for Path<'_> {
    // As deep as the API's own nesting, whatever the input is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Member(Path::Root, name) => f.write_str(name),
            Path::Member(parent, name) => write!(f, "{parent}.{name}"),
            Path::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// A 400 for a member that must be there.
pub fn missing(path: &Path<'_>) -> ApiError {
    ApiError::invalid(path.to_string(), format!("Missing required parameter: '{path}'."))
}

/// A 400 for a value of another kind than the API has there.
pub fn wrong_type(path: &Path<'_>, expected: &str, kind: Kind) -> ApiError {
    let got = match kind {
        Kind::Null => "null",
        Kind::Bool => "a boolean",
        Kind::Number => "a number",
        Kind::String => "a string",
        Kind::Array => "an array",
        Kind::Object => "an object",
    };
    ApiError::invalid(path.to_string(), format!("Invalid type for '{path}': expected {expected}, but got {got} instead."))
}

/// A 400 for a value that the API does not take.
pub fn wrong_value(path: &Path<'_>, reason: impl fmt::Display) -> ApiError {
    ApiError::invalid(path.to_string(), format!("Invalid value for '{path}': {reason}."))
}

/// Why reading stopped.
pub enum Stop {
    /// The body is not JSON.
    Syntax(Syntax),
    /// It is not what the API takes.
    Refused(ApiError),
}

impl From<Syntax> for Stop {
    fn from(syntax: Syntax) -> Self {
        Stop::Syntax(syntax)
    }
}

impl From<ApiError> for Stop {
    fn from(error: ApiError) -> Self {
        Stop::Refused(error)
    }
}

/// Reads a whole body, member by member.
///
/// # Errors
/// 400: what a member says, or where the body stops being a JSON object.
pub fn body<'a>(body: &'a str, member: impl FnMut(Cow<'a, str>, &mut Reader<'a>) -> Result<(), Stop>) -> Result<(), ApiError> {
    let mut reader = Reader::new(body);
    let read = reader.object(member).and_then(|()| Ok(reader.end()?));
    read.map_err(|stop| match stop {
        Stop::Refused(error) => error,
        Stop::Syntax(syntax) => malformed(body, syntax),
    })
}

/// Reads a member of the object at `path` that may be one of the flat ones; one that nobody knows goes to the extras as it stands.
pub fn member<'a>(known: &mut impl Members<'a>, extras: &mut Vec<Extra<'a>>, name: Cow<'a, str>, reader: &mut Reader<'a>, path: &Path<'_>) -> Result<(), Stop> {
    if !known.member(&name, reader)? {
        let value = carried(reader.value()?, &path.key(&name))?;
        extras.push(Extra { name: Text::from_plain(name), value });
    }
    Ok(())
}

/// The names of what has an effect and cannot have it, each once, in the order in which they were met.
#[derive(Debug, Default)]
pub struct Notes(pub Vec<&'static str>);

impl Notes {
    /// Adds a name.
    pub fn add(&mut self, name: &'static str) {
        if !self.0.contains(&name) {
            self.0.push(name);
        }
    }

    /// Adds the name if there is something to be lost.
    pub fn add_if(&mut self, lost: bool, name: &'static str) {
        if lost {
            self.add(name);
        }
    }
}

/// What a member may be declared as.
pub trait Leaf<'a>: Sized {
    /// Reads the next value; `null` is none.
    fn read(reader: &mut Reader<'a>) -> Result<Option<Self>, Syntax>;
}

impl<'a> Leaf<'a> for Raw<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Option<Self>, Syntax> {
        reader.value().map(|raw| (raw.kind() != Kind::Null).then_some(raw))
    }
}

/// An object of the API: takes its members one by one.
pub trait Members<'a>: Default {
    /// Takes the value if it knows the name; otherwise leaves it and says no.
    fn member(&mut self, name: &str, reader: &mut Reader<'a>) -> Result<bool, Syntax>;
}

/// Declares a flat object whose members are all optional: `field: Type = "member name"`.
macro_rules! flat {
    ($(#[$doc:meta])* $vis:vis struct $name:ident { $($field:ident: $type:ty = $member:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Default)]
        $vis struct $name<'a> {
            $($vis $field: Option<$type>,)*
        }

        impl<'a> $crate::chat::read::Members<'a> for $name<'a> {
            fn member(&mut self, name: &str, reader: &mut $crate::wire::json::Reader<'a>) -> Result<bool, $crate::wire::json::Syntax> {
                match name {
                    $($member => self.$field = $crate::chat::read::Leaf::read(reader)?,)*
                    _ => return Ok(false),
                }
                Ok(true)
            }
        }
    };
}
pub(crate) use flat;

/// What stands where the API has an object.
pub enum Shape<T> {
    /// An object.
    Object(T),
    /// Something else.
    Other(Kind),
}

impl<T> Shape<T> {
    /// The object.
    ///
    /// # Errors
    /// 400 when it is none.
    pub fn object(self, path: &Path<'_>) -> Result<T, ApiError> {
        match self {
            Shape::Object(object) => Ok(object),
            Shape::Other(kind) => Err(wrong_type(path, "an object", kind)),
        }
    }

    /// Reads the next value.
    fn next<'a>(reader: &mut Reader<'a>) -> Result<Self, Syntax>
    where
        T: Members<'a>,
    {
        let kind = reader.kind()?;
        if kind != Kind::Object {
            reader.value()?;
            return Ok(Shape::Other(kind));
        }
        let mut object = T::default();
        reader.object(|name, reader| {
            if !object.member(&name, reader)? {
                reader.value()?;
            }
            Ok::<(), Syntax>(())
        })?;
        Ok(Shape::Object(object))
    }
}

impl<'a, T: Members<'a>> Leaf<'a> for Shape<T> {
    fn read(reader: &mut Reader<'a>) -> Result<Option<Self>, Syntax> {
        Shape::next(reader).map(|shape| (!matches!(shape, Shape::Other(Kind::Null))).then_some(shape))
    }
}

/// The object, if the member is set.
pub fn object<T>(member: Option<Shape<T>>, path: &Path<'_>) -> Result<Option<T>, ApiError> {
    member.map(|shape| shape.object(path)).transpose()
}

/// The object that must be there.
pub fn required_object<T>(member: Option<Shape<T>>, path: &Path<'_>) -> Result<T, ApiError> {
    object(member, path)?.ok_or_else(|| missing(path))
}

/// Reads a list of objects in place, handing each over as it comes. Tells whether there was a list; `null` is none.
pub fn list<'a, T: Members<'a>>(reader: &mut Reader<'a>, path: &Path<'_>, mut each: impl FnMut(usize, T) -> Result<(), ApiError>) -> Result<bool, Stop> {
    match reader.kind()? {
        Kind::Array => {}
        Kind::Object => return Err(wrong_type(path, "an array", Kind::Object).into()),
        kind => {
            reader.value()?;
            return if kind == Kind::Null { Ok(false) } else { Err(wrong_type(path, "an array", kind).into()) };
        }
    }
    let mut index = 0;
    reader.array(|reader| {
        let item = Shape::next(reader)?.object(&path.item(index))?;
        each(index, item)?;
        index += 1;
        Ok::<(), Stop>(())
    })?;
    Ok(true)
}

/// Reads a list of objects out of a value that was read before.
pub fn each<'a, T: Members<'a>>(raw: Raw<'a>, path: &Path<'_>, each: impl FnMut(usize, T) -> Result<(), ApiError>) -> Result<(), ApiError> {
    match list(&mut Reader::new(raw.as_str()), path, each) {
        Ok(_) => Ok(()),
        Err(Stop::Refused(error)) => Err(error),
        Err(Stop::Syntax(_)) => Err(unreadable(path)),
    }
}

/// Reads an object out of a value that was read before.
pub fn members<'a, T: Members<'a>>(raw: Raw<'a>, path: &Path<'_>) -> Result<T, ApiError> {
    Shape::next(&mut Reader::new(raw.as_str())).map_err(|_| unreadable(path))?.object(path)
}

/// The syntax was checked before; what is left to go wrong is the name of a member that JSON allows and no text can hold.
fn unreadable(path: &Path<'_>) -> ApiError {
    wrong_value(path, "it holds a number or a string that cannot be read")
}

/// The pairs of an object, in order; of equal names the last value, in the first place. One more than `limit` tells that there are too many.
pub fn pairs<'a>(raw: Raw<'a>, path: &Path<'_>, limit: usize) -> Result<Vec<(Text<'a>, Raw<'a>)>, ApiError> {
    if raw.kind() != Kind::Object {
        return Err(wrong_type(path, "an object", raw.kind()));
    }
    let mut pairs: Vec<(Text<'a>, Raw<'a>)> = Vec::new();
    let read = Reader::new(raw.as_str()).object(|name, reader| {
        let name = Text::from_plain(name);
        let value = reader.value()?;
        if let Some(pair) = pairs.iter_mut().find(|pair| pair.0 == name) {
            pair.1 = value;
        } else if pairs.len() <= limit {
            pairs.push((name, value));
        }
        Ok::<(), Syntax>(())
    });
    read.map(|()| pairs).map_err(|_| wrong_value(path, "it holds a name that cannot be read"))
}

/// A string, if the member is set.
pub fn text<'a>(member: Option<Raw<'a>>, path: &Path<'_>) -> Result<Option<Text<'a>>, ApiError> {
    member.map(|raw| raw.text().ok_or_else(|| wrong_type(path, "a string", raw.kind()))).transpose()
}

/// A string that must be there.
pub fn required_text<'a>(member: Option<Raw<'a>>, path: &Path<'_>) -> Result<Text<'a>, ApiError> {
    text(member, path)?.ok_or_else(|| missing(path))
}

/// A string that must be there and not be empty.
pub fn filled_text<'a>(member: Option<Raw<'a>>, path: &Path<'_>) -> Result<Text<'a>, ApiError> {
    let text = required_text(member, path)?;
    if text.is_empty() { Err(wrong_value(path, "it must not be empty")) } else { Ok(text) }
}

/// One of the names, if the member is set.
pub fn one_of<'a>(member: Option<Raw<'a>>, names: &[&'static str], path: &Path<'_>) -> Result<Option<&'static str>, ApiError> {
    let Some(text) = text(member, path)? else { return Ok(None) };
    let plain = text.unescape();
    match names.iter().find(|name| **name == plain) {
        Some(name) => Ok(Some(name)),
        None => Err(wrong_value(path, format_args!("expected one of '{}'", names.join("', '")))),
    }
}

/// A boolean, if the member is set.
pub fn boolean(member: Option<Raw<'_>>, path: &Path<'_>) -> Result<Option<bool>, ApiError> {
    member.map(|raw| raw.bool().ok_or_else(|| wrong_type(path, "a boolean", raw.kind()))).transpose()
}

/// A number in a range, as the client wrote it and as a double.
pub fn number<'a>(member: Option<Raw<'a>>, range: RangeInclusive<f64>, path: &Path<'_>) -> Result<Option<(Raw<'a>, f64)>, ApiError> {
    let Some(raw) = member else { return Ok(None) };
    let number = raw.number().ok_or_else(|| wrong_type(path, "a number", raw.kind()))?;
    // Infinite where a double cannot hold it, and so out of every range.
    if range.contains(&number) {
        Ok(Some((raw, number)))
    } else {
        Err(wrong_value(path, format_args!("expected a number between {} and {}", range.start(), range.end())))
    }
}

/// A whole number in a range, if the member is set. `1.0` and `1e3` are whole too: some languages write them so.
pub fn integer(member: Option<Raw<'_>>, range: RangeInclusive<u64>, path: &Path<'_>) -> Result<Option<u64>, ApiError> {
    /// Up to here a double holds every whole number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let Some(raw) = member else { return Ok(None) };
    let number = raw.number().ok_or_else(|| wrong_type(path, "an integer", raw.kind()))?;
    let whole = raw.as_str().parse().ok().or_else(|| {
        // Non-negative, whole and exact: the cast keeps the value.
        ((0.0..=EXACT).contains(&number) && number.fract() == 0.0).then_some(number as u64)
    });
    match whole {
        Some(whole) if range.contains(&whole) => Ok(Some(whole)),
        _ if *range.end() == u64::MAX => Err(wrong_value(path, format_args!("expected an integer of at least {}", range.start()))),
        _ => Err(wrong_value(path, format_args!("expected an integer between {} and {}", range.start(), range.end()))),
    }
}

/// The items of a list, if the member is set.
pub fn items<'a>(member: Option<Raw<'a>>, path: &Path<'_>) -> Result<Option<Vec<Raw<'a>>>, ApiError> {
    let Some(raw) = member else { return Ok(None) };
    let mut items = Vec::new();
    let read = Reader::new(raw.as_str()).array(|reader| {
        items.push(reader.value()?);
        Ok::<(), Syntax>(())
    });
    read.map(|()| Some(items)).map_err(|_| wrong_type(path, "an array", raw.kind()))
}

/// Of members of one name the last, where it stands; and none that is `null`.
pub fn last_of_each(mut extras: Vec<Extra<'_>>) -> Vec<Extra<'_>> {
    if extras.len() > 1 {
        let mut seen = HashSet::new();
        extras.reverse();
        extras.retain(|extra| seen.insert(extra.name.escaped().to_owned()));
        extras.reverse();
    }
    extras.retain(|extra| extra.value.kind() != Kind::Null);
    extras
}

/// The value, if it is an object and no deeper than a parser takes.
pub fn carried_object<'a>(raw: Raw<'a>, path: &Path<'_>) -> Result<Raw<'a>, ApiError> {
    if raw.kind() == Kind::Object { carried(raw, path) } else { Err(wrong_type(path, "an object", raw.kind())) }
}

/// The value, if it is no deeper than a parser takes.
pub fn carried<'a>(raw: Raw<'a>, path: &Path<'_>) -> Result<Raw<'a>, ApiError> {
    if nesting(raw.as_str().as_bytes()) > MAX_NESTING {
        return Err(wrong_value(path, format_args!("it is nested deeper than {MAX_NESTING} levels")));
    }
    Ok(raw)
}

/// How deep a valid JSON value nests; or less work and an upper bound, where that is good enough.
fn nesting(json: &[u8]) -> usize {
    // There are no more levels than opening brackets, and counting these is a matter of nanoseconds.
    let brackets = json.iter().filter(|byte| matches!(byte, b'{' | b'[')).count();
    if brackets <= MAX_NESTING {
        return brackets;
    }
    let (mut depth, mut deepest, mut in_string) = (0_usize, 0_usize, false);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' => _ = bytes.next(),
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
