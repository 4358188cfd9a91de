//! What a URL names: a folder or bucket to start from, and a pattern below it. Pure, but for
//! [`Location::means`], which follows links.

use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use thalweg_core::endpoint::has_credentials;
use thalweg_core::error::{Error, Result};
use url::Url;

/// A parsed URL of a source or sink.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    /// Where names start from.
    pub(crate) root: Root,
    /// What is looked for below it, with `/` between components: a name, or a glob.
    pub(crate) rest: String,
    /// The glob, where [`Location::rest`] is one.
    pub(crate) glob: Option<GlobMatcher>,
    /// The root as the user wrote it, ready to be put before a name.
    shown: String,
}

/// Where the names of a location start from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// A folder.
    Local(PathBuf),
    /// A bucket and a prefix in it, without slashes at its ends.
    S3 {
        /// The bucket.
        bucket: String,
        /// The prefix.
        prefix: String,
    },
}

impl Location {
    /// Parses a URL; a relative path starts from `base_dir`.
    ///
    /// # Errors
    /// A URL of another scheme, or a glob that is none.
    pub(crate) fn parse(url: &str, base_dir: &Path) -> Result<Self> {
        if has_credentials(url) {
            let hint = "name Secrets by `s3.accessKeyFrom` and `s3.secretKeyFrom`, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
            return Err(Error::user("`files.url`", "it holds credentials, expected `s3://BUCKET/PATH`").with_hint(hint));
        }
        let (fixed, rest) = split_pattern(url.trim_end_matches('/'));
        let glob = is_pattern(rest).then(|| matcher(url, rest)).transpose()?;
        let root = if let Some(path) = url.strip_prefix("s3://") {
            s3_root(url, &fixed[fixed.len().min("s3://".len())..], path)?
        } else {
            let root = base_dir.join(local_path(url, fixed)?);
            // The folder of a manifest that was named without one.
            Root::Local(if root.as_os_str().is_empty() { PathBuf::from(".") } else { root })
        };
        let shown = if fixed.is_empty() || fixed.ends_with('/') { fixed.to_owned() } else { format!("{fixed}/") };
        Ok(Self { root, rest: rest.to_owned(), glob, shown })
    }

    /// A folder to write into: all of the URL is its root.
    ///
    /// # Errors
    /// As [`Location::parse`].
    pub(crate) fn folder(url: &str, base_dir: &Path) -> Result<Self> {
        if is_pattern(url) && !has_credentials(url) {
            let what = format!("`files.url` `{url}`");
            return Err(Error::user(what, "a sink writes into one folder, and this is a pattern"));
        }
        let whole = format!("{}/*", url.trim_end_matches('/'));
        Self::parse(&whole, base_dir).map_err(|error| Error { what: error.what.replace(&whole, url), ..error })
    }

    /// A file as people know it.
    pub(crate) fn shown(&self, name: &str) -> String {
        format!("{}{name}", self.shown)
    }

    /// Whether a name below the root is meant.
    pub(crate) fn matches(&self, name: &str) -> bool {
        match &self.glob {
            Some(glob) => glob.is_match(name),
            None => name.strip_prefix(&self.rest).is_some_and(|below| below.is_empty() || below.starts_with('/')),
        }
    }

    /// Whether it means a file of this name, so many folders below another location's root.
    pub(crate) fn means(&self, folder: &Self, levels: usize, name: &str) -> bool {
        let below = format!("{}{name}", "any/".repeat(levels));
        let path = match (&self.root, &folder.root) {
            (Root::Local(root), Root::Local(folder)) => {
                let path = real(folder).join(below);
                path.strip_prefix(real(root)).ok().map(|path| path.display().to_string())
            }
            (Root::S3 { bucket, prefix }, Root::S3 { bucket: other, prefix: folder }) if bucket == other => {
                let path = format!("{folder}/{below}");
                path.strip_prefix(prefix.as_str()).map(|path| path.trim_start_matches('/').to_owned())
            }
            _ => None,
        };
        path.is_some_and(|path| self.matches(&path))
    }

    /// How many folders deep a match can lie; `None` has no limit.
    pub(crate) fn depth(&self) -> Option<usize> {
        let bounded = self.glob.is_some() && !self.rest.contains("**");
        bounded.then(|| self.rest.matches('/').count())
    }
}

/// A path from the root, without links and `..`, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.components().fold(PathBuf::new(), |mut real, part| {
        match part {
            Component::ParentDir => {
                real.pop();
            }
            part => real.push(part),
        }
        real.canonicalize().unwrap_or(real)
    })
}

/// Whether a text has characters that a glob gives a meaning.
fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

/// The folders before the first one with a pattern (else before the last component), and the rest.
fn split_pattern(url: &str) -> (&str, &str) {
    let fixed_until = url.find(['*', '?', '[', '{']).unwrap_or(url.len());
    match url[..fixed_until].rfind('/') {
        Some(slash) => (&url[..=slash], &url[slash + 1..]),
        None => ("", url),
    }
}

fn matcher(url: &str, pattern: &str) -> Result<GlobMatcher> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|error| Error::user(format!("`files.url` `{url}`"), error))
}

fn s3_root(url: &str, fixed: &str, path: &str) -> Result<Root> {
    let bucket = path.split('/').next().unwrap_or_default();
    if bucket.is_empty() || is_pattern(bucket) || !path.contains('/') {
        let what = format!("`files.url` `{url}`");
        return Err(Error::user(what, "expected `s3://BUCKET/PATH`, with a bucket that is no pattern"));
    }
    let prefix = fixed.strip_prefix(bucket).unwrap_or_default().trim_matches('/');
    Ok(Root::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

/// The path of a local URL's fixed part.
fn local_path(url: &str, fixed: &str) -> Result<PathBuf> {
    let Some((scheme, _)) = url.split_once("://") else { return Ok(PathBuf::from(fixed)) };
    if scheme != "file" {
        let what = format!("`files.url` `{url}`");
        return Err(Error::user(
            what,
            format!("the scheme `{scheme}` is unknown; expected a path, `file://`, `s3://`"),
        ));
    }
    let parsed = Url::parse(fixed).ok().and_then(|url| url.to_file_path().ok());
    parsed.ok_or_else(|| Error::user(format!("`files.url` `{url}`"), "expected `file:///` and an absolute path"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Location {
        Location::parse(url, Path::new("/manifests")).expect("a location")
    }

    #[test]
    fn a_relative_path_starts_from_the_manifest() {
        let one = parse("data/trips.json");
        assert_eq!(one.root, Root::Local("/manifests/data/".into()));
        assert_eq!(one.shown("trips.json"), "data/trips.json");
        assert!(one.matches("trips.json") && one.matches("trips.json/part") && !one.matches("trips.json.gz"));
        assert_eq!(parse("trips.json").shown("trips.json"), "trips.json");
        let here = Location::parse("*.json", Path::new("")).expect("a location");
        assert_eq!(here.root, Root::Local(".".into()), "the manifest was named without a folder");
    }

    #[test]
    fn a_glob_starts_below_its_last_plain_folder() {
        let glob = parse("/data/day=*/*.json");
        assert_eq!((&glob.root, glob.depth()), (&Root::Local("/data/".into()), Some(1)));
        assert!(glob.matches("day=1/a.json") && !glob.matches("day=1/b/a.json"));
        assert!(parse("/data/**/*.json").matches("a/b/c.json"));
    }

    #[test]
    fn s3_has_a_bucket_and_a_prefix() {
        let glob = parse("s3://bucket/in/*.json");
        assert_eq!(glob.root, Root::S3 { bucket: "bucket".into(), prefix: "in".into() });
        assert_eq!(glob.shown("a.json"), "s3://bucket/in/a.json");
        let folder = Location::folder("s3://bucket/out/", Path::new("/")).expect("a folder");
        assert_eq!(folder.root, Root::S3 { bucket: "bucket".into(), prefix: "out".into() });
    }

    #[test]
    fn a_sink_into_the_folder_of_a_source_is_seen_whatever_stands_between() {
        let folder = |url: &str| Location::folder(url, Path::new("/manifests")).expect("a folder");
        for (source, sink, levels, means) in [
            ("data/*.json", "data", 0, true),
            ("data/*.json", "./data/", 0, true),
            ("data/*.json", "data", 1, false),
            ("data/*.json", "out", 0, false),
            ("data", "data/out", 2, true),
            ("data/**/*.json", "data/out", 2, true),
            ("data/*.csv", "data", 0, false),
            ("s3://b/in/*.json", "s3://b/in", 0, true),
            ("s3://b/in/*.json", "s3://c/in", 0, false),
        ] {
            assert_eq!(parse(source).means(&folder(sink), levels, "p.json"), means, "{source} {sink}");
        }
        let error = Location::folder("out/*", Path::new("/")).expect_err("a pattern").to_string();
        assert!(error.contains("`out/*`") && error.contains("a pattern"), "{error}");
    }

    #[test]
    fn one_folder_has_many_names() {
        let place = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(place.path().join("data")).expect("made");
        std::os::unix::fs::symlink("data", place.path().join("link")).expect("linked");
        let source = Location::parse("data/*.json", place.path()).expect("a location");
        let absolute = place.path().join("data").display().to_string();
        for sink in ["link", "out/../data", "./data/.", &absolute] {
            let folder = Location::folder(sink, place.path()).expect("a folder");
            assert!(source.means(&folder, 0, "p.json"), "{sink}");
        }
        assert!(!source.means(&Location::folder("out/data", place.path()).expect("a folder"), 0, "p.json"));
    }

    #[test]
    fn credentials_in_a_url_are_refused_and_never_shown() {
        for url in ["s3://AKIA7:s3cr3t@bucket/in/*.json", "s3://AKIA7@bucket", "https://AKIA7:s3cr3t@host/x"] {
            for error in [Location::parse(url, Path::new("/")), Location::folder(url, Path::new("/"))] {
                let error = error.expect_err(url).to_string();
                assert!(error.contains("it holds credentials"), "{error}");
                assert!(!error.contains("AKIA7") && !error.contains("s3cr3t"), "{error}");
            }
        }
        for url in ["s3://bucket/in@home/*.json", "in@home/a:b.json"] {
            Location::parse(url, Path::new("/")).expect(url);
        }
    }

    #[test]
    fn another_scheme_and_a_broken_glob_are_refused_by_name() {
        for (url, found) in [("gs://b/x", "`gs`"), ("a[", "unclosed"), ("s3:///x", "BUCKET")] {
            let error = Location::parse(url, Path::new("/")).expect_err(url).to_string();
            assert!(error.contains(found) && error.contains(url), "{error}");
        }
    }
}
