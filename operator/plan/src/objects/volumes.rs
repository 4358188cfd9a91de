//! What is mounted into workers: the plan, the values that resources name, a place for temporary files.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, KeyToPath, SecretVolumeSource, Volume, VolumeMount,
};

use super::Build;
use crate::mounts::Keys;
use crate::names::PLAN_VOLUME;

/// Folder of the plan.
const PLAN: &str = "/etc/thalweg/plan";
/// Folder of Secrets, `NAME/KEY` each.
const SECRETS: &str = "/etc/thalweg/secrets";
/// Folder of ConfigMaps, `NAME/KEY` each.
const CONFIGS: &str = "/etc/thalweg/configs";

impl Build<'_> {
    /// Volumes and where they are mounted.
    pub(super) fn volumes(&self) -> (Vec<Volume>, Vec<VolumeMount>) {
        let plan =
            ConfigMapVolumeSource { name: self.pipeline.names.plan(&self.pipeline.plan.hash), ..Default::default() };
        let tmp =
            Volume { name: "tmp".to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() };
        let mut all = vec![
            (Volume { name: PLAN_VOLUME.to_owned(), config_map: Some(plan), ..Volume::default() }, PLAN.to_owned()),
            (tmp, "/tmp".to_owned()),
        ];
        all.extend(numbered(&self.pipeline.mounts.secrets, "secret", SECRETS, secret));
        all.extend(numbered(&self.pipeline.mounts.config_maps, "config", CONFIGS, config_map));
        all.into_iter()
            .map(|(volume, path)| (mount(&volume, path), volume))
            .map(|(mount, volume)| (volume, mount))
            .unzip()
    }
}

/// Volumes are numbered: a name of 253 characters is none for a volume.
fn numbered<'a>(
    keys: &'a Keys,
    prefix: &'a str,
    folder: &'a str,
    volume: fn(&str, Vec<KeyToPath>) -> Volume,
) -> impl Iterator<Item = (Volume, String)> + 'a {
    keys.iter().enumerate().map(move |(index, (name, keys))| {
        let volume = Volume { name: format!("{prefix}-{index}"), ..volume(name, items(keys)) };
        (volume, format!("{folder}/{name}"))
    })
}

fn secret(name: &str, items: Vec<KeyToPath>) -> Volume {
    let source =
        SecretVolumeSource { secret_name: Some(name.to_owned()), items: Some(items), ..SecretVolumeSource::default() };
    Volume { secret: Some(source), ..Volume::default() }
}

fn config_map(name: &str, items: Vec<KeyToPath>) -> Volume {
    let source =
        ConfigMapVolumeSource { name: name.to_owned(), items: Some(items), ..ConfigMapVolumeSource::default() };
    Volume { config_map: Some(source), ..Volume::default() }
}

fn items(keys: &BTreeSet<String>) -> Vec<KeyToPath> {
    keys.iter().map(|key| KeyToPath { key: key.clone(), path: key.clone(), mode: None }).collect()
}

fn mount(volume: &Volume, path: String) -> VolumeMount {
    let read_only = (volume.name != "tmp").then_some(true);
    VolumeMount { name: volume.name.clone(), mount_path: path, read_only, ..VolumeMount::default() }
}
