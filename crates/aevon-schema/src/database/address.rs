//! The address of Postgres, and how far the server has to prove that it is the one: `sslmode` and
//! `sslrootcert`, in libpq's words.
//!
//! Invariant: a certificate that was asked for is never left unchecked for want of authorities.

use crate::error::{StoreError, with_causes};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use std::io;
use std::sync::Arc;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Authorities that `sslrootcert` may name instead of a file: the system's.
const SYSTEM: &str = "system";

/// How a connection is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Not at all.
    Disable,
    /// Encrypted where the server can; whoever it is.
    Prefer,
    /// Encrypted; whoever it is.
    Require,
    /// Encrypted, and its certificate is signed by an authority.
    VerifyCa,
    /// The same, and is for this host.
    VerifyFull,
}

impl Mode {
    const ALL: [(&str, Self); 5] = [
        ("disable", Self::Disable),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];

    fn parse(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, mode)| *mode).ok_or_else(|| {
            let known = Self::ALL.map(|(name, _)| name).join(", ");
            format!("sslmode: {text:?} is none of {known}")
        })
    }
}

/// Where Postgres is, and how to speak to it.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) config: Config,
    pub(super) tls: MakeRustlsConnect,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The configuration keeps its password to itself.
        f.debug_struct("Address")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Address {
    /// Reads a url, and the authorities that it names.
    ///
    /// # Errors
    /// [`StoreError::InvalidUrl`].
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        Self::read(url).map_err(StoreError::InvalidUrl)
    }

    fn read(url: &str) -> Result<Self, String> {
        let (plain, mode, authorities) = split(url)?;
        let mut config: Config = plain
            .parse()
            .map_err(|error: tokio_postgres::Error| without_parts(&with_causes(&error)))?;
        let mode = match (mode.as_deref().map(Mode::parse).transpose()?, &authorities) {
            // As libpq has it: whoever names authorities wants them asked.
            (Some(Mode::Require), Some(_)) => Mode::VerifyCa,
            (None | Some(Mode::Disable | Mode::Prefer), Some(_)) => {
                return Err(
                    "sslrootcert: no certificate is checked without sslmode=verify-full, \
                            verify-ca or require"
                        .to_owned(),
                );
            }
            (mode, _) => mode.unwrap_or(Mode::Prefer),
        };
        config.ssl_mode(match mode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => SslMode::Require,
        });
        let tls = MakeRustlsConnect::new(client(mode, authorities.as_deref())?);
        Ok(Self { config, tls })
    }
}

/// What is wrong with a url, without any part of it but the names of options: a password is a part, and
/// where it begins and ends may be just what is wrong.
fn without_parts(reason: &str) -> String {
    const OPTIONS: [&str; 9] = [
        "host",
        "hostaddr",
        "port",
        "user",
        "dbname",
        "connect_timeout",
        "options",
        "application_name",
        "target_session_attrs",
    ];
    let parts = reason.split('`').enumerate();
    let told = parts.map(|(at, part)| match at % 2 == 1 && !OPTIONS.contains(&part) {
        true => "…",
        false => part,
    });
    told.collect::<Vec<_>>().join("`")
}

/// A url without what is said here of TLS; `sslmode`; `sslrootcert`.
fn split(url: &str) -> Result<(String, Option<String>, Option<String>), String> {
    let Some((place, parameters)) = url.split_once('?') else {
        return Ok((url.to_owned(), None, None));
    };
    let (mut mode, mut authorities) = (None, None);
    let mut others = Vec::new();
    for parameter in parameters.split('&').filter(|one| !one.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let decoded = || {
            let text = percent_encoding::percent_decode_str(value).decode_utf8();
            text.map(|text| text.into_owned())
                .map_err(|_| format!("{name}: no UTF-8"))
        };
        match name {
            "sslmode" => mode = Some(decoded()?),
            "sslrootcert" => authorities = Some(decoded()?),
            _ => others.push(parameter),
        }
    }
    let query = match others.is_empty() {
        true => String::new(),
        false => format!("?{}", others.join("&")),
    };
    Ok((format!("{place}{query}"), mode, authorities))
}

fn client(mode: Mode, authorities: Option<&str>) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let verifier: Arc<dyn ServerCertVerifier> = match mode {
        Mode::Disable | Mode::Prefer | Mode::Require => Arc::new(AnyHost {
            provider,
            authorities: None,
        }),
        Mode::VerifyCa => Arc::new(AnyHost {
            authorities: Some(signed(authorities, Arc::clone(&provider))?),
            provider,
        }),
        Mode::VerifyFull => signed(authorities, provider)?,
    };
    // Whoever may be unchecked is: the modes say so.
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    Ok(builder.with_no_client_auth())
}

/// Asks for a certificate for the host, which an authority of the file has signed.
fn signed(
    authorities: Option<&str>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, String> {
    let mut roots = RootCertStore::empty();
    let (certificates, place) = match authorities.filter(|name| *name != SYSTEM) {
        None => {
            let found = rustls_native_certs::load_native_certs();
            (found.certs, "the system's certificates".to_owned())
        }
        Some(file) => {
            let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
            let read = read.map_err(|error| format!("sslrootcert: {file}: {error}"))?;
            (read, file.to_owned())
        }
    };
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(format!("sslrootcert: {place}: there is no certificate"));
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| format!("sslrootcert: {place}: {error}"))
}

/// Takes a certificate for whatever host: one that an authority has signed, or, without authorities, every
/// one; what is sent is encrypted then, to whomever.
#[derive(Debug)]
struct AnyHost {
    provider: Arc<CryptoProvider>,
    authorities: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(authorities) = &self.authorities else {
            return Ok(ServerCertVerified::assertion());
        };
        // The name is looked at last: whoever gets there was signed.
        match authorities.verify_server_cert(certificate, between, host, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(error)) if is_of_host(&error) => {
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let known = &self.provider.signature_verification_algorithms;
        known.supported_schemes()
    }
}

const fn is_of_host(error: &CertificateError) -> bool {
    matches!(
        error,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
    )
}

/// Why there is no connection, in words for whoever set the address.
pub(super) fn reason(error: &tokio_postgres::Error) -> String {
    let cause = std::error::Error::source(error);
    let inner = cause
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .and_then(io::Error::get_ref)
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(fault)) = inner else {
        return with_causes(error);
    };
    match fault {
        CertificateError::UnknownIssuer => {
            "its certificate is signed by no authority of sslrootcert".to_owned()
        }
        fault if is_of_host(fault) => {
            "its certificate is for another host than that of database.url".to_owned()
        }
        fault => format!("its certificate is refused: {fault}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fault(url: &str) -> String {
        Address::read(url).map(|_| ()).unwrap_err()
    }

    #[test]
    fn what_is_said_of_tls_is_taken_out_of_the_url_and_the_rest_is_kept() {
        let url = "postgres://u:p@h:5/d?connect_timeout=3&sslmode=verify-full&sslrootcert=%2Fa%20b&options=-c%20a%3Db";
        let (plain, mode, authorities) = split(url).unwrap();
        assert_eq!(
            plain,
            "postgres://u:p@h:5/d?connect_timeout=3&options=-c%20a%3Db"
        );
        assert_eq!(mode.as_deref(), Some("verify-full"));
        assert_eq!(authorities.as_deref(), Some("/a b"));
        let (plain, mode, _) = split("postgres://h/d?sslmode=disable").unwrap();
        assert_eq!(
            (plain.as_str(), mode.as_deref()),
            ("postgres://h/d", Some("disable"))
        );
    }

    #[test]
    fn what_can_not_be_meant_is_refused_by_name() {
        let modes = fault("postgres://h/d?sslmode=verify");
        assert!(
            modes.starts_with("sslmode: \"verify\" is none of disable, prefer"),
            "{modes}"
        );
        let unused = fault("postgres://h/d?sslrootcert=/a");
        assert!(
            unused.starts_with("sslrootcert: no certificate is checked"),
            "{unused}"
        );
        for mode in ["require", "verify-ca", "verify-full"] {
            let missing = fault(&format!(
                "postgres://h/d?sslmode={mode}&sslrootcert=/no/such"
            ));
            assert!(missing.starts_with("sslrootcert: /no/such: "), "{missing}");
        }
        let empty = tempfile::NamedTempFile::new().unwrap();
        let url = format!(
            "postgres://h/d?sslmode=verify-ca&sslrootcert={}",
            empty.path().display()
        );
        let none = fault(&url);
        assert!(none.ends_with("there is no certificate"), "{none}");
    }

    #[test]
    fn the_mode_is_what_postgres_is_asked_for() {
        let mode = |url: &str| Address::read(url).unwrap().config.get_ssl_mode();
        assert_eq!(mode("postgres://h/d"), SslMode::Prefer);
        assert_eq!(mode("postgres://h/d?sslmode=disable"), SslMode::Disable);
        assert_eq!(mode("postgres://h/d?sslmode=require"), SslMode::Require);
    }

    /// Stands in urls as the password, and nowhere else.
    const SECRET: &str = "sEcReT4711";

    proptest! {
        #[test]
        fn whatever_stands_in_a_url_its_password_is_told_to_nobody(
            scheme in "(postgres|postgresql|http|)(://|:/|:|)",
            user in "[a-z%@:]{0,4}",
            place in "[a-z0-9.:%@\\[\\]/,_-]{0,20}|h:[0-9]{1,6}/d|\\PC{0,8}",
            parameters in prop::collection::vec(
                "(sslmode|sslrootcert|options|connect_timeout|target_session_attrs|[a-z]{1,5})=?[a-z0-9%-]{0,12}|\\PC{0,6}",
                0..4,
            ),
        ) {
            let query = parameters.join("&");
            let url = format!("{scheme}{user}:{SECRET}@{place}?{query}");
            let told = match Address::parse(&url) {
                Ok(address) => format!("{address:?}"),
                Err(error) => error.to_string(),
            };
            prop_assert!(!told.is_empty() && !told.contains(SECRET), "{told}");
        }

        #[test]
        fn what_is_not_of_tls_stays_as_it_stands(
            others in prop::collection::vec("[a-rt-z]{1,5}=[a-z0-9%]{0,5}", 0..4),
            mode in prop::option::of("[a-z-]{1,8}"),
            at in any::<prop::sample::Index>(),
        ) {
            let mut all = others.clone();
            if let Some(mode) = &mode {
                all.insert(at.index(all.len() + 1), format!("sslmode={mode}"));
            }
            let (plain, found, authorities) = split(&format!("postgres://h/d?{}", all.join("&"))).unwrap();
            let kept = plain.split_once('?').map_or("", |(_, query)| query);
            prop_assert_eq!(kept, others.join("&"));
            prop_assert_eq!((found, authorities), (mode, None));
        }
    }
}
