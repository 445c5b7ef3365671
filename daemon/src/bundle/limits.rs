//! Named limits of bundles and operations. Reaching one is a clear refusal that names it.

/// The bundle format this program writes and reads.
pub const FORMAT: u32 = 1;
/// Seconds added to `max_duration` for scheduling and shutdown (the Clustergate-2 default).
pub const GRACE_SECONDS: u32 = 300;
/// Minutes a pod may run when the operation does not say: never unlimited.
pub const DEFAULT_MAX_DURATION_MINUTES: u32 = 60;
/// Longest `max_duration` in minutes: one week; the longest published example is 600.
pub const MAX_DURATION_MINUTES: u32 = 7 * 24 * 60;
/// Least processor time that can be given, in thousandths of a processor: the kernel's shortest slice in its longest period.
pub const CPU_MILLIS_MIN: u64 = 1;
/// Most processor time that can be asked for, in thousandths of a processor.
pub const CPU_MILLIS_MAX: u64 = 1024 * 1000;
/// Least memory that can be given: below it no container starts.
pub const MEMORY_BYTES_MIN: u64 = 6 << 20;
/// Most memory that can be asked for.
pub const MEMORY_BYTES_MAX: u64 = 1 << 40;
/// Longest budget of a step in seconds.
pub const MAX_TIMEOUT_SECONDS: u32 = MAX_DURATION_MINUTES * 60 + 24 * 3600;
/// Bytes of an operation file: a YAML tree takes about a hundred times its text in memory.
pub const OPERATION_BYTES: u64 = 256 * 1024;
/// Tasks of one operation, hence steps of one bundle.
pub const STEPS: usize = 1000;
/// Bytes of `bundle.yaml`, `sequence.yaml` and each manifest.
pub const TEXT_ENTRY_BYTES: u64 = 1024 * 1024;
/// Bytes of all documents of a bundle together: they are held in memory, and as a plan they must fit one journal frame.
pub const TEXTS_BYTES: u64 = 8 * 1024 * 1024;
/// Entries of a bundle.
pub const ENTRIES: usize = 4096;
/// Bytes of one file or image in a bundle: what a ustar size field can say.
pub const ENTRY_BYTES: u64 = 0o77_777_777_777;
/// Bytes of an entry's path: what every ustar reader takes without extensions.
pub const PATH_BYTES: usize = 100;
/// Bytes that one Clustergate-2 flight-model operation may uplink ("5Mb", read as megabytes).
pub const FLIGHT_UPLINK_BYTES: u64 = 5_000_000;
/// Window of a compressed bundle as a power of two: decompression never takes more memory than this.
pub const ZSTD_WINDOW_LOG: u32 = 23;
/// Jobs of one execution, those that an output asks for included: each is a record to keep and a name on the network.
pub const JOBS: usize = 1024;
/// Bytes of output that a condition or a fan-out looks at.
pub const OUTPUT_BYTES: usize = 64 * 1024;
/// Further attempts of one job.
pub const RETRIES: u32 = 100;
/// Longest pause before the first of them, in seconds.
pub const BACKOFF_SECONDS: u32 = 3600;
/// Workers of one gang.
pub const WORKERS: u32 = 64;
/// Slots of one worker.
pub const SLOTS: u32 = 1024;
/// Bytes of all jobs of an execution together, those of arrays and outputs counted one by one: they are held in memory,
/// and as a plan they must fit one journal frame.
pub const PLAN_BYTES: u64 = 16 * 1024 * 1024;
/// Largest `TASK_ID`.
pub const TASK_ID: u32 = 999_999_999;
