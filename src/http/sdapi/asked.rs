//! The fields of a request for images, as a job.

use serde_json::Value;
use toml::Table;

use crate::config::Untouched;
use crate::http::fields::Fields;
use crate::http::problem::HttpProblem;

/// What clients send as guidance without anybody having chosen it.
const UNTOUCHED_CFG: f64 = 7.0;

/// As well, of steps: the web UI's own default, and its clients'.
const UNTOUCHED_STEPS: [i64; 2] = [20, 50];

/// So much of a picture that is begun with is painted anew where nothing is said.
const DENOISING_STRENGTH: f64 = 0.75;

/// What is asked for.
pub struct AskedPictures {
    /// The keys of the job.
    pub job: Table,
    /// Values of `init_image` and `mask`, in base64.
    pub pictures: Vec<(&'static str, String)>,
    /// Whether pictures are answered at all.
    pub sends_images: bool,
    /// What was sent and is not heeded, for whoever asks.
    pub left_to_the_model: Vec<&'static str>,
}

impl AskedPictures {
    pub fn read(fields: &Fields, untouched: Untouched) -> Result<AskedPictures, HttpProblem> {
        refuse(fields)?;
        let mut job = Table::new();
        let prompt = fields.text("prompt")?.unwrap_or_default();
        job.insert("prompt".to_owned(), prompt.into());
        let negative = fields.text("negative_prompt")?.unwrap_or_default();
        job.insert("negative_prompt".to_owned(), negative.into());
        for key in ["width", "height"] {
            job.insert(key.to_owned(), fields.whole(key)?.unwrap_or(512).into());
        }
        let images = count(fields, "batch_size")?.saturating_mul(count(fields, "n_iter")?);
        job.insert("num_images".to_owned(), images.into());
        if let Some(seed) = fields.whole("seed")?.filter(|seed| *seed >= 0) {
            job.insert("seed".to_owned(), seed.into());
        }
        job.insert("format".to_owned(), "png".into());
        let mut asked = AskedPictures {
            job,
            pictures: pictures(fields)?,
            sends_images: fields.get("send_images") != Some(&Value::Bool(false)),
            left_to_the_model: Vec::new(),
        };
        asked.read_effort(fields, untouched)?;
        if !asked.pictures.is_empty() {
            let strength = fields.number("denoising_strength")?.unwrap_or(DENOISING_STRENGTH);
            asked.job.insert("strength".to_owned(), strength.into());
        }
        Ok(asked)
    }

    /// Steps and guidance. Those that nobody has chosen ruin what a distilled model paints.
    fn read_effort(&mut self, fields: &Fields, untouched: Untouched) -> Result<(), HttpProblem> {
        let (steps, cfg) = (fields.whole("steps")?, fields.number("cfg_scale")?);
        let is_model = untouched == Untouched::Model;
        match steps {
            Some(steps) if is_model && UNTOUCHED_STEPS.contains(&steps) => {
                self.left_to_the_model.push("steps");
            }
            Some(steps) => drop(self.job.insert("steps".to_owned(), steps.into())),
            None => {}
        }
        match cfg {
            Some(cfg) if is_model && cfg == UNTOUCHED_CFG => {
                self.left_to_the_model.push("cfg_scale");
            }
            // Theirs is 1 where there is none, ours 0.
            Some(cfg) => {
                let guidance = (cfg - 1.0).max(0.0);
                self.job.insert("guidance".to_owned(), guidance.into());
            }
            None => {}
        }
        Ok(())
    }
}

/// What would change the picture, and cannot be done here.
fn refuse(fields: &Fields) -> Result<(), HttpProblem> {
    let says = |key: &str| fields.text(key).ok().flatten().is_some_and(|text| !text.is_empty());
    if says("script_name") {
        return Err(HttpProblem::unfit("script_name", "there are no scripts here"));
    }
    if fields.is_true("enable_hr") {
        return Err(HttpProblem::unfit("enable_hr", "there is no second pass here"));
    }
    let Some(Value::Object(scripts)) = fields.get("alwayson_scripts") else { return Ok(()) };
    let is_idle = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(values) => {
            values.iter().all(|value| matches!(value, Value::Null | Value::Bool(false)))
        }
        _ => false,
    };
    match scripts.iter().find(|(_, script)| !is_idle(script.get("args").unwrap_or(&Value::Null))) {
        Some((name, _)) => {
            let detail = format!("{name}: there are no scripts here");
            Err(HttpProblem::unfit("alwayson_scripts", detail))
        }
        None => Ok(()),
    }
}

fn pictures(fields: &Fields) -> Result<Vec<(&'static str, String)>, HttpProblem> {
    let mut pictures = Vec::new();
    if let Some(Value::Array(images)) = fields.get("init_images")
        && let Some(image) = images.first().and_then(Value::as_str)
    {
        pictures.push(("init_image", image.to_owned()));
    }
    if let Some(mask) = fields.text("mask")?.filter(|mask| !mask.is_empty()) {
        pictures.push(("mask", mask.to_owned()));
    }
    Ok(pictures)
}

/// One where it is not said. Two that are below it would make a number that is not.
fn count(fields: &Fields, key: &str) -> Result<i64, HttpProblem> {
    match fields.whole(key)?.unwrap_or(1) {
        count @ 1.. => Ok(count),
        _ => Err(HttpProblem::field(key, "is at least 1")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(fields: Value, untouched: Untouched) -> Result<AskedPictures, HttpProblem> {
        let Value::Object(fields) = fields else { panic!("an object") };
        AskedPictures::read(&Fields(fields), untouched)
    }

    #[test]
    fn what_nobody_has_chosen_is_left_to_the_model_unless_it_counts_as_sent() {
        let sent = json!({ "prompt": "a fox", "steps": 20, "cfg_scale": 7.0, "seed": -1 });
        let asked = read(sent.clone(), Untouched::Model).expect("a job");
        assert_eq!(asked.left_to_the_model, ["steps", "cfg_scale"]);
        assert!(!asked.job.contains_key("steps") && !asked.job.contains_key("guidance"));
        assert!(!asked.job.contains_key("seed") && asked.sends_images);
        let asked = read(sent, Untouched::AsSent).expect("a job");
        assert_eq!(asked.job["steps"].as_integer(), Some(20));
        assert_eq!(asked.job["guidance"].as_float(), Some(6.0));
        let chosen =
            json!({ "prompt": "a fox", "steps": 9, "cfg_scale": 1, "batch_size": 2, "n_iter": 3 });
        let asked = read(chosen, Untouched::Model).expect("a job");
        assert_eq!(asked.job["steps"].as_integer(), Some(9));
        assert_eq!(asked.job["guidance"].as_float(), Some(0.0));
        assert_eq!(asked.job["num_images"].as_integer(), Some(6));
    }

    #[test]
    fn two_counts_below_one_are_no_count_of_pictures() {
        let asked = json!({ "prompt": "a fox", "batch_size": -2, "n_iter": -3 });
        let problem = read(asked, Untouched::Model).err().expect("refused");
        assert_eq!(problem.param.as_deref(), Some("batch_size"));
    }

    #[test]
    fn scripts_that_do_nothing_pass_and_those_that_would_are_refused() {
        let idle =
            json!({ "prompt": "a", "alwayson_scripts": { "x": { "args": [false] }, "y": {} } });
        assert!(read(idle, Untouched::Model).is_ok());
        for (fields, param) in [
            (json!({ "script_name": "X/Y/Z plot" }), "script_name"),
            (json!({ "enable_hr": true }), "enable_hr"),
            (json!({ "alwayson_scripts": { "ControlNet": { "args": [{}] } } }), "alwayson_scripts"),
        ] {
            let problem = read(fields, Untouched::Model).err().expect("refused");
            assert_eq!((problem.status.as_u16(), problem.param.as_deref()), (422, Some(param)));
        }
    }
}
