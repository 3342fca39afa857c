//! The fields of the form that makes a job.

use maud::{Markup, html};

use super::form::{JobForm, PICTURES};
use super::words::Words;
use crate::config::Config;
use crate::job::Render;
use crate::queue::SizeForecast;

/// The name of something in the visitor's language.
type Name = fn(&Words) -> &'static str;

/// The sizes that the model's usual interface offers, in its order: pixels.
const PRESETS: [(u32, u32, Name); 5] = [
    (512, 512, |words| words.small_square),
    (768, 768, |words| words.medium_square),
    (1024, 1024, |words| words.large_square),
    (1024, 576, |words| words.landscape),
    (576, 1024, |words| words.portrait),
];

/// What can be chosen.
pub struct FormChoices {
    /// What is asked for where a field is left empty.
    pub defaults: Render,
    /// Sides are multiples of this, in pixels.
    pub granularity: u32,
    /// What jobs call each model, and what people do; none where there is one only.
    pub models: Vec<(String, String)>,
    pub samplers: Vec<String>,
    pub loras: Vec<String>,
}

/// All of them, in the order of what one thinks of first.
pub fn fields(
    words: &Words,
    form: &JobForm,
    choices: &FormChoices,
    sizes: &[SizeForecast],
) -> Markup {
    let FormChoices { defaults, models, samplers, loras, .. } = choices;
    html! {
        (prompt_fields(words, form))
        @if !models.is_empty() { (choice("model", words.model, form, models)) }
        (size_fields(words, form, defaults, sizes))
        (usual_fields(words, form, defaults))
        @if !loras.is_empty() { (lora_fields(words, form, loras)) }
        (picture_fields(words, form))
        (more_fields(words, form, defaults, samplers))
    }
}

fn prompt_fields(words: &Words, form: &JobForm) -> Markup {
    html! {
        div.field {
            label for="prompt" { (words.prompt) }
            textarea #prompt name="prompt" required autofocus placeholder=(words.prompt_hint) {
                (form.get("prompt"))
            }
            small #prompt-note {}
        }
        (tick("one_a_line", words.one_a_line, form))
        div.field.by-script {
            label for="picture" { (words.from_picture) }
            input #picture type="file" accept="image/png,image/jpeg,image/webp"
                data-settings="create/picture";
            small #picture-said role="status" { (words.from_picture_hint) }
        }
        div.field {
            label for="negative_prompt" { (words.negative_prompt) }
            input #negative_prompt name="negative_prompt" value=(form.get("negative_prompt"));
            small { (words.negative_hint) }
        }
    }
}

fn size_fields(words: &Words, form: &JobForm, defaults: &Render, sizes: &[SizeForecast]) -> Markup {
    html! {
        fieldset {
            legend { (words.size) }
            div.presets {
                @for (width, height, name) in presets(defaults) {
                    button type="button" data-width=(width) data-height=(height)
                        aria-pressed="false" {
                        (name(words)) small { (width) "×" (height) }
                        @match sizes.iter().find(|it| (it.width, it.height) == (width, height)) {
                            Some(size) => (size_forecast(words, size)),
                            None => small.forecast {},
                        }
                    }
                }
            }
            div.fields {
                (number("width", words.width, form, defaults.width))
                (number("height", words.height, form, defaults.height))
                div.row.by-script {
                    button type="button" #swap aria-label=(words.swap) title=(words.swap) { "⇄" }
                    label.tick { input type="checkbox" #ratio; (words.keep_ratio) }
                }
            }
        }
    }
}

/// What stands in a preset's button: how long its picture takes here, and what would be made of it
/// where that is less.
pub fn size_forecast(words: &Words, size: &SizeForecast) -> Markup {
    let SizeForecast { width, height, work_ms, .. } = size;
    let takes = work_ms.map(|ms| words.units.estimated(ms.round() as u64));
    html! {
        small.forecast data-size={ (width) "x" (height) } title=[size.rung()] {
            @if !size.fits() {
                span.bad { (words.too_large) }
            } @else if let Some((width, height)) = size.made_smaller() {
                span.warn { "→ " (width) "×" (height) }
            } @else if let Some(takes) = takes {
                "≈ " (takes)
            }
        }
    }
}

/// The sizes that are offered: [`PRESETS`], and before them the one that is made where none is
/// said, unless it is one of them.
fn presets(defaults: &Render) -> impl Iterator<Item = (u32, u32, Name)> {
    let Render { width, height, .. } = *defaults;
    let is_preset = PRESETS.iter().any(|preset| (preset.0, preset.1) == (width, height));
    let own: Option<(u32, u32, Name)> =
        (!is_preset).then_some((width, height, |words| words.own_size));
    own.into_iter().chain(PRESETS)
}

/// In pixels.
pub fn preset_sizes(defaults: &Render) -> Vec<(u32, u32)> {
    presets(defaults).map(|(width, height, _)| (width, height)).collect()
}

fn usual_fields(words: &Words, form: &JobForm, defaults: &Render) -> Markup {
    html! {
        div.fields {
            (number("steps", words.steps, form, defaults.steps))
            (number("guidance", words.guidance, form, defaults.recipe.guidance))
            (text("seed", words.seed, form, words.random))
            (number("num_images", words.count, form, 1))
        }
        p.quiet { (words.turbo_hint) }
    }
}

/// One LoRA by its name; several are named in the prompt.
fn lora_fields(words: &Words, form: &JobForm, loras: &[String]) -> Markup {
    let none = (String::new(), words.none.to_owned());
    let named = loras.iter().map(|name| (name.clone(), name.clone()));
    let choices: Vec<_> = std::iter::once(none).chain(named).collect();
    html! {
        div.fields {
            (choice("lora", "LoRA", form, &choices))
            (number("lora_weight", words.lora_weight, form, 1))
        }
        p.quiet { (words.more_loras) " " code { "<lora:" (loras[0]) ":0.8>" } }
    }
}

/// A picture to begin with, and what of it is painted over.
fn picture_fields(words: &Words, form: &JobForm) -> Markup {
    let [init_image, mask] = PICTURES;
    html! {
        details open[form.has_picture()] {
            summary { (words.begin_with_picture) }
            div.fields.files {
                (picture(init_image, words.init_image, words, form))
                (picture(mask, words.mask, words, form))
                (number("strength", words.strength, form, "0.6"))
            }
            p.quiet { (words.strength_hint) }
        }
    }
}

/// A file to be sent. What was sent already is ticked, and forgotten where that is taken away.
fn picture(key: &str, label: &str, words: &Words, form: &JobForm) -> Markup {
    let kept = form.get(key);
    let id = format!("{key}_file");
    html! {
        div.field {
            label for=(id) { (label) }
            input id=(id) name=(id) type="file" accept="image/png,image/jpeg,image/webp"
                data-keep=(key);
            label.tick hidden[kept.is_empty()] {
                input type="checkbox" name=(key) value=(kept) checked[!kept.is_empty()];
                (words.was_sent)
            }
            small role="status" {}
        }
    }
}

fn more_fields(words: &Words, form: &JobForm, defaults: &Render, samplers: &[String]) -> Markup {
    let as_configured = (String::new(), words.as_configured.to_owned());
    let samplers = samplers.iter().map(|name| (name.clone(), name.clone()));
    let samplers: Vec<_> = std::iter::once(as_configured).chain(samplers).collect();
    let ladder = [("downgrade", words.downgrade), ("offload", words.offload), ("fail", words.fail)];
    let precisions =
        [("", words.as_configured), ("full", words.full_precision), ("int8", words.int8)];
    let formats = ["png", "jpeg", "webp"].map(|format| (format, format));
    html! {
        details open[form.has_more()] {
            summary { (words.advanced) }
            div.fields {
                (number("priority", words.priority, form, 0))
                (text("not_before", words.not_before, form, words.time_hint))
                (text("not_after", words.not_after, form, words.time_hint))
                (text("window", words.window, form, "22:00-07:00"))
                (text("tags", words.tags, form, words.tags_hint))
                (choice("on_oom", words.on_oom, form, &ladder))
                (number("min_side", words.min_side, form, defaults.min_side))
                (number("min_steps", words.min_steps, form, defaults.min_steps))
                (choice("precision", words.precision, form, &precisions))
                (choice("sampler", words.sampler, form, &samplers))
                (choice("format", words.format, form, &formats))
                (text("output", words.output, form, &defaults.output))
            }
            div.field {
                label for="matrix" { (words.matrix) }
                textarea.lines #matrix name="matrix" placeholder="steps = [4, 8]" {
                    (form.get("matrix"))
                }
                small { (words.matrix_hint) }
            }
            (tick("wildcards", words.wildcards, form))
        }
    }
}

/// A field for a number; left empty it is `default`, which stands in it in grey.
fn number(key: &str, label: &str, form: &JobForm, default: impl std::fmt::Display) -> Markup {
    html! {
        div.field {
            label for=(key) { (label) }
            input id=(key) name=(key) inputmode="decimal" autocomplete="off" value=(form.get(key))
                placeholder=(default);
        }
    }
}

fn text(key: &str, label: &str, form: &JobForm, hint: &str) -> Markup {
    html! {
        div.field {
            label for=(key) { (label) }
            input id=(key) name=(key) autocomplete="off" value=(form.get(key)) placeholder=(hint);
        }
    }
}

/// What jobs call each model, and what people do; the first is that of a job which says nothing.
/// None where there is nothing to choose.
pub fn models(config: &Config) -> Vec<(String, String)> {
    if config.models.is_empty() {
        return Vec::new();
    }
    let shown = |name: &str| {
        let own = config.with_model(name).and_then(|config| config.describe_model().ok());
        let own = own.map_or("[model]".to_owned(), |description| description.name);
        let shown = if name.is_empty() { own } else { format!("{name} ({own})") };
        (name.to_owned(), shown)
    };
    config.model_names().map(shown).collect()
}

fn choice<T: AsRef<str>>(key: &str, label: &str, form: &JobForm, choices: &[(T, T)]) -> Markup {
    html! {
        div.field {
            label for=(key) { (label) }
            select id=(key) name=(key) {
                @for (value, name) in choices {
                    option value=(value.as_ref()) selected[form.get(key) == value.as_ref()] {
                        (name.as_ref())
                    }
                }
            }
        }
    }
}

fn tick(key: &str, label: &str, form: &JobForm) -> Markup {
    html! {
        label.tick {
            input type="checkbox" name=(key) value="true" checked[form.get(key) == "true"];
            (label)
        }
    }
}
