//! fiberd: from the glass of a distributed acoustic sensing interrogator to the message broker.
//!
//! # The map, as a sample falls
//! 0. The interrogator measures one value at (trace, channel); its driver puts the trace into the hardware ring
//!    ([`source::ring`]; [`source::synthetic`] is a stand-in with physics, [`source::replay`] plays captures).
//! 1. [`capture`] (thread `das-capture`) has the source copy traces into a leased [`block`], exactly as they came.
//! 2. The full queue carries the lease on; it cannot be full. A second consumer shares the lease, never copies.
//! 3. [`pipeline`] (threads `das-dsp`, `das-fft-N`) conditions, windows, transforms: [`dsp`]. The lease flies home.
//! 4. The sample is now part of a [`frame`], offered at [`egress`]: the fence, threads before it, tokio after it.
//! 5. [`wire`] encodes. 6. [`publish`] sends and gathers confirms. 7. [`api`] shows how it all goes and takes clients'
//!    requests; the lines of their [`jobs`] go into [`feed`]s, which [`streams`] give out. What cannot be had is a
//!    [`refusal`], the same over HTTP and over the bus.
//!
//! Two places may drop, both counted and marked: step 1 without a free block, step 4 in front of a slow publisher.
//! Whether there is signal is one pure state machine, [`acquisition::SignalMonitor`]; what everybody knows about the
//! daemon is [`status`]. [`app`] builds the rooms and names them all; arrows between rooms point down only, and a test
//! holds that. [`mod@bench`] starts all of this as processes of its own and measures from outside what a host can do.
//! [`terminal`] is the screen of the daemon in this process, or by [`mod@watch`] of one elsewhere.
//!
//! # Words
//! | word | means here, and only this |
//! |---|---|
//! | pulse, PRR | one laser launch; launches per second, the sampling rate in time (`prr_hz`) |
//! | trace | backscatter of one pulse over all channels |
//! | sample | one value at (trace, channel) |
//! | channel | a place on the fiber, `dx_m` from the next; from 1 for people, an index from 0 inside |
//! | gauge length | length of fiber over which strain is averaged (`gauge_length_m`) |
//! | block, lease | consecutive traces moved together; a share in a block |
//! | frame, line | what is published; one row of a waterfall or spectrogram |
//! | view, stream | what is looked at; one sequence of frames of a view (a band, a group of channels) |
//! | nfft, hop, bin | window length in traces; step between windows; a frequency cell, `prr / nfft` wide |
//! | band energy | sum of power over the bins of a band, both ends included |
//! | epoch | generation of an acquisition |
//! | gap, stall | missing traces; light without data |
//! | book | an equation between counters that must hold, so that nothing vanishes uncounted |
//! | tile, lane | neighbouring channels worked on together; one transform over the channels of a tile (of a vector: one channel) |
//! | group, cell | as many neighbouring channels as fit into a vector; as many whose counts fill a cache line |
//! | past, store | blocks that windows still reach into; the newest conditioned traces of a tile |
//! | part (of the daemon) | a thread or task that the supervisor in [`app`] looks after, by name |
//! | worker, crew | kernel and scratch of one thread; all threads that work on tiles |
//! | sliding | made from the window before, by what comes and what goes, instead of from all its traces |
//! | plan, output, want | a transform with its line grid; what comes out of it; an output for some channels of a tile |
//! | short window | one that reaches back before what is known: zeros stand there, and its frames say so |
//! | load, demand | share of real time that was needed; that will be needed once all windows are full |
//! | meter, rates | what a piece of work costs, measured while it is done; measured on this host at the start |
//! | budget | what the pipeline may need; beyond it the costliest jobs end |
//! | sharer | a stream whose frames have the same values as another's |
//! | capture (file) | raw blocks on disk, `.fdas` |
//! | finding, condition | what a stage says stands in its way until it takes it back; what health makes of that and of all counts |
//! | job, task | a view that a client asked for while the daemon runs; the same in the form of older clients |
//! | slot | place of a job among those that run; used again, unlike its counter |
//! | consumer | who keeps a job alive: an open reader of its feeds, a poll, a keep-alive, a queue that is bound to it |
//! | bus, command | the broker as it brings orders; one of them, for a job or for the daemon |
//! | errand, pace | work with a broker connection of its own; which frames of a job are worth sending there |
//! | spool | frames that wait for the broker |
//! | refused, held, given up | not taken by the broker; kept to be sent again; lost for that reason |
//! | account, books | what came in and what became of it; all accounts of a kind of frame |
//! | client, seat | an address (of IPv6 its /64) that asks; the place of one of its connections |
//! | token, role | a secret that a client shows; what its holder may do: read, or control as well |
//! | feed, reader | the newest frame of one stream of a job, and those that a reader has yet to read; one who reads them at its own pace |
//! | behind, lag | lines that a reader has yet to read; how far it may be behind before it loses the oldest |
//! | door, row | a way out for the lines of a job: gRPC, WebSocket, polling; the same line of all its streams |

pub mod acquisition;
pub mod api;
pub mod app;
pub mod bench;
pub mod block;
pub mod capture;
pub mod cli;
pub mod client;
pub mod config;
pub mod dsp;
pub mod egress;
pub mod feed;
pub mod frame;
pub mod health;
pub mod jobs;
pub mod log_limit;
pub mod metrics;
pub mod notify;
pub mod pipeline;
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
