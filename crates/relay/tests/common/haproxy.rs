//! HAProxy before the relay, with the configuration that `deploy/haproxy` ships.

use std::ffi::OsString;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use pushrelay_peers::pki::{Key, Leaf};
use tokio::process::{Child, Command};
use toml::Table;

use super::Relay;

/// The name in the certificate that HAProxy shows.
pub(crate) const LEGACY_NAME: &str = "legacy.push.example.org";

/// How long it may take to start.
const SOON: Duration = Duration::from_secs(60);

/// The relay's side of it, as `deploy/haproxy/README.md` says: put into the configuration of a relay.
pub(crate) fn offload(config: &mut Table, keys: &str) {
    let offload: Table = format!("listen = \"127.0.0.1:0\"\n{keys}").parse().unwrap();
    let sip = config["sip"].as_table_mut().unwrap();
    sip.insert("offload".into(), vec![offload].into());
}

/// A running HAProxy.
pub(crate) struct HAProxy {
    process: Child,
    /// Where it takes Access Edges.
    pub(crate) address: SocketAddr,
    log: PathBuf,
}

impl HAProxy {
    /// In front of the relay's first `[[sip.offload]]`.
    pub(crate) async fn start(relay: &Relay) -> HAProxy {
        HAProxy::start_with(relay, "").await
    }

    /// The same with more words behind its `server`.
    pub(crate) async fn start_with(relay: &Relay, words: &str) -> HAProxy {
        let dir = relay.world.dir.path();
        let ours = Leaf::server(LEGACY_NAME).key(Key::Rsa);
        let ours = relay.world.authority.issue(&ours);
        fs::write(dir.join("legacy.pem"), ours.chain_pem + &ours.key_pem).unwrap();
        fs::write(dir.join("edges.lst"), "127.0.0.1\n").unwrap();
        let deadline = Instant::now() + SOON;
        loop {
            // HAProxy does not say which port it got.
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = free.local_addr().unwrap();
            drop(free);
            let text = configuration(relay, address, words);
            fs::write(dir.join("haproxy.cfg"), text).unwrap();
            let mut haproxy = HAProxy {
                process: spawn(dir),
                address,
                log: dir.join("haproxy.log"),
            };
            // It ends at once where somebody else has taken the port meanwhile; then another is tried.
            while haproxy.process.try_wait().unwrap().is_none() {
                if TcpStream::connect(address).is_ok() {
                    return haproxy;
                }
                assert!(Instant::now() < deadline, "{}", haproxy.log());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert!(Instant::now() < deadline, "{}", haproxy.log());
        }
    }

    /// What it has written.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }
}

/// The shipped file, less the rights that a test has not, with the ports and paths of this test.
fn configuration(relay: &Relay, address: SocketAddr, words: &str) -> String {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/haproxy/haproxy.cfg");
    let mut text = fs::read_to_string(shipped).unwrap();
    let dir = relay.world.dir.path().display();
    let offload = relay.daemon.listener("offload").unwrap();
    for (theirs, ours) in [
        ("192.0.2.61:5061", address.to_string()),
        ("127.0.0.1:5062", offload.to_string()),
        (
            " proxy-v2-options unique-id\n",
            format!(" proxy-v2-options unique-id {words}\n"),
        ),
        (
            "/etc/haproxy/pushrelay/legacy.pem",
            format!("{dir}/legacy.pem"),
        ),
        (
            "/etc/haproxy/pushrelay/edge-roots.pem",
            format!("{dir}/ca.pem"),
        ),
        (
            "/etc/haproxy/pushrelay/edges.lst",
            format!("{dir}/edges.lst"),
        ),
        ("    chroot /var/lib/haproxy\n", String::new()),
        ("    user haproxy\n", String::new()),
        ("    group haproxy\n", String::new()),
    ] {
        assert_eq!(text.matches(theirs).count(), 1, "haproxy.cfg: {theirs}");
        text = text.replace(theirs, &ours);
    }
    text
}

/// Major and minor number of the HAProxy that is there.
pub(crate) fn version() -> (u32, u32) {
    let mut asked = std::process::Command::new(program());
    let said = asked.env("PATH", PATH).arg("-v").output();
    let said = String::from_utf8(said.expect("haproxy").stdout).unwrap();
    let number = said.split("version ").nth(1).unwrap();
    let mut parts = number.split(['.', '-']).map(|part| part.parse().unwrap());
    (parts.next().unwrap(), parts.next().unwrap())
}

/// Debian has it where only root looks.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// `$HAPROXY` names another than the system's.
fn program() -> OsString {
    std::env::var_os("HAPROXY").unwrap_or_else(|| "haproxy".into())
}

fn spawn(dir: &Path) -> Child {
    let log = fs::File::create(dir.join("haproxy.log")).unwrap();
    Command::new(program())
        .env("PATH", PATH)
        .args(["-f", "haproxy.cfg"])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("haproxy (Debian package haproxy) is needed: {error}; `cargo xtask test` installs it"))
}
