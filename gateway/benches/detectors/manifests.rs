//! Objects of Kubernetes in files.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use sallyport::proxy::content::read_object;
use serde_json::Value;

pub(crate) struct Document {
    pub(crate) file: PathBuf,
    pub(crate) object: Value,
}

/// In the order of their names. Templates and what else is no YAML are left out.
pub(crate) fn documents(root: &Path) -> io::Result<Vec<Document>> {
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    let mut documents = Vec::new();
    for file in files {
        let bytes = fs::read(&file)?;
        let Ok(text) = str::from_utf8(&bytes) else {
            continue;
        };
        let inside = file.strip_prefix(root).unwrap_or(&file);
        let objects = pieces(text, &file).into_iter().filter_map(object);
        documents.extend(objects.map(|object| Document {
            file: inside.to_owned(),
            object,
        }));
    }
    Ok(documents)
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            collect(&path, files)?;
        } else if kind.is_file() && format(&path).is_some() {
            files.push(path);
        }
    }
    Ok(())
}

fn format(path: &Path) -> Option<&'static str> {
    match path.extension()?.to_str()? {
        "yaml" | "yml" => Some("application/yaml"),
        "json" => Some("application/json"),
        _ => None,
    }
}

/// The documents of a file, and their format.
fn pieces(text: &str, file: &Path) -> Vec<(&'static str, String)> {
    let format = format(file).expect("files of other formats were not collected");
    if format == "application/json" {
        return vec![(format, text.to_owned())];
    }
    let mut pieces = vec![String::new()];
    for line in text.split_inclusive('\n') {
        let last = pieces.last_mut().expect("there is one at first");
        match line.trim_end() == "---" || line.starts_with("--- ") {
            true => pieces.push(String::new()),
            false => last.push_str(line),
        }
    }
    pieces.into_iter().map(|piece| (format, piece)).collect()
}

fn object((format, text): (&'static str, String)) -> Option<Value> {
    let object = read_object(format, text.as_bytes()).ok()?;
    let says = |member: &str| object[member].as_str().is_some_and(|text| !text.is_empty());
    (says("apiVersion") && says("kind")).then_some(object)
}
