//! `adit key new` and `adit totp new`: what is shown once, and the lines for `keys.yaml`.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use fast_qr::QRBuilder;

use super::{EXIT_USAGE, complain, say};
use crate::ops::random;
use crate::policy::auth::{key, totp};

/// Light modules around a code, as its standard wants them: without, phones find no edge.
const QUIET: usize = 4;

/// Makes a key.
pub(super) fn new_key(name: &str) -> ExitCode {
    if let Some(refused) = unfit(name) {
        return refused;
    }
    let (text, hash) = key::new(&random::bytes());
    say(&format!("The key, shown this once:\n\n  {text}\n\nThe line for keys.yaml, below `keys:`:\n\n  - {{ name: {}, hash: \"{hash}\" }}\n", quoted(name)));
    ExitCode::SUCCESS
}

/// Makes the secret of a second factor.
pub(super) fn new_totp(name: &str) -> ExitCode {
    if let Some(refused) = unfit(name) {
        return refused;
    }
    let (secret, url) = totp::new(name, &random::bytes());
    let code = match QRBuilder::new(url.as_str()).build() {
        Ok(code) => drawn(&code, std::io::stdout().is_terminal()),
        Err(_) => "(the name is too long for a QR code)\n".to_owned(),
    };
    say(&format!(
        "For an authenticator app, shown this once:\n\n{code}\n  {url}\n\nWhat goes into the line of the user's key in keys.yaml (name: {}):\n\n  totp: \"{secret}\"\n",
        quoted(name)
    ));
    ExitCode::SUCCESS
}

fn unfit(name: &str) -> Option<ExitCode> {
    let fits = !name.is_empty() && name.len() <= 256 && name.trim() == name && !name.chars().any(char::is_control);
    (!fits).then(|| {
        complain("expected the name of a user: one line of at most 256 bytes");
        ExitCode::from(EXIT_USAGE)
    })
}

/// As YAML takes any text: in JSON's quotes.
fn quoted(name: &str) -> String {
    serde_json::Value::from(name).to_string().replace("${", "$${")
}

/// Two modules in a character. A light module is drawn, so that it is light where terminals are dark; a terminal is told its colours, whatever they are.
fn drawn(code: &fast_qr::QRCode, colours: bool) -> String {
    let dark = |row: usize, column: usize| {
        let inside = |at: usize| at.checked_sub(QUIET).filter(|at| *at < code.size);
        inside(row).zip(inside(column)).is_some_and(|(row, column)| code[row][column].value())
    };
    let width = code.size + 2 * QUIET;
    let mut out = String::new();
    for row in (0..width).step_by(2) {
        out.push_str(if colours { "\x1b[97;40m" } else { "" });
        for column in 0..width {
            out.push(match (dark(row, column), row + 1 >= width || dark(row + 1, column)) {
                (false, false) => '█',
                (false, true) => '▀',
                (true, false) => '▄',
                (true, true) => ' ',
            });
        }
        out.push_str(if colours { "\x1b[0m\n" } else { "\n" });
    }
    out
}
