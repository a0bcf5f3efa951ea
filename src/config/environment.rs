//! What the process's environment adds to a configuration file.

use std::collections::BTreeMap;

/// What the environment adds to the file.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    pub(super) variables: BTreeMap<String, String>,
    offline: bool,
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        // A variable that is not text cannot be one of ours.
        std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect()
    }

    /// For `check-config`: a password file that only the service manager provides need not be there, and what a run
    /// would wait for or meet only later is looked at now.
    #[must_use]
    pub fn offline(mut self) -> Self {
        self.offline = true;
        self
    }

    /// Whether this is a check and no run.
    pub(super) const fn is_offline(&self) -> bool {
        self.offline
    }

    /// `path` with the folder of the service manager's credentials in place of its variable; `None` when only the
    /// service manager could know it and this is an offline check.
    pub(super) fn resolve(&self, path: &str) -> Result<Option<String>, String> {
        const VARIABLE: &str = "${CREDENTIALS_DIRECTORY}";
        match self.variables.get("CREDENTIALS_DIRECTORY") {
            Some(folder) => Ok(Some(path.replace(VARIABLE, folder))),
            None if path.contains(VARIABLE) && self.offline => Ok(None),
            None if path.contains(VARIABLE) => {
                Err("CREDENTIALS_DIRECTORY is not set; systemd sets it for a unit with LoadCredential=".into())
            }
            None => Ok(Some(path.to_owned())),
        }
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        let variables = variables.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        Self { variables, offline: false }
    }
}
