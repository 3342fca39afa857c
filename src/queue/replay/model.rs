//! Which of the configured models has made a picture, by the hashes of their weights.

use super::{DifferenceKind, Draft, Here};
use crate::config::{Config, ModelChoice};
use crate::engine::model_hash::cached_of_part;
use crate::engine::provenance::PartOrigin;
use crate::engine::{self, EngineKind, ModelPlace, mini};
use crate::output::metadata::PictureModel;

/// How a configured model compares with that of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Likeness {
    Same,
    Other,
    /// Hashes are missing on one side.
    Unknown,
}

/// A configured model, and its parts with the hashes that are known without reading them; no parts
/// where its files cannot be found.
pub(super) struct KnownModel<'c> {
    name: &'c str,
    parts: Vec<PartOrigin>,
}

/// The name of the model that made the picture: one with the same weights, else one that is called
/// the same; notes what differs.
pub(super) fn choose(here: &Here, made_by: &PictureModel, draft: &mut Draft) {
    if here.config.engine == EngineKind::Fake {
        return;
    }
    let models = here.models.get_or_init(|| known(here.config));
    let compared: Vec<(&str, Likeness)> =
        models.iter().map(|it| (it.name, likeness(&made_by.parts, &it.parts))).collect();
    let found = |wanted| compared.iter().find(|(_, likeness)| *likeness == wanted);
    let known = [Likeness::Same, Likeness::Unknown, Likeness::Other].into_iter().find_map(found);
    let (name, likeness) = known.copied().unwrap_or(("", Likeness::Unknown));
    if !name.is_empty() {
        draft.lines.text_key("model", name);
    }
    let model = if name.is_empty() { "the model of [model]".to_owned() } else { name.to_owned() };
    match likeness {
        Likeness::Same => (),
        Likeness::Other => draft.differs(
            DifferenceKind::Model,
            format!("it was made by {} with other weights than those of {model}", made_by.name),
        ),
        Likeness::Unknown => draft.differs(
            DifferenceKind::Model,
            format!("whether {model} has the weights that made it is not known: {}", why(made_by)),
        ),
    }
}

fn why(made_by: &PictureModel) -> &'static str {
    match made_by.parts.is_empty() || made_by.parts.iter().any(|part| part.sha256.is_none()) {
        true => "the picture does not say their hashes",
        false => "they were not hashed here yet, which the first render does",
    }
}

fn likeness(made_by: &[PartOrigin], here: &[PartOrigin]) -> Likeness {
    if made_by.is_empty() || here.is_empty() {
        return Likeness::Unknown;
    }
    let hashes = made_by.iter().map(|part| {
        let ours = here.iter().find(|ours| ours.part == part.part)?;
        Some((part.sha256.as_ref()?, ours.sha256.as_ref()?))
    });
    let hashes: Vec<_> = hashes.collect();
    if hashes.iter().flatten().any(|(theirs, ours)| theirs != ours) {
        return Likeness::Other;
    }
    if hashes.iter().all(Option::is_some) { Likeness::Same } else { Likeness::Unknown }
}

fn known(config: &Config) -> Vec<KnownModel<'_>> {
    config.model_names().map(|name| KnownModel { name, parts: parts(config, name) }).collect()
}

fn parts(config: &Config, name: &str) -> Vec<PartOrigin> {
    let place = config.with_model(name).and_then(|config| place(&config));
    let parts = place.and_then(|place| engine::weight_parts(&place).ok()).unwrap_or_default();
    let cache = config.hashes_path();
    parts.iter().map(|part| part.origin(cached_of_part(&part.files, &cache))).collect()
}

/// Where it is; `None` of a miniature that no daemon has unpacked yet.
fn place(config: &Config) -> Option<ModelPlace> {
    let folder = match &config.model {
        ModelChoice::Named(place) => return Some(place.clone()),
        ModelChoice::Miniature { beside } if beside.is_dir() => beside.clone(),
        ModelChoice::Miniature { .. } => mini::folder(&config.state),
    };
    folder.is_dir().then(|| ModelPlace::at(&folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::provenance::Part;

    fn parts(hashes: [Option<&str>; 2]) -> Vec<PartOrigin> {
        let of = |(part, hash): (Part, Option<&str>)| PartOrigin {
            part,
            sha256: hash.map(str::to_owned),
            source: None,
        };
        [Part::Transformer, Part::Vae].into_iter().zip(hashes).map(of).collect()
    }

    #[test]
    fn models_are_the_same_only_where_every_part_is_known_to_be() {
        let made_by = parts([Some("a"), Some("b")]);
        let likeness = |here: [Option<&str>; 2]| likeness(&made_by, &parts(here));
        assert_eq!(likeness([Some("a"), Some("b")]), Likeness::Same);
        assert_eq!(likeness([Some("a"), None]), Likeness::Unknown);
        assert_eq!(likeness([None, Some("c")]), Likeness::Other);
        assert_eq!(super::likeness(&made_by, &[]), Likeness::Unknown);
        assert_eq!(super::likeness(&[], &made_by), Likeness::Unknown);
    }
}
