//! `adit key new --sigv4`: a key pair for a client that signs its requests, as the SDKs of AWS do.

use std::process::ExitCode;

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};

use super::{complain, say};

/// Tells the access key ids of this gateway from AWS's own.
const PREFIX: &str = "ADIT";
/// 16 characters of base32. With the prefix they are the 20 that some tools insist on.
const ID_BYTES: usize = 10;
/// 40 characters of base64, as AWS's secrets have.
const SECRET_BYTES: usize = 30;

/// Prints a new pair, and the line for `keys.yaml`.
pub(super) fn new(name: &str) -> ExitCode {
    let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
    if let Err(error) = getrandom::fill(&mut id).and_then(|()| getrandom::fill(&mut secret)) {
        complain(&format!("the system gives no random numbers: {error}"));
        return ExitCode::FAILURE;
    }
    say(&describe(name, &id, &secret));
    ExitCode::SUCCESS
}

fn describe(name: &str, id: &[u8; ID_BYTES], secret: &[u8; SECRET_BYTES]) -> String {
    let (id, secret) = (format!("{PREFIX}{}", BASE32_NOPAD.encode(id)), BASE64URL_NOPAD.encode(secret));
    // Any JSON string is one of YAML, where two dollar signs are one.
    let name = serde_json::Value::from(name.replace('$', "$$"));
    format!(
        "For the client:\n\
         AWS_ACCESS_KEY_ID={id}\n\
         AWS_SECRET_ACCESS_KEY={secret}\n\
         \n\
         For keys.yaml, which only the gateway should be able to read (chmod 600). A signature can only be checked with the secret itself, so it stands there;\n\
         `secret: \"${{NAME}}\"` takes it from the environment instead:\n\
         \x20 - {{ name: {name}, access_key_id: {id}, secret: \"{secret}\" }}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_looks_like_one_of_aws_and_its_line_is_read_back() {
        let text = describe("robot \"${7}\"", &[0xff; ID_BYTES], &[0xfb; SECRET_BYTES]);
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let (id, secret) = (value("AWS_ACCESS_KEY_ID="), value("AWS_SECRET_ACCESS_KEY="));
        assert_eq!((id, id.len(), secret.len()), ("ADIT7777777777777777", 20, 40));
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("adit.yaml", "auth: { enabled: true }");
        write("models.yaml", include_str!("../../conf/models.yaml"));
        write("keys.yaml", &format!("keys:\n{}\n", text.lines().last().unwrap()));
        let snapshot = crate::config::load(Some(&folder.path().join("adit.yaml")), &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
        let key = &snapshot.process.auth.users.sigv4[id];
        assert_eq!((&*key.name, key.secret.expose()), ("robot \"${7}\"", secret));
    }
}
