//! `fiberd status`: which daemon to ask, and with which token.

use clap::Args;

use super::access::Access;

pub(super) const HELP: &str = "\
Examples:
  fiberd status
  fiberd status https://das.example:5000 --token-file token --ca ca.pem
  FIBERD_TOKEN=... fiberd status https://das.example:5000
  fiberd status --json | jq .conditions

Shows state and reason, source and rate, what was lost, broker, jobs, and every condition with what to do \
about it. The first line says the most important, for monitors that show no more.

Exit codes, as plugins of Nagios have them:
  0  OK        nothing is wrong
  1  WARNING   something does not work, although the daemon as a whole does: degraded
  2  CRITICAL  the daemon cannot do its job: it waits for fiber, or worse
  3  UNKNOWN   no answer, access refused, or what answers is not a fiberd of this version
 64  wrong arguments; 66 and 74: the file of the token or of the CA cannot be read";

/// `fiberd status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Which daemon, and as whom
    #[command(flatten)]
    pub access: Access,
    /// For programs: the daemon's own answer, one JSON object
    #[arg(long)]
    pub json: bool,
}
