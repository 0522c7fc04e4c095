//! The server's certificate: from files, or one of its own, made at the first start for trials in a clinic's network.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::config::Tls;
use crate::data_dir::{DataDir, replace_secret};

/// How long a certificate of our own is good for. Apple's systems take none that is good for longer than 825 days.
const LIFE: Duration = Duration::days(397);
/// A certificate of our own is made anew when it has less than this left.
const LEFT_MIN: Duration = Duration::days(30);

/// What is served with, and what a person may want to compare.
pub(crate) struct Identity {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) certificate: Certificate,
}

/// What of a certificate matters to those who meet it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// DNS names and IP addresses.
    pub(crate) names: Vec<String>,
    pub(crate) not_before: i64,
    /// Seconds since 1970.
    pub(crate) not_after: i64,
    /// Issued by itself.
    pub(crate) is_self_signed: bool,
}

impl Certificate {
    /// Whether one of our own is still good for these names.
    fn serves(&self, hosts: &[String]) -> bool {
        let left = self.not_after - now().unix_timestamp();
        left > LEFT_MIN.whole_seconds() && hosts.iter().all(|host| self.covers(host))
    }

    /// Whether browsers find this host in it (RFC 6125: a wildcard stands for one label).
    pub(crate) fn covers(&self, host: &str) -> bool {
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(domain) => host.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(domain)),
            None => name.eq_ignore_ascii_case(host),
        })
    }
}

/// The identity to serve with; `None` without TLS. `hosts` are the names and addresses people open.
pub(crate) fn identity(tls: &Tls, data: &DataDir, hosts: &[String]) -> anyhow::Result<Option<Identity>> {
    match tls {
        Tls::Off => Ok(None),
        Tls::Files { cert, key } => from_files(cert, key).map(Some),
        Tls::SelfSigned => self_signed(data, hosts).map(Some),
    }
}

/// Reads a chain and its key, and sees to it that they belong together.
pub(crate) fn from_files(cert: &Path, key: &Path) -> anyhow::Result<Identity> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .with_context(|| format!("--tls-cert: {} is no PEM file that can be read", cert.display()))?;
    let first =
        chain.first().with_context(|| format!("--tls-cert: {} holds no certificate", cert.display()))?;
    let certificate = describe(first)
        .with_context(|| format!("--tls-cert: {} holds no X.509 certificate", cert.display()))?;
    let key_der = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("--tls-key: {} holds no private key in PEM", key.display()))?;
    let config = server_config(chain, key_der).with_context(|| {
        format!(
            "--tls-key: the key in {} does not belong to the certificate in {}",
            key.display(),
            cert.display()
        )
    })?;
    Ok(Identity { config: Arc::new(config), certificate })
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The certificate of our own that the next start would serve with, and whether it would be made then. Makes nothing.
pub(crate) fn foresee(data: Option<&DataDir>, hosts: &[String]) -> (Certificate, bool) {
    if let Some(data) = data
        && data.certificate().exists()
    {
        let kept =
            from_files(&data.certificate(), &data.certificate_key()).map(|identity| identity.certificate);
        if let Ok(kept) = kept
            && kept.serves(hosts)
        {
            return (kept, false);
        }
    }
    let (not_before, not_after) = (now().unix_timestamp(), (now() + LIFE).unix_timestamp());
    (Certificate { names: hosts.to_vec(), not_before, not_after, is_self_signed: true }, true)
}

/// The certificate of the data folder, made if it is missing, runs out, or lacks a name people open.
fn self_signed(data: &DataDir, hosts: &[String]) -> anyhow::Result<Identity> {
    let (cert, key) = (data.certificate(), data.certificate_key());
    if cert.exists() && key.exists() {
        match from_files(&cert, &key) {
            Ok(kept) if kept.certificate.serves(hosts) => return Ok(kept),
            Ok(_) => tracing::info!("the server's own certificate runs out or lacks a name; making another"),
            // Whatever came between the two files: they are ours to make.
            Err(error) => {
                tracing::warn!(%error, "the server's own certificate cannot be used; making another")
            }
        }
    }
    make(&cert, &key, hosts)?;
    from_files(&cert, &key)
}

fn make(cert: &Path, key: &Path, hosts: &[String]) -> anyhow::Result<()> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Vestibule (self-signed)");
    params.not_before = now() - Duration::hours(1);
    params.not_after = now() + LIFE;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    for host in hosts {
        params.subject_alt_names.push(match host.parse::<IpAddr>() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => {
                SanType::DnsName(host.as_str().try_into().with_context(|| format!("{host} is no host name"))?)
            }
        });
    }
    let pair = KeyPair::generate().context("no key for the server's own certificate")?;
    let certificate = params.self_signed(&pair).context("the server's own certificate was not made")?;
    // The key first: a certificate is looked for by its own name, and is of no use without its key.
    replace_secret(key, pair.serialize_pem().as_bytes())?;
    replace_secret(cert, certificate.pem().as_bytes())?;
    Ok(())
}

fn describe(der: &CertificateDer<'_>) -> anyhow::Result<Certificate> {
    let (_, parsed) = X509Certificate::from_der(der)?;
    let names = parsed
        .subject_alternative_name()?
        .map_or_else(Vec::new, |names| names.value.general_names.iter().filter_map(name_of).collect());
    Ok(Certificate {
        names,
        not_before: parsed.validity().not_before.timestamp(),
        not_after: parsed.validity().not_after.timestamp(),
        is_self_signed: parsed.issuer() == parsed.subject(),
    })
}

fn name_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
            _ => None,
        },
        _ => None,
    }
}

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(crate::clock::now().as_second()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::TempDir;

    fn hosts(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_certificate_of_our_own_is_kept_until_a_name_is_new() {
        let temp = TempDir::new();
        let data = DataDir::open(temp.path()).unwrap();
        let first = identity(&Tls::SelfSigned, &data, &hosts(&["192.0.2.1", "localhost"])).unwrap().unwrap();
        assert!(first.certificate.covers("192.0.2.1") && first.certificate.covers("LOCALHOST"));
        assert!(first.certificate.is_self_signed && !first.certificate.covers("192.0.2.2"));
        let pem = fs::read(data.certificate()).unwrap();
        identity(&Tls::SelfSigned, &data, &hosts(&["localhost"])).unwrap();
        assert_eq!(fs::read(data.certificate()).unwrap(), pem, "kept");
        let second = identity(&Tls::SelfSigned, &data, &hosts(&["2001:db8::7"])).unwrap().unwrap();
        assert!(second.certificate.covers("2001:db8::7"));
        assert_ne!(fs::read(data.certificate()).unwrap(), pem, "made anew");
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let certificate = Certificate {
            names: hosts(&["*.example.org"]),
            not_before: 0,
            not_after: 0,
            is_self_signed: false,
        };
        assert!(certificate.covers("visit.example.org"));
        assert!(!certificate.covers("example.org") && !certificate.covers("a.visit.example.org"));
    }

    #[test]
    fn wrong_files_are_named() {
        let temp = TempDir::new();
        let one = DataDir::open(&temp.path().join("one")).unwrap();
        let two = DataDir::open(&temp.path().join("two")).unwrap();
        for data in [&one, &two] {
            identity(&Tls::SelfSigned, data, &hosts(&["localhost"])).unwrap();
        }
        let wrong = |cert: &Path, key: &Path| format!("{:#}", from_files(cert, key).err().unwrap());
        assert!(wrong(&temp.path().join("none.pem"), &one.certificate_key()).starts_with("--tls-cert"));
        assert!(wrong(&one.certificate(), &one.certificate()).starts_with("--tls-key"));
        assert!(wrong(&one.certificate_key(), &one.certificate_key()).starts_with("--tls-cert"));
        assert!(wrong(&one.certificate(), &two.certificate_key()).contains("does not belong"));
    }
}
