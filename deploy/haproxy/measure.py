#!/usr/bin/env python3
"""Measures what HAProxy, with the configuration beside this file, tells the relay about a peer.

Real HAProxy, real TLS 1.0, throw-away certificates, loopback only; nothing is installed and nothing is kept. It prints the
tables and the PROXY headers that README.md quotes, and ends with 1 if something came out otherwise than README.md says.

    python3 deploy/haproxy/measure.py            # needs haproxy and openssl (Debian: the packages of these names)

It is not a test of the relay: what stands in its place here is a socket that keeps the bytes.
"""

import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

SHIPPED = (Path(__file__).parent / "haproxy.cfg").read_text()
PATH = dict(os.environ, PATH=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
DEADLINE = 10.0  # seconds that anything here may take
EDGE = "/CN=sip.contoso.example"
TLS10 = ["-tls1", "-cipher", "ALL:@SECLEVEL=0"]
OURS = "legacy.push.example.org"
LISTEN, RELAY = "192.0.2.61:5061", "127.0.0.1:5062"
CERTIFICATE, ROOTS, EDGES = (f"/etc/haproxy/pushrelay/{name}" for name in ("legacy.pem", "edge-roots.pem", "edges.lst"))
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

CA_SECTION = "[ca]\ndefault_ca=d\n[d]\nnew_certs_dir=.\ndefault_md=sha256\n"

wrong = []  # what README.md says otherwise


def expect(what, is_, should):
    if is_ != should:
        wrong.append(f"{what}: {is_!r}, README.md says {should!r}")


def run(line, folder):
    done = subprocess.run(line.split(), cwd=folder, capture_output=True, text=True, env=PATH)
    if done.returncode:
        sys.exit(f"{line}\n{done.stderr}")
    return done.stdout


class Authority:
    """A folder of keys and certificates; `roots` are what HAProxy trusts."""

    def __init__(self, folder):
        self.folder = folder
        self.chains = {}
        self.root("root")
        self.root("stranger")
        self.root("sha1-root", digest="sha1")
        roots = [(folder / f"{name}.pem").read_text() for name in ("root", "sha1-root")]
        (folder / "roots.pem").write_text("".join(roots))

    def openssl(self, line):
        return run(f"openssl {line}", self.folder)

    def root(self, name, digest="sha256"):
        self.openssl(
            f"req -x509 -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.pem -days 2 -{digest} -subj /CN={name} "
            "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign"
        )

    def issue(self, name, usage="serverAuth,clientAuth", issuer="root", digest="sha256", key="rsa:2048", **rare):
        """A certificate for the Edge; `rare` is `subject`, `names`, `ca`, `expired` or `bmp`."""
        subject = rare.get("subject", EDGE)
        names = rare.get("names", "DNS:sip.contoso.example")
        extensions = [f"basicConstraints=CA:{'TRUE' if rare.get('ca') else 'FALSE'}"]
        extensions += [f"extendedKeyUsage={usage}"] if usage else []
        extensions += [f"subjectAltName={names}"] if names else []
        self.write("extensions", "\n".join(extensions) + "\n")
        what = f"-subj {subject}"
        if rare.get("bmp"):  # a name in UTF-16, as old Windows tools wrote it
            head = "[req]\nprompt=no\ndistinguished_name=dn\nstring_mask=MASK:0x800\n[dn]\n"
            self.write("request", f"{head}{subject[1:]}\n")
            what = "-config request"
        self.openssl(f"req -new -newkey {key} -nodes -keyout {name}.key -out request.csr {what}")
        if rare.get("expired"):
            self.write("index", "")
            self.write("ca", CA_SECTION + "database=index\nrand_serial=yes\npolicy=p\n[p]\ncommonName=supplied\n")
            self.openssl(
                f"ca -batch -notext -config ca -cert {issuer}.pem -keyfile {issuer}.key -in request.csr -out {name}.pem "
                "-extfile extensions -startdate 20200101000000Z -enddate 20210101000000Z"
            )
        else:
            self.openssl(
                f"x509 -req -in request.csr -CA {issuer}.pem -CAkey {issuer}.key -CAcreateserial -out {name}.pem "
                f"-{digest} -extfile extensions -days 2"
            )
        if issuer not in ("root", "stranger", "sha1-root"):
            self.chains[name] = issuer
        return name

    def write(self, name, text):
        (self.folder / name).write_text(text)

    def fingerprint(self, name):
        text = self.openssl(f"x509 -in {name}.pem -noout -fingerprint -sha256")
        return text.strip().split("=")[1].replace(":", "").encode()


class Relay:
    """Stands where the relay stands: keeps what each connection sent, answers a line with a line."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.changed = threading.Condition()
        self.seen = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            threading.Thread(target=self.serve, args=(self.listener.accept()[0],), daemon=True).start()

    def serve(self, connection):
        received = b""
        connection.settimeout(DEADLINE)
        try:
            while not received.endswith(b"hello\n"):
                more = connection.recv(65536)
                if not more:
                    break
                received += more
            connection.sendall(b"heard\n")
        except OSError:
            pass  # what came so far is what we keep
        with self.changed:
            self.seen.append(received)
            self.changed.notify_all()
        connection.close()

    def next(self, after, seconds):
        with self.changed:
            self.changed.wait_for(lambda: len(self.seen) > after, seconds)
            return self.seen[after] if len(self.seen) > after else None


def tlvs(block):
    found = []
    while block:
        kind, length = struct.unpack("!BH", block[:3])
        found.append((kind, block[3 : 3 + length]))
        block = block[3 + length :]
    return found


class Header:
    """One PROXY v2 header, taken apart."""

    def __init__(self, received):
        if not received.startswith(SIGNATURE):
            sys.exit(f"no PROXY v2 header: {received[:32]!r}")
        self.command, self.family, length = struct.unpack("!BBH", received[12:16])
        self.bytes = received[: 16 + length]
        self.rest = received[16 + length :]
        addresses = {0x11: 12, 0x21: 36}.get(self.family, 0)
        self.tlvs = tlvs(received[16 + addresses : 16 + length])
        ssl = dict(self.tlvs)[0x20]
        self.client, self.verify = struct.unpack("!BI", ssl[:5])
        self.inner = tlvs(ssl[5:])

    def cn(self):
        return dict(self.inner).get(0x22)

    def hex(self):
        digits = self.bytes.hex()
        return "\n".join(digits[at : at + 96] for at in range(0, len(digits), 96))


class HAProxy:
    """The shipped configuration, less what needs a fresh system (chroot, user, group), with `changes` made to its text."""

    def __init__(self, authority, relay, *changes, certificate="relay"):
        self.authority, self.relay, self.folder = authority, relay, authority.folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.edges("127.0.0.1\n::1\n")
        ours = [
            (LISTEN, f"127.0.0.1:{self.port}"),
            (CERTIFICATE, f"{self.folder}/{certificate}.both"),
            (ROOTS, f"{self.folder}/roots.pem"),
            (EDGES, f"{self.folder}/edges.lst"),
            (RELAY, f"127.0.0.1:{relay.port}"),
            ("    chroot /var/lib/haproxy\n    user haproxy\n    group haproxy\n", ""),
        ]
        text = SHIPPED
        for old, new in list(changes) + ours:
            if old not in text:
                sys.exit(f"haproxy.cfg has no {old!r} any more")
            text = text.replace(old, new)
        (self.folder / "haproxy.cfg").write_text(text)

    def edges(self, addresses):
        (self.folder / "edges.lst").write_text(addresses)

    def check(self):
        return subprocess.run(
            ["haproxy", "-c", "-f", "haproxy.cfg"], cwd=self.folder, env=PATH, capture_output=True, text=True
        )

    def __enter__(self):
        self.log = open(self.folder / "log", "w")
        self.process = subprocess.Popen(
            ["haproxy", "-f", "haproxy.cfg"], cwd=self.folder, env=PATH, stdout=self.log, stderr=self.log
        )
        until = time.monotonic() + DEADLINE
        while time.monotonic() < until:
            if self.process.poll() is not None:
                sys.exit((self.folder / "log").read_text())
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                time.sleep(0.02)
        sys.exit("haproxy does not listen")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(DEADLINE)
        self.log.close()

    def client(self, options, says=""):
        """One run of openssl's client; `options` as on its command line."""
        command = ["openssl", "s_client", *options]
        streams = {"input": says, "capture_output": True, "text": True}
        return subprocess.run(command, cwd=self.folder, env=PATH, timeout=DEADLINE, **streams)

    def connect(self, certificate, *options, host=None):
        """One client that says hello. The header that the relay saw, or None, and the alert that the client saw."""
        before = len(self.relay.seen)
        command = ["-connect", host or f"127.0.0.1:{self.port}", "-quiet", "-CAfile", "root.pem", *options]
        if certificate:
            command += ["-cert", f"{certificate}.pem", "-key", f"{certificate}.key"]
            if certificate in self.authority.chains:
                command += ["-cert_chain", f"{self.authority.chains[certificate]}.pem"]
        errors = self.client(command, "hello\n").stderr
        alert = next((line.rsplit(" ", 1)[1] for line in errors.splitlines() if "SSL alert number" in line), "")
        received = self.relay.next(before, 0.5 if alert or "error" in errors else DEADLINE)
        return (Header(received) if received else None), alert

    def logged(self):
        return (self.folder / "log").read_text().splitlines()


CERTIFICATES = [  # name, what it is, how to issue it, verify result (None: refused), alert
    ("both", "serverAuth and clientAuth", {}, 0, ""),
    ("client", "clientAuth only", {"usage": "clientAuth"}, 0, ""),
    ("none", "no extended key usage", {"usage": None}, 0, ""),
    ("server", "**serverAuth only**, as most Edges have", {"usage": "serverAuth"}, 26, ""),
    ("code", "codeSigning only", {"usage": "codeSigning"}, 26, ""),
    ("unknown", "issuer not in `edge-roots.pem`", {"issuer": "stranger"}, None, "48"),
    ("expired", "expired", {"expired": True}, None, "45"),
    ("expired-server", "expired and serverAuth only", {"expired": True, "usage": "serverAuth"}, None, "45"),
    ("via-server-ca", "serverAuth only, and its issuer too", {"usage": "serverAuth", "issuer": "server-ca"}, 26, ""),
    ("forged", "issued by an Edge's certificate, which is no authority", {"issuer": "server"}, None, "48"),
    ("no-cn", "no CN, name in subjectAltName only", {"subject": "/O=Contoso"}, 0, ""),
    ("two-cn", "two CNs", {"subject": EDGE + "/CN=sip.fabrikam.example"}, 0, ""),
    ("bmp", "CN in UTF-16 (BMPString)", {"bmp": True}, 0, ""),
    ("sha1", "signed with SHA-1", {"digest": "sha1"}, 0, ""),
    ("sha1-chain", "issuer and leaf signed with SHA-1", {"digest": "sha1", "issuer": "sha1-root"}, 0, ""),
    ("md5", "signed with MD5", {"digest": "md5"}, 0, ""),
    ("rsa1024", "RSA key of 1024 bits", {"key": "rsa:1024"}, 0, ""),
    ("ecdsa", "ECDSA P-256 key", {"key": "ec -pkeyopt ec_paramgen_curve:P-256"}, 0, ""),
]


def certificates(authority, relay):
    print(
        "| certificate of the client, over TLS 1.0 | the relay gets | flags | verify | CN (0x22) |\n| --- | --- | --- | --- | --- |"
    )
    headers = {}
    with HAProxy(authority, relay) as haproxy:
        for name, what, _, verify, alert in [(None, "none", {}, None, "40")] + CERTIFICATES:
            header, seen = haproxy.connect(name, *TLS10)
            expect(f"{what}: verify", header.verify if header else None, verify)
            expect(f"{what}: alert", seen, alert)
            if header:
                headers[name] = header
                expect(f"{what}: flags", header.client, 7)
                expect(f"{what}: fingerprint", dict(header.tlvs)[5], authority.fingerprint(name))
                expect(f"{what}: payload", header.rest, b"hello\n")
                cn = "absent" if header.cn() is None else f"`{header.cn()!r}`".replace("b'", "").replace("'", "")
                print(f"| {what} | a header | `{header.client:02x}` | {header.verify} | {cn} |")
            else:
                print(f"| {what} | nothing; the client gets TLS alert {seen} | | | |")
        log = [line.split(" ", 1)[1] for line in haproxy.logged()]
    expect("cn of no CN", headers["no-cn"].cn(), None)
    expect("cn of two", headers["two-cn"].cn(), b"sip.contoso.example")
    expect("cn in UTF-16", headers["bmp"].cn(), "sip.contoso.example".encode("utf-16-be"))
    print("\nLog lines: accepted, no certificate, unknown issuer, expired, forged\n```text")
    for sign in (" verify=26 ", "did not return", "certificate error 20", "certificate error 10", "issuer error 79"):
        found = [line for line in log if sign in line]
        expect(f"log line with {sign!r}", bool(found), True)
        print(*found[:1], sep="\n")
    print("```")
    return headers


def protocols(authority, relay):
    print("\n| client | SSL version (0x21) |\n| --- | --- |")
    with HAProxy(authority, relay) as haproxy:
        for options, version in (
            (["-tls1", "-cipher", "AES128-SHA:@SECLEVEL=0"], b"TLSv1"),
            (["-tls1", "-cipher", "ECDHE-RSA-AES256-SHA:@SECLEVEL=0"], b"TLSv1"),
            (["-tls1", "-cipher", "AECDH-AES128-SHA:@SECLEVEL=0"], None),
            (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], b"TLSv1.1"),
            (["-tls1_2"], b"TLSv1.2"),
            (["-tls1_3"], b"TLSv1.3"),
        ):
            header, _ = haproxy.connect("both", *options)
            seen = dict(header.inner)[0x21] if header else None
            expect(f"{options}: version", seen, version)
            print(f"| `{' '.join(options)}` | {'`' + seen.decode() + '`' if seen else 'refused'} |")
    listed = authority.openssl("ciphers -s -tls1 ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    expect(
        "RC4 or 3DES in this OpenSSL", [name for name in listed.split(":") if "RC4" in name or "DES-CBC" in name], []
    )


def security_levels(authority, relay):
    print(
        "\n| `@SECLEVEL=` | TLS 1.0 | TLS 1.2, SHA-1-signed | TLS 1.2, MD5-signed | TLS 1.2, RSA 1024 |\n| --- | --- | --- | --- | --- |"
    )
    for level, should in (("0", [True] * 4), ("1", [False, False, False, True]), ("2", [False] * 4)):
        with HAProxy(authority, relay, ("@SECLEVEL=0", f"@SECLEVEL={level}")) as haproxy:
            strong = ["-tls1_2", "-cipher", "ALL:@SECLEVEL=0"]
            tries = [("both", TLS10), ("sha1", strong), ("md5", strong), ("rsa1024", strong)]
            seen = [haproxy.connect(name, *options)[0] is not None for name, options in tries]
        expect(f"level {level}", seen, should)
        print(f"| {level} |" + "".join(" accepted |" if one else " refused |" for one in seen))


def own_certificate(authority, relay):
    for name, should in (("relay", 0), ("relay-sha1", 1), ("relay-rsa1024", 1)):
        done = HAProxy(authority, relay, certificate=name).check()
        expect(f"own certificate {name}", done.returncode, should)
    print(
        "\nOwn certificate signed with SHA-1, or with an RSA key of 1024 bits: HAProxy does not start, whatever @SECLEVEL says."
    )


def without_the_switches(authority, relay):
    with HAProxy(authority, relay, ("ca-ignore-err 26 crt-ignore-err 26 ", "")) as haproxy:
        expect("serverAuth only without the switches", haproxy.connect("server", *TLS10), (None, "43"))
    with HAProxy(authority, relay, ("ca-ignore-err 26 ", "")) as haproxy:
        expect("server-ca without ca-ignore-err", haproxy.connect("via-server-ca", *TLS10), (None, "43"))
    print(
        "Without `crt-ignore-err 26` a serverAuth-only certificate ends in TLS alert 43; so does, without `ca-ignore-err 26`, one "
        "whose issuer is limited to serverAuth."
    )


def resumption(authority, relay):
    session = authority.folder / "session.pem"
    with HAProxy(authority, relay) as haproxy:
        haproxy.connect("server", *TLS10, "-sess_out", session.name)
        expect("a session to resume, as shipped", session.exists(), False)
        print("As shipped: no session is handed out, every connection shows its certificate.")
    with HAProxy(authority, relay, ("tune.ssl.cachesize 0", ""), ("no-tls-tickets ", "")) as haproxy:
        haproxy.connect("server", *TLS10, "-sess_out", session.name)
        header, _ = haproxy.connect(None, *TLS10, "-sess_in", session.name)
        expect("resumed", (header.client, header.verify, header.cn()), (5, 26, b"sip.contoso.example"))
        print(
            f"With session cache and tickets: a second connection, without a certificate: flags `{header.client:02x}`, verify "
            f"{header.verify}, the CN of the first."
        )


def other_headers(authority, relay):
    """The header without `unique-id`, over IPv6, and where nobody was authenticated: the relay must not read verify alone."""
    free = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    six, optional, plain = [one.getsockname()[1] for one in free]
    for one in free:
        one.close()
    bind = next(line for line in SHIPPED.splitlines(True) if line.strip().startswith("bind "))
    extra = (
        bind.replace(LISTEN, f"[::1]:{six}")
        + f"    bind 127.0.0.1:{plain}\n"
        + bind.replace(LISTEN, f"127.0.0.1:{optional}").replace("required", "optional")
    )
    shown = {}
    with HAProxy(authority, relay, (" proxy-v2-options unique-id", ""), (bind, bind + extra)) as haproxy:
        for name, what in (("both", "serverAuth and clientAuth"), ("server", "serverAuth only"), ("no-cn", "no CN")):
            shown[what], _ = haproxy.connect(name, *TLS10)
        shown["serverAuth only, over IPv6"], _ = haproxy.connect("server", *TLS10, host=f"[::1]:{six}")
        shown["no certificate (`verify optional`)"], _ = haproxy.connect(None, *TLS10, host=f"127.0.0.1:{optional}")
        before = len(relay.seen)
        with socket.create_connection(("127.0.0.1", plain), DEADLINE) as client:
            client.sendall(b"hello\n")
            shown["no TLS at all"] = Header(relay.next(before, DEADLINE))
    before = len(relay.seen)
    with HAProxy(authority, relay, ("proxy-v2-options unique-id", "check inter 100")):
        shown["health check (`check`)"] = Header(relay.next(before, DEADLINE))
    should = [
        (0x21, 0x11, 7, 0),
        (0x21, 0x11, 7, 26),
        (0x21, 0x11, 7, 0),
        (0x21, 0x21, 7, 26),
        (0x21, 0x11, 1, 0),
        (0x21, 0x11, 0, 0),
        (0x20, 0, 0, 0),
    ]
    print("\nWithout `proxy-v2-options unique-id`:")
    for (what, header), fields in zip(shown.items(), should):
        expect(what, (header.command, header.family, header.client, header.verify), fields)
        print(
            f"\n{what}: command `{header.command:02x}`, family `{header.family:02x}`, flags `{header.client:02x}`, verify "
            f"{header.verify}\n```text\n{header.hex()}\n```"
        )


def what_2_6_cannot(authority, relay):
    done = HAProxy(
        authority, relay, ("unique-id\n", "unique-id set-proxy-v2-tlv-fmt(0xE0) %[ssl_c_der,base64]\n")
    ).check()
    expect("set-proxy-v2-tlv-fmt", "unknown keyword 'set-proxy-v2-tlv-fmt(0xE0)'" in done.stderr, True)
    print("\n" + next(line for line in done.stderr.splitlines() if "unknown keyword" in line).split(" : ", 2)[2])
    with HAProxy(authority, relay, ("ssl_c_der,sha2(256),hex", "ssl_c_der,base64")) as haproxy:
        header, _ = haproxy.connect("both", *TLS10)
        expect("longest unique-id", len(dict(header.tlvs)[5]), 127)
        print(f"The certificate itself in `unique-id`: cut at {len(dict(header.tlvs)[5])} bytes.")


def revoked(authority, relay):
    """What `crl-file` does: a current list, one without the issuer, one that has expired."""
    authority.write("revoked", "")
    authority.write("number", "01")
    authority.write("crl", CA_SECTION + "database=revoked\ncrlnumber=number\n")
    command = "ca -config crl -cert root.pem -keyfile root.key"
    authority.openssl(f"{command} -revoke client.pem")
    with_list = ("no-tls-tickets ", f"no-tls-tickets crl-file {authority.folder}/crl.pem ")
    current = (("client", "error 23,"), ("both", None), ("sha1-chain", "error 3,"))
    expired = (("both", "error 12,"),)
    last_year = "-crl_lastupdate 20200101000000Z -crl_nextupdate 20200102000000Z"
    for validity, tries in (("-crldays 1", current), (last_year, expired)):
        authority.openssl(f"{command} -gencrl {validity} -out crl.pem")
        with HAProxy(authority, relay, with_list) as haproxy:
            for name, sign in tries:
                header, _ = haproxy.connect(name, *TLS10)
                expect(f"{name} with a CRL", header is None, sign is not None)
                expect(f"{name} with a CRL, log", sign is None or sign in haproxy.logged()[-1], True)
    print("With `crl-file`: revoked, no CRL of the issuer, and an expired CRL are refused with errors 23, 3 and 12.")


def hint(authority, relay):
    for file, should in (("ca-file", True), ("ca-verify-file", False)):
        with HAProxy(authority, relay, ("ca-file", file)) as haproxy:
            text = haproxy.client(["-connect", f"127.0.0.1:{haproxy.port}", *TLS10]).stdout
            header, _ = haproxy.connect("both", *TLS10)
        sent = "Acceptable client certificate CA names" in text
        expect(f"{file}: names sent, client accepted", (sent, header is not None), (should, True))
        print(f"With `{file}`: names of authorities {'sent' if sent else 'not sent'} to the client.")


def handshake_seconds(port, hello):
    """How long HAProxy bears a client that sends `hello` byte by byte, five a second, and no more."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), DEADLINE) as client:
        client.settimeout(0.2)
        for at in range(50):
            try:
                client.sendall(hello[at : at + 1])
                if not client.recv(1):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
    return time.monotonic() - began


def timeouts(authority, relay):
    short = ("timeout client 10s", "timeout client 1s"), ("timeout server 10s", "timeout server 1s")
    with HAProxy(authority, relay, *short) as haproxy:
        silent = handshake_seconds(haproxy.port, b"")
        drip = handshake_seconds(haproxy.port, bytes.fromhex("1603010200010001fc0301") + bytes(64))
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{haproxy.port}", "-quiet", *TLS10]
        command += ["-cert", "both.pem", "-key", "both.key"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, cwd=haproxy.folder, env=PATH, **pipes) as client:
            time.sleep(2.5)  # what is measured: a federation connection that is silent for longer than `timeout client`
            answer, _ = client.communicate(b"hello\n", DEADLINE)
    expect("a silent handshake ends after `timeout client`", 0.8 < silent < 2.0, True)
    expect("a dripping handshake ends after `timeout client`", 0.8 < drip < 2.0, True)
    expect("a silent established connection outlives `timeout client`", answer, b"heard\n")
    print(
        f"\nWith `timeout client 1s`: a handshake in which the client says nothing ended after {silent:.1f} s, one that drips after "
        f"{drip:.1f} s; an established connection that was silent for 2.5 s still carried a line and its answer."
    )


def edges_only(authority, relay):
    haproxy = HAProxy(authority, relay)
    haproxy.edges("192.0.2.1\n")
    with haproxy:
        header, alert = haproxy.connect("both", *TLS10)
    expect("an address that is not in edges.lst", (header, alert), (None, ""))
    print("From an address that is not in `edges.lst`: closed before TLS begins.")


def main():
    with tempfile.TemporaryDirectory(prefix="haproxy-measure-") as name:
        authority = Authority(Path(name))
        authority.issue("server-ca", usage="serverAuth", subject="/CN=server-ca", names=None, ca=True)
        for label, _, how, _, _ in CERTIFICATES:
            authority.issue(label, **how)
        ours = {"usage": "serverAuth", "subject": f"/CN={OURS}", "names": f"DNS:{OURS}"}
        for label, how in (("relay", {}), ("relay-sha1", {"digest": "sha1"}), ("relay-rsa1024", {"key": "rsa:1024"})):
            authority.issue(label, **ours, **how)
            files = [authority.folder / f"{label}.{kind}" for kind in ("pem", "key")]
            authority.write(f"{label}.both", "".join(file.read_text() for file in files))
        relay = Relay()
        print(run("haproxy -v", name).splitlines()[0])
        print(authority.openssl("version"))
        headers = certificates(authority, relay)
        for label in ("both", "server", "no-cn"):
            print(f"\n{label}\n```text\n{headers[label].hex()}\n```")
        for measure in (protocols, security_levels, own_certificate, without_the_switches, resumption, other_headers,
                        what_2_6_cannot, revoked, hint, timeouts, edges_only):
            measure(authority, relay)
    for line in wrong:
        print("WRONG:", line)
    sys.exit(1 if wrong else 0)


main()
