//! The container image as an OCI layout in a tar archive, without a container engine. Its settings are those of
//! the Dockerfile.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::checksums;
use super::release::{Linux, Platform, REPOSITORY, Release, copy_file, path};
use crate::run::{command, root};

/// What the base image of the Dockerfile has, apart from the certificates.
const PASSWD: &str = "root:x:0:0:root:/root:/sbin/nologin\n\
                      nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnonroot:x:65532:\n";
const USER: &str = "65532";
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";

pub(crate) fn write(release: &Release, platforms: &[&Platform]) -> Result<()> {
    let layout = release.work("image")?;
    fs::create_dir_all(layout.join("blobs/sha256"))?;
    let dockerfile = Instructions::read()?;
    let mut manifests = Vec::new();
    for platform in platforms {
        let Some(linux) = &platform.linux else { continue };
        let (layer, diff) = layer(release, platform, &layout)?;
        let config = config(release, linux, &dockerfile, &diff)?;
        let config = json_blob(&layout, "application/vnd.oci.image.config.v1+json", &config)?;
        let media = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media, "config": config, "layers": [layer]
        });
        let mut manifest = json_blob(&layout, media, &manifest)?;
        manifest["platform"] = json!({"os": "linux", "architecture": linux.deb});
        manifests.push(manifest);
    }
    let media = "application/vnd.oci.image.index.v1+json";
    let images = json!({"schemaVersion": 2, "mediaType": media, "manifests": manifests});
    let mut images = json_blob(&layout, media, &images)?;
    images["annotations"] = json!({
        "org.opencontainers.image.ref.name": release.version,
        "io.containerd.image.name": format!("docker.io/clarim/clarim:{}", release.version),
    });
    let index = json!({"schemaVersion": 2, "mediaType": media, "manifests": [images]});
    fs::write(layout.join("index.json"), index.to_string())?;
    fs::write(layout.join("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}).to_string())?;
    let to = path(&release.file("clarim-image.tar"));
    tar(release, &layout, &["--owner=0", "-cf", &to, "blobs", "index.json", "oci-layout"])
}

/// Writes the layer. Returns its descriptor, and the digest of its contents.
fn layer(release: &Release, platform: &Platform, layout: &Path) -> Result<(Value, String)> {
    let files = release.work(&format!("image-{}", platform.target))?;
    copy_file(&release.binary(platform), &files.join("usr/local/bin/clarim"))?;
    copy_file(&Path::new("/").join(CERTIFICATES), &files.join(CERTIFICATES))
        .context("install ca-certificates")?;
    fs::write(files.join("etc/passwd"), PASSWD)?;
    fs::write(files.join("etc/group"), GROUP)?;
    fs::create_dir_all(files.join("home/nonroot"))?;
    fs::create_dir_all(files.join("tmp"))?;
    let archive = release.work("image-layers")?.join(format!("{}.tar", platform.target));
    let file = path(&archive);
    tar(release, &files, &["--owner=0", "-cf", &file, "etc", "usr"])?;
    tar(release, &files, &[&format!("--owner={USER}"), "-rf", &file, "home/nonroot"])?;
    tar(release, &files, &["--owner=0", "--mode=1777", "-rf", &file, "tmp"])?;
    let diff = checksums::of_file(&archive)?;
    command("gzip", &["-nf", &file]).run()?;
    let layer = fs::read(format!("{file}.gz"))?;
    Ok((blob(layout, "application/vnd.oci.image.layer.v1.tar+gzip", &layer)?, diff))
}

fn config(release: &Release, linux: &Linux, file: &Instructions, diff: &str) -> Result<Value> {
    let home = file.last("WORKDIR")?;
    let created = command("date", &["-u", "-d", &format!("@{}", release.time), "+%FT%TZ"]).stdout();
    let created = created.context("date failed")?.trim().to_owned();
    let ports: Value = file.all("EXPOSE").map(|port| (format!("{port}/tcp"), json!({}))).collect();
    Ok(json!({
        "created": created,
        "os": "linux",
        "architecture": linux.deb,
        "config": {
            "User": format!("{USER}:{USER}"),
            "WorkingDir": home,
            "Env": file.all("ENV").collect::<Vec<_>>(),
            "ExposedPorts": ports,
            "Entrypoint": list(file.last("ENTRYPOINT")?)?,
            "Cmd": list(file.last("CMD")?)?,
            "StopSignal": file.last("STOPSIGNAL")?,
            // Not in OCI's specification: Docker reads it, others ignore it.
            "Healthcheck": health(file.last("HEALTHCHECK")?)?,
            "Labels": {
                "org.opencontainers.image.title": "clarim",
                "org.opencontainers.image.version": release.version,
                "org.opencontainers.image.source": REPOSITORY,
                "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{diff}")]},
        "history": [{"created": created, "created_by": "cargo xtask dist"}],
    }))
}

/// `--interval=10s --timeout=3s CMD […]`.
fn health(line: &str) -> Result<Value> {
    let (options, command) = line.split_once("CMD ").context("HEALTHCHECK without CMD")?;
    let mut test = vec!["CMD".to_owned()];
    test.extend(list(command)?);
    let mut health = json!({"Test": test});
    for option in options.split_whitespace() {
        let (name, value) =
            option.trim_start_matches('-').split_once('=').context("HEALTHCHECK")?;
        let seconds: u64 = value.trim_end_matches('s').parse().context("not in seconds")?;
        let name = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
        health[name] = json!(seconds * 1_000_000_000);
    }
    Ok(health)
}

fn list(text: &str) -> Result<Vec<String>> {
    serde_json::from_str(text).with_context(|| format!("{text} is not in the exec form"))
}

/// Adds a blob. Returns its descriptor.
fn blob(layout: &Path, media: &str, bytes: &[u8]) -> Result<Value> {
    let digest = checksums::of(bytes);
    fs::write(layout.join("blobs/sha256").join(&digest), bytes)?;
    Ok(json!({"mediaType": media, "digest": format!("sha256:{digest}"), "size": bytes.len()}))
}

fn json_blob(layout: &Path, media: &str, value: &Value) -> Result<Value> {
    blob(layout, media, value.to_string().as_bytes())
}

/// A tar archive that is the same at each run.
fn tar(release: &Release, folder: &Path, args: &[&str]) -> Result<()> {
    let time = format!("--mtime=@{}", release.time);
    let same = ["--sort=name", &time, "--group=0", "--numeric-owner", "--mode=u+rwX,go+rX,go-w"];
    command("tar", &same).args(args).current_dir(folder.to_owned()).run()
}

/// The instructions of the Dockerfile's last stage.
struct Instructions(Vec<String>);

impl Instructions {
    fn read() -> Result<Self> {
        let text = fs::read_to_string(root().join("deploy/docker/Dockerfile"))?;
        let (_, last) = text.rsplit_once("\nFROM ").context("the Dockerfile has one stage")?;
        Ok(Self(last.replace("\\\n", " ").lines().skip(1).map(str::to_owned).collect()))
    }

    fn all<'a>(&'a self, word: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter_map(move |line| line.strip_prefix(word)?.strip_prefix(' '))
    }

    fn last<'a>(&'a self, word: &'a str) -> Result<&'a str> {
        self.all(word).last().with_context(|| format!("the Dockerfile has no {word}"))
    }
}
