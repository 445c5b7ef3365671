//! The instruments of a board: which image drives each.
//!
//! Must not: ask whether the image is aboard; `perigeed --check` does.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::{ConfigError, value};
use crate::bundle::NodeName;
use crate::plan::Instrument;
use crate::podman::images::{is_operators, is_qualified};

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct InstrumentsFragment {
    pub(super) fisheye: Option<InstrumentFragment>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InstrumentFragment {
    image: String,
    #[serde(default)]
    command: Option<Vec<String>>,
    #[serde(default)]
    node: Option<String>,
}

impl InstrumentsFragment {
    pub(super) fn or(self, other: Self) -> Self {
        Self { fisheye: self.fisheye.or(other.fisheye) }
    }
}

pub(super) fn settle_fisheye(
    given: Option<InstrumentFragment>,
    nodes: &BTreeMap<NodeName, PathBuf>,
    prefixes: &[String],
) -> Result<Option<Instrument>, ConfigError> {
    const KEY: &str = "instruments.fisheye";
    let Some(InstrumentFragment { image, command, node }) = given else { return Ok(None) };
    // A bare name would be looked up among the tenant's own images first.
    let tagged = image.rsplit('/').next().is_some_and(|last| last.contains(':'));
    if !is_qualified(&image) || !tagged {
        return Err(value(KEY, format!("image: found `{image}`, expected a full name such as localhost/fisheye:1")));
    }
    let tenants = image.strip_prefix("localhost/").is_some_and(|rest| rest.contains('/'));
    if tenants && !is_operators(&image, prefixes) {
        let message =
            format!("image: `{image}` is a tenant's by its name; rename it, or add its folder to image_prefixes");
        return Err(value(KEY, message));
    }
    let node = node.map(|name| {
        let legal = NodeName::any_case(&name).ok().filter(|name| nodes.contains_key(name));
        legal.ok_or_else(|| value(KEY, format!("node: `{name}` is not among the nodes")))
    });
    Ok(Some(Instrument { image, command, node: node.transpose()? }))
}
