//! fiberd: from the glass of a distributed acoustic sensing interrogator to the message broker.
//!
//! # The map, as a sample falls
//! 0. The interrogator measures one value at (trace, channel); its driver puts the trace into the hardware ring
//!    ([`source::ring`]; [`source::synthetic`] is a stand-in with physics, [`source::replay`] plays captures).
//! 1. [`capture`] (thread `das-capture`) has the source copy traces into a leased [`block`], exactly as they came.
//! 2. The full queue carries the lease on; it cannot be full. A second consumer shares the lease by a [tee](capture::tee()),
//!    never copies.
//! 3. [`pipeline`] (threads `das-dsp`, `das-fft-N`; `das-plan` prepares jobs) conditions, windows, transforms: [`dsp`]. The
//!    lease goes back to the pool.
//! 4. The sample is now part of a [`frame`], offered at [`egress`]: the fence, threads before it, tokio after it.
//! 5. [`wire`] encodes. 6. [`publish`] sends and gathers confirms. 7. [`api`] shows how it all goes and takes clients'
//!    requests; the lines of their [`jobs`] go into [`feed`]s, which [`streams`] give out. What cannot be had is a
//!    [`refusal`], the same over HTTP and over the bus.
//!
//! Two places may drop, both counted and marked: step 1 without a free block, step 4 in front of a slow publisher. A block
//! may pass a second consumer by that is too slow; that is counted for it alone.
//! Whether there is signal is one pure state machine, [`acquisition::SignalMonitor`]; what everybody knows about the
//! daemon is [`status`]. [`app`] builds the rooms and names them all; arrows between rooms point down only, and a test
//! holds that. [`mod@bench`] starts all of this as processes of its own and measures from outside what a host can do.
//! [`mod@record`] writes what comes to disk, in our own format or as PRODML (`prodml`). [`export`] turns captures into files
//! of other programs and into pictures. [`terminal`] is the screen of the daemon in this process, or by [`mod@watch`] of one elsewhere.
//!
//! # Words
//! The words of the field and of the trade stand here with the one thing that they mean in this code.
//!
//! | word | means here, and only this |
//! |---|---|
//! | pulse, PRR | one laser launch; launches per second, the sampling rate in time (`prr_hz`) |
//! | trace, sample | backscatter of one pulse over all channels; one value at (trace, channel) |
//! | channel | a place on the fiber, `dx_m` from the next; from 1 for people, an index from 0 inside |
//! | gauge length | length of fiber over which strain is averaged (`gauge_length_m`) |
//! | block, lease | consecutive traces moved together; a share in a block, given back when it is dropped |
//! | epoch, gap, stall | generation of an acquisition; missing traces; light without data |
//! | stamp, run, segment | what an interrogator or a file says of a trace's time; stamps along one line; rows that follow each other by the rate |
//! | mark, span | what a source says of a block from one row on: a stamp, how the interrogator is; rows up to the next mark |
//! | region, piece | channels that are evenly spaced, where a fiber is not from end to end; a part of a file that is a capture of its own |
//! | stamp in doubt, doubted | one that is not where those before say that it should be, and that nothing follows until the next says the same |
//! | step | of the clock: from a trace on, stamps agree on another time |
//! | anchor, knot | from here on times count on: from an anchor of a file by the declared rate, from a knot of the pipeline's line with a slope of its own |
//! | level | the constant that the samples of a channel stand on, taken off before they are rounded; of all samples: what 999 in a thousand do not exceed |
//! | unit factor | values in the unit of the samples are multiplied by it to be in that of a stream: a power of ten |
//! | nfft, hop, bin | window length in traces; step between windows; a frequency cell, `prr / nfft` wide |
//! | sliding window | made from the window before, by what comes and what goes, instead of from all its traces |
//! | short window | one that reaches back before what is known: zeros stand there, and its frames say so |
//! | band energy | sum of power over the bins of a band, both ends included; that of a capture is the interrogator's own, and each of its traces a line |
//! | tile, lane | neighbouring channels worked on together; one transform over the channels of a tile (of a vector: one channel) |
//! | frame, line | what is published; one row of a waterfall or spectrogram |
//! | view, stream | what is looked at; one sequence of frames of a view (a band, a group of channels) |
//! | job, task | a view that a client asked for while the daemon runs; the same in the form of older clients |
//! | fence | the queue between threads before it and tokio behind it; when it is full, the oldest frame is dropped |
//! | feed, reader | the newest frames of one stream of a job; who reads them, each from where it is |
//! | bus, command | the broker as it brings orders; one of them, for a job or for the daemon |
//! | load, demand | share of real time that was needed; that will be needed once all windows are full |
//! | finding, condition | what a stage says stands in its way until it takes it back, or what is odd about a file; what health makes of that and of all counts |
//! | book | an equation between counters that must hold, so that nothing vanishes uncounted |
//! | capture | raw blocks on disk, `.fdas` or PRODML |

pub mod acquisition;
pub mod api;
pub mod app;
pub mod bench;
pub mod block;
pub mod capture;
pub mod cli;
pub mod client;
pub mod colour;
pub mod config;
pub mod dsp;
pub mod egress;
pub mod export;
pub mod feed;
pub mod frame;
pub mod health;
pub mod jobs;
pub mod log_limit;
pub mod metrics;
pub mod notify;
pub mod pipeline;
mod prodml;
pub mod publish;
pub mod record;
pub mod refusal;
pub mod source;
pub mod status;
pub mod streams;
pub mod telemetry;
pub mod terminal;
pub mod units;
pub mod watch;
pub mod wire;
