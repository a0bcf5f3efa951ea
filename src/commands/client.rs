//! Who is asked over the control API, and with which token; `fiberd status`.

use fiberd::cli;
use fiberd::client::{Client, status};
use fiberd::config::Secret;

use super::{Failure, all_there, remark, say};

/// The token, when it is not in a file.
const TOKEN: &str = "FIBERD_TOKEN";

/// The exit code is that of the verdict.
pub(crate) fn status(args: &cli::Status) -> Result<u8, Failure> {
    let client = client(&args.access)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (verdict, text) = runtime.block_on(status::ask(&client, args.json));
    say(text)?;
    Ok(verdict as u8)
}

/// For the daemon that is meant. A token that others can read on its way is sent all the same, with a word about it.
pub(super) fn client(access: &cli::Access) -> Result<Client, Failure> {
    all_there(access.token_file.iter().chain(&access.ca))?;
    let token = match &access.token_file {
        Some(file) => Some(one_word(&std::fs::read_to_string(file)?)?),
        None => std::env::var(TOKEN).ok().filter(|token| !token.is_empty()).map(Secret::new),
    };
    let ca = access.ca.as_ref().map(std::fs::read).transpose()?;
    if token.is_some() && access.url.is_open_to_others() {
        let url = access.url.url();
        remark(format_args!("fiberd: the token travels unencrypted to {url}: https:// keeps it secret"));
    }
    Client::new(access.url.clone(), token, ca.as_deref()).map_err(|error| Failure::new(64, error))
}

fn one_word(text: &str) -> Result<Secret, Failure> {
    let word = text.trim();
    if word.is_empty() || word.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(Failure::new(64, "the token file must hold one token and nothing else, not its role or its name"));
    }
    Ok(Secret::new(word))
}
