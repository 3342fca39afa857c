//! What the tests and the benchmarks outside this crate use directly, and nothing else: every other
//! module is private, so that the compiler names what nobody uses.

pub use crate::attempt::{
    Candidate, CardUse, ErrorCode, Failure, FailureKind, Finished, History, Made, Measured, Next,
    Outcome, Peaks, Planned, Predicted, Timings,
};
pub use crate::clock::ManualClock;
pub use crate::config::Config;
pub use crate::engine::meter::CountingAllocator;
pub use crate::engine::provenance::{Part, PartOrigin, PartSource};
pub use crate::engine::z_image::beginning;
pub use crate::engine::z_image::checkpoint::FloatFormat;
pub use crate::engine::z_image::config::{ModelConfig, TransformerConfig, turbo};
pub use crate::engine::z_image::device_memory::DeviceMemory;
pub use crate::engine::z_image::geometry::TILE_SIDE_MIN;
pub use crate::engine::z_image::host::prefer_large_pages;
pub use crate::engine::z_image::lora::{LoadedLora, LoraFile, Modules as LoraModules};
pub use crate::engine::z_image::model_files::{ModelFiles, PartFiles};
pub use crate::engine::z_image::new_model::{Conversion, Geometry, Synthesis};
pub use crate::engine::z_image::noise::Generator;
pub use crate::engine::z_image::predict::{Work, predict};
pub use crate::engine::z_image::quant::QuantisedMatrix;
pub use crate::engine::z_image::sampler::{Guidance, Sampler};
pub use crate::engine::z_image::schedule::Schedule;
pub use crate::engine::z_image::solver::Solver;
pub use crate::engine::z_image::text_encoder::TextEncoder;
pub use crate::engine::z_image::transformer::{Conditioning, Transformer};
pub use crate::engine::z_image::vae::{Decoder, Distribution, Encoder};
pub use crate::engine::z_image::weights::Weights;
pub use crate::engine::z_image::{ZImageEngine, picture};
pub use crate::engine::{
    Backend, Continue, DeviceChoice, Engine, EngineError, EngineKind, InputPicture, Latents,
    MemoryReading, ModelDescription, ModelKind, ModelPlace, Pixels, PlacedLora, Progress,
    Result as EngineResult, Tokenizer, check_lora, convert_model, fake, inspect_model, meter,
    quantise_model, synthesise_model,
};
pub use crate::files::sha256;
pub use crate::inputs::{InputLimits, input_picture, inspect as inspect_input};
pub use crate::instance::FolderLock;
pub use crate::intake::{Intake, IntakePlaces};
pub use crate::job::lora::{Lora, LoraSize, Loras};
pub use crate::job::origin::{DropId, FileId, Origin, OriginKind, SourceFile};
pub use crate::job::spec::Rules;
pub use crate::job::state::State;
pub use crate::job::{AskedPrecision, Format, Job, OnOom, Recipe, Render, SamplerKind};
pub use crate::ladder::{Decode, Precision, Prefer, Residency, Rung, Stage};
pub use crate::loras::LoraFolder;
pub use crate::output::encode::{Written, write_picture};
pub use crate::output::metadata::{Metadata, PictureModel, QueueFacts, SizeAndSteps, StageTimings};
pub use crate::output::{
    Owner, inspect, make_ready, metadata_of, publish, remove_temporaries, settings_in, temp_path,
};
pub use crate::planner::{Allowance, ModelTurns, Plan, Prediction};
pub use crate::problem::Report;
pub use crate::queue::{
    Activity, CheckedJob, Obstacle, Queue, QueueError, Which, check as check_job,
};
pub use crate::store::{
    Access, Cancelled, DatabasePlace, DropFate, Forgettable, Guarded, JobFilter, Metric, NewJob,
    NewWorker, PICTURE_MS, RATIOS, RenderFilter, Repeat, Retried, STAGE_MS, Selection, Store,
    StoreError,
};
pub use crate::worker::exit::WorkerExit;
pub use crate::worker::handle::Worker;
pub use crate::worker::protocol::{Done, Load, RenderRequest, Request, WorkerEvent};
