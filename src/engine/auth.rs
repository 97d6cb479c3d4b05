//! Tokens by the digest of their secret, in memory: each request looks here, and a revocation holds at once.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::domain::event::{Event, EventBody};
use crate::domain::state::{Kind, Row};
use crate::domain::token::Token;
use crate::domain::{Digest, TenantName, Timestamp, TokenId};
use crate::store::{Snapshot, StoreError};

/// All tokens, revoked ones included.
#[derive(Debug, Default)]
pub struct Auth {
    /// Guards the tables; held for one look-up or one insertion.
    tokens: RwLock<Tokens>,
}

/// The same tokens twice. Open streams look up theirs whenever one is revoked.
#[derive(Debug, Default)]
struct Tokens {
    by_secret: HashMap<Digest, Arc<Token>>,
    by_id: HashMap<TokenId, Arc<Token>>,
}

impl Auth {
    /// The token with this secret.
    pub fn find(&self, secret: &str) -> Option<Arc<Token>> {
        let digest = Digest::of(secret.as_bytes());
        self.read().by_secret.get(&digest).cloned()
    }

    /// Whether the token whose secret has this digest may still be used at a time.
    pub(super) fn is_alive(&self, secret: &Digest, at: Timestamp) -> bool {
        let tokens = self.read();
        let token = tokens.by_secret.get(secret);
        token.is_some_and(|token| token.revoked_at.is_none() && token.expires_at.is_none_or(|end| end > at))
    }

    /// The token with this id, as it stands now.
    pub fn by_id(&self, id: TokenId) -> Option<Arc<Token>> {
        self.read().by_id.get(&id).cloned()
    }

    pub(super) fn observe(&self, event: &Event) {
        match &event.body {
            EventBody::TokenCreated(created) => {
                let token = Token {
                    created_at: event.at,
                    expires_at: created.expires_at,
                    id: created.id,
                    name: created.name.clone(),
                    person: created.person.clone(),
                    revoked_at: None,
                    scopes: created.scopes.clone(),
                    secret_sha256: created.secret_sha256,
                    tenants: created.tenants.clone(),
                };
                self.insert(token);
            }
            EventBody::TokenRevoked(revoked) => {
                if let Some(token) = self.by_id(revoked.id) {
                    self.insert(Token {
                        revoked_at: Some(event.at),
                        ..(*token).clone()
                    });
                }
            }
            _ => {}
        }
    }

    pub(super) fn rebuild(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        for row in snapshot.every_row(&TenantName::system(), Kind::Token)? {
            if let Row::Token(token) = row?.1 {
                self.insert(token);
            }
        }
        Ok(())
    }

    fn insert(&self, token: Token) {
        let token = Arc::new(token);
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        tokens.by_secret.insert(token.secret_sha256, token.clone());
        tokens.by_id.insert(token.id, token);
    }

    fn read(&self) -> RwLockReadGuard<'_, Tokens> {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner)
    }
}
