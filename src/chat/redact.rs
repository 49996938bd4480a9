//! Messages of a model provider, made fit for a caller to see: short, and without what tells about the operator's account.

/// The longest message of a provider that is passed on, in bytes.
pub const MESSAGE_MAX: usize = 2000;

/// How secrets and accounts begin that are told apart by it, how long they are at least, and what stands in their place.
const MARKED: [(&str, usize, &str); 8] = [
    ("sk-", 8, "[key]"),
    ("xai-", 20, "[key]"),
    ("gsk_", 20, "[key]"),
    ("AIza", 30, "[key]"),
    ("ya29.", 20, "[key]"),
    ("eyJ", 40, "[key]"),
    ("org-", 16, "[account]"),
    ("proj_", 16, "[account]"),
];

/// The beginning of a text, at most so many bytes.
#[must_use]
pub fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or(text)
}

/// Takes out what tells about the operator's account: keys, ARNs, account and project ids, URLs and the providers' host names. A model's name stays.
#[must_use]
pub fn redact(text: &str) -> String {
    let is_edge = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>' | ',' | ';');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = "";
    while !rest.is_empty() {
        let end = rest.find(is_edge).unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or_default();
        redact_word(word, before, &mut out);
        if !word.is_empty() {
            before = word;
        }
        rest = rest.get(end..).unwrap_or_default();
        let edge = rest.find(|c| !is_edge(c)).unwrap_or(rest.len());
        out.push_str(rest.get(..edge).unwrap_or_default());
        rest = rest.get(edge..).unwrap_or_default();
    }
    out
}

/// `before` is the word in front.
fn redact_word(word: &str, before: &str, out: &mut String) {
    if let Some((before, arn)) = word.split_once("arn:aws") {
        out.push_str(before);
        // `arn:aws:bedrock:us-east-1::foundation-model/…` names no account.
        match arn.split_once("::foundation-model/") {
            Some((_, model)) => out.push_str(model),
            None => out.push_str("[arn]"),
        }
        return;
    }
    // `projects/p/locations/us-east5/publishers/anthropic/models/…` names the project; the model is at its end.
    if let Some((path, model)) = word.split_once("/models/").filter(|(path, _)| path.contains("projects/")) {
        out.push_str(if path.starts_with("http") { "[host] " } else { "" });
        out.push_str(model);
        return;
    }
    if let Some((path, _)) = word.split_once("projects/") {
        out.push_str(if path.is_empty() { "projects/[project]" } else { "[host]" });
        return;
    }
    if let Some(at) = ["https://", "http://", "wss://"].iter().find_map(|scheme| word.find(scheme)) {
        let (before, url) = word.split_at_checked(at).unwrap_or_default();
        redact_pieces(before, out);
        out.push_str("[host]");
        out.push_str(if url.ends_with('.') { "." } else { "" });
        return;
    }
    if [".amazonaws.com", ".api.aws", ".googleapis.com", ".openai.azure.com"].iter().any(|host| word.contains(host)) {
        out.push_str("[host]");
        return;
    }
    if is_uuid(word) && before.to_ascii_lowercase().starts_with("org") {
        out.push_str("[account]");
        return;
    }
    redact_pieces(word, out);
}

/// Runs of letters and digits, and what stands between them.
fn redact_pieces(word: &str, out: &mut String) {
    let mut rest = word;
    while !rest.is_empty() {
        if let Some((length, sign)) = marked(rest) {
            out.push_str(sign);
            rest = rest.get(length..).unwrap_or_default();
        }
        let run = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let piece = rest.get(..run).unwrap_or_default();
        if piece.len() == 12 && piece.bytes().all(|byte| byte.is_ascii_digit()) {
            out.push_str("[account]");
        } else if is_key_id(piece) {
            out.push_str("[key id]");
        } else {
            out.push_str(piece);
        }
        rest = rest.get(run..).unwrap_or_default();
        let gap = rest.find(|c: char| c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        out.push_str(rest.get(..gap).unwrap_or_default());
        rest = rest.get(gap..).unwrap_or_default();
    }
}

/// A secret or an account that begins here: its length, and what stands in its place. Providers print keys with stars in the middle.
fn marked(text: &str) -> Option<(usize, &'static str)> {
    let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '*' | '.' | '…');
    let end = text.find(|c| !is_key(c)).unwrap_or(text.len());
    // A full stop ends the sentence.
    let whole = text.get(..end).unwrap_or_default().trim_end_matches('.');
    MARKED.iter().find(|(mark, least, _)| whole.starts_with(mark) && whole.len() >= *least).map(|(_, _, sign)| (whole.len(), *sign))
}

/// `AKIA…`, `ASIA…` and other ids that IAM gives.
fn is_key_id(piece: &str) -> bool {
    const PREFIXES: [&str; 8] = ["AKIA", "ASIA", "ABIA", "ACCA", "AROA", "AIDA", "ANPA", "AGPA"];
    piece.len() >= 16 && PREFIXES.iter().any(|prefix| piece.starts_with(prefix)) && piece.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

/// Anthropic's ids of organisations.
fn is_uuid(word: &str) -> bool {
    word.len() == 36 && word.bytes().enumerate().all(|(at, byte)| if matches!(at, 8 | 13 | 18 | 23) { byte == b'-' } else { byte.is_ascii_hexdigit() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_do_not_show() {
        for (text, shown) in [
            (
                "User: arn:aws:sts::123456789012:assumed-role/Gateway/i-0abc is not authorized to perform: bedrock:InvokeModel on resource: \
                 arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-v2 because no policy allows it",
                "User: [arn] is not authorized to perform: bedrock:InvokeModel on resource: anthropic.claude-v2 because no policy allows it",
            ),
            ("Account 123456789012, key AKIAIOSFODNN7EXAMPLE.", "Account [account], key [key id]."),
            ("1234567890123 tokens of 12345678901", "1234567890123 tokens of 12345678901"),
            ("https://bedrock-runtime.us-east-1.amazonaws.com/model failed", "[host] failed"),
            ("größe: \"x\"", "größe: \"x\""),
            (
                "Incorrect API key provided: sk-abcd1234***********wxyz. You can find it at https://platform.openai.com/account/api-keys.",
                "Incorrect API key provided: [key]. You can find it at [host].",
            ),
            ("key=sk-ant-api03-AbC_d-EfGhIjK", "key=[key]"),
            ("a risk-free-assessment and a task-1234567890", "a risk-free-assessment and a task-1234567890"),
            ("Rate limit reached in organization org-AbCdEfGhIjKlMnOp on tokens", "Rate limit reached in organization [account] on tokens"),
            ("your limit (org: 01234567-89ab-cdef-0123-456789abcdef, model: claude-x)", "your limit (org: [account], model: claude-x)"),
            ("tool 01234567-89ab-cdef-0123-456789abcdef", "tool 01234567-89ab-cdef-0123-456789abcdef"),
            (
                "Permission denied on resource '//aiplatform.googleapis.com/projects/my-own/locations/eu/publishers/anthropic/models/claude-x'",
                "Permission denied on resource 'claude-x'",
            ),
            ("`projects/my-own` has no quota", "`projects/[project]` has no quota"),
            ("url=http://10.0.0.1:8080/x?key=1 failed", "url=[host] failed"),
            ("quota of aiplatform.googleapis.com/online_prediction", "quota of [host]"),
            ("", ""),
        ] {
            assert_eq!(redact(text), shown);
        }
        assert_eq!(cut("größe", 3), "gr");
    }
}
