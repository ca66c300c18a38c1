//! Client certificates, and what is said of files that are none.

use std::time::{Duration, SystemTime};

use pushrelay_peers::pki::{Authority, Key, Leaf};
use pushrelay_providers::Identity;

use crate::support::*;

#[test]
fn a_certificate_with_its_key_is_an_identity_until_its_end() {
    let authority = Authority::new("root").intermediate("intermediate");
    for key in [Key::Ecdsa, Key::Rsa] {
        let issued = authority.issue(&Leaf::named("com.example.chat").key(key));
        let identity = Identity::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes());
        let left = identity
            .unwrap()
            .not_after()
            .duration_since(SystemTime::now());
        assert!(left.unwrap() > Duration::from_secs(300 * 24 * 3600));
    }
    let expired = authority.issue(&Leaf::named("com.example.chat").expired());
    let identity = Identity::from_pem(expired.chain_pem.as_bytes(), expired.key_pem.as_bytes());
    assert!(identity.unwrap().not_after() < SystemTime::now());
}

#[test]
fn one_file_may_hold_both() {
    let issued = Authority::new("root").issue(&Leaf::named("com.example.chat"));
    let both = format!("{}{}", issued.key_pem, issued.chain_pem);
    Identity::from_pem(both.as_bytes(), both.as_bytes()).unwrap();
}

#[test]
fn an_identity_that_is_none_is_told_by_what_it_is() {
    let authority = Authority::new("root");
    let issued = authority.issue(&Leaf::named("com.example.chat"));
    let other = authority.issue(&Leaf::named("com.example.chat"));
    let encrypted = openssl(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-aes-256-cbc",
        "-pass",
        "pass:secret",
    ]);
    for (chain, key, said) in [
        (
            &*issued.key_pem,
            &*issued.key_pem,
            "expected a PEM file with a CERTIFICATE section, got PRIVATE KEY",
        ),
        ("", &*issued.key_pem, "got no PEM section"),
        (&*issued.chain_pem, &*issued.chain_pem, "got CERTIFICATE"),
        (&*issued.chain_pem, &*encrypted, "ENCRYPTED PRIVATE KEY"),
        (
            &*issued.chain_pem,
            &*other.key_pem,
            "got another certificate's",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &*issued.key_pem,
            "X.509",
        ),
    ] {
        let error = Identity::from_pem(chain.as_bytes(), key.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(error.contains(said), "{said}: {error}");
    }
}

#[test]
fn a_bundle_wants_its_password() {
    let directory = tempfile::tempdir().unwrap();
    let issued = Authority::new("root").issue(&Leaf::named("com.example.chat"));
    let bundle = issued
        .write_pkcs12(directory.path(), "apple", "secret")
        .unwrap();
    let bytes = std::fs::read(bundle).unwrap();
    Identity::from_pkcs12(&bytes, "secret").unwrap();
    for (bytes, password) in [(&bytes[..], "other"), (&bytes[..100], "secret"), (b"", "")] {
        let error = Identity::from_pkcs12(bytes, password)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("expected a PKCS#12 file and its password"),
            "{error}"
        );
    }
}

#[test]
fn a_bundle_of_an_older_tool_is_read_too() {
    let directory = tempfile::tempdir().unwrap();
    let issued = Authority::new("root").issue(&Leaf::named("com.example.chat"));
    let files = issued.write(directory.path(), "apple").unwrap();
    let bundle = directory.path().join("old.p12");
    let paths = [&files.chain, &files.key, &bundle].map(|path| path.to_str().unwrap());
    // What Keychain and older openssl write: SHA-1 and triple DES.
    openssl(&[
        "pkcs12",
        "-export",
        "-in",
        paths[0],
        "-inkey",
        paths[1],
        "-out",
        paths[2],
        "-passout",
        "pass:secret",
        "-keypbe",
        "PBE-SHA1-3DES",
        "-certpbe",
        "PBE-SHA1-3DES",
        "-macalg",
        "SHA1",
    ]);
    Identity::from_pkcs12(&std::fs::read(bundle).unwrap(), "secret").unwrap();
}
