//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{containers, install};

/// CNI plugins that give every host its own slice of the address plan.
///
/// Called by a plugin's name (bridge, macvlan, loopback, host-local) this
/// executable is that plugin. By its own name it puts the plugins where a runtime
/// finds them, and attaches the containers of tasks to networks.
#[derive(Parser)]
#[command(name = "slash24", version, after_help = EXAMPLES)]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  slash24 install /opt/cni/bin
  slash24 attach --netns /run/netns/web --id web task.json
  slash24 check  --id web task.json
  slash24 detach --id web";

#[derive(Subcommand)]
enum Command {
    /// Attach a container to the networks of its task, or to none of them
    #[command(after_help = ATTACH_EXAMPLES)]
    Attach(AttachArgs),
    /// Detach a container from every network that it was attached to
    #[command(after_help = DETACH_EXAMPLES)]
    Detach(ContainerArgs),
    /// Check that a container is attached as it should be
    #[command(after_help = CHECK_EXAMPLES)]
    Check(ContainerArgs),
    /// Put the plugins into a runtime's CNI directory
    #[command(after_help = INSTALL_EXAMPLES)]
    Install(InstallArgs),
    /// Take the plugins out again, and put back what they replaced
    #[command(after_help = UNINSTALL_EXAMPLES)]
    Uninstall(UninstallArgs),
}

const ATTACH_EXAMPLES: &str = r#"The networks become eth0, eth1, … in the order of the task's list:
  {"container": {"network": [
    {"name": "frontend"},
    {"name": "backend", "ipaddress": [{"ip": "10.50.11.77", "protocol": "ipv4"}]}
  ]}}
If one fails, those before it are detached again and the error says which and why.

Examples:
  slash24 attach --netns /run/netns/web --id web task.json
  slash24 attach --netns /run/netns/web --id web --output table task.json
  curl -s http://scheduler/app | slash24 attach --netns /run/netns/web --id web -"#;

const DETACH_EXAMPLES: &str = "\
It goes by what was noted when the container was attached, so it works when
configurations or the task have changed since, and when the namespace is gone.
The task is only needed when those notes are lost.

Examples:
  slash24 detach --id web
  slash24 detach --netns /run/netns/web --id web task.json";

const CHECK_EXAMPLES: &str = "\
Every network that the container is on is checked; with a task, it must be on all
of the task's as well.

Examples:
  slash24 check --id web
  slash24 check --netns /run/netns/web --id web --output table task.json";

const INSTALL_EXAMPLES: &str = "\
DIR gets one file, slash24, and the plugins' names as hard links to it, each put in
place by a rename: it can be run while plugins are in use, and again to upgrade.
A file that is no slash24 plugin is only replaced with --replace; it is kept as
DIR/.slash24/replaced/NAME, where no runtime looks.

Examples:
  slash24 install /opt/cni/bin
  slash24 install --replace /opt/cni/bin
  slash24 install --only bridge,host-local /usr/libexec/cni";

const UNINSTALL_EXAMPLES: &str = "\
Examples:
  slash24 uninstall /opt/cni/bin";

/// Which container, and how to find what concerns it.
#[derive(Args)]
pub(crate) struct ContainerArgs {
    /// The container's id
    #[arg(long)]
    pub(crate) id: String,
    /// Path of the container's network namespace [default: that of attach]
    #[arg(long, value_name = "PATH")]
    pub(crate) netns: Option<PathBuf>,
    /// The task's document (Hydrogen); `-` reads standard input
    #[arg(value_name = "TASK.json")]
    pub(crate) task: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) host: HostArgs,
}

/// As [`ContainerArgs`], with what only attaching cannot do without.
#[derive(Args)]
pub(crate) struct AttachArgs {
    /// The container's id
    #[arg(long)]
    pub(crate) id: String,
    /// Path of the container's network namespace
    #[arg(long, value_name = "PATH")]
    pub(crate) netns: PathBuf,
    /// The task's document (Hydrogen); `-` reads standard input
    #[arg(value_name = "TASK.json")]
    pub(crate) task: PathBuf,
    #[command(flatten)]
    pub(crate) host: HostArgs,
}

/// Where things are on the host.
#[derive(Args)]
pub(crate) struct HostArgs {
    /// The application that is meant, when the document lists several
    #[arg(long = "task", value_name = "NAME")]
    pub(crate) task_name: Option<String>,
    /// Directory of network configurations
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d")]
    pub(crate) conf_dir: PathBuf,
    /// Directory of plugins; can be repeated [default: $CNI_PATH, else /opt/cni/bin]
    #[arg(long, value_name = "DIR")]
    pub(crate) plugin_dir: Vec<PathBuf>,
    /// Directory of what is noted about attachments, as libcni does
    #[arg(long, value_name = "DIR", default_value = cni::runtime::Cache::DEFAULT)]
    pub(crate) cache_dir: PathBuf,
    /// What to print
    #[arg(long, value_enum, default_value_t = Output::Json)]
    pub(crate) output: Output,
}

/// What a command prints.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For programs
    Json,
    /// For people
    Table,
}

#[derive(Args)]
pub(crate) struct InstallArgs {
    /// The directory; it is made if it is not there
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// Replace files that are no slash24 plugins, and keep them aside
    #[arg(long)]
    pub(crate) replace: bool,
    /// Install these plugins only; those of an earlier install are upgraded
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
}

#[derive(Args)]
pub(crate) struct UninstallArgs {
    /// The directory
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}

/// Runs what the command line asks for.
pub(crate) fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Attach(args) => containers::attach(args),
        Command::Detach(args) => containers::detach(args),
        Command::Check(args) => containers::check(args),
        Command::Install(args) => install::command(&args),
        Command::Uninstall(args) => install::uninstall_command(&args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
