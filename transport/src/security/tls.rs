//! The TLS side: what is shown, and what is accepted.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::{Identity, fingerprint, names, wall_clock};
use crate::{ClusterId, ProcessId, SecurityError};

/// Sessions between processes that both have a certificate.
pub(crate) const SESSION_ALPN: &[u8] = b"actinic/1";
/// Joins, by processes that have a token and no certificate yet.
pub(crate) const JOIN_ALPN: &[u8] = b"actinic-join/1";

/// What a dial found that was not wanted; more telling than the alert that TLS makes of it.
#[derive(Debug, Clone)]
pub(crate) enum Verdict {
    WrongCluster(ClusterId),
    OtherProcess(ProcessId),
    WrongAuthority,
    Refused(String),
}

/// Whom a dialler accepts.
#[derive(Debug, Clone)]
pub(crate) enum Pin {
    /// This process of this cluster; `None`: any process of it.
    Process(ClusterId, Option<ProcessId>),
    /// Whoever descends from the authority with this fingerprint.
    Authority([u8; 32]),
}

fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    use rustls::crypto::ring::cipher_suite as suite;
    provider.cipher_suites = vec![suite::TLS13_AES_128_GCM_SHA256, suite::TLS13_CHACHA20_POLY1305_SHA256];
    Arc::new(provider)
}

/// The clock that certificates are judged by.
#[derive(Debug)]
struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let since = wall_clock().duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(UnixTime::since_unix_epoch(since))
    }
}

fn certificates(chain: &[Vec<u8>]) -> Vec<CertificateDer<'static>> {
    chain.iter().map(|der| CertificateDer::from(der.clone())).collect()
}

fn roots(authority: &[u8]) -> Result<Arc<RootCertStore>, SecurityError> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(authority.to_vec()))
        .map_err(|error| SecurityError::Certificate(format!("the authority's certificate: {error}")))?;
    Ok(Arc::new(roots))
}

fn unusable(error: rustls::Error) -> SecurityError {
    SecurityError::Certificate(error.to_string())
}

/// What a listener shows; renewed without a new endpoint.
#[derive(Debug)]
pub(crate) struct ServerCert {
    session: RwLock<(Arc<CertifiedKey>, Arc<CertifiedKey>)>,
}

impl ServerCert {
    pub(crate) fn new(identity: &Identity) -> Result<Arc<Self>, SecurityError> {
        Ok(Arc::new(ServerCert { session: RwLock::new(Self::keys(identity)?) }))
    }

    pub(crate) fn renew(&self, identity: &Identity) -> Result<(), SecurityError> {
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = Self::keys(identity)?;
        Ok(())
    }

    /// For sessions leaf and node; for joins the authority too, which the joiner knows by fingerprint only.
    fn keys(identity: &Identity) -> Result<(Arc<CertifiedKey>, Arc<CertifiedKey>), SecurityError> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.key.clone()));
        let signer = rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(key.secret_der().to_vec()))
            .map_err(unusable)?;
        let with = |count: usize| Arc::new(CertifiedKey::new(certificates(&identity.chain[..count]), signer.clone()));
        let (session, join) = (with(2), with(3));
        session.keys_match().map_err(unusable)?;
        Ok((session, join))
    }
}

impl ResolvesServerCert for ServerCert {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let keys = self.session.read().unwrap_or_else(PoisonError::into_inner);
        let joins = hello.alpn().is_some_and(|mut offered| offered.any(|alpn| alpn == JOIN_ALPN));
        Some(if joins { keys.1.clone() } else { keys.0.clone() })
    }
}

/// A certificate of this cluster, or none: a joiner has none yet, and a session without one is closed.
pub(crate) fn server_config(
    identity: &Identity,
    shown: Arc<ServerCert>,
) -> Result<rustls::ServerConfig, SecurityError> {
    let provider = provider();
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(roots(&identity.chain[2])?, provider.clone())
            .allow_unauthenticated()
            .build()
            .map_err(|error| SecurityError::Certificate(error.to_string()))?;
    let mut config = rustls::ServerConfig::builder_with_details(provider, Arc::new(Clock))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(shown);
    config.alpn_protocols = vec![SESSION_ALPN.to_vec(), JOIN_ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// For dialling a session; what went wrong is left in the returned cell.
pub(crate) fn client_config(
    identity: &Identity,
    expected: Option<ProcessId>,
) -> Result<(rustls::ClientConfig, Arc<Verifier>), SecurityError> {
    let pin = Pin::Process(identity.id.cluster, expected);
    let verifier = Verifier::new(pin, Some(roots(&identity.chain[2])?));
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.key.clone()));
    let mut config = client_builder(verifier.clone())?
        .with_client_auth_cert(certificates(&identity.chain[..2]), key)
        .map_err(unusable)?;
    finish(&mut config, SESSION_ALPN);
    Ok((config, verifier))
}

/// For a join: any process under the authority with that fingerprint.
pub(crate) fn join_config(authority: [u8; 32]) -> Result<(rustls::ClientConfig, Arc<Verifier>), SecurityError> {
    let verifier = Verifier::new(Pin::Authority(authority), None);
    let mut config = client_builder(verifier.clone())?.with_no_client_auth();
    finish(&mut config, JOIN_ALPN);
    Ok((config, verifier))
}

fn client_builder(
    verifier: Arc<Verifier>,
) -> Result<rustls::ConfigBuilder<rustls::ClientConfig, rustls::client::WantsClientCert>, SecurityError> {
    Ok(rustls::ClientConfig::builder_with_details(verifier.provider.clone(), Arc::new(Clock))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(verifier))
}

fn finish(config: &mut rustls::ClientConfig, alpn: &[u8]) {
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
}

/// The process that a certificate names.
pub(super) fn named(end_entity: &CertificateDer<'_>) -> Option<ProcessId> {
    let certificate = webpki::EndEntityCert::try_from(end_entity).ok()?;
    let mut names = certificate.valid_dns_names();
    let id = names::parse(names.next()?)?;
    names.next().is_none().then_some(id)
}

/// The process that the other end of a connection has proved to be.
pub(crate) fn peer_id(connection: &quinn::Connection) -> Option<ProcessId> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    named(chain.first()?)
}

/// Accepts one process, or one cluster's processes, and remembers why it did not.
pub(crate) struct Verifier {
    pin: Pin,
    roots: Option<Arc<RootCertStore>>,
    provider: Arc<CryptoProvider>,
    verdict: Mutex<Option<Verdict>>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({:?})", self.pin)
    }
}

impl Verifier {
    fn new(pin: Pin, roots: Option<Arc<RootCertStore>>) -> Arc<Verifier> {
        Arc::new(Verifier { pin, roots, provider: provider(), verdict: Mutex::new(None) })
    }

    /// Why the last certificate was not accepted.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Verdict> {
        let refused = |error: rustls::Error| Verdict::Refused(error.to_string());
        let found = named(end_entity).ok_or_else(|| Verdict::Refused("it names no process".into()))?;
        let (trusted, expected) = match &self.pin {
            Pin::Process(ours, _) if found.cluster != *ours => {
                return Err(Verdict::WrongCluster(found.cluster));
            }
            Pin::Process(_, expected) => (self.roots.clone(), *expected),
            Pin::Authority(print) => {
                let pinned = intermediates.iter().find(|der| fingerprint(der) == *print);
                (Some(roots(pinned.ok_or(Verdict::WrongAuthority)?).map_err(|_| Verdict::WrongAuthority)?), None)
            }
        };
        let trusted = trusted.ok_or(Verdict::WrongAuthority)?;
        let certificate = ParsedCertificate::try_from(end_entity).map_err(refused)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &trusted, intermediates, now, algorithms)
            .map_err(refused)?;
        match expected {
            Some(expected) if expected != found => Err(Verdict::OtherProcess(found)),
            _ => Ok(()),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge(end_entity, intermediates, now).map_err(|verdict| {
            let text = format!("{verdict:?}");
            *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
            rustls::Error::General(text)
        })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
