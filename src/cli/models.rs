//! `zimaged model list`, `verify` and `remove`.

use super::table::{Give, TableColumn, table, terminal_width};
use super::{EXIT_DATA, Outcome, print, short};
use crate::config::Config;
use crate::engine::ModelKind;
use crate::engine::z_image::verify::VerifiedPart;
use crate::hub::{FileState, RemovedModel, gigabytes};
use crate::problem::printable_lines;
use crate::queue::{
    ListedModel, VerifiedModel, list_models, model_called, remove_model, verify_model,
};
use crate::spelling::count;

#[derive(clap::Args, Debug)]
pub(super) struct VerifyArgs {
    /// A name in daemon.toml, a folder in models/, or a path; the configured model unless given
    #[arg(value_name = "NAME|PATH")]
    what: Option<String>,
}

impl VerifyArgs {
    pub(super) fn names_files(&self) -> bool {
        self.what.is_some()
    }
}

#[derive(clap::Args, Debug)]
pub(super) struct RemoveArgs {
    /// A name in daemon.toml, or a folder in models/
    #[arg(value_name = "NAME")]
    what: String,
    /// Also while renders wait for it
    #[arg(long)]
    force: bool,
}

const MODELS: [TableColumn<'static>; 6] = [
    ("name", Give::Nothing),
    ("kind", Give::All),
    ("size", Give::Nothing),
    ("waiting", Give::All),
    ("where", Give::Nothing),
    ("from", Give::All),
];

pub(super) async fn list(config: &Config, json: bool) -> Outcome {
    let models = list_models(config).await;
    let rows: Vec<Vec<String>> = models.iter().map(row).collect();
    let mut text = table(&MODELS, &rows, terminal_width());
    for model in &models {
        if let Some(problem) = &model.problem {
            text += &format!("\nnot usable: {}", printable_lines(problem));
        }
    }
    print::answer(&models, &text, json)?;
    Ok(0)
}

fn row(model: &ListedModel) -> Vec<String> {
    let ListedModel { name, path, built_in, kind, bytes, source, waiting, .. } = model;
    let place = if *built_in { "in the program (the miniature)".to_owned() } else { short(path) };
    let name = match name.as_deref() {
        Some("") => "[model]",
        Some(name) => name,
        None => "-",
    };
    let kind = kind.map_or("", ModelKind::title);
    let from = source.as_ref().map(|source| format!("{} ({})", source.repository, source.hub));
    vec![
        name.to_owned(),
        kind.to_owned(),
        gigabytes(*bytes),
        if *waiting == 0 { String::new() } else { waiting.to_string() },
        place,
        from.unwrap_or_default(),
    ]
}

pub(super) fn verify(config: &Config, args: &VerifyArgs, json: bool) -> Outcome {
    let place = model_called(config, args.what.as_deref())?;
    let verified = verify_model(&place);
    print::answer(&verified, &told(&verified), json)?;
    Ok(if verified.is_right() { 0 } else { EXIT_DATA })
}

/// What is wrong, or that nothing is.
fn told(verified: &VerifiedModel) -> String {
    let VerifiedModel { path, files, parts, problem } = verified;
    let mut lines = vec![short(path)];
    let wrong: Vec<String> = files
        .iter()
        .filter(|file| file.state != FileState::Right)
        .map(|file| format!("  {}: {}, and not what was fetched", file.path, file.state))
        .collect();
    lines.push(match (files.len(), wrong.is_empty()) {
        (0, _) => "  not fetched by zimaged: no hashes to compare with".to_owned(),
        (files, true) => format!("  {} as fetched", count(files as u64, "file")),
        (files, false) => {
            format!("  {} of {} not as fetched", wrong.len(), count(files as u64, "file"))
        }
    });
    lines.extend(wrong);
    lines.extend(parts.iter().map(part));
    lines
        .extend(parts.iter().flat_map(|part| &part.problems).map(|problem| format!("  {problem}")));
    lines.extend(problem.iter().map(|problem| format!("not usable: {problem}")));
    lines.push(if verified.is_right() { "all right" } else { "damaged" }.to_owned());
    printable_lines(&lines.join("\n"))
}

fn part(part: &VerifiedPart) -> String {
    let VerifiedPart { part, tensors, bytes, problems } = part;
    let all = if problems.is_empty() { "all of finite values" } else { "not all can be used" };
    let tensors = count(*tensors as u64, "tensor");
    format!("  {}: {tensors}, {}, {all}", part.word(), gigabytes(*bytes))
}

pub(super) async fn remove(config: &Config, args: &RemoveArgs, json: bool) -> Outcome {
    let removed = remove_model(config, &args.what, args.force).await?;
    let RemovedModel { folder, files, freed_bytes, kept } = &removed;
    let files = count(*files as u64, "file");
    let mut text = format!("{}: {files} removed, {} freed", short(folder), gigabytes(*freed_bytes));
    if !kept.is_empty() {
        text += &format!("\nnot fetched, and left there: {}", kept.join(", "));
    }
    print::answer(&removed, &printable_lines(&text), json)?;
    Ok(0)
}
