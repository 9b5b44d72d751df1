//! The three kinds of certificate, and the files that keep the first two.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ED25519, PublicKeyData, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{FINGERPRINT, files, fingerprint, names, wall_clock};
use crate::{ClusterId, NodeId, ProcessId, SecurityError};

const AUTHORITY_LIFE: Duration = Duration::from_secs(3653 * 24 * 3600);
/// How long a process's certificate lives, if nobody says otherwise.
const LEAF_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Clocks of a cluster may differ by so much.
const SKEW: Duration = Duration::from_secs(3600);

/// The cluster's root of trust; lives on the head.
#[derive(Clone, Serialize, Deserialize)]
pub struct Authority {
    cluster: ClusterId,
    certificate: Vec<u8>,
    key: Vec<u8>,
    leaf_life: Duration,
}

/// A node's right to sign its own workers, and the drivers attached to it.
#[derive(Clone, Serialize, Deserialize)]
pub struct NodeAuthority {
    cluster: ClusterId,
    node: NodeId,
    /// Its own certificate, then the authority's.
    chain: [Vec<u8>; 2],
    key: Vec<u8>,
    leaf_life: Duration,
}

/// A process's certificate chain and key. It may be handed to a child through a pipe, and nowhere else.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    pub(crate) id: ProcessId,
    /// Its own certificate, the node's, the authority's.
    pub(crate) chain: [Vec<u8>; 3],
    pub(crate) key: Vec<u8>,
    /// Milliseconds since 1970.
    expires: u64,
    life: Duration,
}

/// A public key that came from elsewhere, to be signed.
struct Foreign<'a>(&'a [u8]);

impl PublicKeyData for Foreign<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0
    }
    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ED25519
    }
}

fn failed(error: rcgen::Error) -> SecurityError {
    SecurityError::Certificate(format!("a certificate could not be made: {error}"))
}

pub(crate) fn fresh_key() -> Result<KeyPair, SecurityError> {
    KeyPair::generate_for(&PKCS_ED25519).map_err(failed)
}

pub(crate) fn signing_key(pkcs8: &[u8]) -> Result<KeyPair, SecurityError> {
    KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(pkcs8), &PKCS_ED25519)
        .map_err(|error| SecurityError::Certificate(format!("the key cannot be read: {error}")))
}

fn params(name: String, serial: Uuid, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let mut serial = *serial.as_bytes();
    serial[0] = 0x40 | (serial[0] & 0x3f); // positive, and of one length
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let now = wall_clock();
    params.not_before = (now - SKEW).into();
    params.not_after = (now + life).into();
    params
}

fn issuing(name: String, serial: Uuid, below: u8) -> CertificateParams {
    let mut params = params(name, serial, AUTHORITY_LIFE);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    /// A new authority, for a cluster that starts for the first time.
    pub fn generate(cluster: ClusterId) -> Result<Authority, SecurityError> {
        let key = fresh_key()?;
        let certificate = Self::params(cluster).self_signed(&key).map_err(failed)?;
        let certificate = certificate.der().to_vec();
        Ok(Authority { cluster, certificate, key: key.serialize_der(), leaf_life: LEAF_LIFE })
    }

    /// Certificates of processes live so long, instead of 7 days, on nodes that are made from now on; at least a
    /// second.
    pub fn with_leaf_life(self, life: Duration) -> Authority {
        Authority { leaf_life: possible(life), ..self }
    }

    /// How long certificates of processes live.
    pub(crate) fn leaf_life(&self) -> Duration {
        self.leaf_life
    }

    fn params(cluster: ClusterId) -> CertificateParams {
        issuing(names::cluster(cluster), cluster.0, 1)
    }

    /// The cluster it is the authority of.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// SHA-256 of its certificate, by which tokens name it.
    pub fn fingerprint(&self) -> [u8; FINGERPRINT] {
        fingerprint(&self.certificate)
    }

    /// The authority of a node of this cluster, with a new key.
    pub fn node(&self, node: NodeId) -> Result<NodeAuthority, SecurityError> {
        let key = fresh_key()?;
        let chain = self.sign_node(node, key.public_key_raw())?;
        Ok(NodeAuthority::from_parts((self.cluster, node), chain, &key, self.leaf_life))
    }

    /// A node's certificate for a key that stays with the joiner.
    pub(crate) fn sign_node(&self, node: NodeId, public: &[u8]) -> Result<[Vec<u8>; 2], SecurityError> {
        let mut params = NodeAuthority::params(self.cluster, node);
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName(names::node(self.cluster, node))],
            excluded_subtrees: Vec::new(),
        });
        let issuer = Issuer::new(Self::params(self.cluster), signing_key(&self.key)?);
        let certificate = params.signed_by(&Foreign(public), &issuer).map_err(failed)?;
        Ok([certificate.der().to_vec(), self.certificate.clone()])
    }

    /// Keeps it as `authority.pem` in `dir`, which is made if need be; mode 0600.
    pub fn save(&self, dir: &Path) -> Result<(), SecurityError> {
        save(dir, "authority.pem", &[&self.certificate], &self.key)
    }

    /// Reads what [`save`](Self::save) wrote.
    pub fn load(dir: &Path) -> Result<Authority, SecurityError> {
        let (certificates, key, path) = load(dir, "authority.pem")?;
        let [certificate] =
            <[Vec<u8>; 1]>::try_from(certificates).map_err(|_| damaged(&path, "one certificate was expected"))?;
        let name = common_name(&certificate).ok_or_else(|| damaged(&path, "not an authority's certificate"))?;
        let cluster = name.strip_suffix(".actinic").and_then(|id| id.parse().ok());
        let cluster = cluster.ok_or_else(|| damaged(&path, "not an authority's certificate"))?;
        signing_key(&key)?;
        Ok(Authority { cluster, certificate, key, leaf_life: LEAF_LIFE })
    }
}

impl NodeAuthority {
    pub(crate) fn from_parts(
        (cluster, node): (ClusterId, NodeId),
        chain: [Vec<u8>; 2],
        key: &KeyPair,
        leaf_life: Duration,
    ) -> NodeAuthority {
        NodeAuthority { cluster, node, chain, key: key.serialize_der(), leaf_life: possible(leaf_life) }
    }

    /// How long certificates of this node's processes live.
    pub(crate) fn leaf_life(&self) -> Duration {
        self.leaf_life
    }

    fn params(cluster: ClusterId, node: NodeId) -> CertificateParams {
        issuing(names::node(cluster, node), node.0, 0)
    }

    /// Its node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The cluster of its node.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// A new key, and a certificate of 7 days (if nobody said otherwise), for that incarnation on this node: its first
    /// or a further one.
    pub fn issue(&self, incarnation: Uuid) -> Result<Identity, SecurityError> {
        let key = fresh_key()?;
        let chain = self.sign_leaf(incarnation, key.public_key_raw())?;
        let id = ProcessId { cluster: self.cluster, node: self.node, incarnation };
        Ok(Identity::from_parts(id, chain, &key, self.leaf_life))
    }

    /// A process's certificate for a key that stays with the joiner.
    pub(crate) fn sign_leaf(&self, incarnation: Uuid, public: &[u8]) -> Result<[Vec<u8>; 3], SecurityError> {
        let id = ProcessId { cluster: self.cluster, node: self.node, incarnation };
        let mut params = params(format!("{}", incarnation.simple()), incarnation, self.leaf_life);
        let name = names::process(id).try_into().map_err(failed)?;
        params.subject_alt_names = vec![rcgen::SanType::DnsName(name)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let issuer = Issuer::new(Self::params(self.cluster, self.node), signing_key(&self.key)?);
        let certificate = params.signed_by(&Foreign(public), &issuer).map_err(failed)?;
        let [node, authority] = self.chain.clone();
        Ok([certificate.der().to_vec(), node, authority])
    }
}

impl Identity {
    /// Of a certificate that was made just now: its end is counted from here, so that the clock of whoever made it does
    /// not matter.
    pub(crate) fn from_parts(id: ProcessId, chain: [Vec<u8>; 3], key: &KeyPair, life: Duration) -> Identity {
        let life = possible(life);
        let expires = since_1970().saturating_add(u64::try_from(life.as_millis()).unwrap_or(u64::MAX));
        Identity { id, chain, key: key.serialize_der(), expires, life }
    }

    /// The process incarnation that it proves.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// The fingerprint of the authority above it.
    pub fn authority(&self) -> [u8; FINGERPRINT] {
        fingerprint(&self.chain[2])
    }

    /// How long until two thirds of its life are over, which is when to renew it.
    pub fn renew_in(&self) -> Duration {
        let left = Duration::from_millis(self.expires.saturating_sub(since_1970()));
        // More than its whole life is left: the clock was set back, and others do not take it for valid yet.
        if left > self.life { Duration::ZERO } else { left.saturating_sub(self.life / 3) }
    }

    /// How long it lives from first to last.
    pub fn life(&self) -> Duration {
        self.life
    }
}

/// What a life may be, wherever the word of it came from: longer than none, and no date beyond the calendar's end.
fn possible(life: Duration) -> Duration {
    life.clamp(Duration::from_secs(1), AUTHORITY_LIFE)
}

/// Milliseconds.
fn since_1970() -> u64 {
    let since = wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({})", self.cluster)
    }
}

impl fmt::Debug for NodeAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeAuthority({} of {})", self.node, self.cluster)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?})", self.id)
    }
}

/// The subject's common name, found by the shape that [`params`] gives it (the second name in the certificate;
/// an authority's first and second are equal).
fn common_name(certificate: &[u8]) -> Option<String> {
    const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];
    let at = certificate.windows(5).position(|window| window == COMMON_NAME)? + 5;
    let length = usize::from(*certificate.get(at + 1)?);
    let text = certificate.get(at + 2..at + 2 + length)?;
    String::from_utf8(text.to_vec()).ok()
}

fn damaged(path: &Path, text: &str) -> SecurityError {
    SecurityError::File { path: path.display().to_string(), text: text.into() }
}

fn save(dir: &Path, file: &str, certificates: &[&[u8]], key: &[u8]) -> Result<(), SecurityError> {
    let path = dir.join(file);
    let mut text = String::new();
    for der in certificates {
        push_pem(&mut text, "CERTIFICATE", der);
    }
    push_pem(&mut text, "PRIVATE KEY", key);
    files::write_private(&path, text.as_bytes()).map_err(|error| damaged(&path, &error.to_string()))
}

/// Certificates, the key, and the file they came from.
type Loaded = (Vec<Vec<u8>>, Vec<u8>, PathBuf);

fn load(dir: &Path, file: &str) -> Result<Loaded, SecurityError> {
    let path = dir.join(file);
    let text = files::read(&path).map_err(|error| damaged(&path, &error.to_string()))?;
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(&text).map(|der| der.map(|der| der.to_vec())).collect();
    let certificates = certificates.map_err(|_| damaged(&path, "a certificate in it is damaged"))?;
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok((certificates, key.secret_der().to_vec(), path)),
        Err(_) => Err(damaged(&path, "there is no private key in it")),
    }
}

fn push_pem(text: &mut String, label: &str, der: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    for line in der.chunks(48) {
        for three in line.chunks(3) {
            let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
            for place in 0..4 {
                let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 63];
                text.push(if place <= three.len() { char::from(digit) } else { '=' });
            }
        }
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_authority_is_kept_in_a_file_of_its_own() {
        let dir = std::env::temp_dir().join(format!("actinic-authority-{}", std::process::id()));
        let authority = Authority::generate(ClusterId(Uuid::from_u128(77))).unwrap();
        authority.save(&dir).unwrap();
        authority.save(&dir).unwrap();
        let mode = std::fs::metadata(dir.join("authority.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = Authority::load(&dir).unwrap();
        assert_eq!(again.fingerprint(), authority.fingerprint());
        assert_eq!(again.cluster(), authority.cluster());
        again.node(NodeId(Uuid::from_u128(1))).unwrap().issue(Uuid::from_u128(2)).unwrap();
        std::fs::write(dir.join("authority.pem"), "nothing").unwrap();
        assert!(Authority::load(&dir).unwrap_err().to_string().contains("authority.pem"));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_life_that_cannot_be_is_made_one_that_can() {
        for life in [Duration::ZERO, Duration::MAX] {
            let authority = Authority::generate(ClusterId(Uuid::from_u128(78))).unwrap().with_leaf_life(life);
            let identity = authority.node(NodeId(Uuid::from_u128(1))).unwrap().issue(Uuid::from_u128(2)).unwrap();
            assert!(identity.renew_in() > Duration::ZERO && identity.life() <= AUTHORITY_LIFE, "{:?}", identity.life());
        }
    }

    #[test]
    fn certificates_of_a_kind_have_one_length() {
        let mut lengths = std::collections::BTreeSet::new();
        for n in 0..8u128 {
            let id = Uuid::from_u128(n << 120 | n);
            let authority = Authority::generate(ClusterId(id)).unwrap();
            let identity = authority.node(NodeId(id)).unwrap().issue(id).unwrap();
            lengths.insert(identity.chain.map(|der| der.len()));
        }
        assert_eq!(lengths.len(), 1, "{lengths:?}");
    }
}
