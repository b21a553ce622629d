//! Whether a process is alive and whether it can do its work, and the two routes that say so.
//!
//! Invariant: a process is ready only when every condition it named at its start is ready.
//! Invariant: `/healthz` looks at nothing outside the process.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use actix_web::{HttpResponse, web};
use serde_json::json;

use crate::shutdown::Shutdown;

/// The named conditions of being ready; cheap to clone, every clone sees the same.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// Name to what is wrong; `None` is ready.
    conditions: Arc<RwLock<BTreeMap<&'static str, Option<String>>>>,
}

impl Readiness {
    /// Every condition begins as not ready, with the reason "starting".
    #[must_use]
    pub fn new(names: &[&'static str]) -> Self {
        let conditions = names
            .iter()
            .map(|name| (*name, Some("starting".to_owned())))
            .collect();
        Self {
            conditions: Arc::new(RwLock::new(conditions)),
        }
    }

    /// This condition holds now.
    pub fn set_ready(&self, name: &'static str) {
        if self.set(name, None) {
            tracing::info!(condition = name, "ready");
        }
    }

    /// This condition does not hold, and why: one line without secrets, it is public.
    pub fn set_failing(&self, name: &'static str, reason: impl Into<String>) {
        let reason = reason.into();
        if self.set(name, Some(reason.clone())) {
            tracing::warn!(condition = name, reason, "not ready");
        }
    }

    /// Whether every condition holds.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.read(|conditions| conditions.values().all(Option::is_none))
    }

    /// The conditions that do not hold, by name, and why.
    #[must_use]
    pub fn reasons(&self) -> BTreeMap<&'static str, String> {
        self.read(|conditions| {
            conditions
                .iter()
                .filter_map(|(name, reason)| reason.clone().map(|reason| (*name, reason)))
                .collect()
        })
    }

    /// Whether that changed anything. A poisoned lock is still a whole map.
    fn set(&self, name: &'static str, reason: Option<String>) -> bool {
        let mut conditions = self
            .conditions
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let old = conditions.insert(name, reason.clone());
        old != Some(reason)
    }

    fn read<T>(&self, look: impl FnOnce(&BTreeMap<&'static str, Option<String>>) -> T) -> T {
        look(
            &self
                .conditions
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

/// Is the process alive?
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "getHealth",
    tag = "process",
    responses((status = 200, description = "It runs", body = Object,
               content_type = "application/json", example = json!({"status": "ok"})))
)]
pub(crate) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok"}))
}

/// Can the process do its work?
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "getReadiness",
    tag = "process",
    responses(
        (status = 200, description = "It can", body = Object,
         content_type = "application/json", example = json!({"status": "ready"})),
        (status = 503, description = "It can't, and what is wrong", body = Object,
         content_type = "application/json", example = json!({
             "status": "not ready",
             "reasons": {"database": "the database was not reached yet"}
         }))
    )
)]
pub(crate) async fn readyz(
    readiness: web::Data<Readiness>,
    shutdown: web::Data<Shutdown>,
) -> HttpResponse {
    let mut reasons = readiness.reasons();
    if shutdown.is_triggered() {
        reasons.insert("shutdown", "the process is stopping".to_owned());
    }
    if reasons.is_empty() {
        HttpResponse::Ok().json(json!({"status": "ready"}))
    } else {
        HttpResponse::ServiceUnavailable().json(json!({"status": "not ready", "reasons": reasons}))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use serde_json::Value;

    use super::*;

    async fn ask(readiness: &Readiness, shutdown: &Shutdown) -> (u16, Value) {
        let response = readyz(
            web::Data::new(readiness.clone()),
            web::Data::new(shutdown.clone()),
        )
        .await;
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body()).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    #[actix_web::test]
    async fn readiness_names_every_condition_that_does_not_hold() {
        let readiness = Readiness::new(&["database", "rules"]);
        let shutdown = Shutdown::new();
        let reasons = json!({"database": "starting", "rules": "starting"});
        let body = json!({"status": "not ready", "reasons": reasons});
        assert_eq!(ask(&readiness, &shutdown).await, (503, body));

        readiness.clone().set_ready("rules");
        readiness.set_failing("database", "connection refused");
        let body = json!({"status": "not ready", "reasons": {"database": "connection refused"}});
        assert_eq!(ask(&readiness, &shutdown).await, (503, body));
        assert!(!readiness.is_ready());

        readiness.set_ready("database");
        assert!(readiness.is_ready());
        assert_eq!(
            ask(&readiness, &shutdown).await,
            (200, json!({"status": "ready"}))
        );
    }

    #[actix_web::test]
    async fn a_stopping_process_is_not_ready() {
        let readiness = Readiness::new(&[]);
        let shutdown = Shutdown::new();
        assert_eq!(ask(&readiness, &shutdown).await.0, 200);
        shutdown.trigger();
        let (status, body) = ask(&readiness, &shutdown).await;
        assert_eq!(status, 503);
        assert_eq!(body["reasons"]["shutdown"], "the process is stopping");
    }
}
