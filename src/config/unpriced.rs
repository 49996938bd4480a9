//! Whether a budget bounds less than it seems to: answers of a model without a price cost nothing.

use std::collections::BTreeSet;

use super::snapshot::{Budget, Grant, ModelMap, Process};

/// Names in a note; the rest is counted.
const SHOWN: usize = 5;

/// What to note of models without a price that somebody with a budget may use.
pub(super) fn note(process: &Process, map: &ModelMap) -> Option<String> {
    let auth = &process.auth;
    let users = auth.users.by_name.values().map(|user| &*user.grant);
    let groups = auth.jwt.iter().flat_map(|jwt| jwt.groups.iter().map(|(_, grant)| grant));
    // Where nobody proves anything, everybody is the user that no line is about.
    let bounded: Vec<&Grant> = users.chain(groups).filter(|grant| auth.enabled && grant.budget != Budget::default()).collect();
    let everybody = process.default_budget != Budget::default();
    let unpriced = map.models.iter().filter(|model| model.price.is_none() && (everybody || bounded.iter().any(|grant| grant.models.allow(&model.name))));
    let names: BTreeSet<&str> = unpriced.map(|model| &*model.name).collect();
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    let more = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!names.is_empty()).then(|| format!("budget: these models have no `price` in the model map, so they cost nothing and no budget bounds them: {shown}{more}"))
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    #[test]
    fn models_that_no_budget_bounds_are_noted() {
        let models = "providers: { o: { type: openai, base_url: 'http://127.0.0.1:1/v1', api_key: fake } }\n\
            models: { dear: { targets: [{ provider: o, model: dear-1 }], price: { input: 1, output: 2 } }, free: { o: free-1 }, a: { o: a }, b: { o: b }, c: { o: c }, d: { o: d }, e: { o: e } }\n";
        let all = "bounds them: a, b, c, d, e and 1 more";
        let group = |models: &str| {
            format!(
                "auth: {{ enabled: true, mode: jwt, jwt: {{ issuer: 'https://id.example.com', audience: x, groups: {{ g: {{ models: [{models}], budget: {{ daily_usd: 1 }} }} }} }} }}"
            )
        };
        for (adit, expected) in [
            (String::new(), None),
            ("limits: { default: { budget: { monthly_usd: 1 } } }".to_owned(), Some(all)),
            ("limits: { default: { requests_per_minute: 1 } }".to_owned(), None),
            (group("'*'"), Some(all)),
            (group("dear"), None),
            (group("dear, free"), Some("bounds them: free")),
            (group("'*'").replace("enabled: true", "enabled: false"), None),
        ] {
            let notes = parse(&adit, models, &|_| None).unwrap_or_else(|errors| panic!("{errors}")).notes();
            let found = notes.iter().find(|note| note.starts_with("budget: "));
            assert_eq!(found.map(|note| note.split_once("no budget ").unwrap().1), expected, "{adit}");
        }
    }
}
