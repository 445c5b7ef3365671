//! Images: what they are called, whose they are, and the calls that list, load and build them.
//!
//! `localhost/NAME` is the operator's, `localhost/<tenant>/NAME` that tenant's, and what is below one of the
//! `image_prefixes` the operator's again. Must not: pull.

use std::path::PathBuf;
use std::time::Duration;

use hyper::Method;
use hyper::body::Incoming;
use podman_api::models;
use serde::Deserialize;
use serde_json::Value;

use super::api::{ANSWER_BYTES, ApiError, Endpoint, LOOK, PREFIX, WORK, chain, message, refused};
use super::driver::Driver;
use crate::bundle::Tenant;
use crate::plan::errand::own_reference;
use crate::reason::{Name, Reason};
use crate::sequence::image::Image;
use crate::wire;

const LOCAL: &str = "localhost";

/// Where an image may be: a qualified name stands as it is; a bare one is the tenant's own first, then the operator's,
/// then under the prefixes. What belongs to another tenant is nowhere.
#[must_use]
pub fn image_candidates(tenant: &Tenant, reference: &str, prefixes: &[String]) -> Vec<String> {
    let mut candidates = vec![reference.to_owned()];
    if !is_qualified(reference) {
        let prefixes = prefixes.iter().map(|prefix| prefix.trim_end_matches('/'));
        let operators = std::iter::once(LOCAL).chain(prefixes).map(|prefix| format!("{prefix}/{reference}"));
        candidates = std::iter::once(own_reference(tenant, reference)).chain(operators).collect();
    }
    candidates.retain(|candidate| is_visible(tenant, candidate, prefixes));
    candidates
}

/// Whether a name says which registry it is of.
#[must_use]
pub fn is_qualified(reference: &str) -> bool {
    let first = reference.split_once('/').map(|(first, _)| first);
    first.is_some_and(|first| first == LOCAL || first.contains(['.', ':']))
}

/// Whether a tenant may use an image of this full name.
#[must_use]
pub fn is_visible(tenant: &Tenant, full: &str, prefixes: &[String]) -> bool {
    let local = full.strip_prefix(LOCAL).and_then(|rest| rest.strip_prefix('/'));
    let Some((owner, _)) = local.and_then(|rest| rest.split_once('/')) else { return true };
    owner == tenant.as_str() || is_operators(full, prefixes)
}

/// Whether a full name is below one of the operator's prefixes.
#[must_use]
pub fn is_operators(full: &str, prefixes: &[String]) -> bool {
    let below =
        |prefix: &String| full.strip_prefix(prefix.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'));
    prefixes.iter().any(below)
}

/// A line of Podman's list of images.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListedImage {
    /// Its id.
    pub id: String,
    /// Its full names.
    #[serde(default)]
    pub names: Option<Vec<String>>,
    /// Seconds since 1970.
    #[serde(default)]
    pub created: i64,
    /// Bytes.
    #[serde(default)]
    pub size: u64,
}

impl Driver {
    /// The image that a tenant means: looked up by name, never pulled.
    pub(crate) async fn find_image(
        &self,
        endpoint: &Endpoint,
        tenant: &Tenant,
        reference: &str,
    ) -> Result<Result<Image, Reason>, ApiError> {
        let candidates = image_candidates(tenant, reference, &self.settings.image_prefixes);
        for name in &candidates {
            if let Some(id) = endpoint.image_id(name).await? {
                return Ok(Ok(Image { name: name.clone(), id }));
            }
        }
        let message = match candidates.as_slice() {
            [] => format!("image `{reference}` is another tenant's"),
            [..] => {
                let names = candidates.join(", ");
                format!("no image `{reference}` aboard, looked for {names}; load it, nothing is pulled")
            }
        };
        Ok(Err(Reason::new(Name::ImageMissing, message)))
    }
}

impl Endpoint {
    /// The id of a local image, if it is aboard.
    ///
    /// # Errors
    /// When Podman does not answer.
    pub async fn image_id(&self, reference: &str) -> Result<Option<String>, ApiError> {
        match self.call(LOOK, self.podman.images().get(reference).inspect()).await {
            Ok(image) => Ok(image.id),
            Err(ApiError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes a name off an image, and removes the image if it has no other. One that a container uses stays.
    ///
    /// # Errors
    /// When Podman does not answer, or refuses.
    pub async fn remove_image(&self, name: &str) -> Result<(), ApiError> {
        match self.raw(WORK, Method::DELETE, &format!("/images/{name}?force=false"), wire::empty()).await {
            Err(ApiError::NotFound(_)) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Every local image.
    ///
    /// # Errors
    /// When Podman does not answer.
    pub async fn images(&self) -> Result<Vec<models::LibpodImageSummary>, ApiError> {
        self.call(LOOK, self.podman.images().list(&podman_api::opts::ImageListOpts::default())).await
    }

    /// The folder that images and containers are stored in.
    ///
    /// # Errors
    /// When Podman does not answer.
    pub async fn graph_root(&self) -> Result<Option<PathBuf>, ApiError> {
        let info: Value = self.parsed(&self.raw(LOOK, Method::GET, "/info", wire::empty()).await?)?;
        Ok(info.pointer("/store/graphRoot").and_then(Value::as_str).map(PathBuf::from))
    }

    /// Every image with its names.
    ///
    /// # Errors
    /// When Podman does not answer.
    pub async fn image_list(&self) -> Result<Vec<ListedImage>, ApiError> {
        self.parsed(&self.raw(LOOK, Method::GET, "/images/json", wire::empty()).await?)
    }

    /// Loads an archive and returns the names that it brought.
    ///
    /// # Errors
    /// When Podman does not take it, or not within `longest`.
    pub async fn load(&self, archive: wire::Body, longest: Duration) -> Result<Vec<String>, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Loaded {
            names: Vec<String>,
        }
        let loaded: Loaded = self.parsed(&self.raw(longest, Method::POST, "/images/load", archive).await?)?;
        Ok(loaded.names)
    }

    /// Begins a build from a context and returns what the builder says, line by line.
    ///
    /// # Errors
    /// When Podman does not begin.
    pub async fn build(&self, query: &[(&str, String)], context: wire::Body) -> Result<Incoming, ApiError> {
        let query: Vec<String> = query.iter().map(|(key, value)| format!("{key}={}", wire::encoded(value))).collect();
        let path = format!("{PREFIX}/build?{}", query.join("&"));
        // The head comes when the whole context has been sent: the caller's deadline is the only one.
        let asked = wire::send_as(self.socket(), Method::POST, &path, "application/x-tar", context).await;
        match asked {
            Err(error) => Err(self.unreachable(chain(&error))),
            Ok(answer) if answer.status().is_success() => Ok(answer.into_body()),
            Ok(answer) => {
                let status = answer.status().as_u16();
                let body = tokio::time::timeout(WORK, wire::collect(answer.into_body(), ANSWER_BYTES)).await;
                Err(refused(status, body.ok().and_then(Result::ok).map(|body| message(&body)).unwrap_or_default()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(reference: &str, prefixes: &[&str]) -> Vec<String> {
        let prefixes: Vec<String> = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
        image_candidates(&"client1".parse().expect("legal"), reference, &prefixes)
    }

    #[test]
    fn bare_image_is_the_tenants_own_then_the_operators_then_under_each_prefix() {
        assert_eq!(
            candidates("python:3.10", &["board:5000", "board:5000/mirror/"]),
            [
                "localhost/client1/python:3.10",
                "localhost/python:3.10",
                "board:5000/python:3.10",
                "board:5000/mirror/python:3.10"
            ]
        );
    }

    #[test]
    fn qualified_image_stands_as_it_is() {
        for name in ["localhost/a:1", "board:5000/a:1", "quay.example/a/b:1", "localhost/client1/a:1"] {
            assert_eq!(candidates(name, &["board:5000"]), [name]);
        }
    }

    #[test]
    fn an_image_of_another_tenant_is_nowhere() {
        assert_eq!(candidates("localhost/client2/a:1", &[]), [] as [&str; 0]);
        assert_eq!(candidates("client2/a:1", &[]), ["localhost/client1/client2/a:1"]);
        assert_eq!(candidates("localhost/client2/a:1", &["localhost/client2"]), ["localhost/client2/a:1"]);
        assert_eq!(candidates("team/a:1", &["localhost/team"])[1], "localhost/team/a:1");
    }
}
