//! The image's bill of materials, as SPDX 2.3 in JSON: packages, files, and which file is made of which package.
//!
//! It says nothing that is not known: licences are in the image as texts (`licences`), and nobody has judged them here.

use std::fmt::Write as _;
use std::io;

use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};

use crate::contents::{Contents, Entry};
use crate::digest::Digest;
use crate::origin::Source;
use crate::tree::{Content, Kind, Tree};

const NOTHING_SAID: &str = "NOASSERTION";
const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const IMAGE: &str = "SPDXRef-Image";
const LAUNCHER: &str = "SPDXRef-Launcher";
const UPSTREAM: &str = "SPDXRef-Engine";

/// The document, in the same bytes for the same image.
pub(crate) fn document(contents: &Contents, tree: &Tree, created: &str) -> io::Result<Vec<u8>> {
    let name = format!("docker-from-scratch-{}-{}", contents.suite, contents.architecture);
    let files: Vec<(&Entry, &Content)> = contents
        .entries
        .iter()
        .filter_map(|entry| match &tree.get(&entry.path)?.kind {
            Kind::File(content) => Some((entry, content)),
            _ => None,
        })
        .collect();
    let sums =
        files.iter().map(|(_, content)| sha1(content.reader())).collect::<io::Result<Vec<String>>>()?;
    let mut packages = vec![image(contents, &sums)?, launcher()];
    packages.extend(contents.engine.map(|digest| {
        let mut value = package_entry(UPSTREAM, "docker", NOTHING_SAID);
        value["checksums"] = json!([checksum("SHA256", &digest.hex())]);
        value
    }));
    packages.extend(contents.packages.iter().map(|package| {
        let mut value = package_entry(&package_id(&package.name), &package.name, &package.version);
        value["checksums"] = json!([checksum("SHA256", &package.digest.hex())]);
        value["packageFileName"] = json!(package.path.rsplit('/').next());
        value["supplier"] = json!("Organization: Debian");
        value["externalRefs"] = json!([{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": format!(
                "pkg:deb/debian/{}@{}?arch={}&distro={}",
                encoded(&package.name),
                encoded(&package.version),
                package.architecture,
                contents.suite
            ),
        }]);
        value
    }));
    let mut relationships = vec![relationship(DOCUMENT, "DESCRIBES", IMAGE)];
    for (entry, _) in &files {
        let file = file_id(&entry.path);
        relationships.push(relationship(IMAGE, "CONTAINS", &file));
        let Some(origin) = &entry.origin else { continue };
        match &origin.source {
            Source::Package { name, .. } => {
                relationships.push(relationship(&file, "GENERATED_FROM", &package_id(name)));
            }
            Source::Upstream { .. } => relationships.push(relationship(&file, "GENERATED_FROM", UPSTREAM)),
            Source::Launcher => relationships.push(relationship(&file, "GENERATED_FROM", LAUNCHER)),
            _ => {}
        }
        // Some are named by a link as well, of which SPDX knows nothing.
        let is_file = |path: &&String| files.iter().any(|(entry, _)| entry.path == **path);
        for needing in origin.needed_by.iter().filter(is_file) {
            relationships.push(relationship(&file_id(needing), "DYNAMIC_LINK", &file));
        }
    }
    let document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": DOCUMENT,
        "name": name,
        "documentNamespace": format!("https://spdx.org/spdxdocs/{name}-{}", contents.tree_digest.hex()),
        "creationInfo": {
            "created": created,
            "creators": [format!("Tool: from-scratch-{}", env!("CARGO_PKG_VERSION"))],
        },
        "packages": packages,
        "files": files.iter().zip(&sums).map(|((entry, content), sum)| file_entry(entry, content, sum)).collect::<Vec<_>>(),
        "relationships": relationships,
    });
    let mut bytes = serde_json::to_vec_pretty(&document)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn package_entry(id: &str, name: &str, version: &str) -> Value {
    json!({
        "SPDXID": id,
        "name": name,
        "versionInfo": version,
        "downloadLocation": NOTHING_SAID,
        "filesAnalyzed": false,
        "licenseConcluded": NOTHING_SAID,
        "licenseDeclared": NOTHING_SAID,
        "copyrightText": NOTHING_SAID,
    })
}

/// With the one sum over all files that the specification describes.
fn image(contents: &Contents, sums: &[String]) -> io::Result<Value> {
    let mut sums = sums.to_vec();
    sums.sort();
    let mut image = package_entry(IMAGE, "docker-from-scratch", &contents.tree_digest.to_string());
    image["filesAnalyzed"] = json!(true);
    image["packageVerificationCode"] =
        json!({ "packageVerificationCodeValue": sha1(sums.concat().as_bytes())? });
    image["licenseInfoFromFiles"] = json!([NOTHING_SAID]);
    image["primaryPackagePurpose"] = json!("CONTAINER");
    Ok(image)
}

fn launcher() -> Value {
    let mut launcher = package_entry(LAUNCHER, "dockerlaunch", env!("CARGO_PKG_VERSION"));
    launcher["licenseDeclared"] = json!("Apache-2.0");
    launcher
}

/// SPDX wants it of each file, whatever else there is.
fn sha1(mut bytes: impl io::Read) -> io::Result<String> {
    let mut hasher = Sha1::new();
    io::copy(&mut bytes, &mut hasher)?;
    Ok(hasher.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

fn file_entry(entry: &Entry, content: &Content, sha1: &str) -> Value {
    json!({
        "SPDXID": file_id(&entry.path),
        "fileName": format!("./{}", entry.path),
        "checksums": [checksum("SHA1", sha1), checksum("SHA256", &content.digest().hex())],
        "licenseConcluded": NOTHING_SAID,
        "licenseInfoInFiles": [NOTHING_SAID],
        "copyrightText": NOTHING_SAID,
    })
}

fn checksum(algorithm: &str, value: &str) -> Value {
    json!({ "algorithm": algorithm, "checksumValue": value })
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

/// Identifiers have letters, digits, dots and dashes; no two packages differ in a plus alone.
fn package_id(name: &str) -> String {
    format!("SPDXRef-Package-{}", name.replace('+', "-plus-"))
}

/// A path has characters that an identifier must not have, so its digest stands for it.
fn file_id(path: &str) -> String {
    format!("SPDXRef-File-{}", &Digest::of(path.as_bytes()).hex()[..16])
}

/// As a purl wants it.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':' => {
                out.push(byte.into())
            }
            byte => drop(write!(out, "%{byte:02X}")),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::build::PackageRecord;
    use crate::contents;
    use crate::origin::{LIBRARIES, Origin};

    #[test]
    fn the_document_names_every_package_and_file() {
        let digest = Digest::of(b"deb");
        let source = |name: &str| Source::Package {
            name: name.to_owned(),
            version: "1+2~3".to_owned(),
            digest,
            paths: vec![],
        };
        let mut tree = Tree::new();
        let mut place = |path: &str, origin: Origin| {
            let kind = Kind::File(Content::new(path.as_bytes()));
            tree.place(path, 0o644, kind, &Arc::new(origin)).unwrap();
        };
        place("bin/x", Origin::plain("x", source("libstdc++6")));
        place(
            "lib/y",
            Origin { needed_by: vec!["bin/x".to_owned()], ..Origin::plain(LIBRARIES, source("y")) },
        );
        let tarball = Source::Upstream { digest, path: "docker/dockerd".to_owned() };
        place("bin/dockerd", Origin::plain("engine", tarball));
        place("bin/launcher", Origin::plain("launcher", Source::Launcher));
        let package = |name: &str| PackageRecord {
            name: name.to_owned(),
            version: "1+2~3".to_owned(),
            architecture: "amd64".to_owned(),
            path: "pool/x.deb".to_owned(),
            size: 1,
            digest,
        };
        let contents = Contents {
            suite: "forky".to_owned(),
            architecture: "amd64",
            components: vec![],
            packages: vec![package("libstdc++6"), package("y")],
            opened: vec![],
            engine: Some(Digest::of(b"tarball")),
            tree_digest: tree.digest(),
            entries: contents::entries(&tree),
        };
        let text = document(&contents, &tree, "1970-01-01T00:00:00Z").unwrap();
        assert_eq!(text, document(&contents, &tree, "1970-01-01T00:00:00Z").unwrap());
        insta::assert_snapshot!(String::from_utf8(text).unwrap());
    }
}
