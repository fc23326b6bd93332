//! Whether a token is what its issuer signed, for us, now.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use openidconnect::{
    AdditionalClaims, ClaimsVerificationError, ClientId, IdToken, IdTokenClaims, IdTokenVerifier,
    IssuerUrl, Nonce, SignatureVerificationError,
    core::{
        CoreGenderClaim, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Unauthenticated,
    keys::{Freshness, IssuerKeys, KeySet, Origin},
};

/// How far the issuer's clock may be from ours, either way.
pub(super) const LEEWAY: Duration = Duration::from_secs(30);

const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

type Verifier = IdTokenVerifier<'static, CoreJsonWebKey>;
type Claims = IdTokenClaims<OtherClaims, CoreGenderClaim>;
type Token = IdToken<
    OtherClaims,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;

/// The claims that OpenID Connect does not define.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
struct OtherClaims(Map<String, Value>);

impl AdditionalClaims for OtherClaims {}

/// What a token says once it has been verified.
pub(super) struct VerifiedToken {
    pub(super) subject: String,
    pub(super) expires: Timestamp,
    /// All claims, registered ones included.
    pub(super) claims: Map<String, Value>,
}

/// Verifies the tokens of one issuer.
pub(super) struct TokenVerifier {
    keys: IssuerKeys<Verifier>,
    audiences: Vec<String>,
}

impl TokenVerifier {
    pub(super) fn new(
        issuer: IssuerUrl,
        audiences: Vec<String>,
        origin: Origin,
        freshness: Freshness,
    ) -> Self {
        Self {
            keys: IssuerKeys::new(origin, freshness, move |keys| {
                verifier(issuer.clone(), keys)
            }),
            audiences,
        }
    }

    pub(super) async fn verify(&self, token: &str) -> Result<VerifiedToken, Unauthenticated> {
        let token: Token = token.parse().map_err(|_| Unauthenticated::Malformed)?;
        let known = self.keys.current().await?;
        match verified_claims(&token, &known.keys) {
            Err(Unauthenticated::UnknownKey) => {
                let newer = self.keys.newer_than(&known).await;
                let newer = newer.ok_or(Unauthenticated::UnknownKey)?;
                self.accept(verified_claims(&token, &newer.keys)?)
            }
            outcome => self.accept(outcome?),
        }
    }

    fn accept(&self, verified: &Claims) -> Result<VerifiedToken, Unauthenticated> {
        self.check_audiences(verified)?;
        let claims = all_claims(verified)?;
        check_not_before(&claims, SystemTime::now())?;
        Ok(VerifiedToken {
            subject: verified.subject().to_string(),
            expires: Timestamp::from_second(verified.expiration().timestamp())
                .unwrap_or(Timestamp::MAX),
            claims,
        })
    }

    /// Every audience must be ours. A token that is also for another service could be replayed by it,
    /// and one that is also for the API server would open it without us.
    fn check_audiences(&self, verified: &Claims) -> Result<(), Unauthenticated> {
        let mut audiences = verified.audiences().iter().peekable();
        if audiences.peek().is_none()
            || !audiences.all(|audience| self.audiences.contains(audience))
        {
            return Err(Unauthenticated::WrongAudience);
        }
        Ok(())
    }
}

/// The audiences are checked by [`TokenVerifier::check_audiences`], since the crate knows one client id
/// and an issuer here may have several audiences.
fn verifier(issuer: IssuerUrl, keys: KeySet) -> Verifier {
    IdTokenVerifier::new_public_client(ClientId::new(crate::AUDIENCE.to_owned()), issuer, keys)
        .set_allowed_algs(ALGORITHMS)
        .require_audience_match(false)
        .set_time_fn(|| (SystemTime::now() - LEEWAY).into())
}

fn verified_claims<'t>(
    token: &'t Token,
    verifier: &Verifier,
) -> Result<&'t Claims, Unauthenticated> {
    // Workload tokens answer no authorization request, so there is no nonce to compare.
    let any_nonce = |_: Option<&Nonce>| Ok(());
    token
        .claims(verifier, any_nonce)
        .map_err(|error| refusal(&error))
}

/// The crate's texts quote claims, so only the kind is kept.
fn refusal(error: &ClaimsVerificationError) -> Unauthenticated {
    use ClaimsVerificationError::{Expired, InvalidIssuer, SignatureVerification};
    use SignatureVerificationError::{
        AmbiguousKeyId, CryptoError, DisallowedAlg, InvalidKey, NoMatchingKey, NoSignature,
        UnsupportedAlg,
    };
    match error {
        Expired(_) => Unauthenticated::Expired,
        InvalidIssuer(_) => Unauthenticated::UnknownIssuer,
        SignatureVerification(NoMatchingKey | AmbiguousKeyId(_)) => Unauthenticated::UnknownKey,
        SignatureVerification(DisallowedAlg(_) | UnsupportedAlg(_) | NoSignature) => {
            Unauthenticated::AlgorithmNotAllowed
        }
        SignatureVerification(CryptoError(_) | InvalidKey(_)) => Unauthenticated::BadSignature,
        _ => Unauthenticated::Malformed,
    }
}

/// Back from the crate's typed claims to one map, so that only verified values are in it.
fn all_claims(verified: &Claims) -> Result<Map<String, Value>, Unauthenticated> {
    match serde_json::to_value(verified) {
        Ok(Value::Object(claims)) => Ok(claims),
        _ => Err(Unauthenticated::Malformed),
    }
}

/// RFC 7519 section 4.1.5; the crate does not look at `nbf`.
fn check_not_before(claims: &Map<String, Value>, now: SystemTime) -> Result<(), Unauthenticated> {
    let Some(not_before) = claims.get("nbf") else {
        return Ok(());
    };
    let not_before = not_before.as_f64().ok_or(Unauthenticated::Malformed)?;
    let latest = (now + LEEWAY)
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    if not_before > latest.as_secs_f64() {
        return Err(Unauthenticated::NotYetValid);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn not_before_has_thirty_seconds_of_leeway() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let check = |nbf: Value| {
            let claims = json!({ "nbf": nbf })
                .as_object()
                .cloned()
                .expect("an object");
            check_not_before(&claims, now).map_err(|error| error.reason())
        };
        assert_eq!(check(json!(1_000_000)), Ok(()));
        assert_eq!(check(json!(1_000_030)), Ok(()));
        assert_eq!(check(json!(1_000_030.5)), Err("not_yet_valid"));
        assert_eq!(check(json!("1000000")), Err("malformed"));
        assert_eq!(check(json!(null)), Err("malformed"));
    }
}
