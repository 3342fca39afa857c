//! What changes take beside the modules that they change: a formula that follows
//! [`super::adapter`], allocation by allocation.

use super::file::{LoraFile, ModuleChange};
use super::form::ChangeForm;
use super::modules::{Module, Modules, RowsThrough};
use crate::engine::z_image::checkpoint::StoredTensor;
use crate::job::lora::{LoraPeak, LoraSize};

/// Smaller matrices are not worth a moment of their own: the overhead of all predictions has room
/// for them.
const SMALL_VALUES: usize = 1 << 15;

/// What is alive at one moment beside the module's input and what it gives by itself.
#[derive(Clone, Copy)]
struct Moment {
    /// For each row that goes through the module.
    row_values: usize,
    /// Of whole matrices.
    dense_values: usize,
}

fn rows(row_values: usize) -> Moment {
    Moment { row_values, dense_values: 0 }
}

fn dense(dense_values: usize) -> Moment {
    Moment { row_values: 0, dense_values }
}

/// What `file` takes in the model that has these `modules`.
pub fn of_file(file: &LoraFile, modules: &Modules) -> LoraSize {
    LoraSize::of_file(file.changes.iter().map(|change| of_change(change, modules)))
}

/// What the change of one module, or of three that are fused in the file, takes. The ratio of a
/// DoRA takes as much as its magnitude.
fn of_change(change: &ModuleChange, modules: &Modules) -> LoraSize {
    let count = |tensor: &StoredTensor| tensor.shape().iter().product::<usize>();
    let form = change.form.iter().flat_map(ChangeForm::tensors).map(count).sum::<usize>();
    let bias = change.bias.as_ref().map_or(0, count);
    let magnitude = change.magnitude.as_ref().map_or(0, count);
    let values = (form + bias + 2 * magnitude) as u64;
    let of_place = |place: &usize| beside(change, modules.at(*place));
    let sizes = change.target.places().iter().map(of_place);
    LoraSize { values, ..LoraSize::of_file(sizes) }
}

/// What is alive in the block while `module` is changed.
fn beside(change: &ModuleChange, module: &Module) -> LoraSize {
    let mut peak = LoraPeak::default();
    let (before, per_row) = match module.rows {
        RowsThrough::One => (0, 0),
        RowsThrough::Caption | RowsThrough::All => (module.alive + module.outputs, 1),
    };
    for Moment { row_values, dense_values } in moments(change, module) {
        let row_values = (before + per_row * row_values) as u64;
        let moment = match dense_values > SMALL_VALUES {
            true => LoraPeak {
                dense_row_values: row_values,
                dense_values: dense_values as u64,
                ..LoraPeak::default()
            },
            false => LoraPeak { row_values, ..LoraPeak::default() },
        };
        peak = peak.max(moment);
    }
    if change.magnitude.is_some() {
        peak.own_values = (per_row * module.outputs) as u64;
    }
    match module.rows {
        RowsThrough::Caption => LoraSize { caption_rows: peak, ..LoraSize::default() },
        RowsThrough::One | RowsThrough::All => LoraSize { all_rows: peak, ..LoraSize::default() },
    }
}

fn moments(change: &ModuleChange, module: &Module) -> Vec<Moment> {
    let &Module { outputs, inputs, .. } = module;
    // A change, and its sum with what the module gives.
    let sum = rows(2 * outputs);
    let Some(form) = &change.form else { return vec![sum] };
    let mut moments = applied(form, module);
    let matrix = outputs * inputs;
    match &change.magnitude {
        None => moments.push(sum),
        Some(magnitude) => {
            if let [1, _] = magnitude.shape() {
                // All of it again, from an input of its own.
                for moment in &mut moments {
                    moment.row_values += inputs + outputs;
                }
                moments.push(rows(inputs + 3 * outputs));
            }
            moments.push(sum);
            // The matrix itself, its change, and their sum; of a LoHa, what its change is made of.
            let made = if let ChangeForm::Hadamard(_) = form { 4 } else { 3 };
            moments.push(dense(made * matrix));
        }
    }
    moments
}

/// While the change of what the module gives is made. In the end it takes the module's outputs.
fn applied(form: &ChangeForm, module: &Module) -> Vec<Moment> {
    let &Module { outputs, inputs, .. } = module;
    match form {
        ChangeForm::LowRank { .. } => {
            let rank = form.rank();
            vec![rows(2 * rank), rows(rank + outputs)]
        }
        ChangeForm::Kron(first, second) => {
            let [o1, i1] = first.shape().unwrap_or_default();
            let o2 = second.shape().map_or(0, |[o2, _]| o2);
            let inner = i1 * o2;
            vec![
                rows(i1 * second.rank().unwrap_or(0) + inner),
                rows(2 * inner),
                rows(inner + o1 * o2),
                rows(2 * o1 * o2),
                dense(2 * o1 * i1),
            ]
        }
        // Two products and what comes of them. While that is multiplied less is alive than here, or
        // than in the sum that follows, whatever the number of rows.
        ChangeForm::Hadamard(_) => vec![dense(3 * outputs * inputs)],
        ChangeForm::Dense(_) => vec![rows(2 * outputs)],
    }
}
