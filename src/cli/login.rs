//! `dacapo login` and `logout`: credentials that are kept on this laptop, each tried before it is kept.

use std::io::{self, BufRead as _, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use dialoguer::Password;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::json;

use super::worlds::Surroundings;
use super::{Global, cannot_print, is_terminal, random_word};
use crate::credentials::{self, CloudPair, DropboxGrant, Kept, Refresh, StoreCredentials, kept_path};
use crate::error::{Error, ExitCode, Result};
use crate::provider::cloud::CloudClient;
use crate::provider::http::Clock;
use crate::provider::store::{Consent, StoreClient};
use crate::report;

/// What is signed in to.
#[derive(Subcommand, Debug)]
pub(super) enum Login {
    /// Sign in to a Dropbox app of your own: a page asks you, and shows a code
    Dropbox(Dropbox),
    /// Keep a pair of cloud credentials, as the cloud's console makes it
    Cloud(Cloud),
}

const DROPBOX: &str = "Examples:
  dacapo login dropbox --app-key KEY --app-folder               asks for the code
  dacapo login dropbox --app-key KEY --app-folder --code-stdin  reads it from a program";

#[derive(Args, Debug)]
#[command(after_help = DROPBOX)]
pub(super) struct Dropbox {
    /// The app's key, from its page at dropbox.com/developers/apps
    #[arg(long, value_name = "KEY", env = "DROPBOX_APP_KEY")]
    app_key: Option<String>,
    /// The app sees nothing but a folder of its own: what files over 150 MB need
    #[arg(long)]
    app_folder: bool,
    /// Read the code from the standard input instead of asking for it
    #[arg(long)]
    code_stdin: bool,
}

const CLOUD: &str = "Examples:
  dacapo login cloud --client-id ID                              asks for the secret
  dacapo login cloud --client-id ID --secret-stdin < secret.txt  asks nobody";

#[derive(Args, Debug)]
#[command(after_help = CLOUD)]
pub(super) struct Cloud {
    /// The public half of the pair
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Read the secret half from the standard input instead of asking for it
    #[arg(long)]
    secret_stdin: bool,
}

/// What is signed out of.
const LOGOUT: &str = "Examples:
  dacapo logout dropbox  forgets this one
  dacapo logout          forgets both";

#[derive(Args, Debug)]
#[command(after_help = LOGOUT)]
pub(super) struct Logout {
    /// Which one; both when none is named
    service: Option<Service>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Service {
    /// The Dropbox app
    Dropbox,
    /// The cloud
    Cloud,
}

pub(super) async fn run(global: &Global, asked: Login) -> Result<ExitCode> {
    let surroundings = of_the_user(global)?;
    let path = kept_path(&surroundings.environment, &surroundings.home);
    // Before anybody is asked: a file that can't be used later would make the answers useless.
    let mut kept = Kept::read(&path)?;
    let (service, account) = match asked {
        Login::Dropbox(asked) => {
            let (grant, account) = dropbox(&surroundings, asked).await?;
            kept.dropbox = Some(grant);
            (Service::Dropbox, account)
        }
        Login::Cloud(asked) => {
            let (pair, account) = cloud(&surroundings, asked).await?;
            kept.cloud = Some(pair);
            (Service::Cloud, account)
        }
    };
    kept.write(&path)?;
    let mut out = io::stdout().lock();
    let told = if global.json {
        let login = json!({"service": service, "account": account, "path": path});
        writeln!(out, "{}", json!({"version": 1, "login": login}))
    } else {
        let name = match service {
            Service::Dropbox => "Dropbox",
            Service::Cloud => "the cloud",
        };
        report::logged_in(&mut out, name, &account, &path)
    };
    told.map(|()| ExitCode::Ok).map_err(cannot_print)
}

pub(super) fn log_out(global: &Global, asked: &Logout) -> Result<ExitCode> {
    let surroundings = of_the_user(global)?;
    let path: PathBuf = kept_path(&surroundings.environment, &surroundings.home);
    let mut kept = Kept::read(&path)?;
    let services = asked.service.map_or(vec![Service::Dropbox, Service::Cloud], |service| vec![service]);
    for service in &services {
        match service {
            Service::Dropbox => kept.dropbox = None,
            Service::Cloud => kept.cloud = None,
        }
    }
    kept.write(&path)?;
    let mut out = io::stdout().lock();
    let told = if global.json {
        let logout = json!({"services": services, "path": path});
        writeln!(out, "{}", json!({"version": 1, "logout": logout}))
    } else {
        report::logged_out(&mut out, &path)
    };
    told.map(|()| ExitCode::Ok).map_err(cannot_print)
}

fn of_the_user(global: &Global) -> Result<Surroundings> {
    if global.sandbox.is_some() {
        return Err(Error::of(ExitCode::Usage, "the sandbox needs no login")
            .why("its credentials are its own, and none of yours are read there")
            .hint("leave out `--sandbox`"));
    }
    Surroundings::of_the_process()
}

async fn dropbox(surroundings: &Surroundings, asked: Dropbox) -> Result<(DropboxGrant, String)> {
    let found = credentials::store_addresses(&surroundings.environment);
    let app_key = match asked.app_key {
        Some(key) => key,
        None => ask("The app's key", "--app-key", false)?,
    };
    let verifier: SecretString = format!("{}{}", random_word(), random_word()).into();
    let consent = Consent::ask(&found.api_url, app_key.trim(), verifier)?;
    report::consent(&mut io::stderr().lock(), consent.page().as_str()).map_err(cannot_print)?;
    let code = answer("The code that the page shows", "--code-stdin", asked.code_stdin)?;
    let Refresh { app_key, refresh_token } = consent.redeem(code, Clock::real()).await?;
    let refresh = Refresh { app_key: app_key.clone(), refresh_token: refresh_token.clone() };
    let tried = StoreCredentials {
        grant: credentials::Grant::Refresh(refresh.clone()),
        refresh: Some(refresh),
        app_folder: asked.app_folder,
        ..found
    };
    let (api, content) = (tried.api_url.clone(), tried.content_url.clone());
    let client = StoreClient::new(&api, &content, tried, "", Clock::real())?;
    let account = client.account().await?;
    Ok((DropboxGrant { app_key, refresh_token, app_folder: asked.app_folder }, account))
}

async fn cloud(surroundings: &Surroundings, asked: Cloud) -> Result<(CloudPair, String)> {
    let client_id = match asked.client_id {
        Some(id) => id,
        None => ask("The client id", "--client-id", false)?,
    };
    let client_id = client_id.trim().to_owned();
    let client_secret = answer("The client secret", "--secret-stdin", asked.secret_stdin)?;
    let pair = CloudPair { client_id, client_secret };
    let tried = credentials::cloud_by(&surroundings.environment, &pair);
    let client = CloudClient::new(&tried.base_url.clone(), tried, Clock::real())?;
    let (_, machines) = client.instances().await?;
    Ok((pair, format!("{} machine(s) in the account", machines.len())))
}

/// A secret: from the standard input where that was said, else asked for without showing it.
fn answer(what: &str, flag: &str, from_input: bool) -> Result<SecretString> {
    if !from_input {
        return ask(what, flag, true).map(Into::into);
    }
    let line = io::stdin().lock().lines().next().unwrap_or_else(|| Ok(String::new()));
    let line = line.map_err(|error| Error::new("cannot read the standard input").because(&error))?;
    match line.trim() {
        "" => Err(Error::of(ExitCode::Usage, "nothing came in on the standard input")
            .hint(format!("`{flag}` reads one line from it"))),
        line => Ok(line.to_owned().into()),
    }
}

/// Asks at the terminal; without one it fails and names the flag.
fn ask(what: &str, flag: &str, secret: bool) -> Result<String> {
    if !is_terminal() {
        return Err(Error::of(ExitCode::Usage, "nobody is there to answer a question")
            .why(format!("the question is: {what}"))
            .hint(format!("answer it with `{flag}`")));
    }
    let failed = |error: dialoguer::Error| Error::new("cannot read the answer").because(&error);
    let text = if secret {
        Password::new().with_prompt(what).interact().map_err(failed)?
    } else {
        dialoguer::Input::new().with_prompt(what).interact_text().map_err(failed)?
    };
    io::stderr().flush().map_err(cannot_print)?;
    Ok(text)
}
