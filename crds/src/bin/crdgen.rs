//! Prints the custom resource definitions as YAML, or writes what is generated from them.
//!
//! `crdgen CHART_FOLDER SCHEMAS_FILE` writes one YAML file a kind into the folder, and the schemas that local manifests
//! are checked by into the file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use thalweg_crds::definition::{definitions, file_name, schemas_json, to_template, to_yaml};

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    match arguments.as_slice() {
        [] => {
            definitions().iter().for_each(|definition| print!("---\n{}", to_yaml(definition)));
            ExitCode::SUCCESS
        }
        [chart, schemas] => generate(chart, schemas),
        _ => {
            println!("usage: crdgen [CHART_FOLDER SCHEMAS_FILE]");
            ExitCode::from(2)
        }
    }
}

fn generate(chart: &Path, schemas: &Path) -> ExitCode {
    let definitions = definitions();
    let files = definitions.iter().map(|definition| (chart.join(file_name(definition)), to_template(definition)));
    for (path, text) in files.chain([(schemas.to_owned(), schemas_json())]) {
        // What is as it should be keeps its time, and with it all that was built from it.
        if std::fs::read_to_string(&path).is_ok_and(|found| found == text) {
            continue;
        }
        if let Err(error) = std::fs::write(&path, text) {
            println!("{}: {error}; give a folder that exists and can be written", path.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
