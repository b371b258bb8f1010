//! Evaluation of Laravel's configuration by PHP.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

/// What Laravel does to read its configuration, cached or not, without starting the application.
const SCRIPT: &str = "
    require 'vendor/autoload.php';
    $app = require 'bootstrap/app.php';
    $app->bootstrapWith([
        Illuminate\\Foundation\\Bootstrap\\LoadEnvironmentVariables::class,
        Illuminate\\Foundation\\Bootstrap\\LoadConfiguration::class,
    ]);
    echo \"\\nclarim:\", json_encode($app['config']['reverb'] ?? null);
";

/// Code that the script runs. As root it would run with more rights than those of its owner.
const CODE: [&str; 4] =
    [super::FILE, "bootstrap/app.php", "bootstrap/cache/config.php", "vendor/autoload.php"];

/// What comes before the configuration, after anything that the application prints.
const MARK: &str = "\nclarim:";

const TIMEOUT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);
const MAX_BYTES: u64 = 1 << 20;

/// The configuration `reverb` of the application in the directory.
///
/// # Errors
/// Why it could not be evaluated. The text does not quote what PHP prints, which may contain a secret.
pub(super) fn evaluate(
    directory: &Path,
    environment: &[(String, String)],
    env: Option<&str>,
) -> Result<Json, String> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    if rustix::process::geteuid().is_root()
        && let Some(file) = CODE.into_iter().find(|file| is_of_another_user(&directory.join(file)))
    {
        return Err(format!("the server runs as root, and {file} belongs to another user"));
    }
    let child = Command::new("php")
        .args(["-d", "display_errors=0", "-r", SCRIPT, "--"])
        .args(env.map(|env| format!("--env={env}")))
        .current_dir(directory)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let child = child.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "PHP is not installed".to_owned(),
        _ => format!("PHP cannot be started: {error}"),
    })?;
    let printed = output(child)?;
    let (_, json) = printed.rsplit_once(MARK).ok_or("PHP printed no configuration")?;
    match serde_json::from_str(json) {
        Ok(Json::Null) | Err(_) => Err("PHP printed no configuration".to_owned()),
        Ok(config) => Ok(config),
    }
}

/// The output of the process until it ends.
fn output(mut child: Child) -> Result<String, String> {
    let stdout = child.stdout.take().ok_or("PHP has no output")?;
    let (done, printed) = mpsc::channel();
    // Waited for with a timeout: a process that PHP has left behind may keep the pipe open.
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.take(MAX_BYTES).read_to_end(&mut bytes);
        let _ = done.send(read.map(|_| String::from_utf8_lossy(&bytes).into_owned()));
    });
    let begun = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if begun.elapsed() < TIMEOUT => std::thread::sleep(PAUSE),
            _ => {
                // It has ended already if this fails.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("PHP did not end within {TIMEOUT:?}"));
            }
        }
    };
    if !status.success() {
        return Err(format!("PHP failed ({status}); `php artisan config:show reverb` shows why"));
    }
    match printed.recv_timeout(TIMEOUT) {
        Ok(Ok(printed)) => Ok(printed),
        _ => Err("the output of PHP cannot be read".to_owned()),
    }
}

fn is_of_another_user(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|file| file.uid() != 0)
}
