//! Objects read from a directory of YAML files, as strictly as the API server validates them, or heard of from the
//! API server itself, and with errors that say where.

use std::{
    fmt,
    io::Cursor,
    path::{Path, PathBuf},
};

use kube::{Resource, core::object::HasSpec};
use serde::{Deserialize, de::DeserializeOwned};

pub use self::outline::Outline;

mod outline;

/// Where an object is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    File(PathBuf),
    /// In the cluster.
    Cluster {
        kind: String,
    },
}

/// One object.
#[derive(Debug)]
pub struct Manifest<S> {
    pub place: Place,
    pub name: String,
    pub spec: S,
    /// Where each field is in the file.
    pub outline: Outline,
}

/// All objects of a kind.
#[derive(Debug)]
pub struct Manifests<S> {
    pub valid: Vec<Manifest<S>>,
    /// What is wrong with the others.
    pub problems: Vec<Problem>,
}

/// What is wrong, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    pub place: Place,
    pub line: Option<u64>,
    /// The object's name.
    pub object: Option<String>,
    pub message: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Cluster { kind } => write!(f, "{kind} of the cluster"),
        }
    }
}

impl<S> Default for Manifests<S> {
    fn default() -> Self {
        Self {
            valid: Vec::new(),
            problems: Vec::new(),
        }
    }
}

impl<S> Manifests<S> {
    /// These and others.
    pub fn and(mut self, others: Self) -> Self {
        self.valid.extend(others.valid);
        self.problems.extend(others.problems);
        self
    }
}

impl Problem {
    fn of_file(file: &Path, message: String) -> Self {
        Self {
            place: Place::File(file.to_owned()),
            line: None,
            object: None,
            message,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place)?;
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

/// Reads every `*.yaml` and `*.yml` of `directory`, in order of name, hidden files and cases (`*.test.yaml`) excepted.
pub fn read_directory<K>(directory: &Path) -> std::io::Result<Manifests<K::Spec>>
where
    K: Resource<DynamicType = ()> + HasSpec<Spec: DeserializeOwned>,
{
    Ok(read_files::<K>(&files(directory)?))
}

/// Reads exactly these files.
pub fn read_files<K>(files: &[PathBuf]) -> Manifests<K::Spec>
where
    K: Resource<DynamicType = ()> + HasSpec<Spec: DeserializeOwned>,
{
    let (mut valid, mut problems) = (Vec::new(), Vec::new());
    for file in files {
        for manifest in read::<K>(file) {
            match manifest {
                Ok(manifest) => valid.push(manifest),
                Err(problem) => problems.push(problem),
            }
        }
    }
    Manifests { valid, problems }
}

/// Objects of the cluster by name, each as it was understood or with what is wrong with it.
pub fn of_cluster<'a, K>(
    objects: impl Iterator<Item = (&'a str, Result<&'a K, &'a str>)>,
) -> Manifests<K::Spec>
where
    K: Resource<DynamicType = ()> + HasSpec<Spec: Clone> + 'a,
{
    let place = || Place::Cluster {
        kind: K::kind(&()).into_owned(),
    };
    let mut manifests = Manifests::default();
    for (name, object) in objects {
        match object {
            Ok(object) => manifests.valid.push(Manifest {
                place: place(),
                name: name.to_owned(),
                spec: object.spec().clone(),
                outline: Outline::default(),
            }),
            Err(message) => manifests.problems.push(Problem {
                place: place(),
                line: None,
                object: Some(name.to_owned()),
                message: message.to_owned(),
            }),
        }
    }
    manifests
}

fn read<K>(file: &Path) -> Vec<Result<Manifest<K::Spec>, Problem>>
where
    K: Resource<DynamicType = ()> + HasSpec<Spec: DeserializeOwned>,
{
    match std::fs::read_to_string(file) {
        Ok(text) => parse::<K>(file, &text),
        Err(error) => {
            let message = format!("cannot read the file: {error}");
            vec![Err(Problem::of_file(file, message))]
        }
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
    let cases = path.to_string_lossy().ends_with(".test.yaml");
    let yaml = path
        .extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml");
    yaml && !hidden && !cases && path.is_file()
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
    let message = "the file holds no object; delete it if that is meant";
    Problem::of_file(file, message.into())
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
    let problem = |message: String| Problem::of_file(file, message);
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
        place: Place::File(file.to_owned()),
        name,
        spec: document.spec,
        outline,
    })
}

fn line(error: &serde_saphyr::Error) -> Option<u64> {
    error.location().map(|location| location.line())
}

/// Without its place, where a problem's line says it.
pub fn message(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let place = error.location().and_then(|place| {
        text.strip_suffix(&format!(
            " at line {}, column {}",
            place.line(),
            place.column()
        ))
    });
    place.map_or_else(|| text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests;
