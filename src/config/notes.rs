//! What `check-config` says of a configuration that is not wrong but will not work everywhere.

use super::Config;

/// The first port that needs no right, where the system does not say otherwise.
const UNPRIVILEGED: u16 = 1024;

/// See the module; one sentence each, with the key in front.
pub(super) fn notes(config: &Config) -> Vec<String> {
    // Containers often lower it.
    let told = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok();
    let first = told.and_then(|text| text.trim().parse().ok()).unwrap_or(UNPRIVILEGED);
    privileged(config, first)
}

/// Ports below `first` that this configuration listens on.
fn privileged(config: &Config, first: u16) -> Vec<String> {
    [("http.listen", config.http.listen.port()), ("jobs.first_port", *config.jobs.ports.start())]
        .into_iter()
        .filter(|(_, port)| (1..first).contains(port))
        .map(|(key, port)| {
            format!(
                "{key}: port {port} is privileged: write one from {first} on, or give the unit \
                 AmbientCapabilities=CAP_NET_BIND_SERVICE"
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_needs_a_right_is_named_with_its_key() {
        let mut config = Config::default();
        assert_eq!(privileged(&config, 1024), Vec::<String>::new());
        config.http.listen.set_port(443);
        config.jobs.ports = 1000..=1100;
        let found = privileged(&config, 1024);
        assert!(found[0].starts_with("http.listen: port 443 is privileged"), "{found:?}");
        assert!(found[1].starts_with("jobs.first_port: port 1000 is privileged"), "{found:?}");
        assert_eq!(privileged(&config, 80), Vec::<String>::new(), "the system may allow more");
    }
}
