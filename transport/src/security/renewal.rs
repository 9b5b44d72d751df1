//! A further certificate for a process that has one: the key is made where it is used, and only its public half travels.

use std::fmt;
use std::time::Duration;

use rcgen::{KeyPair, PublicKeyData};
use serde::{Deserialize, Serialize};

use super::{FINGERPRINT, Identity, NodeAuthority, fingerprint, fresh_key, tls};
use crate::{ProcessId, SecurityError};

/// A process's wish for a further certificate.
pub struct Renewal {
    id: ProcessId,
    authority: [u8; FINGERPRINT],
    key: KeyPair,
}

/// What a node answers to a [`Renewal`]: nothing secret.
#[derive(Clone, Serialize, Deserialize)]
pub struct Grant {
    /// The process's certificate, the node's, the authority's.
    chain: [Vec<u8>; 3],
    life: Duration,
}

impl Renewal {
    /// A new key for the process that `identity` is of.
    pub fn begin(identity: &Identity) -> Result<Renewal, SecurityError> {
        Ok(Renewal { id: identity.id(), authority: identity.authority(), key: fresh_key()? })
    }

    /// What is to be signed.
    pub fn public_key(&self) -> [u8; 32] {
        let mut public = [0; 32];
        // Ed25519, so 32 bytes.
        public.copy_from_slice(self.key.der_bytes());
        public
    }

    /// The renewed identity; an error if the grant is for another process, or does not come from the same authority.
    pub fn complete(self, grant: Grant) -> Result<Identity, SecurityError> {
        let wrong = |what: &str| Err(SecurityError::Certificate(format!("the certificate granted is {what}")));
        let [leaf, _, authority] = &grant.chain;
        if fingerprint(authority) != self.authority {
            return wrong("under another authority");
        }
        if tls::named(&leaf.as_slice().into()) != Some(self.id) {
            return wrong("for another process");
        }
        Ok(Identity::from_parts(self.id, grant.chain, &self.key, grant.life))
    }
}

impl NodeAuthority {
    /// Signs a key of a process of this node. The caller must know that the key is that process's: it came by a
    /// session with it.
    pub fn grant(&self, process: ProcessId, public_key: &[u8; 32]) -> Result<Grant, SecurityError> {
        if (process.cluster, process.node) != (self.cluster(), self.node()) {
            return Err(SecurityError::Certificate(format!(
                "process {process} is of another node than this one signs for"
            )));
        }
        let chain = self.sign_leaf(process.incarnation, public_key)?;
        Ok(Grant { chain, life: self.leaf_life() })
    }
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Renewal({:?})", self.id)
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Grant({:?})", self.life)
    }
}
