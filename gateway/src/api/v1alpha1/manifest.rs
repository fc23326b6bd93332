//! Objects read from a directory of YAML files, as strictly as the API server validates them and with
//! errors that say where.

use std::{
    fmt,
    io::Cursor,
    path::{Path, PathBuf},
};

use kube::{Resource, core::object::HasSpec};
use serde::{Deserialize, de::DeserializeOwned};

pub use self::outline::Outline;

mod outline;

/// One object of a file.
#[derive(Debug)]
pub struct Manifest<S> {
    pub file: PathBuf,
    pub name: String,
    pub spec: S,
    /// Where each field is in the file.
    pub outline: Outline,
}

/// All objects of a directory.
#[derive(Debug)]
pub struct Manifests<S> {
    pub valid: Vec<Manifest<S>>,
    /// What is wrong with the others.
    pub problems: Vec<Problem>,
}

/// What is wrong in a file, and where.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Problem {
    pub file: PathBuf,
    pub line: Option<u64>,
    /// The object's name.
    pub object: Option<String>,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(object) = &self.object {
            write!(f, ": {object}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// One problem a line.
pub fn lines(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}

/// Reads every `*.yaml` and `*.yml` of `directory`, in order of name, hidden files excepted.
pub fn read_directory<K>(directory: &Path) -> std::io::Result<Manifests<K::Spec>>
where
    K: Resource<DynamicType = ()> + HasSpec<Spec: DeserializeOwned>,
{
    let (mut valid, mut problems) = (Vec::new(), Vec::new());
    for file in files(directory)? {
        for manifest in read::<K>(&file) {
            match manifest {
                Ok(manifest) => valid.push(manifest),
                Err(problem) => problems.push(problem),
            }
        }
    }
    Ok(Manifests { valid, problems })
}

fn read<K>(file: &Path) -> Vec<Result<Manifest<K::Spec>, Problem>>
where
    K: Resource<DynamicType = ()> + HasSpec<Spec: DeserializeOwned>,
{
    match std::fs::read_to_string(file) {
        Ok(text) => parse::<K>(file, &text),
        Err(error) => vec![Err(Problem {
            file: file.to_owned(),
            message: format!("cannot read the file: {error}"),
            ..Problem::default()
        })],
    }
}

/// A mounted ConfigMap changes by one rename of `..data`; reading behind that link gives one version of
/// all files.
fn files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let directory = match directory.join("..data").canonicalize() {
        Ok(version) => version,
        Err(_) => directory.to_owned(),
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if is_manifest(&path) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn is_manifest(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_none_or(|name| name.to_string_lossy().starts_with('.'));
    let yaml = path
        .extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml");
    yaml && !hidden && path.is_file()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    api_version: String,
    kind: String,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document<S> {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "metadata")]
    _metadata: Metadata,
    spec: S,
}

/// Each document is read three times: for what it is, for where its fields are, and for its content.
fn parse<K>(file: &Path, text: &str) -> Vec<Result<Manifest<K::Spec>, Problem>>
where
    K: Resource<DynamicType = ()> + HasSpec<Spec: DeserializeOwned>,
{
    let (mut headers, mut outlines, mut documents) =
        (Cursor::new(text), Cursor::new(text), Cursor::new(text));
    let headers = serde_saphyr::read::<_, Header>(&mut headers);
    let outlines = serde_saphyr::read::<_, Outline>(&mut outlines);
    let documents = serde_saphyr::read::<_, Document<K::Spec>>(&mut documents);
    let parsed: Vec<_> = headers
        .zip(outlines)
        .zip(documents)
        .map(|((header, outline), document)| manifest::<K>(file, header, outline, document))
        .collect();
    if parsed.is_empty() {
        return vec![Err(empty(file))];
    }
    parsed
}

/// A file that is being written is empty for a moment, and its rules must not go for that moment.
fn empty(file: &Path) -> Problem {
    Problem {
        file: file.to_owned(),
        message: "the file holds no object; delete it if that is meant".into(),
        ..Problem::default()
    }
}

type Parsed<T> = Result<T, serde_saphyr::Error>;

fn manifest<K>(
    file: &Path,
    header: Parsed<Header>,
    outline: Parsed<Outline>,
    document: Parsed<Document<K::Spec>>,
) -> Result<Manifest<K::Spec>, Problem>
where
    K: Resource<DynamicType = ()> + HasSpec,
{
    let problem = |message: String| Problem {
        file: file.to_owned(),
        message,
        ..Problem::default()
    };
    let unreadable = |error: serde_saphyr::Error| Problem {
        line: line(&error),
        ..problem(message(&error))
    };
    let header = header.map_err(unreadable)?;
    let (api_version, kind) = (K::api_version(&()), K::kind(&()));
    if header.api_version != api_version || header.kind != kind {
        let found = format!("{} {}", header.api_version, header.kind);
        return Err(problem(format!(
            "expected {api_version} {kind}, found {found}; keep other kinds elsewhere"
        )));
    }
    let name = header.metadata.name;
    let outline = outline.map_err(unreadable)?;
    let document = document.map_err(|error| {
        let line = line(&error);
        let place = line
            .and_then(|line| outline.place(line))
            .map(|place| format!("{place}: "))
            .unwrap_or_default();
        Problem {
            line,
            object: Some(name.clone()),
            ..problem(format!("{place}{}", message(&error)))
        }
    })?;
    Ok(Manifest {
        file: file.to_owned(),
        name,
        spec: document.spec,
        outline,
    })
}

fn line(error: &serde_saphyr::Error) -> Option<u64> {
    error.location().map(|location| location.line())
}

fn message(error: &serde_saphyr::Error) -> String {
    error.without_snippet().to_string()
}

#[cfg(test)]
mod tests;
