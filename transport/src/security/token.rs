//! A token: what a joining process must hold.
//!
//! ```text
//! actinic1-<authority fingerprint, 64 hex digits>-<secret, 32 hex digits><check, 4 hex digits>
//! ```
//! The fingerprint (SHA-256 of the authority's certificate) lets the joiner know the cluster; the secret
//! (128 bits) lets the cluster know the joiner. The check (the first 16 bits of SHA-256 of what stands before
//! it) tells a mistyped token from a wrong one.

use std::fmt;
use std::str::FromStr;

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::SecurityError;

pub(crate) const FINGERPRINT: usize = 32;
const SECRET: usize = 16;
const PREFIX: &str = "actinic1-";

/// What admits a process to a cluster; whoever holds it is trusted. `Display` and `FromStr` give and take one
/// string that can be pasted; `Debug` keeps the secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub(crate) authority: [u8; FINGERPRINT],
    pub(crate) secret: [u8; SECRET],
}

impl Token {
    /// A new token of that authority's cluster.
    pub fn generate(authority: &super::Authority) -> Result<Token, SecurityError> {
        Token::of(authority.fingerprint())
    }

    /// Another token of the same cluster, with a secret of its own.
    pub fn like(other: &Token) -> Result<Token, SecurityError> {
        Token::of(other.authority)
    }

    #[allow(clippy::disallowed_methods, reason = "a secret that could be foreseen would be none")]
    fn of(authority: [u8; FINGERPRINT]) -> Result<Token, SecurityError> {
        let mut secret = [0; SECRET];
        SystemRandom::new()
            .fill(&mut secret)
            .map_err(|_| SecurityError::Certificate("the system gives no random numbers".into()))?;
        Ok(Token { authority, secret })
    }

    /// The fingerprint of the authority whose cluster this token admits to.
    pub fn authority(&self) -> [u8; FINGERPRINT] {
        self.authority
    }
}

pub(crate) fn fingerprint(certificate: &[u8]) -> [u8; FINGERPRINT] {
    let mut print = [0; FINGERPRINT];
    print.copy_from_slice(digest(&SHA256, certificate).as_ref());
    print
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

fn check(body: &str) -> String {
    hex(&digest(&SHA256, body.as_bytes()).as_ref()[..2])
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = format!("{PREFIX}{}-{}", hex(&self.authority), hex(&self.secret));
        write!(f, "{body}{}", check(&body))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({PREFIX}{}-…)", hex(&self.authority))
    }
}

impl FromStr for Token {
    type Err = SecurityError;

    fn from_str(text: &str) -> Result<Self, SecurityError> {
        let wrong = |what: &str| Err(SecurityError::Token(what.into()));
        let text = text.trim();
        let Some(rest) = text.strip_prefix(PREFIX) else {
            return wrong("it does not begin with actinic1-");
        };
        let Some((authority, tail)) = rest.split_once('-') else {
            return wrong("a part is missing");
        };
        if authority.len() != 2 * FINGERPRINT || tail.len() != 2 * SECRET + 4 || !tail.is_ascii() {
            return wrong("it is cut short or has something added");
        }
        let (secret, sum) = tail.split_at(2 * SECRET);
        let (Some(authority), Some(secret)) = (unhex(authority), unhex(secret)) else {
            return wrong("it has characters that are not hexadecimal digits");
        };
        if check(&text[..text.len() - 4]) != sum {
            return wrong("it is mistyped (its check digits do not match)");
        }
        Ok(Token { authority, secret })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_a_damaged_one_says_how() {
        let token = Token { authority: [7; 32], secret: [250; 16] };
        let text = token.to_string();
        assert_eq!(format!(" {text}\n").parse::<Token>().unwrap(), token);
        assert!(!format!("{token:?}").contains("fafa"));
        let cases = [
            ("hello".to_string(), "begin"),
            ("actinic1-77".to_string(), "part is missing"),
            (text[..text.len() - 1].to_string(), "cut short"),
            (text.replace("fafa", "fafb"), "mistyped"),
            (text.replace("0707", "07x7"), "hexadecimal"),
            (text.replace("0707", "0é7"), "hexadecimal"),
        ];
        for (damaged, says) in cases {
            let error = damaged.parse::<Token>().unwrap_err().to_string();
            assert!(error.contains(says), "{damaged}: {error}");
        }
    }
}
