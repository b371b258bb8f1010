//! Causes of a rejected certificate, from the TLS error and the certificates of the server.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use webpki::EndEntityCert;

use crate::doctor::finding::{Finding, TIMEOUT};

/// DER identifiers of the parts of a name: common name and organization.
const NAMES: [[u8; 5]; 2] = [[6, 3, 0x55, 4, 3], [6, 3, 0x55, 4, 10]];

/// A certificate of a server. The names of issuer and subject are DER.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shown {
    issuer: Vec<u8>,
    subject: Vec<u8>,
    hosts: Vec<String>,
}

impl Shown {
    fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let read = EndEntityCert::try_from(certificate).ok()?;
        Some(Self {
            issuer: read.issuer().to_vec(),
            subject: read.subject().to_vec(),
            hosts: read.valid_dns_names().map(str::to_owned).collect(),
        })
    }

    fn is_self_signed(&self) -> bool {
        self.issuer == self.subject
    }
}

/// The certificates of a server, from a handshake that is aborted after them.
pub(super) async fn shown(name: ServerName<'static>, stream: TcpStream) -> Vec<Shown> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let looks = Arc::new(Looks { seen: Mutex::default(), schemes });
    let versions =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let Ok(versions) = versions else { return Vec::new() };
    let config = versions.dangerous().with_custom_certificate_verifier(looks.clone());
    let connecting =
        TlsConnector::from(Arc::new(config.with_no_client_auth())).connect(name, stream);
    // The verifier always fails.
    let _ = timeout(TIMEOUT, connecting).await;
    std::mem::take(&mut *looks.seen.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A verifier that trusts nothing and keeps the certificates. Nothing is ever sent on its connections.
#[derive(Debug)]
struct Looks {
    seen: Mutex<Vec<Shown>>,
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Looks {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let seen = std::iter::once(own).chain(others).filter_map(Shown::read).collect();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        Err(CertificateError::UnknownIssuer.into())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(CertificateError::UnknownIssuer.into())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(CertificateError::UnknownIssuer.into())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// Cause and remedy of a rejected certificate for `host`, with its chain.
pub(super) fn judge(host: &str, error: &CertificateError, chain: &[Shown]) -> Finding {
    use CertificateError as Why;

    let problem = |what: String, remedy: &str| Finding::problem("certificate", what, remedy);
    match error {
        Why::NotValidForName | Why::NotValidForNameContext { .. } => {
            let hosts = chain.first().map(|own| own.hosts.join(", ")).unwrap_or_default();
            let others =
                if hosts.is_empty() { String::new() } else { format!(", but for {hosts}") };
            problem(
                format!("the certificate is not valid for {host}{others}"),
                "use a name of the certificate (wsHost), or get a certificate for this name",
            )
        }
        Why::Expired | Why::ExpiredContext { .. } => problem(
            "the certificate or a certificate of its chain has expired".to_owned(),
            "renew it; the server reloads it by itself, nginx and HAProxy have to be reloaded",
        ),
        Why::NotValidYet | Why::NotValidYetContext { .. } => problem(
            "the certificate is not valid yet".to_owned(),
            "check this machine's clock (timedatectl set-ntp true) and the start date of the certificate",
        ),
        Why::UnknownIssuer => untrusted(host, chain),
        Why::BadSignature => problem(
            "the certificate is signed with another key than that of the authority in the chain"
                .to_owned(),
            "serve the chain that came with the certificate (fullchain.pem); if you recreated your own authority, \
             trust the new one",
        ),
        Why::Other(other) if is_authority(other) => problem(
            "the certificate belongs to an authority (CA:TRUE), not to a server".to_owned(),
            "create one without CA:TRUE (openssl: -addext basicConstraints=CA:FALSE), or get one from Let's Encrypt",
        ),
        other => {
            problem(format!("the certificate is not accepted: {other}"), "get another certificate")
        }
    }
}

/// Whether a certificate of an authority was used, as `openssl req -x509` creates it by default.
fn is_authority(error: &rustls::OtherError) -> bool {
    error.0.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity)
}

/// The finding of a certificate without a trusted issuer.
fn untrusted(host: &str, chain: &[Shown]) -> Finding {
    let problem = |what: String, remedy: String| Finding::problem("certificate", what, remedy);
    let trust = "with SSL_CERT_FILE=FILE this command trusts it, as each client would have to";
    let Some(own) = chain.first() else {
        return problem(
            "the issuer of the certificate is unknown".to_owned(),
            "serve the whole chain (fullchain.pem, not cert.pem)".to_owned(),
        );
    };
    if own.is_self_signed() {
        return problem(
            format!("the certificate of {host} is self-signed"),
            format!("get one from an authority such as Let's Encrypt; for tests: {trust}"),
        );
    }
    let mut last = own;
    let mut links = 1;
    // Certificates can sign each other in a circle, so the number of links is limited.
    while links < chain.len()
        && !last.is_self_signed()
        && let Some(next) = chain.iter().find(|other| other.subject == last.issuer)
    {
        last = next;
        links += 1;
    }
    let authority = readable(&last.issuer);
    if links > 1 {
        return problem(
            format!("the chain is signed by {authority}, which is not a trusted authority"),
            format!(
                "get a certificate from an authority that browsers trust; if it is your own: {trust}"
            ),
        );
    }
    problem(
        format!(
            "the chain is incomplete: the certificate of {authority}, which issued that of {host}, is missing"
        ),
        format!(
            "serve the whole chain, fullchain.pem and not cert.pem (CLARIM_TLS_CERT, nginx's ssl_certificate, \
             HAProxy's crt); browsers may have cached the missing certificate, apps and backends have not. \
             If {authority} is your own root: {trust}"
        ),
    )
}

/// A readable name of one in DER.
fn readable(name: &[u8]) -> String {
    let found = NAMES.iter().find_map(|kind| {
        let at = name.windows(kind.len()).position(|window| window == kind)?;
        // The identifier is followed by the type of the text, its length and the text.
        let [_, length, rest @ ..] = name.get(at + kind.len()..)? else { return None };
        std::str::from_utf8(rest.get(..usize::from(*length))?).ok()
    });
    found.map_or_else(|| "an unnamed issuer".to_owned(), |name| format!("{name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name in DER: a set of a sequence of an identifier and a text.
    fn name(text: &str) -> Vec<u8> {
        let length = u8::try_from(text.len()).unwrap();
        let mut name = vec![0x31, length + 9, 0x30, length + 7];
        name.extend_from_slice(&NAMES[0]);
        name.extend_from_slice(&[0x0c, length]);
        name.extend_from_slice(text.as_bytes());
        name
    }

    fn certificate(subject: &str, issuer: &str) -> Shown {
        Shown { subject: name(subject), issuer: name(issuer), hosts: Vec::new() }
    }

    #[test]
    fn the_missing_certificate_of_a_chain_is_named() {
        let own = || certificate("localhost", "Middle");
        let said = |chain: &[Shown]| untrusted("localhost", chain).what;
        assert!(
            said(&[own()]).contains(
                "incomplete: the certificate of \"Middle\", which issued that of localhost"
            )
        );
        // The second certificate belongs to another issuer.
        assert!(said(&[own(), certificate("Other", "Root")]).contains("certificate of \"Middle\""));
        assert!(
            said(&[own(), certificate("Middle", "Root")]).contains("signed by \"Root\", which")
        );
        let root = certificate("Root", "Root");
        let whole = said(&[own(), root, certificate("Middle", "Root")]);
        assert!(whole.contains("signed by \"Root\", which"), "{whole}");
        assert!(said(&[certificate("localhost", "localhost")]).contains("self-signed"));
        let circle = [own(), certificate("Middle", "Other"), certificate("Other", "Middle")];
        assert!(said(&circle).contains("which is not a trusted authority"));
        assert!(said(&[]).contains("is unknown"));
    }

    #[test]
    fn a_truncated_name_is_unnamed() {
        let text = name("Middle");
        assert_eq!(readable(&text), "\"Middle\"");
        for length in 0..text.len() {
            assert_eq!(readable(&text[..length]), "an unnamed issuer");
        }
    }
}
