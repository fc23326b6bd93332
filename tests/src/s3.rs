//! Servers that speak S3. Each is used for what it is real for: moto keeps versions and conditions but
//! takes any signature; `s3s-fs` checks signatures but keeps no versions.

use std::{
    collections::BTreeMap,
    fs,
    future::Future,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
};

use anyhow::{Context, Result, ensure};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Runtime};

pub use self::wire::{Fault, Wire};
use crate::{Output, Settings, environment, process};

mod wire;

/// The bucket that every server here has.
pub const BUCKET: &str = "evidence";
pub const KEY_ID: &str = "AKIATEST";
pub const SECRET: &str = "a/secret+of=tests";

/// The text of a credentials file.
pub fn credentials(secret: &str) -> String {
    format!("[default]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {secret}\n")
}

impl Settings {
    /// Records go to the bucket behind `endpoint`, below `prod/`; credentials are read from a file that a
    /// test can replace.
    pub fn with_bucket(mut self, endpoint: &str) -> Self {
        self.config["recording"]["store"] = json!({"s3": {
            "bucket": BUCKET, "prefix": "prod", "endpoint": endpoint, "allowHttp": true,
            "credentialsFile": "credentials",
        }});
        self.with_file("credentials", &credentials(SECRET))
    }
}

/// Moto as a process, with a bucket of versions that are locked for a day.
pub struct Moto {
    python: PathBuf,
    process: Child,
    /// It ends with this.
    _stdin: ChildStdin,
    endpoint: String,
}

const SERVE: &str = r#"
import json, sys
import boto3
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
endpoint = f"http://{host}:{port}"
s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1",
                  aws_access_key_id="x", aws_secret_access_key="x")
bucket = sys.argv[1]
s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
lock = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}}
s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=lock)
print(json.dumps({"endpoint": endpoint}), flush=True)
sys.stdin.read()
"#;

/// Prints what there is of each key, and writes the newest of each to a directory.
const DOWNLOAD: &str = r#"
import hashlib, json, pathlib, sys
import boto3

endpoint, bucket, directory = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1",
                  aws_access_key_id="x", aws_secret_access_key="x")
keys = {}
for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
    for version in page.get("Versions", []):
        keys[version["Key"]] = keys.get(version["Key"], 0) + 1
for key, versions in keys.items():
    found = s3.get_object(Bucket=bucket, Key=key)
    body = found["Body"].read()
    path = pathlib.Path(directory, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    print(json.dumps({
        "key": key, "versions": versions, "type": found["ContentType"],
        "locked": found.get("ObjectLockMode"), "said": found["Metadata"].get("sha256"),
        "sha256": hashlib.sha256(body).hexdigest(),
    }))
"#;

impl Moto {
    pub fn start() -> Result<Self> {
        let python = environment::file("SALLYPORT_TEST_MOTO")?;
        let mut process = Command::new(&python)
            .args(["-I", "-c", SERVE, BUCKET])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting moto with {}", python.display()))?;
        let stdin = process.stdin.take().context("stdin is piped")?;
        let stdout = process.stdout.take().context("stdout is piped")?;
        let mut stderr = process.stderr.take().context("stderr is piped")?;
        let mut moto = Self {
            python,
            process,
            _stdin: stdin,
            endpoint: String::new(),
        };
        let said = thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).map(|_| text)
        });
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.is_empty() {
            let said = said.join().ok().context("the reader panicked")??;
            anyhow::bail!("moto did not start: {said}");
        }
        let announced: Value = serde_json::from_str(&line)?;
        moto.endpoint = announced["endpoint"]
            .as_str()
            .context("no endpoint")?
            .to_owned();
        Ok(moto)
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub fn address(&self) -> Result<SocketAddr> {
        let address = self.endpoint.strip_prefix("http://").context("not http")?;
        Ok(address.parse()?)
    }

    /// Copies the bucket into `directory` and says of each key what is known of it.
    pub fn download(&self, directory: &Path) -> Result<Vec<Value>> {
        let mut python = Command::new(&self.python);
        python.args(["-I", "-c", DOWNLOAD, &self.endpoint, BUCKET]);
        let listed = process::run(python.arg(directory), &[])?.success()?;
        listed
            .lines()
            .map(|line| Ok(serde_json::from_str(line)?))
            .collect()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait()) {
            eprintln!("moto may still run: {error}");
        }
    }
}

/// `s3s-fs` in this process, with one bucket and one key.
pub struct FileServer {
    directory: TempDir,
    address: SocketAddr,
    _runtime: Runtime,
}

impl FileServer {
    pub fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        fs::create_dir(directory.path().join(BUCKET))?;
        let files = s3s_fs::FileSystem::new(directory.path())
            .map_err(|error| anyhow::anyhow!("s3s-fs: {error:?}"))?;
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        let service = service.build();
        let (runtime, address) = serve(move |stream| {
            let service = service.clone();
            async move {
                // A client that breaks off is a test's own doing.
                let _ended = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        })?;
        Ok(Self {
            directory,
            address,
            _runtime: runtime,
        })
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The bucket's directory: keys are paths in it.
    pub fn bucket(&self) -> PathBuf {
        self.directory.path().join(BUCKET)
    }

    /// Keys and contents.
    pub fn objects(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut objects = BTreeMap::new();
        collect(&self.bucket(), &self.bucket(), &mut objects)?;
        Ok(objects)
    }
}

fn collect(root: &Path, directory: &Path, objects: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, objects)?;
        } else {
            let key = path.strip_prefix(root)?.to_str().context("not UTF-8")?;
            objects.insert(key.to_owned(), fs::read(&path)?);
        }
    }
    Ok(())
}

/// Every connection to a new port goes to `connection`, until the runtime is dropped.
fn serve<F>(
    connection: impl Fn(tokio::net::TcpStream) -> F + Send + 'static,
) -> Result<(Runtime, SocketAddr)>
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream));
        }
    });
    Ok((runtime, address))
}

/// Every object is there once, and as it says of itself.
pub fn assert_each_once(objects: &[Value]) -> Result<()> {
    ensure!(!objects.is_empty(), "the bucket is empty");
    for object in objects {
        ensure!(
            object["versions"] == 1 && object["said"] == object["sha256"],
            "{object}"
        );
    }
    Ok(())
}

/// What `sallyport audit` answers about the bucket, without a gateway's configuration.
pub fn list_by_url(binary: &Path, endpoint: &str) -> Result<Output> {
    let mut list = Command::new(binary);
    list.args(["audit", "list", "-o", "json", "--limit", "0", "--store"])
        .arg(format!("s3://{BUCKET}/prod"))
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_ACCESS_KEY_ID", KEY_ID)
        .env("AWS_SECRET_ACCESS_KEY", SECRET);
    process::run(&mut list, &[])
}
