//! The kinds of changes, as their tensors lie in a file.

use std::collections::BTreeMap;
use std::fmt;

use super::keys::Role;
use crate::engine::z_image::checkpoint::StoredTensor;

/// The tensors of one module.
pub type ChangeParts = BTreeMap<Role, StoredTensor>;

/// How a file says what is added to a matrix.
pub enum ChangeForm {
    /// LoRA: `up down`.
    LowRank { down: StoredTensor, up: StoredTensor },
    /// LoKr: Kronecker's product of two matrices.
    Kron(StoredFactor, StoredFactor),
    /// LoHa: two products of two matrices, multiplied value by value.
    Hadamard([StoredTensor; 4]),
    /// The change itself.
    Dense(StoredTensor),
}

/// A matrix, or the product of two.
pub enum StoredFactor {
    Whole(StoredTensor),
    Product(StoredTensor, StoredTensor),
}

/// The word for each kind, as people know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    Lora,
    Lokr,
    Loha,
    Full,
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChangeKind::Lora => "LoRA",
            ChangeKind::Lokr => "LoKr",
            ChangeKind::Loha => "LoHa",
            ChangeKind::Full => "full difference",
        })
    }
}

type Result<T> = std::result::Result<T, String>;

impl ChangeForm {
    /// What `parts` are together, for a matrix of this shape (outputs, inputs); `None` of no parts.
    /// Errors name the module, which is `written` so in the file.
    pub fn new(
        written: &str,
        mut parts: ChangeParts,
        shape: [usize; 2],
    ) -> Result<Option<ChangeForm>> {
        let Some((role, _)) = parts.first_key_value() else { return Ok(None) };
        let role = *role;
        let mut take = |role: Role, name: &str| {
            parts.remove(&role).ok_or_else(|| format!("{written} has no {name}"))
        };
        let form = match role {
            Role::Down | Role::Up => ChangeForm::LowRank {
                down: take(Role::Down, "lora_A (lora_down)")?,
                up: take(Role::Up, "lora_B (lora_up)")?,
            },
            Role::Kron1
            | Role::Kron1A
            | Role::Kron1B
            | Role::Kron2
            | Role::Kron2A
            | Role::Kron2B => {
                let first =
                    StoredFactor::take(&mut parts, [Role::Kron1, Role::Kron1A, Role::Kron1B]);
                let second =
                    StoredFactor::take(&mut parts, [Role::Kron2, Role::Kron2A, Role::Kron2B]);
                let missing = |name: &str| format!("{written} has no whole {name}");
                ChangeForm::Kron(
                    first.ok_or_else(|| missing("lokr_w1"))?,
                    second.ok_or_else(|| missing("lokr_w2"))?,
                )
            }
            Role::Hada1A | Role::Hada1B | Role::Hada2A | Role::Hada2B => ChangeForm::Hadamard([
                take(Role::Hada1A, "hada_w1_a")?,
                take(Role::Hada1B, "hada_w1_b")?,
                take(Role::Hada2A, "hada_w2_a")?,
                take(Role::Hada2B, "hada_w2_b")?,
            ]),
            _ => ChangeForm::Dense(take(Role::Diff, "diff")?),
        };
        if let Some((other, _)) = parts.first_key_value() {
            return Err(format!("{written} is a {} and has {other:?} too", form.kind()));
        }
        match form.shape() {
            Some(found) if found == shape => Ok(Some(form)),
            Some(found) => Err(format!("{written} is for a matrix of {found:?}, not {shape:?}")),
            None => Err(format!("{written}: the shapes of its matrices do not fit together")),
        }
    }

    /// The shape of the whole change: (outputs, inputs).
    fn shape(&self) -> Option<[usize; 2]> {
        match self {
            ChangeForm::LowRank { down, up } => product(up, down),
            ChangeForm::Kron(first, second) => {
                let ([o1, i1], [o2, i2]) = (first.shape()?, second.shape()?);
                Some([o1.checked_mul(o2)?, i1.checked_mul(i2)?])
            }
            ChangeForm::Hadamard([a1, b1, a2, b2]) => {
                let (first, second) = (product(a1, b1)?, product(a2, b2)?);
                (first == second).then_some(first)
            }
            ChangeForm::Dense(diff) => matrix(diff),
        }
    }

    /// What alpha is divided by; 0 where there is nothing of the kind, and alpha does not count.
    pub fn rank(&self) -> usize {
        match self {
            ChangeForm::LowRank { down, .. } => rows(down),
            ChangeForm::Kron(first, second) => second.rank().or(first.rank()).unwrap_or(0),
            ChangeForm::Hadamard([_, b1, ..]) => rows(b1),
            ChangeForm::Dense(_) => 0,
        }
    }

    pub fn kind(&self) -> ChangeKind {
        match self {
            ChangeForm::LowRank { .. } => ChangeKind::Lora,
            ChangeForm::Kron(..) => ChangeKind::Lokr,
            ChangeForm::Hadamard(_) => ChangeKind::Loha,
            ChangeForm::Dense(_) => ChangeKind::Full,
        }
    }

    pub fn tensors(&self) -> Vec<&StoredTensor> {
        match self {
            ChangeForm::LowRank { down, up } => vec![down, up],
            ChangeForm::Kron(first, second) => [first.tensors(), second.tensors()].concat(),
            ChangeForm::Hadamard(all) => all.iter().collect(),
            ChangeForm::Dense(diff) => vec![diff],
        }
    }
}

impl StoredFactor {
    fn take(parts: &mut ChangeParts, [whole, a, b]: [Role; 3]) -> Option<StoredFactor> {
        match parts.remove(&whole) {
            Some(whole) => Some(StoredFactor::Whole(whole)),
            None => Some(StoredFactor::Product(parts.remove(&a)?, parts.remove(&b)?)),
        }
    }

    pub fn shape(&self) -> Option<[usize; 2]> {
        match self {
            StoredFactor::Whole(whole) => matrix(whole),
            StoredFactor::Product(a, b) => product(a, b),
        }
    }

    pub fn rank(&self) -> Option<usize> {
        match self {
            StoredFactor::Whole(_) => None,
            StoredFactor::Product(_, b) => Some(rows(b)),
        }
    }

    fn tensors(&self) -> Vec<&StoredTensor> {
        match self {
            StoredFactor::Whole(whole) => vec![whole],
            StoredFactor::Product(a, b) => vec![a, b],
        }
    }
}

/// The two sides of a matrix. Those of ones behind them, which writers of convolutions add, do not
/// count.
pub fn matrix(tensor: &StoredTensor) -> Option<[usize; 2]> {
    match tensor.shape() {
        [rows, columns, rest @ ..] if rest.iter().all(|&side| side == 1) => Some([*rows, *columns]),
        _ => None,
    }
}

fn rows(tensor: &StoredTensor) -> usize {
    tensor.shape().first().copied().unwrap_or(0)
}

/// The shape of `a b`.
fn product(a: &StoredTensor, b: &StoredTensor) -> Option<[usize; 2]> {
    let ([rows, inner], [other, columns]) = (matrix(a)?, matrix(b)?);
    (inner == other && inner > 0).then_some([rows, columns])
}
