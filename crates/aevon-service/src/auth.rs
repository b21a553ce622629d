//! Who calls, and what they may: keys of a tenant or of the platform, with scopes.
//!
//! Invariant: a secret is compared as a hash, in constant time, and shows up nowhere: not in a log,
//! not in an error, not in `Debug`.
//! Invariant: a revocation takes effect within [`CACHE_TTL`], without a read of the database for
//! each request.

use std::fmt;
use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;
use lru::LruCache;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::problem::{Code, Problem};
use crate::settings::AuthMode;

/// How long a key is believed to be good: with the time to ask, a revocation takes effect within
/// 10 s.
pub const CACHE_TTL: Duration = Duration::from_secs(8);
/// How long a number is believed to be no good key's: short, as the next key made may have it, and
/// long enough that whoever tries numbers does not reach the database with each.
const UNKNOWN_TTL: Duration = Duration::from_secs(1);
/// Keys, and numbers that are no key's, that are remembered.
const CACHED_KEYS: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");
/// Beginning of every key, so that people and scanners can tell one when they see it.
const PREFIX: &str = "aevon_";
/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;

/// What a key allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Sending events.
    Ingest,
    /// Reading state and rules.
    Read,
    /// Looking after the installation.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 3] = [Self::Ingest, Self::Read, Self::Admin];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }

    /// The scope of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

/// A key that is good, as its store has it.
#[derive(Clone)]
pub struct StoredKey {
    /// SHA-256 of the secret.
    pub secret_hash: Vec<u8>,
    /// Whose it is; `None` is the platform's.
    pub tenant_id: Option<String>,
    /// What it allows.
    pub scopes: Vec<Scope>,
}

impl StoredKey {
    /// Scopes by name; one that this program does not know allows nothing here.
    #[must_use]
    pub fn new(secret_hash: Vec<u8>, tenant_id: Option<String>, scopes: &[String]) -> Self {
        Self {
            secret_hash,
            tenant_id,
            scopes: scopes
                .iter()
                .filter_map(|name| Scope::parse(name))
                .collect(),
        }
    }
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("StoredKey");
        shown.field("tenant_id", &self.tenant_id);
        shown.field("scopes", &self.scopes).finish_non_exhaustive()
    }
}

/// A new secret and its hash. The key is [`key_text`] of its number and the secret.
///
/// # Errors
/// When the operating system has no random bytes.
pub fn new_secret() -> Result<(String, [u8; 32]), getrandom::Error> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes)?;
    let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let hash = hash(&secret);
    Ok((secret, hash))
}

/// A key as its owner has it.
#[must_use]
pub fn key_text(key_no: i32, secret: &str) -> String {
    format!("{PREFIX}{key_no}_{secret}")
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Number and secret of a key.
fn split(key: &str) -> Option<(i32, &str)> {
    let (number, secret) = key.strip_prefix(PREFIX)?.split_once('_')?;
    let key_no: i32 = number.parse().ok().filter(|number| *number > 0)?;
    // One spelling for each key.
    (key_no.to_string() == number).then_some((key_no, secret))
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    tenant_id: Option<String>,
}

impl Caller {
    /// The tenant that the caller is bound to; `None` is the platform, which may name any.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.tenant_id.as_deref()
    }

    /// That the caller may look at a tenant. The answer is the same whether it exists or not.
    ///
    /// # Errors
    /// 403.
    pub fn check_tenant(&self, tenant_id: &str) -> Result<(), Problem> {
        match &self.tenant_id {
            Some(own) if own != tenant_id => {
                Err(Problem::new(Code::Forbidden, "the key is another tenant's"))
            }
            _ => Ok(()),
        }
    }
}

type Found = Pin<Box<dyn Future<Output = Result<Option<StoredKey>, Problem>>>>;
type Find = Box<dyn Fn(i32) -> Found + Send + Sync>;

/// Tells who calls. Cheap to clone.
#[derive(Clone)]
pub struct Auth(Arc<Inner>);

struct Inner {
    mode: AuthMode,
    find: Find,
    cache: Mutex<LruCache<i32, (Instant, Option<StoredKey>)>>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Auth");
        shown.field("mode", &self.0.mode).finish_non_exhaustive()
    }
}

impl Auth {
    /// `find` gets the key of a number from its store, where it is good.
    pub fn new<F, Fut>(mode: AuthMode, find: F) -> Self
    where
        F: Fn(i32) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<StoredKey>, Problem>> + 'static,
    {
        Self(Arc::new(Inner {
            mode,
            find: Box::new(move |key_no| Box::pin(find(key_no))),
            cache: Mutex::new(LruCache::new(CACHED_KEYS)),
        }))
    }

    /// Who sends this request, if they may do this.
    ///
    /// # Errors
    /// 401 without a good key, 403 with one that does not allow it, 503 where that can't be found
    /// out.
    pub async fn caller(&self, request: &HttpRequest, scope: Scope) -> Result<Caller, Problem> {
        self.caller_with(request, &[scope]).await
    }

    /// Who sends this request, if they may do what any of these scopes allows.
    ///
    /// # Errors
    /// As [`Auth::caller`].
    pub async fn caller_with(
        &self,
        request: &HttpRequest,
        scopes: &[Scope],
    ) -> Result<Caller, Problem> {
        if self.0.mode == AuthMode::Disabled {
            return Ok(Caller { tenant_id: None });
        }
        let refused = || Problem::new(Code::Unauthenticated, "send authorization: Bearer <key>");
        let header = request.headers().get(AUTHORIZATION).ok_or_else(refused)?;
        let (scheme, key) = header
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .ok_or_else(refused)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(refused());
        }
        let unknown = || {
            Problem::new(
                Code::Unauthenticated,
                "the key is not known, or not any more",
            )
        };
        let (key_no, secret) = split(key.trim()).ok_or_else(unknown)?;
        let stored = self.find(key_no).await?.ok_or_else(unknown)?;
        if !bool::from(stored.secret_hash.ct_eq(&hash(secret))) {
            return Err(unknown());
        }
        if !scopes.iter().any(|scope| stored.scopes.contains(scope)) {
            let names: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
            let detail = format!("the key lacks the scope {}", names.join(" or "));
            return Err(Problem::new(Code::Forbidden, detail));
        }
        Ok(Caller {
            tenant_id: stored.tenant_id,
        })
    }

    async fn find(&self, key_no: i32) -> Result<Option<StoredKey>, Problem> {
        let cached = {
            let mut cache = self.0.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.get(&key_no).cloned()
        };
        if let Some((since, known)) = cached {
            let ttl = known.as_ref().map_or(UNKNOWN_TTL, |_| CACHE_TTL);
            if since.elapsed() < ttl {
                return Ok(known);
            }
        }
        let asked = Instant::now();
        let found = (self.0.find)(key_no).await?;
        let mut cache = self.0.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.put(key_no, (asked, found.clone()));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use actix_web::test::TestRequest;

    use super::*;

    /// An auth with one key, number 7, of tenant acme, for reading; and how often it was asked.
    fn auth(secret_hash: [u8; 32]) -> (Auth, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let auth = Auth::new(AuthMode::ApiKey, move |key_no| {
            counted.fetch_add(1, Ordering::Relaxed);
            let key = (key_no == 7).then(|| StoredKey {
                secret_hash: secret_hash.to_vec(),
                tenant_id: Some("acme".to_owned()),
                scopes: vec![Scope::Read],
            });
            async move { Ok(key) }
        });
        (auth, asked)
    }

    async fn ask(auth: &Auth, header: Option<&str>, scope: Scope) -> Result<Caller, Code> {
        let mut request = TestRequest::default();
        if let Some(header) = header {
            request = request.insert_header((AUTHORIZATION, header));
        }
        let caller = auth.caller(&request.to_http_request(), scope).await;
        caller.map_err(|problem| problem.code)
    }

    #[actix_web::test]
    async fn a_good_key_is_a_caller_and_everything_else_is_refused() {
        let (secret, hash) = new_secret().unwrap();
        let (auth, asked) = auth(hash);
        let bearer = |key: &str| format!("Bearer {key}");
        let good = bearer(&key_text(7, &secret));
        for _ in 0..3 {
            let caller = ask(&auth, Some(&good), Scope::Read).await.unwrap();
            assert_eq!(caller.tenant(), Some("acme"));
            assert!(caller.check_tenant("acme").is_ok());
            assert_eq!(
                caller.check_tenant("other").unwrap_err().code,
                Code::Forbidden
            );
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1, "then it is known");
        assert_eq!(
            ask(&auth, Some(&good), Scope::Ingest).await,
            Err(Code::Forbidden)
        );
        let (other, _) = new_secret().unwrap();
        for wrong in [
            bearer(&key_text(7, &other)),
            bearer(&key_text(8, &secret)),
            bearer("aevon_7_"),
            bearer("aevon_7"),
            bearer(&key_text(7, &secret).replace("_7_", "_07_")),
            bearer("aevon_-7_x"),
            bearer("aevon_99999999999_x"),
            bearer(""),
            format!("Basic {}", key_text(7, &secret)),
            key_text(7, &secret),
        ] {
            let refused = ask(&auth, Some(&wrong), Scope::Read).await;
            assert_eq!(refused, Err(Code::Unauthenticated), "{wrong}");
        }
        assert_eq!(
            ask(&auth, None, Scope::Read).await,
            Err(Code::Unauthenticated)
        );
    }

    #[actix_web::test]
    async fn without_auth_everybody_is_the_platform() {
        let auth = Auth::new(AuthMode::Disabled, |_| async { Ok(None) });
        let caller = ask(&auth, None, Scope::Admin).await.unwrap();
        assert_eq!(caller.tenant(), None);
        assert!(caller.check_tenant("anybody").is_ok());
    }

    #[test]
    fn nothing_of_a_secret_shows() {
        let key = StoredKey {
            secret_hash: vec![0xAB; 32],
            tenant_id: None,
            scopes: vec![Scope::Admin],
        };
        let shown = format!("{key:?}");
        assert!(
            !shown.contains("171") && !shown.to_lowercase().contains("ab, "),
            "{shown}"
        );
    }
}
