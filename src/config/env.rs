//! The environment as far as it configures Adit: it wins over the files, and its mistakes are noted beside theirs.

use super::mistake::Mistakes;
use crate::provider::bedrock;

/// Prefix of variables that hold a user's API key.
const API_KEY_PREFIX: &str = "BEDROCK_API_KEY_";

/// A region is needed; this is the one that has every model first.
const DEFAULT_REGION: &str = "us-east-1";

/// The environment, handed in.
pub(super) struct Environment<'e> {
    lookup: &'e dyn Fn(&str) -> Option<String>,
    /// Names of all variables, for those that have an open end.
    names: &'e [String],
    mistakes: &'e Mistakes,
}

impl<'e> Environment<'e> {
    pub(super) fn new(lookup: &'e dyn Fn(&str) -> Option<String>, names: &'e [String], mistakes: &'e Mistakes) -> Self {
        Environment { lookup, names, mistakes }
    }

    /// A variable that is set and not empty.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    /// What `${name}` in a file means: the variable, its other name, or `ADIT_GEO` made from the region.
    pub(super) fn expand(&self, name: &str) -> Option<String> {
        let value = (self.lookup)(name);
        match name {
            "OPENAI_BASE_URL" => value.filter(|url| !url.is_empty()).or_else(|| (self.lookup)("OPENAI_API_BASE")),
            "ADIT_GEO" => value.or_else(|| Some(bedrock::geography(&self.region_or_default()).to_owned())),
            _ => value,
        }
    }

    /// The region of providers that name none.
    pub(super) fn region(&self) -> Option<String> {
        for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
            if let Some(region) = self.get(name) {
                let valid = bedrock::is_region(&region).then(|| region.clone());
                return self.checked(name, &region, "a region such as us-east-1", valid);
            }
        }
        Some(DEFAULT_REGION.to_owned())
    }

    fn region_or_default(&self) -> String {
        self.get("AWS_REGION").or_else(|| self.get("AWS_DEFAULT_REGION")).unwrap_or_else(|| DEFAULT_REGION.to_owned())
    }

    /// Notes a mistake if a variable's value could not be read.
    pub(super) fn checked<T>(&self, name: &str, found: &str, expected: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.mistakes.add_unplaced(name, format!("expected {expected}, found `{found}`"));
        }
        value
    }

    /// A variable that is true or false, if it is set.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        let text = self.get(name)?;
        let value = match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        };
        self.checked(name, &text, "true or false", value)
    }

    /// Notes a mistake that is not about one unreadable value.
    pub(super) fn mistake(&self, name: &str, message: impl Into<String>) {
        self.mistakes.add_unplaced(name, message);
    }

    /// Users whose keys stand in the environment: variable and user, in the order of names.
    pub(super) fn api_keys(&self) -> Vec<(&'e str, String)> {
        let mut users: Vec<_> = self
            .names
            .iter()
            .filter_map(|name| Some((name.as_str(), name.strip_prefix(API_KEY_PREFIX)?.to_lowercase())))
            .filter(|(_, user)| !user.is_empty())
            .collect();
        users.sort_unstable();
        users
    }
}
