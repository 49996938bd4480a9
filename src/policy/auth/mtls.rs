//! The user whom a client certificate names. Whether the certificate is to be believed is the TLS library's business.

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::snapshot::CertificateUser;

/// The longest name that a user may have.
const LONGEST_NAME: usize = 256;

/// What a certificate says of its subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    subject_cn: Option<String>,
    san_dns: Option<String>,
    san_uri: Option<String>,
    /// Seconds since 1970.
    not_after: i64,
}

impl Names {
    /// Reads a certificate in DER; `None` where it can't be read.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let mut common = certificate.subject().iter_common_name();
        // Of several names nobody knows which one is meant.
        let subject_cn = match (common.next(), common.next()) {
            (Some(name), None) => name.as_str().ok().and_then(sane),
            _ => None,
        };
        let mut names = Names { subject_cn, not_after: certificate.validity().not_after.timestamp(), ..Names::default() };
        let alternatives = certificate.subject_alternative_name().ok()?;
        for name in alternatives.iter().flat_map(|names| &names.value.general_names) {
            let (place, name) = match name {
                GeneralName::DNSName(name) => (&mut names.san_dns, name),
                GeneralName::URI(name) => (&mut names.san_uri, name),
                _ => continue,
            };
            if place.is_none() {
                *place = sane(name);
            }
        }
        Some(names)
    }

    /// The user, by the name that the operator trusts.
    #[must_use]
    pub fn user(&self, which: CertificateUser) -> Option<&str> {
        match which {
            CertificateUser::SubjectCn => self.subject_cn.as_deref(),
            CertificateUser::SanDns => self.san_dns.as_deref(),
            CertificateUser::SanUri => self.san_uri.as_deref(),
        }
    }

    /// Whether its time is over; seconds since 1970.
    #[must_use]
    pub fn has_expired(&self, now: u64) -> bool {
        i64::try_from(now).unwrap_or(i64::MAX) > self.not_after
    }
}

/// A name that may stand in logs and files.
pub(super) fn sane(name: &str) -> Option<String> {
    (!name.is_empty() && name.len() <= LONGEST_NAME && !name.chars().any(char::is_control)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(common: &[&str], alternatives: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in common {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        params.subject_alt_names = alternatives;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_name_that_the_operator_trusts_is_the_user() {
        let uri = |text: &str| SanType::URI(text.try_into().unwrap());
        let dns = |text: &str| SanType::DnsName(text.try_into().unwrap());
        let all = vec![uri("spiffe://example.org/robot"), dns("a.example.org"), dns("b.example.org"), uri("spiffe://example.org/other")];
        let names = Names::of(&certificate(&["alice"], all)).unwrap();
        assert_eq!(names.user(CertificateUser::SubjectCn), Some("alice"));
        assert_eq!(names.user(CertificateUser::SanDns), Some("a.example.org"));
        assert_eq!(names.user(CertificateUser::SanUri), Some("spiffe://example.org/robot"));
        let names = Names::of(&certificate(&[], Vec::new())).unwrap();
        for which in [CertificateUser::SubjectCn, CertificateUser::SanDns, CertificateUser::SanUri] {
            assert_eq!(names.user(which), None);
        }
        for odd in ["", "a\nb", &"x".repeat(257)] {
            assert_eq!(Names::of(&certificate(&[odd], Vec::new())).unwrap().user(CertificateUser::SubjectCn), None, "{odd:?}");
        }
    }

    #[test]
    fn what_is_no_certificate_names_nobody() {
        let good = certificate(&["alice"], Vec::new());
        for length in 0..good.len() {
            assert_eq!(Names::of(&good[..length]), None);
        }
    }

    #[test]
    fn a_certificate_ends_with_its_last_second() {
        let names = Names { not_after: 1000, ..Names::default() };
        assert!(!names.has_expired(1000) && names.has_expired(1001) && names.has_expired(u64::MAX));
    }
}
