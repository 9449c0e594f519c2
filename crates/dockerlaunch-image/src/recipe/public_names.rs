//! The names in `/usr/bin` and `/usr/local/bin` that people call programs by, and the client's plugins.

use std::sync::Arc;

use super::{RecipeError, Trees, place_link_at};
use crate::origin::Origin;
use crate::tree::Tree;
use crate::{CLI_PLUGIN_DIR, PRIVATE_DIR};

/// A name that people call something by.
pub(super) struct PublicName {
    name: String,
    /// What it names, under the private directory.
    to: String,
    /// Container images have it in `/usr/local/bin` too.
    local: bool,
    origin: Arc<Origin>,
}

pub(super) fn names(public: &[String], to: &str, local: bool, origin: &Arc<Origin>) -> Vec<PublicName> {
    let name = |name: &String| PublicName {
        name: name.clone(),
        to: to.to_owned(),
        local,
        origin: Arc::clone(origin),
    };
    public.iter().map(name).collect()
}

pub(super) fn add_public_names(mut tree: Tree, public: &[PublicName]) -> Result<Trees, RecipeError> {
    let below_usr = PRIVATE_DIR.trim_start_matches("usr/");
    for PublicName { name, to, origin, .. } in public {
        place_link_at(&mut tree, &format!("usr/bin/{name}"), format!("../{below_usr}/{to}"), origin)?;
    }
    let mut container = tree.clone();
    for PublicName { name, to, origin, .. } in public.iter().filter(|name| name.local) {
        let path = format!("usr/local/bin/{name}");
        place_link_at(&mut container, &path, format!("../../{below_usr}/{to}"), origin)?;
    }
    Ok(Trees { embedding: tree, container })
}

pub(super) fn add_cli_plugin(tree: &mut Tree, to: &str, origin: &Arc<Origin>) -> Result<(), RecipeError> {
    let name = to.rsplit('/').next().unwrap_or(to);
    let below_usr = PRIVATE_DIR.trim_start_matches("usr/");
    let target = format!("../../../{below_usr}/{to}");
    place_link_at(tree, &format!("{CLI_PLUGIN_DIR}/{name}"), target, origin)
}
