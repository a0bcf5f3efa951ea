//! What differs between a configuration that runs and a new one: what a reload takes over, and what needs a restart.

use super::{BrokerConfig, Config};

/// Keys that a reload takes over. With the files that they name: a file is read again although its key is the same.
pub const RELOADED_KEYS: [&str; 7] = [
    "log.level",
    "broker.username",
    "broker.password_file",
    "http.tokens_file",
    "http.tls_certificate",
    "http.tls_key",
    "http.client_ca",
];

/// One line for each key: whether it differs.
macro_rules! differing {
    ($old:expr, $new:expr, $($key:literal: $($field:ident).+,)+) => {
        [$(($key, PartialEq::ne(&$old.$($field).+, &$new.$($field).+))),+]
    };
}

impl Config {
    /// Keys of which this configuration and `new` say different things, and which a reload cannot take over. The sections
    /// `source` and `view` are named whole.
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        table(self, new).into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
    }
}

fn table(old: &Config, new: &Config) -> Vec<(&'static str, bool)> {
    let mut table = differing!(old, new,
        "site": site,
        "log.format": log.format,
        "source": source,
        "view": views,
        "capture.prr_hz": capture.prr,
        "capture.prr_tolerance_ppm": capture.prr_tolerance_ppm,
        "capture.block_ms": capture.block,
        "capture.pool_blocks": capture.pool_blocks,
        "capture.cpu": capture.cpu,
        "capture.realtime_priority": capture.realtime_priority,
        "capture.lock_ring": capture.lock_ring,
        "signal.no_trace_ms": signal.no_trace,
        "signal.stall_ms": signal.stall,
        "signal.dark_power": signal.dark_power,
        "signal.light_factor": signal.light_factor,
        "signal.dark_hold_ms": signal.dark_hold,
        "processing.strain_rate": processing.condition.strain_rate,
        "processing.spatial_difference_channels": processing.condition.spatial_difference_channels,
        "processing.common_mode": processing.condition.common_mode,
        "processing.high_pass_hz": processing.condition.high_pass_hz,
        "processing.threads": processing.threads,
        "processing.egress_frames": processing.egress_frames,
        "fiber.channels": fiber.channels,
        "fiber.dtype": fiber.dtype,
        "fiber.description": fiber.description,
        "http.listen": http.listen,
        "http.public_host": http.public_host,
        "http.cors_origins": http.cors_origins,
        "http.rate_configure_per_s": http.rates.configure_per_s,
        "http.rate_configure_burst": http.rates.configure_burst,
        "http.rate_reads_per_s": http.rates.reads_per_s,
        "http.rate_reads_burst": http.rates.reads_burst,
        "http.max_connections": http.max_connections,
        "jobs.max_jobs": jobs.max_jobs,
        "jobs.max_load": jobs.max_load,
        "jobs.memory_mib": jobs.memory_bytes,
        "jobs.history_mib": jobs.history_bytes,
        "jobs.live_idle_s": jobs.live_idle,
        "jobs.historic_idle_s": jobs.historic_idle,
        "jobs.start_grace_s": jobs.start_grace,
        "jobs.default_job": jobs.default_job,
    )
    .to_vec();
    let ports = (&old.jobs.ports, &new.jobs.ports);
    table.push(("jobs.first_port", ports.0.start() != ports.1.start()));
    table.push(("jobs.last_port", ports.0.end() != ports.1.end()));
    // Certificates are exchanged, but a listener stays encrypted, or plain.
    table.push(("http.tls_certificate (encryption on or off)", old.http.tls.is_some() != new.http.tls.is_some()));
    table.push(("broker.enabled", old.broker.is_some() != new.broker.is_some()));
    if let (Some(old), Some(new)) = (&old.broker, &new.broker) {
        table.extend(brokers(old, new));
    }
    table
}

fn brokers(old: &BrokerConfig, new: &BrokerConfig) -> impl IntoIterator<Item = (&'static str, bool)> {
    differing!(old, new,
        "broker.uri": uri,
        "broker.frames_exchange": frames_exchange,
        "broker.status_exchange": status_exchange,
        "broker.commands_exchange": commands_exchange,
        "broker.commands_queue": commands_queue,
        "broker.dead_letter_exchange": dead_letter_exchange,
        "broker.deep_queue_messages": deep_queue_messages,
        "broker.window": window,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    #[test]
    fn every_key_is_taken_over_or_named() {
        let config = Config::default();
        let named: Vec<_> = table(&config, &config).into_iter().map(|(key, _)| key).collect();
        let whole = |key: &str| key.split_once('.').is_some_and(|(section, _)| named.contains(&section));
        for key in Config::known_keys() {
            let reloaded = RELOADED_KEYS.contains(&key.as_str());
            assert!(reloaded || named.contains(&key.as_str()) || whole(&key), "{key} would change unnoticed");
            assert!(!(reloaded && named.contains(&key.as_str())), "{key} is both");
        }
        assert_eq!(config.needs_restart(&config), <[&str; 0]>::default());
    }

    #[test]
    fn what_cannot_be_taken_over_is_named_by_its_key() {
        let parse = |text: &str| Config::parse("t", text, &Environment::default()).unwrap();
        let old = parse("");
        let new = parse(
            "site = \"other\"\n[log]\nlevel = \"debug\"\n[broker]\nusername = \"dana\"\nwindow = 7\n[jobs]\nlast_port = 14000\n\
             [source]\npath = \"/dev/shm/other\"\n",
        );
        assert_eq!(old.needs_restart(&new), ["site", "source", "jobs.last_port", "broker.window"]);
        assert_eq!(old.needs_restart(&parse("[broker]\nenabled = false\n")), ["broker.enabled"]);
    }
}
