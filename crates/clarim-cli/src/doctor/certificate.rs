//! Why a server's certificate is not accepted: out of what TLS says, and of the certificates it was shown.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use webpki::EndEntityCert;

use super::{Finding, PATIENCE};

/// What identifies a name's parts in a certificate, by DER: the common name, and the organization.
const NAMES: [[u8; 5]; 2] = [[6, 3, 0x55, 4, 3], [6, 3, 0x55, 4, 10]];

/// What is looked at of a certificate. The names of issuer and subject are DER.
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

    fn has_signed_itself(&self) -> bool {
        self.issuer == self.subject
    }
}

/// The certificates that a server shows to everybody: of a handshake that is given up behind them.
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
    // It fails in any case.
    let _ = timeout(PATIENCE, connecting).await;
    std::mem::take(&mut *looks.seen.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Trusts nobody, and keeps what it has seen: on a connection that it has looked at nothing is ever sent.
#[derive(Debug)]
struct Looks {
    // For as long as it takes to write them down.
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

/// Cause and cure of a certificate for `host` that was not accepted; `chain`: its own, and those behind it.
pub(super) fn judge(host: &str, error: &CertificateError, chain: &[Shown]) -> Finding {
    use CertificateError as Why;

    let problem = |what: String, cure: &str| Finding::problem("certificate", what, cure);
    match error {
        Why::NotValidForName | Why::NotValidForNameContext { .. } => {
            let hosts = chain.first().map(|own| own.hosts.join(", ")).unwrap_or_default();
            let others =
                if hosts.is_empty() { String::new() } else { format!(", but for {hosts}") };
            problem(
                format!("the certificate is not for {host}{others}"),
                "use the name that it is for (wsHost), or get one for this name",
            )
        }
        Why::Expired | Why::ExpiredContext { .. } => problem(
            "the certificate has expired, or one of those that have signed it".to_owned(),
            "renew it; the server reads it again by itself, nginx and HAProxy have to be reloaded",
        ),
        Why::NotValidYet | Why::NotValidYetContext { .. } => problem(
            "the certificate is not valid yet".to_owned(),
            "look at this machine's clock (timedatectl set-ntp true), and from when the certificate is valid",
        ),
        Why::UnknownIssuer => unsigned(host, chain),
        Why::BadSignature => problem(
            "an authority of the name that the chain gives has another key".to_owned(),
            "serve the chain that came with the certificate (fullchain.pem); an authority of your own that \
             was made anew has to be trusted anew",
        ),
        Why::Other(other) if is_authority(other) => problem(
            "the certificate is that of an authority (CA:TRUE), and no server's".to_owned(),
            "make one without it (openssl: -addext basicConstraints=CA:FALSE), or get one of Let's Encrypt",
        ),
        other => problem(format!("the certificate is not accepted: {other}"), "get another one"),
    }
}

/// `openssl req -x509` makes such ones, unless it is told otherwise.
fn is_authority(error: &rustls::OtherError) -> bool {
    error.0.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity)
}

/// Nobody who is trusted has signed for it: who has, and what of that was shown?
fn unsigned(host: &str, chain: &[Shown]) -> Finding {
    let problem = |what: String, cure: String| Finding::problem("certificate", what, cure);
    let trust = "SSL_CERT_FILE=FILE lets this command trust it, as each client would have to";
    let Some(own) = chain.first() else {
        return problem(
            "nobody knows who has signed the certificate".to_owned(),
            "serve the whole chain (fullchain.pem, not cert.pem)".to_owned(),
        );
    };
    if own.has_signed_itself() {
        return problem(
            format!("the certificate of {host} is signed by itself alone (self-signed)"),
            format!("get one of an authority, as of Let's Encrypt; for tests: {trust}"),
        );
    }
    let (mut last, mut links) = (own, 1);
    // Not more links than there are certificates: they could sign each other in a circle.
    while links < chain.len()
        && !last.has_signed_itself()
        && let Some(next) = chain.iter().find(|other| other.subject == last.issuer)
    {
        (last, links) = (next, links + 1);
    }
    let authority = called(&last.issuer);
    if links > 1 {
        return problem(
            format!(
                "the chain is signed by {authority}, which is no authority that is trusted here"
            ),
            format!("get a certificate of one that browsers trust; if it is your own: {trust}"),
        );
    }
    problem(
        format!(
            "the chain is incomplete: {authority} has signed for {host}, and its certificate is not sent"
        ),
        format!(
            "serve the whole chain, fullchain.pem and not cert.pem (CLARIM_TLS_CERT, nginx's ssl_certificate, \
             HAProxy's crt); browsers may know that certificate from elsewhere, apps and backends do not. If \
             {authority} is a root of your own: {trust}"
        ),
    )
}

/// A name for people, of one in DER.
fn called(name: &[u8]) -> String {
    let found = NAMES.iter().find_map(|kind| {
        let at = name.windows(kind.len()).position(|window| window == kind)?;
        // The kind is followed by that of its text, the length, and the text.
        let [_, length, rest @ ..] = name.get(at + kind.len()..)? else { return None };
        std::str::from_utf8(rest.get(..usize::from(*length))?).ok()
    });
    found.map_or_else(|| "somebody without a name".to_owned(), |name| format!("{name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a certificate has it: a set, in a sequence, of the kind and a text.
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
    fn what_is_missing_of_a_chain_is_named() {
        let own = || certificate("localhost", "Middle");
        let said = |chain: &[Shown]| unsigned("localhost", chain).what;
        assert!(said(&[own()]).contains("incomplete: \"Middle\" has signed for localhost"));
        // What is sent beside it is another one's.
        assert!(said(&[own(), certificate("Other", "Root")]).contains("incomplete: \"Middle\""));
        assert!(
            said(&[own(), certificate("Middle", "Root")]).contains("signed by \"Root\", which")
        );
        let root = certificate("Root", "Root");
        let whole = said(&[own(), root, certificate("Middle", "Root")]);
        assert!(whole.contains("signed by \"Root\", which"), "{whole}");
        assert!(said(&[certificate("localhost", "localhost")]).contains("self-signed"));
        let circle = [own(), certificate("Middle", "Other"), certificate("Other", "Middle")];
        assert!(said(&circle).contains("which is no authority"));
        assert!(said(&[]).contains("nobody knows"));
    }

    #[test]
    fn a_name_that_cannot_be_read_is_none() {
        let text = name("Middle");
        assert_eq!(called(&text), "\"Middle\"");
        for length in 0..text.len() {
            assert_eq!(called(&text[..length]), "somebody without a name");
        }
    }
}
