//! Who is admitted to a cluster by this process, and the tokens that can be made and taken back.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use actinic_transport::{Endpoint, JoinServer, Token};

use crate::api::error::{Error, Result};
use crate::process::Process;
use crate::protocol::TokenWish;

/// How many tokens there may be at a time.
const MAX_TOKENS: usize = 1000;

/// See the module.
pub(crate) struct Admission {
    endpoint: Endpoint,
    server: Mutex<JoinServer>,
    /// For programs and commands of this machine; never shown, and never taken back.
    local: Vec<Token>,
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Admission")
    }
}

impl Admission {
    /// Begins to answer joins.
    pub(crate) fn open(
        process: &Arc<Process>,
        server: JoinServer,
        tokens: Vec<Token>,
        mut local: Vec<Token>,
    ) -> Result<()> {
        if let (Some(like), true) = (tokens.first(), local.is_empty()) {
            local.push(Token::like(like).map_err(|error| Error::unauthorized(error.to_string()))?);
        }
        let endpoint = process.endpoint()?.clone();
        let admission = Admission { endpoint, server: Mutex::new(server), local };
        admission.replace(tokens);
        // Once a process.
        let _ = process.admission.set(admission);
        Ok(())
    }

    fn with<R>(&self, change: impl FnOnce(&mut JoinServer) -> R) -> R {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let done = change(&mut server);
        self.endpoint.serve_joins(server.clone());
        done
    }

    /// The token of this machine's programs and commands.
    pub(crate) fn local(&self) -> Option<&Token> {
        self.local.first()
    }

    /// These tokens admit from now on, and no others but the local one.
    pub(crate) fn replace(&self, mut tokens: Vec<Token>) {
        tokens.extend(self.local.iter().cloned());
        self.with(|server| server.tokens = tokens);
    }

    /// Does what is wished, and says which tokens admit.
    pub(crate) fn wish(&self, wish: TokenWish) -> Result<Vec<Token>> {
        self.with(|server| {
            match wish {
                TokenWish::Show => {}
                TokenWish::Create => {
                    let Some(authority) = &server.authority else {
                        return Err(Error::unauthorized("only the head makes tokens"));
                    };
                    if server.tokens.len() >= MAX_TOKENS {
                        return Err(Error::invalid_argument(format!("there are {MAX_TOKENS} tokens already"))
                            .remedy("revoke some"));
                    }
                    let token = Token::generate(authority).map_err(|error| Error::unauthorized(error.to_string()))?;
                    server.tokens.insert(0, token);
                }
                TokenWish::Revoke(token) => {
                    let before = server.tokens.len();
                    server.tokens.retain(|known| *known != token || self.local.contains(known));
                    if server.tokens.len() == before {
                        return Err(Error::invalid_argument("the cluster does not know this token")
                            .remedy("`actinic token show` lists those that admit"));
                    }
                }
            }
            Ok(server.tokens.iter().filter(|token| !self.local.contains(token)).cloned().collect())
        })
    }
}
