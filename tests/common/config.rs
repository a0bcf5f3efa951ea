//! Reading configurations that a test writes.

use fiberd::config::{Config, Environment};

pub fn nothing() -> Environment {
    Environment::default()
}

pub fn with(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|&(k, v)| (k, v)).collect()
}

pub fn problems(text: &str, environment: &Environment) -> Vec<String> {
    match Config::parse("t.toml", text, environment) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.list().iter().map(ToString::to_string).collect(),
    }
}
