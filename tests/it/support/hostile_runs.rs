//! Series of attacks. Each is refused with little memory and time, and its text has no effect in the log or in the summary.

use std::time::Duration;

use sandbox::Proof;

use super::{Action, Outcome};

/// The limits allow for the program itself being unoptimized, which takes more memory and time.
pub(crate) const PEAK_MAX_MIB: f64 = 64.0;
const TIME_MAX: Duration = Duration::from_mins(2);

const COLUMNS: [&str; 4] = ["attack", "exit code", "peak memory, MiB", "time, s"];

/// A series of attacks, with the memory and time of each run.
pub(crate) struct HostileRuns {
    proof: Proof,
    wrong: Vec<String>,
    attacks: usize,
    peak_mib: f64,
    time: Duration,
}

impl HostileRuns {
    pub(crate) fn new(title: &str) -> Self {
        Self {
            proof: Proof::new("hostile", title, &COLUMNS),
            wrong: Vec::new(),
            attacks: 0,
            peak_mib: 0.0,
            time: Duration::ZERO,
        }
    }

    /// Runs `action`, which must end with `code`.
    pub(crate) fn play(&mut self, attack: &str, action: &Action, code: i32) -> Outcome {
        let (outcome, spent) = action.begin().end_watched();
        self.attacks += 1;
        self.peak_mib = self.peak_mib.max(spent.peak_mib);
        self.time = self.time.max(spent.time);
        self.proof.row(&[
            &attack.replace(char::is_control, " "),
            &outcome.code,
            &format!("{:.1}", spent.peak_mib),
            &format!("{:.2}", spent.time.as_secs_f64()),
        ]);
        if outcome.code != code {
            let log = &outcome.log;
            self.wrong.push(format!(
                "{attack}: ended with {}, not {code}\n{log}",
                outcome.code
            ));
        }
        let is_cheap = spent.peak_mib <= PEAK_MAX_MIB && spent.time <= TIME_MAX;
        // A short run on a busy machine may end before its memory is measured.
        let is_unseen = spent.peak_mib < 1.0 && spent.time > Duration::from_secs(1);
        if !is_cheap || is_unseen {
            self.wrong.push(format!("{attack}: {spent:?}"));
        }
        if outcome.everything().len() > 100_000 {
            self.wrong.push(format!("{attack}: it says too much"));
        }
        let accepted = ["verified", "digest", "reference"];
        if outcome.code != 0
            && accepted
                .iter()
                .any(|name| outcome.outputs.contains_key(*name))
        {
            self.wrong.push(format!("{attack}: refused, with outputs"));
        }
        nothing_acts(&outcome, attack);
        outcome
    }

    /// Records a failure unless `is_so`, a further condition after an attack.
    pub(crate) fn expect(&mut self, attack: &str, must_be: &str, is_so: bool) {
        if !is_so {
            self.wrong.push(format!("{attack}: not so: {must_be}"));
        }
    }

    pub(crate) fn end(self) {
        self.proof.end(&format!(
            "{} attacks, {} not as they must end; at most {:.1} MiB (bound {PEAK_MAX_MIB}) and {:.1} s; the program itself is not optimized.",
            self.attacks,
            self.wrong.len(),
            self.peak_mib,
            self.time.as_secs_f64(),
        ));
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n\n"));
    }
}

/// Returns `action` with two attempts, one of which may succeed.
pub(crate) fn hasty(action: Action) -> Action {
    action
        .input("max-attempts", "2")
        .input("retry-delay", "1ms")
}

pub(crate) const ATTACKS: [&str; 7] = [
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
            "::warning::the record could not be read",
            "::warning::a tag points to `",
            "::warning::these referrers of `",
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
