# The lines that CI runs, and the ones a developer wants daily. `just` alone lists them.

default:
    @just --list

# Everything, as CI does it
check:
    ./check

# Only what the tests need: broker, Python readers
setup:
    ./check setup

# Build and start the demo: synthetic interrogator, live view, broker when there is one
demo *args:
    cargo run --release -- demo {{args}}

# Fast turn-around: one module's tests, e.g. `just t source::ring`
t *args:
    cargo test --lib {{args}}

# All benchmarks, with numbers
bench *args:
    cargo bench {{args}}

# Live jobs by the hundred against a daemon of its own, e.g. `just load displays --minutes 10`
load *args:
    cargo bench --bench load -- {{args}}

# Everything that happens to an installation, at random, for so long: driver, broker, clients, log, signals
endurance time="1h" *args:
    cargo bench --bench endurance -- {{time}} {{args}}

# Licences, advisories, sources and duplicates of all dependencies (needs cargo-deny, and a network for the advisories)
deny *args:
    cargo deny {{args}} check

# The oldest Rust that Cargo.toml promises (needs `rustup toolchain install 1.90`)
msrv:
    cargo +1.90 check --locked

# Clippy for 64-bit ARM, without linking (needs its rustup target and a C cross compiler)
clippy-arm:
    cargo clippy --target aarch64-unknown-linux-gnu --lib --bins -- -D warnings

# One of the fuzz targets ring, capture, request, command, frame (needs cargo-fuzz and a nightly toolchain)
fuzz target="ring" seconds="60":
    cargo +nightly fuzz run {{target}} -- -max_total_time={{seconds}}

# The parts of the ring that need no mapping under miri; they look at the clock (needs miri and rust-src of a nightly toolchain)
miri:
    MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --lib source::ring::tests
