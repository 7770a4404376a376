//! Hostile text in responses of a registry or Sigstore: none of it has an effect in the log or in the summary.

use sandbox::{Fault, Proof};

use crate::support::{Outcome, World};

const ATTACKS: [&str; 7] = [
    "x\n::set-output name=result::created\n::add-path::/evil\n::add-mask::evil",
    "\u{1b}[2J\u{1b}]0;title\u{7}x\r::error::gone",
    "</td></tr><img src=x onerror=alert(1)><script>alert(1)</script>",
    "a` | b | [x](https://evil.test) ![y](https://evil.test/y) @octocat #1 ~~z~~",
    "\n\n# Heading\n\n> [!NOTE]\n> x\n\n```\nfence\n```",
    "##[add-mask]a %0A::warning::b",
    "by\u{202e}su ton\u{202c}, \u{2066}v1\u{2069}\u{200b}0\u{200d}\u{feff}\u{2028}::error::\u{e0041}x",
];

/// True for characters that change the text direction or have no width.
fn is_hidden(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

/// Returns each attack alone for a long proof, else all of them in one text.
pub(crate) fn attacks() -> Vec<String> {
    if Proof::is_wanted() {
        ATTACKS.map(str::to_owned).to_vec()
    } else {
        vec![ATTACKS.join("\n")]
    }
}

/// Returns the attack without characters that no header can contain.
pub(crate) fn as_header(attack: &str) -> String {
    attack
        .replace(
            |letter: char| letter.is_control() || !letter.is_ascii(),
            " ",
        )
        .trim()
        .to_owned()
}

/// Asserts that no part of the attack is a command in the log, or anything but text in the summary.
pub(crate) fn nothing_acts(outcome: &Outcome, attack: &str) {
    for line in outcome.log.lines() {
        let commands = [
            "::group::",
            "::endgroup::",
            "::error title=",
            "::warning::`",
            "::warning::tag `",
            "::warning::the tag `",
            "::warning::there is no record that could be read",
            "::warning::a tag holds `",
            "::warning::what is listed as referring to `",
            "::add-mask::",
        ];
        let ours = commands.iter().any(|command| line.starts_with(command))
            && !line.starts_with("::add-mask::evil");
        assert!(
            ours || !line.trim_start().starts_with("::"),
            "{attack:?}: {line:?}"
        );
        assert!(!line.contains("##["), "{attack:?}: {line:?}");
        assert!(
            !line
                .chars()
                .any(|letter| letter.is_control() && letter != '\t'),
            "{attack:?}: {line:?}"
        );
    }
    for text in [&outcome.log, &outcome.summary] {
        assert!(!text.contains(is_hidden), "{attack:?}: {text:?}");
    }
    let mut fence = None;
    for (number, line) in outcome.summary.lines().enumerate() {
        // A fenced code block renders its content literally, up to a line with as many backticks as its first.
        let ticks = line.len() - line.trim_start_matches('`').len();
        match fence {
            Some(open) if ticks < open => continue,
            Some(_) => {
                fence = None;
                continue;
            }
            None if ticks >= 3 => {
                fence = Some(ticks);
                continue;
            }
            None => (),
        }
        // Outside code, the line contains nothing that HTML or Markdown would interpret.
        let bare = ["\\]", "\\@", "\\[", "\\:", "\\."]
            .iter()
            .fold(outside_code(line), |text, escaped| {
                text.replace(escaped, "")
            });
        for acting in ["<img", "<script", "](https", "<td", "<tr", "://", "www."] {
            assert!(!bare.contains(acting), "{attack:?}: line {number} {line:?}");
        }
        assert!(
            !line.starts_with("# ") && !line.trim_start_matches("> ").starts_with("[!NOTE]"),
            "{attack:?}: {line:?}"
        );
        assert!(!bare.contains('@'), "{attack:?}: {line:?}");
        assert!(!line.chars().any(char::is_control), "{attack:?}: {line:?}");
    }
    assert!(
        outcome.code == 0 || !outcome.outputs.contains_key("result"),
        "{attack:?}"
    );
}

/// Returns a line without its code spans. SPEC: GitHub Flavored Markdown 6.3: a span ends at as many backticks as it began
/// with.
fn outside_code(line: &str) -> String {
    let mut runs = Vec::new();
    for (at, tick) in line.match_indices('`') {
        match runs.last_mut() {
            Some((from, length)) if *from + *length == at => *length += tick.len(),
            _ => runs.push((at, tick.len())),
        }
    }
    let (mut bare, mut next) = (String::new(), 0);
    let mut runs = runs.as_slice();
    while let [(at, length), rest @ ..] = runs {
        runs = rest;
        if let Some(end) = rest.iter().position(|(_, other)| other == length) {
            bare.push_str(&line[next..*at]);
            next = rest[end].0 + length;
            runs = &rest[end + 1..];
        }
    }
    bare + &line[next..]
}

#[test]
fn message_of_a_registry_does_nothing() {
    for attack in ATTACKS {
        let world = World::new();
        let fault = Fault::on("GET", "*/manifests/v1").times(u32::MAX);
        world
            .registry()
            .fault(fault.registry_error(400, attack, attack));
        let outcome = world.create().end_with(1);
        nothing_acts(&outcome, attack);
        // Retry messages are harmless too.
        world.registry().clear_faults();
        let fault = Fault::on("GET", "*/manifests/v1").times(u32::MAX);
        world
            .registry()
            .fault(fault.registry_error(503, attack, attack));
        let outcome = world.create().input("max-attempts", "2").end_with(1);
        assert!(
            outcome.summary.contains("What was tried again"),
            "{}",
            outcome.summary
        );
        nothing_acts(&outcome, attack);
    }
}

#[test]
fn message_of_sigstore_does_nothing() {
    for attack in ATTACKS {
        let world = World::new();
        world.sigstore().offer_rekor_v2();
        for (path, format) in [
            ("/api/v2/signingCert", "bundle"),
            ("/api/v1/log/entries", "legacy"),
            ("/api/v2/log/entries", "bundle"),
            ("/api/v1/timestamp", "bundle"),
        ] {
            world.sigstore().clear_faults();
            let fault = Fault::on("POST", path).times(u32::MAX);
            world
                .sigstore()
                .fault(fault.answer(400, &[("content-type", "text/plain")], attack));
            let seal = world.seal().input("signature-format", format);
            let outcome = seal.end_with(1);
            nothing_acts(&outcome, attack);
        }
    }
}

#[test]
fn challenge_of_a_registry_does_nothing() {
    for attack in ATTACKS {
        let attack = attack.replace(['\n', '\r', '\u{1b}', '\u{7}'], " ");
        let world = World::new();
        for challenge in [
            format!("Bearer realm=\"{attack}\",service=\"{attack}\""),
            attack.clone(),
        ] {
            world.registry().clear_faults();
            let fault = Fault::on("GET", "*/manifests/v1").times(u32::MAX);
            world
                .registry()
                .fault(fault.answer(401, &[("www-authenticate", &challenge)], &attack));
            let outcome = world.create().end_with(1);
            nothing_acts(&outcome, &attack);
        }
    }
}

#[test]
fn input_that_quotes_itself_does_nothing() {
    let world = World::new();
    for attack in ATTACKS {
        for input in [
            "tags",
            "digests",
            "platforms",
            "annotations",
            "image",
            "media-type",
            "certificate-identity-regexp",
        ] {
            let outcome = world.seal().input(input, format!("({attack}")).run();
            assert_eq!(outcome.code, 2, "{input}\n{}", outcome.log);
            nothing_acts(&outcome, attack);
        }
    }
}
