//! What the harness has handed over, and so what must be there in the end.

/// One dropped file. Its name, which begins with `drop-`, is never used again.
#[derive(Clone, Debug)]
pub struct Dropped {
    pub name: String,
    /// 0 for a file that holds no job.
    pub pictures: u64,
}

/// One request over HTTP, known by its key.
#[derive(Clone, Debug)]
pub struct Asked {
    pub key: String,
    pub pictures: u64,
    /// Whether it was answered that the job is taken in: from then on it must not be lost.
    pub is_answered: bool,
}

/// All that was handed over to one house.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub drops: Vec<Dropped>,
    pub requests: Vec<Asked>,
    /// How often a worker was killed by us while its daemon lived.
    pub worker_deaths: u64,
}
