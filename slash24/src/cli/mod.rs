//! The command line: one file a subcommand.
//!
//! A subcommand's file has its arguments with their help, and `run`. To add one,
//! write such a file and name it in [`Command`] and [`run`].

mod attach;
mod check;
mod container;
mod detach;
mod doctor;
mod explain;
mod freed;
mod gc;
mod holdings;
mod host;
mod install;
mod leases;
mod output;
mod plan;
mod stores;
mod tables;
mod time;
mod uninstall;
mod valid;
mod vxlan;
mod whereabouts;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// CNI plugins that give every host its own slice of the address plan.
///
/// Called by a plugin's name (bridge, macvlan, loopback, host-local) this
/// executable is that plugin. By its own name it puts the plugins where a runtime
/// finds them, attaches the containers of tasks to networks, tells who has which
/// address, and checks plans of addresses.
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
  slash24 detach --id web
  slash24 leases
  slash24 where 10.20.11.7
  slash24 plan /etc/cni/net.d --rack 0-255 --slot 0-255
  slash24 gc --dead";

/// The subcommands, in the order in which help lists them. What each does is told
/// by the documentation of its arguments.
#[derive(Subcommand)]
enum Command {
    Attach(attach::Args),
    Detach(detach::Args),
    Check(check::Args),
    Doctor(doctor::Args),
    Explain(explain::Args),
    Leases(leases::Args),
    Where(whereabouts::Args),
    Gc(gc::Args),
    Plan(plan::Args),
    Install(install::Args),
    Uninstall(uninstall::Args),
    Vxlan(vxlan::Args),
}

/// Runs what the command line asks for.
pub(crate) fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Attach(args) => attach::run(args),
        Command::Detach(args) => detach::run(args),
        Command::Check(args) => check::run(args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Leases(args) => leases::run(args),
        Command::Where(args) => whereabouts::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Gc(args) => gc::run(&args),
        Command::Install(args) => install::run(&args),
        Command::Uninstall(args) => uninstall::run(&args),
        Command::Vxlan(args) => vxlan::run(args),
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

    #[test]
    fn every_subcommand_says_what_it_does() {
        fn each(command: &clap::Command) {
            for sub in command.get_subcommands() {
                assert!(sub.get_about().is_some(), "{}", sub.get_name());
                each(sub);
            }
        }
        each(&Cli::command());
    }
}
