//! `listen.https` and its files.

use std::path::Path;

use rcgen::{CertificateParams, KeyPair};

use super::*;

fn pair(days: std::ops::Range<i32>) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["gateway.example".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(days.start, 1, 1);
    params.not_after = rcgen::date_time_ymd(days.end, 1, 1);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn read(folder: &Path, section: &str) -> Result<Snapshot, Errors> {
    std::fs::write(folder.join("adit.yaml"), format!("listen: {{ http: null, https: {{ address: '127.0.0.1:8443', {section} }} }}\n")).unwrap();
    std::fs::write(folder.join("models.yaml"), FULL_MODELS).unwrap();
    load(Some(&folder.join("adit.yaml")), &no_env)
}

#[test]
fn the_files_of_a_tls_listener_belong_to_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let ((certificate, key), (ca, _)) = (pair(2020..2400), pair(2020..2400));
    for (name, text) in [("cert.pem", &certificate), ("key.pem", &key), ("ca.pem", &ca)] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let section = "certificate: cert.pem, key: key.pem, client_ca: ca.pem";
    let snapshot = read(folder.path(), section).unwrap();
    let names: Vec<_> = snapshot.files.iter().map(|file| file.path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["adit.yaml", "models.yaml", "cert.pem", "key.pem", "ca.pem"]);
    let https = snapshot.process.https.as_ref().unwrap();
    assert_eq!((https.identity.certified.cert.len(), snapshot.process.http.as_deref()), (1, None));
    let notes = |snapshot: &Snapshot| -> Vec<String> { snapshot.notes().into_iter().filter(|note| note.starts_with("listen")).collect() };
    assert_eq!(notes(&snapshot), [""; 0]);
    let shown = format!("{snapshot:?}");
    assert!(key.lines().all(|line| !shown.contains(line)));
    // Another pair is another configuration, which no restart is needed for.
    let (other, other_key) = pair(2020..2021);
    std::fs::write(folder.path().join("cert.pem"), other).unwrap();
    std::fs::write(folder.path().join("key.pem"), other_key).unwrap();
    let changed = read(folder.path(), section).unwrap();
    assert!(changed.files != snapshot.files && changed.process.https != snapshot.process.https);
    assert!(snapshot.process.fixed_but_changed(&changed.process).is_empty());
    assert!(notes(&changed)[0].starts_with("listen.https.certificate: the certificate has expired on "), "{:?}", notes(&changed));
    std::fs::write(folder.path().join("key.pem"), key).unwrap();
    assert_eq!(read(folder.path(), section).unwrap_err().files.len(), 5, "a bad pair is watched too");
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_at_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let ((certificate, key), (_, other_key)) = (pair(2020..2400), pair(2020..2400));
    let garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (name, text) in [("cert.pem", certificate.as_str()), ("key.pem", &key), ("other.pem", &other_key), ("empty.pem", ""), ("garbled.pem", garbled)] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let at = |name: &str| folder.path().join(name).display().to_string();
    for (section, expected) in [
        ("certificate: none.pem, key: key.pem", format!("certificate: expected a readable file, but {}: No such file", at("none.pem"))),
        ("certificate: cert.pem, key: none.pem", format!("key: expected a readable file, but {}: No such file", at("none.pem"))),
        ("certificate: key.pem, key: key.pem", format!("certificate: expected certificates in PEM, but there is none in {}", at("key.pem"))),
        ("certificate: garbled.pem, key: key.pem", format!("certificate: expected certificates in PEM, but one in {} can't be read", at("garbled.pem"))),
        ("certificate: cert.pem, key: cert.pem", format!("key: expected a private key in PEM without a pass phrase, but there is none in {}", at("cert.pem"))),
        ("certificate: cert.pem, key: other.pem", format!("key: expected the key of the certificate, but {} is another one's", at("other.pem"))),
        (
            "certificate: cert.pem, key: key.pem, client_ca: empty.pem",
            format!("client_ca: expected certificates in PEM, but there is none in {}", at("empty.pem")),
        ),
        ("key: key.pem", "expected `certificate`: a file, found none".to_owned()),
    ] {
        let errors = read(folder.path(), section).unwrap_err().to_string();
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(errors.contains(&format!("listen.https: {expected}")) || errors.contains(&format!("listen.https.{expected}")), "{section}: {errors}");
        assert!(key.lines().chain(other_key.lines()).all(|line| line.starts_with("-----") || !errors.contains(line)));
    }
}
