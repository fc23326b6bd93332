//! `gateway/src/protobuf/schema.rs`: the messages of Kubernetes' built-in API groups, and how each looks in JSON.
//!
//! Numbers and types come from the `generated.proto` files of the modules that the test control plane is built from,
//! names in JSON from the struct tags of the Go types that those files were generated from.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    rc::Rc,
};

use anyhow::{Context, Result};
use protox::{
    Compiler, Error,
    file::{File, FileResolver},
    prost_reflect::{
        prost::Message as _,
        prost_types::{
            DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
            field_descriptor_proto::Label, field_descriptor_proto::Type,
        },
    },
};

use super::go_structs::Package;
use crate::{
    tools::{
        Cache,
        golang::{self, Module},
    },
    workspace,
};

/// The modules, and below which of their directories all messages count; what those import counts too.
const MODULES: [(&str, &str); 4] = [
    ("k8s.io/api", ""),
    ("k8s.io/apimachinery", "pkg/apis/meta"),
    ("k8s.io/apiextensions-apiserver", "pkg/apis"),
    ("k8s.io/kube-aggregator", "pkg/apis"),
];

const PROTO: &str = "generated.proto";

/// Messages that the gateway's code names.
const NAMED: [(&str, &str); 2] = [
    ("ENVELOPE", "k8s.io.apimachinery.pkg.runtime.Unknown"),
    (
        "WATCH_EVENT",
        "k8s.io.apimachinery.pkg.apis.meta.v1.WatchEvent",
    ),
];

/// Messages that are something else in JSON than an object of their fields.
const SHAPES: [(&str, &str); 13] = [
    ("k8s.io.apimachinery.pkg.api.resource.Quantity", "Quantity"),
    (
        "k8s.io.apimachinery.pkg.api.resource.QuantityValue",
        "Quantity",
    ),
    ("k8s.io.apimachinery.pkg.apis.meta.v1.Duration", "Duration"),
    ("k8s.io.apimachinery.pkg.apis.meta.v1.FieldsV1", "Json"),
    (
        "k8s.io.apimachinery.pkg.apis.meta.v1.MicroTime",
        "MicroTime",
    ),
    ("k8s.io.apimachinery.pkg.apis.meta.v1.Time", "Time"),
    ("k8s.io.apimachinery.pkg.runtime.RawExtension", "Embedded"),
    ("k8s.io.apimachinery.pkg.runtime.Unknown", "Envelope"),
    (
        "k8s.io.apimachinery.pkg.util.intstr.IntOrString",
        "IntOrString",
    ),
    ("JSON", "Json"),
    ("JSONSchemaPropsOrArray", "OneOrMany"),
    ("JSONSchemaPropsOrBool", "OneOrBool"),
    ("JSONSchemaPropsOrStringArray", "OneOrMany"),
];

struct Sources {
    modules: Rc<[Module]>,
}

struct Message {
    /// The Go package, as `k8s.io/api/core/v1`.
    package: String,
    descriptor: DescriptorProto,
}

/// The file, and what belongs into it.
pub(super) fn file() -> Result<(PathBuf, String)> {
    let text = Sources::bring()?.schema()?;
    Ok((
        workspace::root().join("gateway/src/protobuf/schema.rs"),
        text,
    ))
}

/// The messages for another reader, as a `FileDescriptorSet`. A field's JSON name is Go's; it is empty where the
/// fields of its message are members of the message around it.
pub(crate) fn descriptors() -> Result<Vec<u8>> {
    let sources = Sources::bring()?;
    let mut file = sources.files()?;
    for file in &mut file {
        let package = sources.package(package_of(file))?;
        for message in &mut file.message_type {
            let name = message.name().to_owned();
            for field in &mut message.field {
                let json = json_name(&package, &name, field).0.to_owned();
                field.json_name = Some(json);
            }
        }
    }
    Ok(FileDescriptorSet { file }.encode_to_vec())
}

impl Sources {
    fn bring() -> Result<Self> {
        let cache = Cache::open()?;
        let cluster = workspace::root().join("tests/cluster");
        let modules = MODULES
            .iter()
            .map(|(module, _)| golang::module(&cache, &cluster, module));
        Ok(Self {
            modules: modules.collect::<Result<_>>()?,
        })
    }

    fn schema(&self) -> Result<String> {
        let messages = self.messages()?;
        let packages = self.packages(&messages)?;
        let schema = Schema {
            numbers: messages.keys().cloned().zip(0..).collect(),
            messages: &messages,
            packages: &packages,
        };
        let versions = self
            .modules
            .iter()
            .map(|module| format!("{} {}", module.path, module.version));
        schema.print(&versions.collect::<Vec<_>>().join(", "))
    }

    fn files(&self) -> Result<Vec<FileDescriptorProto>> {
        let mut compiler = Compiler::with_file_resolver(Resolver(Rc::clone(&self.modules)));
        compiler.include_imports(true);
        for (module, (_, below)) in self.modules.iter().zip(MODULES) {
            for file in protos(&module.dir.join(below))? {
                let inside = file.strip_prefix(&module.dir)?;
                compiler.open_file(Path::new(&module.path).join(inside))?;
            }
        }
        Ok(compiler.file_descriptor_set().file)
    }

    /// All messages by their full names.
    fn messages(&self) -> Result<BTreeMap<String, Message>> {
        let mut messages = BTreeMap::new();
        for file in self.files()? {
            for descriptor in &file.message_type {
                let message = Message {
                    package: package_of(&file).to_owned(),
                    descriptor: descriptor.clone(),
                };
                messages.insert(format!("{}.{}", file.package(), descriptor.name()), message);
            }
        }
        Ok(messages)
    }

    fn packages(&self, messages: &BTreeMap<String, Message>) -> Result<HashMap<String, Package>> {
        let mut packages = HashMap::new();
        for message in messages.values() {
            if !packages.contains_key(&message.package) {
                packages.insert(message.package.clone(), self.package(&message.package)?);
            }
        }
        Ok(packages)
    }

    fn package(&self, path: &str) -> Result<Package> {
        let mut package = Package::default();
        for file in fs::read_dir(self.path_of(path).context("a package of no module")?)? {
            let file = file?.path();
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            if name.ends_with(".go") && !name.ends_with("_test.go") && name != "generated.pb.go" {
                package.read(&fs::read_to_string(&file)?);
            }
        }
        Ok(package)
    }

    fn path_of(&self, name: &str) -> Option<PathBuf> {
        path_of(&self.modules, name)
    }
}

fn path_of(modules: &[Module], name: &str) -> Option<PathBuf> {
    modules.iter().find_map(|module| {
        let inside = name.strip_prefix(&module.path)?.strip_prefix('/')?;
        Some(module.dir.join(inside))
    })
}

/// Finds imports in the modules.
struct Resolver(Rc<[Module]>);

impl FileResolver for Resolver {
    fn open_file(&self, name: &str) -> Result<File, Error> {
        let path = path_of(&self.0, name).ok_or_else(|| Error::file_not_found(name))?;
        File::open(name, &path)
    }
}

fn protos(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("testapigroup") {
            found.extend(protos(&path)?);
        } else if path.ends_with(PROTO) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Writes what was read.
struct Schema<'s> {
    messages: &'s BTreeMap<String, Message>,
    numbers: HashMap<String, u16>,
    packages: &'s HashMap<String, Package>,
}

impl Schema<'_> {
    fn print(&self, versions: &str) -> Result<String> {
        let mut text = format!(
            "//! Generated by `cargo xtask codegen` from {versions}.\n\n\
             use super::description::{{Holds::*, Message, Shape::*, inline, many, map, may, must}};\n\n{}\n\
             /// In the order of their names.\n\
             pub(super) static MESSAGES: [Message; {}] = [\n",
            self.named(),
            self.messages.len()
        );
        for (index, (name, message)) in self.messages.iter().enumerate() {
            writeln!(text, "    // {index}: {name}")?;
            writeln!(
                text,
                "    Message({}, &[{}]),",
                self.shape(name, message),
                self.fields(message)?
            )?;
        }
        let kinds = self.kinds();
        write!(
            text,
            "];\n\n/// (apiVersion, kind), in order, and the message of it.\n\
             pub(super) static KINDS: [(&str, &str, u16); {}] = [\n",
            kinds.len()
        )?;
        for ((version, kind), index) in kinds {
            writeln!(text, "    ({version:?}, {kind:?}, {index}),")?;
        }
        Ok(text + "];\n")
    }

    fn named(&self) -> String {
        let line = |(constant, name): &(&str, &str)| {
            format!(
                "pub(super) const {constant}: u16 = {};\n",
                self.numbers[*name]
            )
        };
        NAMED.iter().map(line).collect()
    }

    fn package(&self, message: &Message) -> &Package {
        &self.packages[&message.package]
    }

    fn shape(&self, name: &str, message: &Message) -> &'static str {
        let own = message.descriptor.name();
        let special = SHAPES
            .iter()
            .find(|(special, _)| *special == name || *special == own);
        match special {
            Some((_, shape)) => shape,
            None if self.package(message).is_slice(own) => "Slice",
            None => "Object",
        }
    }

    fn fields(&self, message: &Message) -> Result<String> {
        let mut fields: Vec<_> = message.descriptor.field.iter().collect();
        fields.sort_by_key(|field| field.number());
        let written: Result<Vec<_>> = fields
            .iter()
            .map(|field| self.field(message, field))
            .collect();
        Ok(written?.join(", "))
    }

    fn field(&self, message: &Message, field: &FieldDescriptorProto) -> Result<String> {
        let number = field.number();
        let (json, omitted) = json_name(self.package(message), message.descriptor.name(), field);
        if let Some(value) = map_value(&message.descriptor, field) {
            return Ok(format!("map({number}, {json:?}, {})", self.holds(value)?));
        }
        let holds = self.holds(field)?;
        Ok(match field.label() {
            _ if json.is_empty() => format!("inline({number}, {holds})"),
            Label::Repeated => format!("many({number}, {json:?}, {holds})"),
            _ if omitted => format!("may({number}, {json:?}, {holds})"),
            _ => format!("must({number}, {json:?}, {holds})"),
        })
    }

    fn holds(&self, field: &FieldDescriptorProto) -> Result<String> {
        let simple = match field.r#type() {
            Type::String => "Text",
            Type::Bytes => "Bytes",
            Type::Bool => "Bool",
            Type::Int32 => "Int32",
            Type::Int64 => "Int64",
            Type::Double => "Double",
            Type::Message => {
                let name = field.type_name().trim_start_matches('.');
                let number = self
                    .numbers
                    .get(name)
                    .with_context(|| format!("no message {name}"))?;
                return Ok(format!("One({number})"));
            }
            other => anyhow::bail!(
                "{} holds {other:?}, which Kubernetes did not use before",
                field.name()
            ),
        };
        Ok(simple.to_owned())
    }

    /// By apiVersion and kind.
    fn kinds(&self) -> BTreeMap<(String, &str), u16> {
        let mut kinds = BTreeMap::new();
        for (name, message) in self.messages {
            let (own, package) = (message.descriptor.name(), self.package(message));
            let version = message.package.rsplit('/').next().unwrap_or_default();
            if let Some(group) = &package.group
                && package.is_kind(own)
            {
                let version = match &**group {
                    "" => version.to_owned(),
                    group => format!("{group}/{version}"),
                };
                kinds.insert((version, own), self.numbers[name]);
            }
        }
        kinds
    }
}

/// The Go package of a file.
fn package_of(file: &FileDescriptorProto) -> &str {
    file.name().trim_end_matches(PROTO).trim_end_matches('/')
}

/// What Go calls a field in JSON, and whether it leaves it out where it is empty.
fn json_name<'n>(
    package: &'n Package,
    message: &str,
    field: &'n FieldDescriptorProto,
) -> (&'n str, bool) {
    match package.member(message, field.number()) {
        Some(member) if member.json != "-" => (&member.json, member.omitted),
        _ => (field.name(), false),
    }
}

/// The field of an entry's value, where `field` is a map.
fn map_value<'d>(
    message: &'d DescriptorProto,
    field: &FieldDescriptorProto,
) -> Option<&'d FieldDescriptorProto> {
    let entry = field.type_name().rsplit('.').next()?;
    let entry = message
        .nested_type
        .iter()
        .find(|nested| nested.name() == entry)?;
    entry.field.iter().find(|field| field.number() == 2)
}
