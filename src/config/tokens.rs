//! The tokens file: who may use the control API. One token a line: `ROLE NAME SECRET`, where the role is `read` or
//! `control`, the name is what the log calls its holder, and the secret is either the word itself or `sha256:` and the
//! 64 hexadecimal digits of its hash. Empty lines and lines that begin with `#` say nothing.
//!
//! Only hashes go on into the daemon, and no message ever repeats a word of such a file.

use std::fmt;

use ring::digest::{SHA256, digest};

/// Shorter words can be guessed.
const SHORTEST_SECRET: usize = 16;

/// Whatever is longer was given by mistake.
const LONGEST_SECRET: usize = 256;

/// What the holder of a token may do; the later includes the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    Read,
    /// Look, start and end jobs.
    Control,
}

impl Role {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Control => "control",
        }
    }
}

/// SHA-256 of a secret.
pub type Digest = [u8; 32];

/// One who may come in.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Who this is, for the log.
    pub name: String,
    /// What the holder may do.
    pub role: Role,
    /// What the secret's SHA-256 must be; compare in constant time.
    pub digest: Digest,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// SHA-256 of `secret`.
pub fn digest_of(secret: &[u8]) -> Digest {
    let mut found = [0; 32];
    found.copy_from_slice(digest(&SHA256, secret).as_ref());
    found
}

/// The tokens of a file's text.
///
/// # Errors
/// What is wrong with each line, by its number from 1 (0: with the whole file).
pub(super) fn parse(text: &str) -> Result<Vec<Token>, Vec<(usize, String)>> {
    let mut tokens: Vec<(usize, Token)> = Vec::new();
    let mut faults = Vec::new();
    for (at, line) in text.lines().enumerate().map(|(i, line)| (i + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match token(line) {
            Ok(token) => match tokens.iter().find(|(_, t)| t.name == token.name || t.digest == token.digest) {
                Some((first, _)) => faults.push((at, format!("line {first} has this name or this secret already"))),
                None => tokens.push((at, token)),
            },
            Err(fault) => faults.push((at, fault)),
        }
    }
    if tokens.is_empty() && faults.is_empty() {
        faults.push((0, "there is no token in it; write one a line: ROLE NAME SECRET".into()));
    }
    if faults.is_empty() { Ok(tokens.into_iter().map(|(_, token)| token).collect()) } else { Err(faults) }
}

fn token(line: &str) -> Result<Token, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [role, name, secret] = words[..] else {
        return Err(format!("three words are wanted, ROLE NAME SECRET; here are {}", words.len()));
    };
    let role = [Role::Read, Role::Control].into_iter().find(|known| known.name() == role);
    let role = role.ok_or("the first word must be the role: read or control")?;
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-_.@".contains(&b);
    if name.len() > 64 || !name.bytes().all(is_name) {
        return Err("the second word must be a name: letters, digits and -_.@, at most 64".into());
    }
    Ok(Token { name: name.to_owned(), role, digest: secret_digest(secret)? })
}

fn secret_digest(secret: &str) -> Result<Digest, String> {
    if let Some(hex) = secret.strip_prefix("sha256:") {
        return from_hex(hex).ok_or_else(|| "sha256: must be followed by 64 hexadecimal digits".into());
    }
    // These need no escaping wherever a token may be sent.
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    if !(SHORTEST_SECRET..=LONGEST_SECRET).contains(&secret.len()) || !secret.bytes().all(is_plain) {
        return Err(format!(
            "the third word must be a secret of {SHORTEST_SECRET} to {LONGEST_SECRET} letters, digits and -._~, such as \
             `openssl rand -hex 32` makes, or sha256: and its hash"
        ));
    }
    Ok(digest_of(secret.as_bytes()))
}

fn from_hex(hex: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in digest.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_their_hashes_are_the_same_token() {
        // printf %s correct-horse-battery-staple | sha256sum
        let hash = "sha256:87cbebfeebc05f7c54ac9336c4b4bbec831227a641951a4bde7edd56020f8590";
        let text = "# who may look\n\n  read grafana correct-horse-battery-staple \r\ncontrol\toperator@x.example sha256:0000000000000000000000000000000000000000000000000000000000000000\n";
        let tokens = parse(text).unwrap();
        let seen: Vec<_> = tokens.iter().map(|t| (t.name.as_str(), t.role)).collect();
        assert_eq!(seen, [("grafana", Role::Read), ("operator@x.example", Role::Control)]);
        assert_eq!(parse(&format!("read a {hash}")).unwrap()[0].digest, digest_of(b"correct-horse-battery-staple"));
        assert_eq!(tokens[0].digest, digest_of(b"correct-horse-battery-staple"));
        assert!(!format!("{tokens:?}").contains("digest") && Role::Control > Role::Read);
    }

    #[test]
    fn each_wrong_line_is_named_and_never_repeated() {
        let secret = "hunter2hunter2hunter2";
        let text = format!(
            "read one {secret}\nadmin two {secret}2\nread three\nread four short\nread fi/ve {secret}5\n\
             read six sha256:{secret}\nread seven {secret}\nread one {secret}8\nread nine {secret}\u{e9}\nread x y z {secret}\n"
        );
        let faults = parse(&text).unwrap_err();
        let lines: Vec<_> = faults.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert!(faults.iter().all(|(_, fault)| !fault.contains("hunter2")), "{faults:?}");
        assert_eq!(parse("# nobody\n").unwrap_err()[0].0, 0);
    }
}
