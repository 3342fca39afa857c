//! The change of one module in the device's memory, applied beside the module's own matrix, which
//! stays as it is: dense, quantised or streamed.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{D, DType, Result, Tensor};

use crate::engine::z_image::linear::Linear;

/// What is added to a matrix (outputs, inputs), before it is scaled.
pub enum Delta {
    /// `up down`.
    LowRank {
        down: Tensor,
        up: Tensor,
    },
    /// Rows `from` to `from + outputs` of Kronecker's product.
    Kron {
        first: Factor,
        second: Factor,
        from: usize,
        outputs: usize,
    },
    /// Two products, multiplied value by value.
    Hadamard([Tensor; 4]),
    Dense(Tensor),
}

/// A matrix, or the product of two.
#[derive(Clone)]
pub enum Factor {
    Whole(Tensor),
    Product(Tensor, Tensor),
}

/// What a DoRA does with the matrix and its change: the rows or the columns of the sum get the
/// lengths of `magnitude`.
pub struct Magnitude {
    /// (outputs) or (inputs), f32.
    pub values: Tensor,
    pub kind: MagnitudeKind,
    /// The lengths by those that the sum has, and the scale of the change in it. They are computed
    /// at the first use, because the module's own matrix may come to the device only then.
    ratio: Mutex<Option<(f64, Tensor)>>,
}

/// What the lengths of a DoRA are of, and where its weight counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MagnitudeKind {
    /// PEFT's, of rows: the change is weighed before the sum gets its lengths.
    WeighedRows,
    /// LyCORIS', of rows: what comes of the sum is weighed.
    Rows,
    /// LyCORIS', of columns.
    Columns,
}

/// Everything that a file says of one module.
pub struct Adapter {
    pub delta: Option<Delta>,
    /// What the change is multiplied by, as the file says.
    pub scale: f64,
    /// Of columns the same one for all modules that are one matrix in the file.
    pub magnitude: Option<Arc<Magnitude>>,
    /// (outputs)
    pub bias: Option<Tensor>,
}

impl Magnitude {
    pub fn new(values: Tensor, kind: MagnitudeKind) -> Magnitude {
        Magnitude { values, kind, ratio: Mutex::new(None) }
    }

    /// The ratio for a change of this scale, from `compute` where it is not known.
    fn ratio(&self, scale: f64, compute: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
        let mut known = self.ratio.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((of, ratio)) if *of == scale => Ok(ratio.clone()),
            _ => {
                let ratio = compute()?;
                *known = Some((scale, ratio.clone()));
                Ok(ratio)
            }
        }
    }
}

impl Adapter {
    /// `y` with the change of what a module gives for `x`, `weight` times. A DoRA needs what it
    /// gives by itself, too.
    pub fn add(
        &self,
        x: &Tensor,
        decomposed: Option<Decomposed>,
        y: Tensor,
        weight: f64,
    ) -> Result<Tensor> {
        let y = match (&self.delta, decomposed) {
            (Some(delta), Some(of)) => {
                let weighs_change = of.magnitude.kind == MagnitudeKind::WeighedRows;
                let scale = self.scale * if weighs_change { weight } else { 1.0 };
                let change = of.change(delta, scale, x)?;
                (y + if weighs_change { change } else { (change * weight)? })?
            }
            (Some(delta), None) => (y + delta.apply(x, self.scale * weight)?)?,
            (None, _) => y,
        };
        match &self.bias {
            Some(bias) => y.broadcast_add(&(bias * weight)?),
            None => Ok(y),
        }
    }
}

/// What a DoRA changes.
pub struct Decomposed<'a> {
    pub magnitude: &'a Magnitude,
    pub linear: &'a Linear,
    /// What `linear` gives by itself.
    pub own: &'a Tensor,
    /// All modules, with their changes, whose rows are one below the other in the matrix that the
    /// magnitude is of: `linear` alone, or several of which it is one.
    pub parts: Vec<(&'a Delta, &'a Linear)>,
}

impl Decomposed<'_> {
    /// What the matrix with its change, rows or columns brought to their lengths, gives more than
    /// the matrix by itself.
    fn change(&self, delta: &Delta, scale: f64, x: &Tensor) -> Result<Tensor> {
        let own = self.linear.without_bias(self.own)?;
        let compute = || self.compute_ratio(scale)?.to_dtype(x.dtype());
        let ratio = self.magnitude.ratio(scale, compute)?;
        let full = match self.magnitude.kind {
            MagnitudeKind::Columns => {
                let x = x.broadcast_mul(&ratio)?;
                self.linear.product(&x)? + delta.apply(&x, scale)?
            }
            MagnitudeKind::WeighedRows | MagnitudeKind::Rows => {
                (&own + delta.apply(x, scale)?)?.broadcast_mul(&ratio)
            }
        }?;
        full - own
    }

    fn compute_ratio(&self, scale: f64) -> Result<Tensor> {
        let values = &self.magnitude.values;
        let mut squares = values.zeros_like()?;
        let is_columns = self.magnitude.kind == MagnitudeKind::Columns;
        for (delta, linear) in &self.parts {
            let sum =
                (linear.dense(DType::F32)? + (delta.dense()?.to_dtype(DType::F32)? * scale)?)?;
            let along = if is_columns { D::Minus2 } else { D::Minus1 };
            squares = (squares + sum.sqr()?.sum(along)?)?;
        }
        values / squares.sqrt()?
    }
}

impl Delta {
    /// The change of what the module gives for `x` (.., inputs): (.., outputs).
    fn apply(&self, x: &Tensor, scale: f64) -> Result<Tensor> {
        let mut sides = x.dims().to_vec();
        let rows = x.flatten_to(D::Minus2)?;
        let y = match self {
            // The scale is put where there are fewest values.
            Delta::LowRank { down, up } => (rows.matmul(&down.t()?)? * scale)?.matmul(&up.t()?)?,
            Delta::Kron { first, second, from, outputs } => {
                let first = (first.matrix()? * scale)?;
                kron(&rows, &first, second)?.narrow(1, *from, *outputs)?
            }
            Delta::Hadamard(_) => rows.matmul(&(self.dense()? * scale)?.t()?)?,
            Delta::Dense(diff) => (rows.matmul(&diff.t()?)? * scale)?,
        };
        if let Some(last) = sides.last_mut() {
            *last = y.dim(1)?;
        }
        y.reshape(sides)
    }

    /// The change itself: (outputs, inputs).
    fn dense(&self) -> Result<Tensor> {
        match self {
            Delta::LowRank { down, up } => up.matmul(down),
            Delta::Kron { first, second, from, outputs } => {
                let (first, second) = (first.matrix()?, second.matrix()?);
                let ((o1, i1), (o2, i2)) = (first.dims2()?, second.dims2()?);
                let first = first.reshape((o1, 1, i1, 1))?;
                let product = first.broadcast_mul(&second.reshape((1, o2, 1, i2))?)?;
                product.reshape((o1 * o2, i1 * i2))?.narrow(0, *from, *outputs)
            }
            Delta::Hadamard([a1, b1, a2, b2]) => a1.matmul(b1)? * a2.matmul(b2)?,
            Delta::Dense(diff) => Ok(diff.clone()),
        }
    }
}

/// `x` (rows, i1 i2) times the transposed Kronecker product of `first` (o1, i1) and `second`
/// (o2, i2), without making it: (rows, o1 o2).
fn kron(x: &Tensor, first: &Tensor, second: &Factor) -> Result<Tensor> {
    let (rows, inputs) = x.dims2()?;
    let (o1, i1) = first.dims2()?;
    // Assigned again and again, so that each input is freed before the next allocation.
    let mut y = second.times(&x.reshape((rows * i1, inputs / i1))?)?;
    let o2 = y.dim(1)?;
    y = y.reshape((rows, i1, o2))?.transpose(1, 2)?.contiguous()?;
    y = y.reshape((rows * o2, i1))?.matmul(&first.t()?)?;
    y = y.reshape((rows, o2, o1))?.transpose(1, 2)?.contiguous()?;
    y.reshape((rows, o1 * o2))
}

impl Factor {
    fn matrix(&self) -> Result<Tensor> {
        match self {
            Factor::Whole(whole) => Ok(whole.clone()),
            Factor::Product(a, b) => a.matmul(b),
        }
    }

    /// `x` (rows, columns) times the transposed matrix.
    fn times(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Factor::Whole(whole) => x.matmul(&whole.t()?),
            Factor::Product(a, b) => x.matmul(&b.t()?)?.matmul(&a.t()?),
        }
    }
}
