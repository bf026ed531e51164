//! What on this host is in the way of its containers' networks. Looks, and changes
//! nothing.
//!
//! What is there is read first ([`filter::Filters`], [`host::Parameters`], …); what
//! that means is decided by functions of it alone.

mod filter;
mod host;
mod masters;
mod networks;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Containers cannot be attached.
    Error,
    /// They can, and may not be reached, or not be protected.
    Warning,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    /// What was found.
    what: String,
    /// Why it matters.
    why: String,
    /// What to do about it.
    remedy: String,
}

impl Finding {
    fn error(what: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding {
            level: Level::Error,
            what: what.into(),
            why: why.into(),
            remedy: remedy.into(),
        }
    }

    fn warning(what: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding {
            level: Level::Warning,
            ..Finding::error(what, why, remedy)
        }
    }
}

/// A network whose packets the host forwards.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Routed {
    network: String,
    way: Way,
}

/// By what they come to the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// The link that has the gateway's addresses: a bridge, or what stands on it.
    Link(String),
    /// The cable to a VXLAN network's router.
    Router(String),
    /// The cables to the containers, of which each has a name of its own.
    Cables,
}

impl Way {
    /// How the names of cables begin.
    const CABLES: &str = "veth";

    /// As messages call it.
    fn shown(&self) -> String {
        match self {
            Way::Link(link) | Way::Router(link) => link.clone(),
            Way::Cables => format!("{}*", Way::CABLES),
        }
    }
}

/// Examines the host; the worst comes first.
pub(crate) fn examine(conf_dir: &Path, plugin_dirs: &[PathBuf]) -> Vec<Finding> {
    let configured = networks::examine(conf_dir, plugin_dirs);
    let mut findings = configured.findings;
    let routed = &configured.routed;
    match masters::read(configured.above) {
        Ok(masters) => findings.extend(masters::judge(&masters)),
        Err(error) => findings.push(silent(&error)),
    }
    match host::Parameters::read(routed) {
        Ok(parameters) => {
            findings.extend(host::judge(routed, &parameters));
            match filter::Filters::read() {
                Ok(filters) => findings.extend(filter::judge(routed, &filters, &parameters)),
                Err(error) => findings.push(filter::none(&error, configured.needs_filter)),
            }
        }
        Err(error) => findings.push(silent(&error)),
    }
    findings.dedup();
    findings.sort_by_key(|finding| finding.level);
    findings
}

/// The kernel cannot be asked.
fn silent(error: &kernel::Error) -> Finding {
    Finding::error(
        format!("the kernel does not say what is there: {error}"),
        "no plugin can attach anything then, either",
        "run this as root, on the host and not in a container",
    )
}

/// The findings for programs.
pub(crate) fn json(findings: &[Finding]) -> Value {
    let one = |finding: &Finding| {
        json!({
            "level": finding.level.as_str(),
            "what": finding.what,
            "why": finding.why,
            "do": finding.remedy,
        })
    };
    findings.iter().map(one).collect()
}

/// The findings for people.
pub(crate) fn text(findings: &[Finding]) -> String {
    let one = |finding: &Finding| {
        format!(
            "{}: {}\n    why: {}\n    do:  {}\n",
            finding.level.as_str(),
            finding.what,
            finding.why,
            finding.remedy
        )
    };
    match findings {
        [] => "nothing is in the way".into(),
        findings => findings
            .iter()
            .map(one)
            .collect::<String>()
            .trim_end()
            .to_owned(),
    }
}
