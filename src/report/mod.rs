//! What this machine does with the configured model: measured by real pictures, told as data, as
//! text and as drawings.
//!
//! `plan` says what is rendered; `measure` has it rendered in a queue of its own (`own_queue`),
//! with somebody looking on (`sampler`, `card`) and what the system tells (`machine`); `gather`,
//! `matrix` and `advice` make the data (`data`) of it; `tell`, `tell_memory` and `compare` make
//! documents (`document`, `phrases`) of data and of what others have published (`published`), with
//! drawings (`svg`); `write` puts them into files.

mod advice;
mod compare;
mod data;
mod document;
mod gather;
mod own_queue;
mod phrases;
mod machine;
mod matrix;
mod measure;
mod plan;
mod published;
#[cfg(test)]
mod sample;
mod sampler;
mod svg;
mod tell;
mod tell_memory;
mod write;

use self::compare::comparison;
#[cfg(test)]
pub use self::data::MachineReport;
pub use self::measure::measure;
pub use self::own_queue::NoMeasurement;
pub use self::plan::ReportQuestion;
use self::tell::document;
pub use self::write::{WrittenReport, read, write, write_comparison};
