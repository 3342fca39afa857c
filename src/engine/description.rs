//! What a model says of itself.

/// What is known of a model before it is loaded, from its folder's JSON files.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelDescription {
    pub name: String,
    /// Natural size, in pixels.
    pub width: u32,
    pub height: u32,
    pub steps: u32,
    pub guidance: f64,
    /// Sides of pictures are multiples of this, in pixels: the VAE's factor times the transformer's
    /// patch.
    pub granularity: u32,
    /// No side is longer, in pixels: the model's positions of rows or columns end there.
    pub side_max: u32,
}
