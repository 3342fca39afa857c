//! What a field is called on the page, beside a message that is in English in every language.

use super::Words;

impl Words {
    /// Which field is wrong, by its `key` in a job; `None` where the message says it in the page's
    /// own language, or no field is meant.
    pub fn wrong_field(&self, key: Option<&str>) -> Option<String> {
        let key = key.filter(|_| self.tag != "en")?;
        // A key inside of a table is written in the field of that table.
        let label = match key.split(['.', '[']).next().unwrap_or(key) {
            "prompt" => self.prompt,
            "negative_prompt" => self.negative_prompt,
            "width" => self.width,
            "height" => self.height,
            "steps" => self.steps,
            "guidance" => self.guidance,
            "seed" => self.seed,
            "num_images" => self.count,
            "strength" => self.strength,
            "mask" => self.mask,
            "priority" => self.priority,
            "not_before" => self.not_before,
            "not_after" => self.not_after,
            "window" => self.window,
            "on_oom" => self.on_oom,
            "precision" => self.precision,
            "sampler" => self.sampler,
            "min_side" => self.min_side,
            "min_steps" => self.min_steps,
            "format" => self.format,
            "output" => self.output,
            "tags" => self.tags,
            "matrix" => self.matrix,
            "model" => self.model,
            "wildcards" => self.wildcards,
            "init_image" => self.begin_with_picture,
            _ => key,
        };
        Some(format!("{label}{}", self.is_wrong))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CHINESE, ENGLISH};

    #[test]
    fn a_field_is_called_as_its_label_where_the_message_is_in_another_language() {
        let field = |key| CHINESE.wrong_field(Some(key)).expect("a name");
        assert_eq!(field("width"), format!("{}{}", CHINESE.width, CHINESE.is_wrong));
        assert!(field("matrix.steps").starts_with(CHINESE.matrix));
        assert!(field("xyzzy").starts_with("xyzzy"));
        assert_eq!((ENGLISH.wrong_field(Some("width")), CHINESE.wrong_field(None)), (None, None));
    }
}
