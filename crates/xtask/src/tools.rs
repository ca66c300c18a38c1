//! The foreign programs that the tests hold the relay against, and how they get onto this machine.

use std::env;
use std::fs;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// One program, the Debian package that brings it, and what it is for.
struct Tool {
    package: &'static str,
    sign: Sign,
    purpose: &'static str,
}

/// By what we know that a tool is there.
enum Sign {
    /// A program of this name in `PATH` or a system folder.
    Program(&'static str),
    /// A file below one of the library folders.
    Library(&'static str),
}

const fn program(package: &'static str, program: &'static str, purpose: &'static str) -> Tool {
    Tool {
        package,
        sign: Sign::Program(program),
        purpose,
    }
}

const TOOLS: &[Tool] = &[
    program("sip-tester", "sipp", "a foreign source of MESSAGEs"),
    program("kamailio", "kamailio", "a proxy in front of the relay"),
    Tool {
        package: "kamailio-tls-modules",
        sign: Sign::Library("kamailio/modules/tls.so"),
        purpose: "TLS for that proxy",
    },
    program("haproxy", "haproxy", "a TLS terminator before the relay"),
    program("stunnel4", "stunnel4", "TLS for sipp, which has none"),
    program("prometheus", "promtool", "the judge of metrics and rules"),
    program("nghttp2-client", "nghttp", "a foreign HTTP/2 client"),
    program("openssl", "openssl", "a foreign TLS client"),
    program("curl", "curl", "a foreign HTTP client"),
    program("valgrind", "valgrind", "instructions per message"),
    program("strace", "strace", "the order of system calls"),
    program(
        "systemd",
        "systemd-analyze",
        "the judge of the service unit",
    ),
];

/// Folders of programs that the `PATH` of an ordinary user does not name.
const SYSTEM_FOLDERS: &[&str] = &["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// Returns when every tool is there: installs what is missing where it can, names it where it cannot.
pub(crate) fn provide() -> anyhow::Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    if !may_install() {
        let mut list = String::new();
        for tool in missing {
            list += &format!("  {:22}{}\n", tool.package, tool.purpose);
        }
        bail!(
            "the tests need what these Debian packages bring:\n\n{list}\n\
             install them with: sudo apt-get install --no-install-recommends {}",
            packages.join(" ")
        );
    }
    println!("installing {}", packages.join(" "));
    install(&packages)?;
    match self::missing().as_slice() {
        [] => Ok(()),
        [tool, ..] => bail!(
            "{} is installed, yet what it should bring is not there",
            tool.package
        ),
    }
}

fn missing() -> Vec<&'static Tool> {
    TOOLS.iter().filter(|tool| !tool.sign.is_there()).collect()
}

impl Sign {
    fn is_there(&self) -> bool {
        match self {
            Sign::Program(name) => {
                let path = env::var_os("PATH").unwrap_or_default();
                env::split_paths(&path)
                    .chain(SYSTEM_FOLDERS.iter().map(PathBuf::from))
                    .any(|folder| folder.join(name).is_file())
            }
            Sign::Library(file) => library_folders().any(|folder| folder.join(file).is_file()),
        }
    }
}

/// `/usr/lib`, `/usr/lib64` and what lies directly below the first, such as `/usr/lib/x86_64-linux-gnu`.
fn library_folders() -> impl Iterator<Item = PathBuf> {
    let below = fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    ["/usr/lib", "/usr/lib64"]
        .into_iter()
        .map(PathBuf::from)
        .chain(below)
}

fn may_install() -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0);
    root && Path::new("/usr/bin/apt-get").exists()
}

fn install(packages: &[&str]) -> anyhow::Result<()> {
    let _no_services = NoServices::hold()?;
    apt_get(&["update"])?;
    apt_get(&[&["install", "--yes", "--no-install-recommends"], packages].concat())
}

fn apt_get(args: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("apt-get")
        .arg("--quiet=2")
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status()
        .context("apt-get")?;
    if !status.success() {
        bail!("apt-get {} ended with {status}", args.join(" "));
    }
    Ok(())
}

/// While this lives, Debian packages start no service: the tests need the programs of Kamailio, HAProxy and
/// Prometheus, nobody asked for the daemons.
struct NoServices {
    policy: Option<&'static Path>,
}

impl NoServices {
    fn hold() -> anyhow::Result<NoServices> {
        // Asked by invoke-rc.d; 101 is "forbidden by policy".
        let policy = Path::new("/usr/sbin/policy-rc.d");
        if policy.exists() {
            return Ok(NoServices { policy: None }); // somebody has a policy of their own
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(policy)
            .with_context(|| format!("create {}", policy.display()))?;
        std::io::Write::write_all(&mut file, b"#!/bin/sh\nexit 101\n")?;
        Ok(NoServices {
            policy: Some(policy),
        })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(policy) = self.policy {
            let _ = fs::remove_file(policy); // gone already is as good
        }
    }
}
