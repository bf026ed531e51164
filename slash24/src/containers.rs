//! `slash24 attach`, `detach` and `check`.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cni::runtime::{Cache, Directory, Runtime};
use cni::{Failure, Version};
use framework_glue::{Attached, Container, Planned, Task};
use serde_json::{Value, json};

use crate::cli::{AttachArgs, ContainerArgs, HostArgs, Output};
use crate::error::Error;
use crate::{registry, tables};

/// Where plugins are when nobody says otherwise.
const PLUGIN_DIR: &str = "/opt/cni/bin";

pub(crate) fn attach(args: AttachArgs) -> ExitCode {
    let output = args.host.output;
    let attached = || {
        let container = container(args.id, Some(&args.netns))?;
        let runtime = runtime(&args.host)?;
        let planned = plan(&args.task, &args.host, &container)?;
        for note in planned.iter().flat_map(|one| &one.notes) {
            eprintln!("slash24: {note}");
        }
        Ok(framework_glue::attach(&runtime, &container, &planned)?)
    };
    answer(output, attached(), |attached| match output {
        Output::Json => attached.iter().map(with_result).collect(),
        Output::Table => tables::attached(attached).into(),
    })
}

pub(crate) fn detach(args: ContainerArgs) -> ExitCode {
    let output = args.host.output;
    let detached = || {
        let container = container(args.id, args.netns.as_deref())?;
        let runtime = runtime(&args.host)?;
        // Only read when it is needed: it may be gone, or changed.
        let planned = || match &args.task {
            Some(task) => plan(task, &args.host, &container),
            None => Ok(Vec::new()),
        };
        framework_glue::detach(&runtime, &container, planned)
    };
    answer(output, detached(), |detached| match output {
        Output::Json => detached.iter().map(without_result).collect(),
        Output::Table => tables::places(detached, "detached").into(),
    })
}

pub(crate) fn check(args: ContainerArgs) -> ExitCode {
    let output = args.host.output;
    let checked = || {
        let container = container(args.id, args.netns.as_deref())?;
        let runtime = runtime(&args.host)?;
        let planned = match &args.task {
            Some(task) => plan(task, &args.host, &container)?,
            None => Vec::new(),
        };
        Ok(framework_glue::check(&runtime, &container, &planned)?)
    };
    answer(output, checked(), |checked| match output {
        Output::Json => checked.iter().map(without_result).collect(),
        Output::Table => tables::places(checked, "as it should be").into(),
    })
}

fn container(id: String, netns: Option<&Path>) -> Result<Container, Error> {
    let netns = netns.map(absolute).transpose()?;
    Ok(Container { id, netns })
}

fn runtime(host: &HostArgs) -> Result<Runtime, Error> {
    let from_environment = || {
        let path = std::env::var_os("CNI_PATH").filter(|path| !path.is_empty());
        vec![path.map_or_else(|| PathBuf::from(PLUGIN_DIR), PathBuf::from)]
    };
    let lists = match host.plugin_dir.is_empty() {
        true => from_environment(),
        false => host.plugin_dir.clone(),
    };
    // Both may be lists as CNI_PATH is one.
    let directories = lists.iter().flat_map(std::env::split_paths);
    let directories = directories.map(|dir| absolute(&dir));
    let cache = Cache::new(absolute(&host.cache_dir)?);
    let runtime = Runtime::new(directories.collect::<Result<_, _>>()?, cache);
    Ok(runtime.with_plugins(registry::PLUGINS))
}

/// A plugin may be called in another directory than this process's.
fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|error| Error::path(path, error))
}

fn plan(task: &Path, host: &HostArgs, container: &Container) -> Result<Vec<Planned>, Error> {
    let task = Task::parse(&read(task)?, host.task_name.as_deref())?;
    let networks = Directory::read(&absolute(&host.conf_dir)?)?;
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

fn with_result(attached: &Attached) -> Value {
    json!({
        "network": attached.network,
        "ifname": attached.ifname,
        "result": attached.result,
    })
}

fn without_result(attached: &Attached) -> Value {
    json!({"network": attached.network, "ifname": attached.ifname})
}

/// Prints what came of it. An error is a sentence on standard error, and for
/// programs the object that CNI has for errors on standard output.
fn answer(
    output: Output,
    done: Result<Vec<Attached>, Error>,
    shown: impl FnOnce(&[Attached]) -> Value,
) -> ExitCode {
    let (text, code) = match done {
        Ok(attached) => match shown(&attached) {
            Value::String(table) => (table, ExitCode::SUCCESS),
            list => (format!("{list:#}"), ExitCode::SUCCESS),
        },
        Err(error) => {
            let failure = Failure::from(error);
            eprintln!("slash24: {failure}");
            let object = match output {
                Output::Json => failure.to_json(Version::V1_1_0),
                Output::Table => String::new(),
            };
            (object, ExitCode::FAILURE)
        }
    };
    if text.is_empty() || writeln!(std::io::stdout(), "{text}").is_ok() {
        return code;
    }
    ExitCode::FAILURE
}
