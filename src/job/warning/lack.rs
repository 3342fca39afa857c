//! Pictures that do not fit the memory as they were asked for.

use std::fmt;

use crate::job::OnOom;
use crate::spelling::{count, memory};

/// Width and height in pixels, and steps.
pub type SizedSteps = (u32, u32, u32);

/// A picture that does not fit the memory as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lack {
    pub asked: SizedSteps,
    /// What would be made of it, or tried.
    pub made: SizedSteps,
    /// The memory that may be used.
    pub usable_bytes: u64,
    /// The least that would do for what was asked, with the longest prompt of these pictures;
    /// `None` where no memory is enough.
    pub needed_bytes: Option<u64>,
    /// Whether what is made of it fits.
    pub fits: bool,
    /// How far the ladder may go for it.
    pub on_oom: OnOom,
    /// With `on_oom = "offload"` it would fit in the size that was asked for.
    pub offload_keeps: bool,
}

impl Lack {
    /// For people, of so many pictures.
    pub(super) fn tell(&self, pictures: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lack { asked, made, usable_bytes, needed_bytes, fits, on_oom, offload_keeps } = *self;
        let with_steps = asked.2 != made.2;
        let sized = |(width, height, steps): SizedSteps| match with_steps {
            true => format!("{width}x{height} in {steps} steps"),
            false => format!("{width}x{height}"),
        };
        let pictures = count(pictures, "picture");
        let (asked, usable) = (sized(asked), memory(usable_bytes));
        write!(f, "{asked} does not fit into the {usable} that may be used")?;
        if let Some(needed_bytes) = needed_bytes {
            write!(f, " and would need {}", memory(needed_bytes))?;
        }
        write!(f, ": {pictures} would be ")?;
        match fits {
            true => write!(f, "made as {}", sized(made))?,
            false => write!(f, "tried as {}, and may fail", sized(made))?,
        }
        match (fits, offload_keeps) {
            (_, true) => f.write_str("; on_oom = \"offload\" keeps the size, and takes longer"),
            (true, false) => f.write_str("; on_oom = \"offload\" would not fit either"),
            (false, false) => write!(f, "; {}", on_oom.cure()),
        }
    }
}
