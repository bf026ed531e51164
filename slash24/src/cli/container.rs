//! Which container a command is about, and what its task asks for.

use std::io::Read;
use std::path::{Path, PathBuf};

use cni::runtime::Directory;
use framework_glue::{Attached, Container, Planned, Task};
use serde_json::json;

use super::host::{HostArgs, absolute};
use super::output::json_text;
use crate::error::Error;

/// Which container, and how to find what concerns it.
#[derive(clap::Args)]
pub(super) struct ContainerArgs {
    /// The container's id
    #[arg(long)]
    pub(super) id: String,
    /// Path of the container's network namespace [default: that of attach]
    #[arg(long, value_name = "PATH")]
    pub(super) netns: Option<PathBuf>,
    /// The task's document (Hydrogen); `-` reads standard input
    #[arg(value_name = "TASK.json")]
    pub(super) task: Option<PathBuf>,
    #[command(flatten)]
    pub(super) host: HostArgs,
}

pub(super) fn container(id: String, netns: Option<&Path>) -> Result<Container, Error> {
    let netns = netns.map(absolute).transpose()?;
    Ok(Container { id, netns })
}

/// What the task's networks and the host's configurations make of a container.
pub(super) fn plan(
    task: &Path,
    host: &HostArgs,
    container: &Container,
) -> Result<Vec<Planned>, Error> {
    let task = Task::parse(&read(task)?, host.task_name.as_deref())?;
    let networks = Directory::read(&absolute(&host.runtime.conf_dir)?)?;
    Ok(framework_glue::plan(&task, &networks, container)?)
}

fn read(task: &Path) -> Result<Vec<u8>, Error> {
    let mut document = Vec::new();
    let read = match task == Path::new("-") {
        true => std::io::stdin().lock().read_to_end(&mut document).map(drop),
        false => std::fs::read(task).map(|bytes| document = bytes),
    };
    read.map(|()| document)
        .map_err(|error| Error::path(task, error))
}

/// Attachments as JSON, where there is nothing to say but which they are.
pub(super) fn without_results(attached: &[Attached]) -> String {
    let one = |one: &Attached| json!({"network": one.network, "ifname": one.ifname});
    json_text(&attached.iter().map(one).collect())
}
