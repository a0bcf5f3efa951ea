//! Who asks, and whether they may: clients by their address, tokens with roles.
//!
//! A token comes as `Authorization: Bearer …` (gRPC: metadata `authorization`), for a WebSocket also as the query's
//! `access_token`, because pages cannot set its headers. Hashes are compared, all of them, each in constant time, so
//! that neither length nor content nor place of a token shows in the time an answer takes. Without tokens whoever got
//! here is let in: on loopback everybody, with mutual TLS whoever has a certificate.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use subtle::ConstantTimeEq;

use crate::config::{HttpConfig, Reloadable, Role, Token, digest_of};
use crate::refusal::ApiError;

/// Where a request comes from; an extension of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

impl Peer {
    /// For requests that came through no socket.
    pub const UNKNOWN: Self = Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
}

/// One who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client(u128);

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().to_bits()),
            IpAddr::V6(Ipv6Addr::LOCALHOST) => Self(1),
            IpAddr::V6(v6) => Self(v6.to_bits() >> 64 << 64),
        }
    }
}

/// Decides who may come in, by the tokens that hold at the moment. Cheap to clone; shared by all endpoints.
#[derive(Clone, Debug, Default)]
pub struct Access {
    tokens: Reloadable<Option<Vec<Token>>>,
}

/// Who was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name of the token; `None` when none was needed.
    pub name: Option<String>,
    /// What they may do.
    pub role: Role,
}

/// Why somebody was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No token came.
    #[error("a token is needed")]
    Missing,
    /// What came is none of the tokens.
    #[error("this is no valid token")]
    Invalid,
    /// The token is right, but its role is not enough.
    #[error("this token may not do that; the role {} is needed", .0.name())]
    Role(Role),
}

impl Access {
    /// As the configuration has it.
    pub fn new(http: &HttpConfig) -> Self {
        Self { tokens: http.tokens.clone() }
    }

    /// Whether tokens are asked for at all.
    pub fn needs_token(&self) -> bool {
        self.tokens.get().is_some()
    }

    /// Judges an `authorization` header.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, header: Option<&[u8]>, needed: Role) -> Result<Identity, Denied> {
        if !self.needs_token() {
            return Ok(Identity { name: None, role: Role::Control });
        }
        let header = header.ok_or(Denied::Missing)?;
        self.check_secret(bearer(header).ok_or(Denied::Invalid)?, needed)
    }

    /// Judges a token that came in another way than by a header.
    ///
    /// # Errors
    /// Why not.
    pub fn check_secret(&self, secret: &[u8], needed: Role) -> Result<Identity, Denied> {
        let tokens = self.tokens.get();
        let Some(tokens) = tokens.as_ref() else {
            return Ok(Identity { name: None, role: Role::Control });
        };
        let shown = digest_of(secret);
        // No early end: which token it was must not show either.
        let mut found = None;
        for token in tokens {
            if bool::from(token.digest.ct_eq(&shown)) {
                found = Some(token);
            }
        }
        let token = found.ok_or(Denied::Invalid)?;
        if token.role < needed {
            return Err(Denied::Role(needed));
        }
        Ok(Identity { name: Some(token.name.clone()), role: token.role })
    }

    pub(crate) fn check_request(&self, request: &Request, needed: Role) -> Result<Identity, Denied> {
        let headers = request.headers();
        let mut shown = headers.get_all(header::AUTHORIZATION).iter();
        match (shown.next(), shown.next()) {
            (Some(_), Some(_)) if self.needs_token() => Err(Denied::Invalid),
            (None, _) if is_upgrade(headers) => match query_token(request.uri().query().unwrap_or_default()) {
                Some(secret) => self.check_secret(secret.as_bytes(), needed),
                None => self.check(None, needed),
            },
            (first, _) => self.check(first.map(HeaderValue::as_bytes), needed),
        }
    }
}

fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = header.split_at_checked(7)?;
    let secret = rest.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !secret.is_empty()).then_some(secret)
}

fn query_token(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("access_token="))
}

/// Whether this is a WebSocket's first word.
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let realm = "Bearer realm=\"fiberd\"";
        let (http, code, challenge) = match self {
            Self::Missing => (StatusCode::UNAUTHORIZED, "token_missing", realm.to_owned()),
            Self::Invalid => (StatusCode::UNAUTHORIZED, "token_invalid", format!("{realm}, error=\"invalid_token\"")),
            Self::Role(role) => {
                let scope = format!("{realm}, error=\"insufficient_scope\", scope=\"{}\"", role.name());
                (StatusCode::FORBIDDEN, "role_missing", scope)
            }
        };
        let words = if http == StatusCode::FORBIDDEN { "Forbidden" } else { "Unauthorized" };
        let advice = "send authorization: Bearer TOKEN, with a token that the operator of this daemon gave you";
        let mut refusal = ApiError::new(http, code, words, advice).because(self.to_string());
        if let Self::Role(role) = self {
            refusal.details = json!({ "role_needed": role.name() });
        }
        let mut response = refusal.into_response();
        if let Ok(challenge) = HeaderValue::from_str(&challenge) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use proptest::prelude::*;

    const LOOKS: &str = "looks-looks-looks-looks";
    const ACTS: &str = "acts-acts-acts-acts";

    fn access() -> Access {
        let token =
            |name: &str, role, secret: &str| Token { name: name.into(), role, digest: digest_of(secret.as_bytes()) };
        let tokens = vec![token("display", Role::Read, LOOKS), token("desk", Role::Control, ACTS)];
        Access::new(&HttpConfig { tokens: Reloadable::new(Some(tokens)), ..HttpConfig::default() })
    }

    #[test]
    fn tokens_open_what_their_role_may_do() {
        let named = |name: &str, role| Ok(Identity { name: Some(name.into()), role });
        let cases = [
            (None, Role::Read, Err(Denied::Missing)),
            (Some(format!("Bearer {LOOKS}")), Role::Read, named("display", Role::Read)),
            (Some(format!("bearer   {LOOKS} ")), Role::Read, named("display", Role::Read)),
            (Some(format!("Bearer {LOOKS}")), Role::Control, Err(Denied::Role(Role::Control))),
            (Some(format!("BEARER {ACTS}")), Role::Control, named("desk", Role::Control)),
            (Some(format!("Bearer {ACTS}")), Role::Read, named("desk", Role::Control)),
            (Some(format!("Basic {ACTS}")), Role::Read, Err(Denied::Invalid)),
            (Some(format!("Bearer{ACTS}")), Role::Read, Err(Denied::Invalid)),
            (Some(format!("Bearer {ACTS}x")), Role::Read, Err(Denied::Invalid)),
            (Some("Bearer ".into()), Role::Read, Err(Denied::Invalid)),
            (Some(String::new()), Role::Read, Err(Denied::Invalid)),
        ];
        for (header, needed, wanted) in cases {
            assert_eq!(access().check(header.as_deref().map(str::as_bytes), needed), wanted, "{header:?} {needed:?}");
        }
        let open = Access::new(&HttpConfig::default());
        assert_eq!(open.check(Some(b"nonsense"), Role::Control), Ok(Identity { name: None, role: Role::Control }));
        let nobody = Access::new(&HttpConfig { tokens: Reloadable::new(Some(Vec::new())), ..HttpConfig::default() });
        assert_eq!(nobody.check(Some(b"Bearer x"), Role::Read), Err(Denied::Invalid));
    }

    proptest! {
        #[test]
        fn nothing_but_a_token_opens(header in prop::collection::vec(any::<u8>(), 0..64), role in prop::bool::ANY) {
            let needed = if role { Role::Read } else { Role::Control };
            prop_assert_eq!(access().check(Some(&header), needed), Err(Denied::Invalid));
            let prefixed = [b"Bearer ".as_slice(), &header].concat();
            prop_assert_eq!(access().check(Some(&prefixed), needed), Err(Denied::Invalid));
        }
    }

    #[test]
    fn only_a_websocket_may_show_its_token_in_the_query() {
        let ask = |headers: &[(&str, &str)], query: &str| {
            let mut request = Request::get(format!("/ws/0-1{query}"));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            access().check_request(&request.body(Body::empty()).unwrap(), Role::Read).map(|identity| identity.name)
        };
        let query = format!("?stream=1&access_token={LOOKS}");
        let bearer = format!("Bearer {LOOKS}");
        assert_eq!(ask(&[("upgrade", "websocket")], &query), Ok(Some("display".into())));
        assert_eq!(ask(&[], &query), Err(Denied::Missing));
        assert_eq!(ask(&[("upgrade", "websocket")], ""), Err(Denied::Missing));
        assert_eq!(ask(&[("upgrade", "websocket"), ("authorization", "Bearer x")], &query), Err(Denied::Invalid));
        assert_eq!(ask(&[("authorization", &bearer)], ""), Ok(Some("display".into())));
        assert_eq!(ask(&[("authorization", "Bearer x"), ("authorization", &bearer)], ""), Err(Denied::Invalid));
    }
}
