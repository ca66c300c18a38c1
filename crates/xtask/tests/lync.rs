//! Holds `deploy/lync/` against a grammar of PowerShell and against Microsoft's reference of the Lync cmdlets. Not a run: no
//! PowerShell and no Lync can be had where these tests run.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tree_sitter::{Node, Parser, Tree};

/// The cmdlets that a site needs to be connected and tested.
const NEEDED: &[&str] = &[
    "New-CsHostingProvider",
    "New-CsAllowedDomain",
    "Set-CsPushNotificationConfiguration",
    "Set-CsAccessEdgeConfiguration",
    "Set-CsMcxConfiguration",
    "Test-CsFederatedPartner",
    "Test-CsMcxPushNotification",
];

/// What every sender's administrator will look for in `troubleshooting.md`.
const CODES: &[&str] = &[
    "504", "1002", "1005", "1007", "1008", "1009", "1010", "1012", "1014", "1027", "1034", "1047",
    "408", "rejected", "14517",
];

/// Parameters of the Lync cmdlets used here, by Microsoft's reference (office-docs-powershell, `skype/`).
const CMDLETS: &[(&str, &[&str])] = &[
    ("Get-CsAccessEdgeConfiguration", GET),
    ("Get-CsAllowedDomain", GET),
    ("Get-CsBlockedDomain", GET),
    ("Get-CsExternalAccessPolicy", GET),
    ("Get-CsHostingProvider", GET),
    ("Get-CsImFilterConfiguration", GET),
    (
        "Get-CsManagementStoreReplicationStatus",
        &["ReplicaFqdn", "CentralManagementStoreStatus"],
    ),
    ("Get-CsMcxConfiguration", GET),
    ("Get-CsPublicProvider", GET),
    ("Get-CsPushNotificationConfiguration", GET),
    ("Get-CsService", &["EdgeServer", "PoolFqdn", "Identity"]),
    ("Get-CsSipDomain", &["Identity", "Filter"]),
    (
        "Invoke-CsManagementStoreReplication",
        &["ReplicaFqdn", "Force"],
    ),
    (
        "New-CsAllowedDomain",
        &[
            "Identity",
            "Domain",
            "Comment",
            "MarkForMonitoring",
            "ProxyFqdn",
            "VerificationLevel",
            "Force",
            "InMemory",
            "WhatIf",
            "Confirm",
        ],
    ),
    (
        "New-CsHostingProvider",
        &[
            "Identity",
            "Enabled",
            "ProxyFqdn",
            "EnabledSharedAddressSpace",
            "HostsOCSUsers",
            "IsLocal",
            "VerificationLevel",
            "AutodiscoverUrl",
            "SipClientPort",
            "Force",
            "InMemory",
            "WhatIf",
            "Confirm",
        ],
    ),
    ("Remove-CsAllowedDomain", REMOVE),
    ("Remove-CsHostingProvider", REMOVE),
    (
        "Search-CsClsLogging",
        &["Components", "Computers", "OutputFilePath", "Pools", "Uri"],
    ),
    (
        "Set-CsAccessEdgeConfiguration",
        &[
            "Identity",
            "AllowFederatedUsers",
            "Force",
            "WhatIf",
            "Confirm",
        ],
    ),
    (
        "Set-CsImFilterConfiguration",
        &[
            "Identity", "Action", "Enabled", "Prefixes", "Force", "WhatIf", "Confirm",
        ],
    ),
    (
        "Set-CsMcxConfiguration",
        &[
            "Identity",
            "Instance",
            "PushNotificationProxyUri",
            "Force",
            "WhatIf",
            "Confirm",
        ],
    ),
    (
        "Set-CsPushNotificationConfiguration",
        &[
            "Identity",
            "Instance",
            "EnableApplePushNotificationService",
            "EnableMicrosoftPushNotificationService",
            "Force",
            "WhatIf",
            "Confirm",
        ],
    ),
    (
        "Start-CsClsLogging",
        &["Scenario", "Computers", "Duration", "Pools"],
    ),
    (
        "Test-CsFederatedPartner",
        &[
            "TargetFqdn",
            "Domain",
            "ProxyFqdn",
            "Certificate",
            "Force",
            "OutVerboseVariable",
        ],
    ),
    (
        "Test-CsMcxPushNotification",
        &[
            "AccessEdgeFqdn",
            "Certificate",
            "Force",
            "OutVerboseVariable",
        ],
    ),
];
const GET: &[&str] = &["Identity", "Filter", "LocalStore"];
const REMOVE: &[&str] = &["Identity", "Force", "WhatIf", "Confirm"];

/// Words of PowerShell 3.0 and later, or of Windows 8 and later. Lync Server 2010 runs on PowerShell 2.0.
const NOT_IN_2_0: &[&str] = &[
    "-in ",
    "-notin ",
    "-shl ",
    "-shr ",
    "[ordered]",
    "[pscustomobject]",
    "::new(",
    ".foreach(",
    ".where(",
    "$psitem",
    "$psscriptroot",
    "$using:",
    "convertfrom-json",
    "convertto-json",
    "get-content -raw",
    "invoke-restmethod",
    "invoke-webrequest",
    "resolve-dnsname",
    "test-netconnection",
    "set-content -nonewline",
];

#[test]
fn every_script_and_every_example_parses() {
    for (place, text) in powershell() {
        let tree = parse(&text);
        assert_eq!(faults(tree.root_node(), &text), NOTHING, "{place}");
    }
}

#[test]
fn a_missing_brace_and_an_open_string_do_not_parse() {
    for text in ["if ($a) { 1", "Write-Host 'abc", "$a = @{ b = }"] {
        assert!(!faults(parse(text).root_node(), text).is_empty(), "{text}");
    }
}

#[test]
fn nothing_is_newer_than_powershell_2_0() {
    for (place, text) in powershell() {
        let tree = parse(&text);
        let code = without_comments(tree.root_node(), &text).to_lowercase();
        let newer: Vec<&&str> = NOT_IN_2_0
            .iter()
            .filter(|word| code.contains(**word))
            .collect();
        assert!(newer.is_empty(), "{place}: {newer:?}");
        for command in commands(tree.root_node(), &text) {
            // `Where-Object Name -eq 1` without braces came with 3.0.
            if ["Where-Object", "ForEach-Object"].contains(&command.name.as_str()) {
                assert!(command.text.contains('{'), "{place}: {}", command.text);
            }
        }
    }
}

#[test]
fn every_lync_cmdlet_and_parameter_is_in_microsofts_reference() {
    for (place, text) in powershell() {
        for command in commands(parse(&text).root_node(), &text) {
            assert_eq!(strangers(&command), NOTHING, "{place}: {}", command.text);
        }
    }
}

#[test]
fn a_misspelt_cmdlet_and_a_misspelt_parameter_are_strangers() {
    for text in [
        "New-CsAllowedDomains -Identity a.example",
        "New-CsAllowedDomain -Identiti a.example",
        "New-Step 'New-CsAllowedDomain' @{ Identity = 'a'; Proxy = 'b' } $null",
    ] {
        let commands = commands(parse(text).root_node(), text);
        assert!(!strangers(&commands[0]).is_empty(), "{text}");
    }
}

#[test]
fn every_cmdlet_that_a_site_needs_is_in_the_scripts() {
    let used: BTreeSet<String> = scripts()
        .iter()
        .flat_map(|(_, text)| commands(parse(text).root_node(), text))
        .map(|command| command.name)
        .collect();
    for name in NEEDED {
        assert!(used.contains(*name), "{name}");
    }
}

#[test]
fn the_scripts_can_be_tried_and_taken_back() {
    let text = fs::read_to_string(folder().join("Connect-PushRelay.ps1")).unwrap();
    for word in ["SupportsShouldProcess", "[switch] $Undo", "ShouldProcess("] {
        assert!(text.contains(word), "{word}");
    }
}

#[test]
fn every_code_has_its_row_and_every_sign_of_the_test_script_too() {
    let page = fs::read_to_string(folder().join("troubleshooting.md")).unwrap();
    let rows: String = page
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.split(" | ").next().unwrap())
        .collect();
    for code in CODES {
        assert!(rows.contains(&format!("`{code}`")), "no row for {code}");
    }
    let script = fs::read_to_string(folder().join("Test-PushRelay.ps1")).unwrap();
    let signs: Vec<&str> = script
        .lines()
        .filter(|line| line.starts_with("    @('"))
        .map(|line| line.split("', '").nth(1).unwrap())
        .collect();
    assert!(signs.len() > 10);
    for row in signs {
        assert!(rows.contains(&format!("`{row}`")), "no row for {row}");
    }
}

#[test]
fn every_link_leads_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .map(|rest| rest.split(')').next().unwrap())
        {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(file)
            };
            assert!(target.exists(), "{}: {link}", page.display());
            if !heading.is_empty() {
                let there = fs::read_to_string(&target).unwrap();
                assert!(
                    headings(&there).contains(heading),
                    "{}: {link}",
                    page.display()
                );
            }
        }
    }
}

const NOTHING: [&str; 0] = [];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy/lync")
        .canonicalize()
        .unwrap()
}

fn pages() -> Vec<PathBuf> {
    let mut pages = files("md");
    pages.push(folder().join("../haproxy/README.md"));
    pages
}

fn files(extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

fn scripts() -> Vec<(String, String)> {
    let named = |path: &PathBuf| {
        (
            path.display().to_string(),
            fs::read_to_string(path).unwrap(),
        )
    };
    files("ps1").iter().map(named).collect()
}

/// Every script, and every PowerShell example of the pages, with the place where it stands.
fn powershell() -> Vec<(String, String)> {
    let mut found = scripts();
    for page in files("md") {
        let text = fs::read_to_string(&page).unwrap();
        for (at, block) in text.split("```powershell\n").skip(1).enumerate() {
            let place = format!("{}, example {}", page.display(), at + 1);
            found.push((place, block.split("```").next().unwrap().to_owned()));
        }
    }
    assert!(found.len() > 10);
    found
}

fn parse(text: &str) -> Tree {
    let mut parser = Parser::new();
    parser
        .set_language(&tree_sitter_powershell::LANGUAGE.into())
        .unwrap();
    parser.parse(text, None).unwrap()
}

fn walk<'tree>(node: Node<'tree>, visit: &mut impl FnMut(Node<'tree>)) {
    visit(node);
    let mut cursor = node.walk();
    for child in node.children(&mut cursor) {
        walk(child, visit);
    }
}

/// What the grammar could not read, with its line.
fn faults(root: Node<'_>, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    walk(root, &mut |node| {
        if node.is_error() || node.is_missing() {
            let line = node.start_position().row;
            faults.push(format!(
                "line {}: {}",
                line + 1,
                text.lines().nth(line).unwrap_or("")
            ));
        }
    });
    faults
}

fn without_comments(root: Node<'_>, text: &str) -> String {
    let mut code = text.as_bytes().to_vec();
    walk(root, &mut |node| {
        if node.kind() == "comment" {
            code[node.byte_range()].fill(b' ');
        }
    });
    String::from_utf8(code).unwrap()
}

/// One call: of a cmdlet, a function of ours or a program.
struct Command {
    name: String,
    parameters: Vec<String>,
    /// Cmdlets that are called later, named in quotes, with the names of the table of parameters that goes with them.
    later: Vec<(String, Vec<String>)>,
    text: String,
}

fn commands(root: Node<'_>, text: &str) -> Vec<Command> {
    let mut commands = Vec::new();
    walk(root, &mut |node| {
        if node.kind() != "command" {
            return;
        }
        let Some(name) = node.child_by_field_name("command_name") else {
            return;
        };
        let words = node.utf8_text(text.as_bytes()).unwrap();
        let mut parameters = Vec::new();
        walk(node, &mut |inner| {
            if inner.kind() == "command_parameter" && closest_command(inner) == Some(node) {
                let word = inner.utf8_text(text.as_bytes()).unwrap();
                parameters.push(word.trim_matches(['-', ':']).to_owned());
            }
        });
        let name = name.utf8_text(text.as_bytes()).unwrap().to_owned();
        let later = if name == "New-Step" {
            vec![step(words)]
        } else {
            Vec::new()
        };
        commands.push(Command {
            name,
            parameters,
            later,
            text: words.to_owned(),
        });
    });
    commands
}

fn closest_command(node: Node<'_>) -> Option<Node<'_>> {
    std::iter::successors(node.parent(), Node::parent).find(|above| above.kind() == "command")
}

/// `New-Step 'Cmdlet' @{ Name = value; ... }`: the cmdlet and the names. A table in a variable has none to see.
fn step(words: &str) -> (String, Vec<String>) {
    let cmdlet = words.split('\'').nth(1).unwrap_or("").to_owned();
    let table = words
        .split_once("' @{")
        .map_or("", |(_, rest)| rest.split('}').next().unwrap());
    let names = table
        .split([';', '\n'])
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, _)| name.trim().to_owned())
        .collect();
    (cmdlet, names)
}

/// What of this call Microsoft's reference does not know.
fn strangers(command: &Command) -> Vec<String> {
    let mut strangers = Vec::new();
    let own = (command.name.clone(), command.parameters.clone());
    for (name, parameters) in command.later.iter().chain([&own]) {
        if !name.contains("-Cs") {
            continue;
        }
        let Some((_, known)) = CMDLETS.iter().find(|(known, _)| known == name) else {
            strangers.push(name.clone());
            continue;
        };
        let unknown = parameters
            .iter()
            .filter(|name| !known.contains(&name.as_str()));
        strangers.extend(unknown.cloned());
    }
    strangers
}

/// The anchors of a page, as the usual readers of Markdown make them.
fn headings(page: &str) -> BTreeSet<String> {
    page.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|letter| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter))
                .map(|letter| if letter == ' ' { '-' } else { letter })
                .collect()
        })
        .collect()
}
