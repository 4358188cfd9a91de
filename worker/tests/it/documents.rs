//! Every command of the README and of the guide runs as it is written, page by page, in a folder of its own.
//!
//! A fenced block is a file where `<!-- file: NAME -->` stands before it. The commands of a `console` block run in
//! order; the last one exits with 0, or with what `<!-- exit: N -->` says, the ones before with 0. A line below a
//! command must be a line of what it printed; `…` stands for anything, as a line and within one. A block after
//! `<!-- not run: WHY -->` is left alone, and so are commands of other programs than those that every system has. What is
//! left in the background (`&`) writes into files, and ends by itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::command::{Workplace, text};

/// Programs besides `thalweg` that a page may use.
const RUN: [&str; 9] = ["thalweg", "cat", "ls", "head", "sort", "wc", "timeout", "rm", "sed"];
const NOT_RUN: [&str; 4] = ["make", "git", "cargo", "kubectl"];

#[derive(Debug, Default)]
struct Markers {
    file: Option<String>,
    exit: i32,
    not_run: bool,
}

#[derive(Debug)]
struct Block {
    line: usize,
    language: String,
    markers: Markers,
    lines: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

fn pages() -> Vec<PathBuf> {
    let guide = std::fs::read_dir(root().join("docs/guide")).expect("the guide");
    let mut pages: Vec<_> = guide.map(|entry| entry.expect("readable").path()).collect();
    pages.push(root().join("README.md"));
    pages.sort();
    pages
}

fn blocks(page: &str) -> Vec<Block> {
    let (mut blocks, mut markers, mut open) = (Vec::new(), Markers::default(), None::<Block>);
    for (number, line) in page.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => block.lines.push(line.to_owned()),
            (None, Some(language)) => {
                let markers = std::mem::take(&mut markers);
                open = Some(Block { line: number + 1, language: language.to_owned(), markers, lines: vec![] });
            }
            (None, None) => mark(&mut markers, line),
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

fn mark(markers: &mut Markers, line: &str) {
    let Some(comment) = line.strip_prefix("<!-- ").and_then(|line| line.strip_suffix(" -->")) else { return };
    match comment.split_once(": ") {
        Some(("file", name)) => markers.file = Some(name.to_owned()),
        Some(("exit", code)) => markers.exit = code.parse().expect("an exit code"),
        Some(("not run", why)) => markers.not_run = !why.is_empty(),
        _ => panic!("unknown marker `{comment}`"),
    }
}

/// Commands with the lines that are shown below them.
fn commands(block: &Block) -> Vec<(String, Vec<String>)> {
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    for line in &block.lines {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.split("  #").next().unwrap_or(command).to_owned(), vec![])),
            (None, Some((_, shown))) if !line.trim().is_empty() => shown.push(line.clone()),
            (None, None) => panic!("line {}: output before a command: {line}", block.line),
            _ => {}
        }
    }
    commands
}

/// Whether a printed line is the one that is shown, in which `…` stands for anything.
fn fits(shown: &str, printed: &str) -> bool {
    let parts: Vec<&str> = shown.trim().split('…').collect();
    let mut rest = printed.trim();
    for (index, part) in parts.iter().enumerate() {
        let at = match (index, index + 1 == parts.len()) {
            (0, true) => return rest == *part,
            (0, false) => rest.starts_with(part).then_some(0),
            (_, true) => return rest.ends_with(part),
            (_, false) => rest.find(part),
        };
        match at {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

fn run(place: &Workplace, command: &str) -> (i32, String) {
    let program = command.split(' ').next().unwrap_or_default();
    assert!(RUN.contains(&program), "`{program}` is no program that a page may use");
    let binary = Path::new(env!("CARGO_BIN_EXE_thalweg"));
    let path = format!("{}:{}", binary.parent().expect("a folder").display(), std::env::var("PATH").expect("a PATH"));
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("{{ {command}\n}} 2>&1")])
        .env("PATH", path)
        .current_dir(place.path("."))
        .stdin(Stdio::null());
    let output = shell.output().expect("a shell");
    (output.status.code().unwrap_or(137), text(&output.stdout))
}

fn check_block(place: &Workplace, page: &str, block: &Block) {
    let commands = commands(block);
    let count = commands.len();
    for (index, (command, shown)) in commands.into_iter().enumerate() {
        let at = format!("{page}:{}: `{command}`", block.line);
        if NOT_RUN.contains(&command.split(' ').next().unwrap_or_default()) {
            continue;
        }
        let (exit, printed) = run(place, &command);
        let expected = if index + 1 == count { block.markers.exit } else { 0 };
        assert_eq!(exit, expected, "{at} printed:\n{printed}");
        for line in shown {
            assert!(printed.lines().any(|found| fits(&line, found)), "{at}: no line `{line}` in:\n{printed}");
        }
    }
}

#[test]
fn every_command_of_the_readme_and_the_guide_runs_as_written() {
    for path in pages() {
        let page = path.strip_prefix(root()).expect("in the workspace").display().to_string();
        let place = Workplace::new();
        let mut commands = 0;
        for block in blocks(&std::fs::read_to_string(&path).expect("a page")) {
            match (&block.markers.file, block.language.as_str()) {
                (Some(name), _) => drop(place.write(name, &format!("{}\n", block.lines.join("\n")))),
                (None, _) if block.markers.not_run => commands += 1,
                (None, "console") => {
                    check_block(&place, &page, &block);
                    commands += 1;
                }
                (None, "text") => {}
                (None, other) => panic!("{page}:{}: a block of `{other}` that no test reads", block.line),
            }
        }
        assert!(commands > 0, "{page} has no command");
    }
}

#[test]
fn every_link_of_the_documents_leads_to_a_file() {
    for path in pages().into_iter().chain([root().join("docs/architecture.md"), root().join("CONTRIBUTING.md")]) {
        let text = std::fs::read_to_string(&path).expect("a page");
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://") && !link.starts_with('#')) {
            let file = link.split('#').next().unwrap_or(link);
            let target = path.parent().expect("a folder").join(file);
            assert!(target.exists(), "{}: no file `{link}`", path.display());
        }
    }
}

#[test]
fn every_name_of_code_in_what_contributors_read_is_in_the_code() {
    let is_name = |text: &str| {
        text.contains('_') && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let code: Vec<String> = sources(&root()).iter().map(|file| std::fs::read_to_string(file).expect("text")).collect();
    let mut seen = 0;
    for page in ["CONTRIBUTING.md", "docs/architecture.md"] {
        let text = std::fs::read_to_string(root().join(page)).expect("a page");
        // Blocks of commands are run, or marked as not run.
        let prose = text.split("```").step_by(2);
        let quoted = prose.flat_map(|part| part.split('`').skip(1).step_by(2));
        for name in quoted.map(|name| name.trim_end_matches("()")).filter(|name| is_name(name)) {
            assert!(code.iter().any(|file| file.contains(name)), "{page}: there is no `{name}`");
            seen += 1;
        }
    }
    assert!(seen > 5, "{seen} names");
}

/// The sources below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let is_ours = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name != "target" && !name.to_string_lossy().starts_with('.'))
    };
    let below = folders.into_iter().filter(is_ours).flat_map(|folder| sources(&folder));
    files.into_iter().filter(|file| file.extension().is_some_and(|ending| ending == "rs")).chain(below).collect()
}

#[test]
fn a_shown_line_stands_for_the_printed_one() {
    assert!(fits("a … b", "a 1.5 s b"));
    assert!(fits("…", "anything"));
    assert!(fits("  same", "same"));
    assert!(!fits("a … b", "a 1.5 s c"));
    assert!(!fits("same", "same, and more"));
}

#[test]
fn every_function_that_the_guide_lists_exists() {
    let page = std::fs::read_to_string(root().join("docs/guide/sql.md")).expect("the page");
    let from = page.find("## Functions").expect("the section");
    let table = &page[from..from + page[from..].find("Times are UTC").expect("the end of the table")];
    let is_name = |text: &&str| text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let names: Vec<&str> = table.split('`').skip(1).step_by(2).filter(is_name).collect();
    assert!(names.len() > 80, "{} functions", names.len());
    let statements = names.iter().map(|name| format!("    INSERT INTO out SELECT {name}(zone) AS x FROM trips;\n"));
    let manifest = format!(
        "apiVersion: thalweg.dev/v1alpha1\nkind: StreamSource\nmetadata: {{ name: trips }}\nspec:\n  \
         generator: {{ taxi: {{}} }}\n  schema: [{{ name: zone, type: INT, from: pickup_location_id }}]\n---\n\
         apiVersion: thalweg.dev/v1alpha1\nkind: StreamSink\nmetadata: {{ name: out }}\n\
         spec: {{ blackhole: {{}} }}\n---\n\
         apiVersion: thalweg.dev/v1alpha1\nkind: StreamPipeline\nmetadata: {{ name: p }}\nspec:\n  \
         sources: [{{ name: trips }}]\n  sinks: [{{ name: out }}]\n  sql: |\n{}    \
         INSERT INTO out SELECT nosuchfunction(zone) AS x FROM trips\n",
        statements.collect::<String>()
    );
    let place = Workplace::new();
    place.write("p.yaml", &manifest);
    let said = text(&place.run(&["check", "p.yaml"]).stderr);
    let missing: Vec<&str> = said.lines().filter(|line| line.contains("there is no function")).collect();
    assert!(missing.len() == 1 && missing[0].contains("NOSUCHFUNCTION"), "{missing:#?}");
}
