//! Where secrets come from, and the types that never print them.
//!
//! The environment and the home directory are given, never asked for: under `--sandbox` they are the
//! sandbox's own. Sources: the conventions of the vendor's CLI (`~/.verda`) and of its other clients.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod kept;
mod profiles;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use secrecy::SecretString;

use crate::error::{Error, ExitCode, Result};
use profiles::Choice;

pub use kept::{CloudPair, DropboxGrant, Kept, kept_path};

const CLOUD_URL: &str = "https://api.verda.com/v1";
const STORE_URL: &str = "https://api.dropboxapi.com";
const STORE_CONTENT_URL: &str = "https://content.dropboxapi.com";

/// Variables whose values no child process may inherit.
pub const SECRET_VARIABLES: [&str; 5] = [
    "VERDA_CLIENT_SECRET",
    "DATACRUNCH_CLIENT_SECRET",
    "DROPBOX_ACCESS_TOKEN",
    "DROPBOX_REFRESH_TOKEN",
    "DROPBOX_APP_SECRET",
];

/// What the cloud is asked with.
#[derive(Clone, Debug)]
pub struct CloudCredentials {
    /// The public half.
    pub client_id: String,
    /// The secret half.
    pub client_secret: SecretString,
    /// The API's address, ending in `/v1`.
    pub base_url: String,
}

/// A link or a token that ends by itself.
#[derive(Clone, Debug)]
pub struct ShortLived {
    /// What it is.
    pub value: SecretString,
    /// After which real time another one should take its place.
    pub life: Duration,
}

/// What the store is asked with.
#[derive(Clone, Debug)]
pub struct StoreCredentials {
    /// How a token is had.
    pub grant: Grant,
    /// How a token is had that may do less; none where there is no refresh token.
    pub refresh: Option<Refresh>,
    /// Whether the app is known to see nothing but a folder of its own. The service doesn't tell.
    pub app_folder: bool,
    /// The API's address.
    pub api_url: String,
    /// The address for content.
    pub content_url: String,
}

/// How a token for the store is had.
#[derive(Clone, Debug)]
pub enum Grant {
    /// One was given; it can't be renewed.
    AccessToken(SecretString),
    /// One is asked for with a refresh token.
    Refresh(Refresh),
}

/// A refresh token (PKCE: there is no app secret).
#[derive(Clone, Debug)]
pub struct Refresh {
    /// The public key of the user's own app.
    pub app_key: String,
    /// Permanent access to the app's part of the account.
    pub refresh_token: SecretString,
}

/// Finds the cloud's credentials.
///
/// `VERDA_CLIENT_ID` and `_SECRET`, then `DATACRUNCH_…`, then what `dacapo login` kept, then the vendor CLI's
/// profiles; a profile named by `VERDA_PROFILE` goes before all of them. Half a pair is an error, never skipped.
pub fn cloud(environment: &BTreeMap<String, String>, home: &Path) -> Result<CloudCredentials> {
    let profile = set(environment, "VERDA_PROFILE");
    if profile.is_none() {
        for (prefix, base) in [("VERDA", None), ("DATACRUNCH", set(environment, "DATACRUNCH_BASE_URL"))] {
            let id = format!("{prefix}_CLIENT_ID");
            if let Some((id, secret)) = pair(environment, &id, &format!("{prefix}_CLIENT_SECRET"))? {
                return Ok(cloud_credentials(environment, id, secret.into(), base));
            }
        }
        if let Some(pair) = Kept::read(&kept_path(environment, home))?.cloud {
            return Ok(cloud_credentials(environment, &pair.client_id, pair.client_secret, None));
        }
    }
    let choice = Choice::new(environment, home, profile)?;
    let Some(profile) = choice.read()? else {
        return Err(no_cloud_credentials().why(format!("`{}` does not exist", choice.shown())));
    };
    let (id, secret) = profile.pair()?;
    Ok(cloud_credentials(environment, id, secret.into(), profile.base_url()))
}

/// Returns the cloud's credentials that a pair makes, at the address that the environment names.
pub fn cloud_by(environment: &BTreeMap<String, String>, pair: &CloudPair) -> CloudCredentials {
    cloud_credentials(environment, &pair.client_id, pair.client_secret.clone(), None)
}

/// Finds the store's credentials: `DROPBOX_ACCESS_TOKEN`, or `DROPBOX_APP_KEY` with
/// `DROPBOX_REFRESH_TOKEN`, or what `dacapo login` kept; `DROPBOX_APP_FOLDER=yes` says what kind of app it is.
pub fn store(environment: &BTreeMap<String, String>, home: &Path) -> Result<StoreCredentials> {
    let mut refresh = pair(environment, "DROPBOX_APP_KEY", "DROPBOX_REFRESH_TOKEN")?
        .map(|(key, token)| Refresh { app_key: key.into(), refresh_token: token.into() });
    let mut app_folder = app_folder(environment)?;
    if refresh.is_none()
        && set(environment, "DROPBOX_ACCESS_TOKEN").is_none()
        && let Some(kept) = Kept::read(&kept_path(environment, home))?.dropbox
    {
        refresh = Some(Refresh { app_key: kept.app_key, refresh_token: kept.refresh_token });
        app_folder |= kept.app_folder;
    }
    let grant = if let Some(token) = set(environment, "DROPBOX_ACCESS_TOKEN") {
        Grant::AccessToken(token.into())
    } else if let Some(refresh) = &refresh {
        Grant::Refresh(refresh.clone())
    } else {
        return Err(Error::of(ExitCode::Credentials, "there are no credentials for Dropbox")
            .why("`session.toml` names a `store`, nobody has logged in, and none of the variables for it is set")
            .hint(
                "`dacapo login dropbox`; or set `DROPBOX_ACCESS_TOKEN`, or both `DROPBOX_APP_KEY` and \
                 `DROPBOX_REFRESH_TOKEN`",
            ));
    };
    Ok(StoreCredentials { grant, refresh, app_folder, ..store_addresses(environment) })
}

/// Returns where the store is, without anything to ask it with.
pub fn store_addresses(environment: &BTreeMap<String, String>) -> StoreCredentials {
    let url = |name, default: &str| set(environment, name).unwrap_or(default).to_owned();
    StoreCredentials {
        grant: Grant::AccessToken(SecretString::default()),
        refresh: None,
        app_folder: false,
        api_url: url("DROPBOX_API_URL", STORE_URL),
        content_url: url("DROPBOX_CONTENT_URL", STORE_CONTENT_URL),
    }
}

fn app_folder(environment: &BTreeMap<String, String>) -> Result<bool> {
    match set(environment, "DROPBOX_APP_FOLDER") {
        Some("yes") => Ok(true),
        None | Some("no") => Ok(false),
        Some(other) => Err(Error::of(ExitCode::Usage, format!("`DROPBOX_APP_FOLDER` cannot be `{other}`"))
            .hint("`yes` says that the Dropbox app sees nothing but its own folder; else leave it out")),
    }
}

fn cloud_credentials(
    environment: &BTreeMap<String, String>,
    id: &str,
    secret: SecretString,
    base: Option<&str>,
) -> CloudCredentials {
    let base_url = set(environment, "VERDA_BASE_URL").or(base).unwrap_or(CLOUD_URL).to_owned();
    CloudCredentials { client_id: id.to_owned(), client_secret: secret, base_url }
}

fn no_cloud_credentials() -> Error {
    Error::of(ExitCode::Credentials, "there are no credentials for the cloud").hint(
        "`dacapo login cloud`; or set `VERDA_CLIENT_ID` and `VERDA_CLIENT_SECRET`, or write a profile with the vendor's \
         `verda auth login`",
    )
}

/// A variable that is set and not empty.
fn set<'a>(environment: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    environment.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
}

fn pair<'a>(
    environment: &'a BTreeMap<String, String>,
    first: &str,
    second: &str,
) -> Result<Option<(&'a str, &'a str)>> {
    let half = |there, missing| {
        Err(Error::of(ExitCode::Credentials, format!("`{there}` is set but `{missing}` isn't"))
            .why("neither is of use without the other")
            .hint(format!("set `{missing}` too, or unset `{there}`")))
    };
    match (set(environment, first), set(environment, second)) {
        (Some(a), Some(b)) => Ok(Some((a, b))),
        (None, None) => Ok(None),
        (Some(_), None) => half(first, second),
        (None, Some(_)) => half(second, first),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    fn home_with(credentials: &str) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".verda")).unwrap();
        std::fs::write(home.path().join(".verda/credentials"), credentials).unwrap();
        home
    }

    /// A home without a file of ours.
    fn nowhere() -> &'static Path {
        Path::new("/nowhere")
    }

    const TWO: &str = "# written by hand\n[default]\nverda_client_id = id-default\nverda_client_secret=s-default\n\n\
                       [team]\nverda_base_url = \"https://api-staging.verda.com/v1\"\n verda_client_id= id-team ; ours\n\
                       verda_client_secret = s-team\nverda_s3_key = x\n";

    #[test]
    fn the_environment_goes_before_the_file_and_verda_before_datacrunch() {
        let home = home_with(TWO);
        let both = environment(&[
            ("VERDA_CLIENT_ID", "a"),
            ("VERDA_CLIENT_SECRET", "sa"),
            ("DATACRUNCH_CLIENT_ID", "b"),
            ("DATACRUNCH_CLIENT_SECRET", "sb"),
        ]);
        assert_eq!(cloud(&both, home.path()).unwrap().client_id, "a");
        let old = environment(&[
            ("DATACRUNCH_CLIENT_ID", "b"),
            ("DATACRUNCH_CLIENT_SECRET", "sb"),
            ("DATACRUNCH_BASE_URL", "https://api.datacrunch.io/v1"),
        ]);
        let found = cloud(&old, home.path()).unwrap();
        assert_eq!(
            (found.client_id.as_str(), found.base_url.as_str()),
            ("b", "https://api.datacrunch.io/v1")
        );
        assert_eq!(cloud(&environment(&[]), home.path()).unwrap().client_id, "id-default");
    }

    #[test]
    fn what_login_kept_goes_before_the_vendors_file_and_after_the_environment() {
        let home = home_with(TWO);
        let pair = CloudPair { client_id: "kept".into(), client_secret: "sk".to_owned().into() };
        let grant =
            DropboxGrant { app_key: "k".into(), refresh_token: "r".to_owned().into(), app_folder: true };
        let mut kept = Kept::default();
        (kept.cloud, kept.dropbox) = (Some(pair), Some(grant));
        kept.write(&kept_path(&environment(&[]), home.path())).unwrap();
        assert_eq!(cloud(&environment(&[]), home.path()).unwrap().client_id, "kept");
        let set = environment(&[("VERDA_CLIENT_ID", "a"), ("VERDA_CLIENT_SECRET", "sa")]);
        assert_eq!(cloud(&set, home.path()).unwrap().client_id, "a");
        let found = store(&environment(&[]), home.path()).unwrap();
        assert!(found.app_folder && found.refresh.unwrap().app_key == "k");
        let found = store(&environment(&[("DROPBOX_ACCESS_TOKEN", "t")]), home.path()).unwrap();
        assert!(!found.app_folder && found.refresh.is_none(), "the token's app may be another one");
    }

    #[test]
    fn a_chosen_profile_goes_before_the_environment() {
        let home = home_with(TWO);
        let chosen = environment(&[
            ("VERDA_PROFILE", "team"),
            ("VERDA_CLIENT_ID", "a"),
            ("VERDA_CLIENT_SECRET", "sa"),
        ]);
        let found = cloud(&chosen, home.path()).unwrap();
        assert_eq!(
            (found.client_id.as_str(), found.client_secret.expose_secret(), found.base_url.as_str()),
            ("id-team", "s-team", "https://api-staging.verda.com/v1")
        );
    }

    #[test]
    fn half_a_pair_is_an_error_that_names_the_missing_half() {
        let home = home_with(TWO);
        let error = cloud(&environment(&[("VERDA_CLIENT_ID", "a")]), home.path()).unwrap_err();
        assert_eq!(error.kind, ExitCode::Credentials);
        assert!(error.what.contains("`VERDA_CLIENT_SECRET`"), "{error}");
        let error = store(&environment(&[("DROPBOX_REFRESH_TOKEN", "r-secret")]), nowhere()).unwrap_err();
        assert!(
            error.what.contains("`DROPBOX_APP_KEY`") && !error.to_string().contains("r-secret"),
            "{error}"
        );
        let home = home_with("[default]\nverda_client_secret = only-half\n");
        let error = cloud(&environment(&[]), home.path()).unwrap_err();
        assert!(error.to_string().contains("`verda_client_id`"), "{error}");
        assert!(!error.to_string().contains("only-half"), "{error}");
    }

    #[test]
    fn an_unknown_profile_is_answered_with_the_known_ones() {
        let home = home_with(TWO);
        let error = cloud(&environment(&[("VERDA_PROFILE", "tam")]), home.path()).unwrap_err();
        let text = format!("{error} {:?}", error.hint);
        assert!(text.contains("`tam`") && text.contains("`default`") && text.contains("`team`"), "{text}");
        assert!(!text.contains("s-team"), "{text}");
    }

    #[test]
    fn the_only_profile_needs_no_name_and_the_cli_configuration_may_choose() {
        let home = home_with("[work]\nverda_client_id = w\nverda_client_secret = sw\n");
        assert_eq!(cloud(&environment(&[]), home.path()).unwrap().client_id, "w");
        let home = home_with(TWO);
        std::fs::write(
            home.path().join(".verda/config.yaml"),
            "debug: false\nauth:\n    profile: team # set by auth use\n",
        )
        .unwrap();
        assert_eq!(cloud(&environment(&[]), home.path()).unwrap().client_id, "id-team");
    }

    #[test]
    fn what_kind_of_app_it_is_is_said_plainly_or_not_at_all() {
        let with = |said: &str| {
            store(&environment(&[("DROPBOX_ACCESS_TOKEN", "t"), ("DROPBOX_APP_FOLDER", said)]), nowhere())
        };
        assert!(with("yes").unwrap().app_folder && !with("no").unwrap().app_folder);
        assert!(!with("").unwrap().app_folder);
        assert_eq!(with("true").unwrap_err().kind, ExitCode::Usage);
    }

    #[test]
    fn a_refresh_token_beside_an_access_token_is_kept_for_narrower_ones() {
        let all = [("DROPBOX_ACCESS_TOKEN", "t"), ("DROPBOX_APP_KEY", "k"), ("DROPBOX_REFRESH_TOKEN", "r")];
        let found = store(&environment(&all), nowhere()).unwrap();
        assert!(matches!(found.grant, Grant::AccessToken(_)));
        assert_eq!(found.refresh.unwrap().app_key, "k");
        assert!(store(&environment(&all[..2]), nowhere()).is_err(), "half a pair is still an error");
    }

    #[test]
    fn the_file_can_be_moved() {
        let home = tempfile::tempdir().unwrap();
        let other = home_with(TWO);
        let moved = other.path().join(".verda");
        let by_home = environment(&[("VERDA_HOME", moved.to_str().unwrap())]);
        assert_eq!(cloud(&by_home, home.path()).unwrap().client_id, "id-default");
        let file = moved.join("credentials");
        let by_file = environment(&[("VERDA_SHARED_CREDENTIALS_FILE", file.to_str().unwrap())]);
        assert_eq!(cloud(&by_file, home.path()).unwrap().client_id, "id-default");
    }

    #[test]
    fn without_credentials_the_variables_are_named() {
        let home = tempfile::tempdir().unwrap();
        let error = cloud(&environment(&[("VERDA_CLIENT_ID", " ")]), home.path()).unwrap_err();
        assert_eq!(error.kind, ExitCode::Credentials);
        assert!(error.hint.unwrap().contains("`VERDA_CLIENT_ID`"));
        let error = store(&environment(&[]), nowhere()).unwrap_err();
        assert!(error.hint.unwrap().contains("`DROPBOX_ACCESS_TOKEN`"));
    }

    #[test]
    fn a_broken_file_is_described_by_line_and_never_quoted() {
        let home = home_with("[default]\nverda_client_id = a\nmy s3cr3t without an equals sign\n");
        let error = cloud(&environment(&[]), home.path()).unwrap_err().to_string();
        assert!(error.contains("line 3") && !error.contains("s3cr3t"), "{error}");
    }

    #[test]
    fn debug_shows_no_secret() {
        let home = home_with(TWO);
        let cloud = cloud(&environment(&[]), home.path()).unwrap();
        let store = store(
            &environment(&[("DROPBOX_APP_KEY", "key"), ("DROPBOX_REFRESH_TOKEN", "r-secret")]),
            nowhere(),
        );
        let text = format!("{cloud:?} {:?}", store.unwrap());
        assert!(!text.contains("s-default") && !text.contains("r-secret"), "{text}");
    }
}
