//! Prints the custom resource definitions as YAML, or writes one file a kind into the folder that is given.

use std::path::PathBuf;
use std::process::ExitCode;

use thalweg_crds::definition::{definitions, file_name, to_yaml};

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        definitions().iter().for_each(|definition| print!("---\n{}", to_yaml(definition)));
        return ExitCode::SUCCESS;
    };
    for definition in definitions() {
        let path = folder.join(file_name(&definition));
        if let Err(error) = std::fs::write(&path, to_yaml(&definition)) {
            println!("{}: {error}; give a folder that exists and can be written", path.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
