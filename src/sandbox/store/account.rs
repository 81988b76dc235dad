//! The account: whose it is, how full it is, and which root its paths start from.

use serde_json::{Value, json};

use super::argument::Fields;
use super::problem::Problem;
use super::{Outcome, Store};
use crate::sandbox::wire::Call;

impl Store {
    /// `users/get_current_account`.
    pub(super) fn current_account(&self) -> Value {
        json!({
            "account_id": self.account,
            "name": {"given_name": "Sand", "surname": "Box", "familiar_name": "Sand",
                     "display_name": "Sand Box", "abbreviated_name": "SB"},
            "email": "sandbox@example.invalid", "email_verified": true, "disabled": false, "country": "FI",
            "locale": "en", "referral_link": "https://www.dropbox.com/referrals/sandbox", "is_paired": false,
            "account_type": {".tag": "pro"},
            "root_info": self.root_info(),
        })
    }

    /// `users/get_space_usage`.
    pub(super) fn space_usage(&self) -> Value {
        json!({"used": self.tree.used(), "allocation": {".tag": "individual", "allocated": self.allocated}})
    }

    /// Refuses a header `Dropbox-API-Path-Root` that names any root but the account's own.
    pub(super) fn check_root(&self, call: &Call) -> Result<(), Problem> {
        const PLACE: &str = "HTTP header \"Dropbox-API-Path-Root\"";
        let Some(header) = call.headers.get("dropbox-api-path-root") else { return Ok(()) };
        let mut fields = Fields::parse(PLACE, header.as_bytes())?;
        let mode = fields.text(".tag")?;
        let named = match mode.as_str() {
            "home" => None,
            "root" | "namespace_id" => Some(fields.text(&mode)?),
            _ => return Err(fields.bad_field(".tag", &format!("invalid tag '{mode}'"))),
        };
        fields.finish()?;
        match named {
            Some(named) if named != self.namespace => Err(self.wrong_root(&mode)),
            _ => Ok(()),
        }
    }

    fn wrong_root(&self, mode: &str) -> Problem {
        if mode == "root" {
            let error = json!({".tag": "invalid_root", "invalid_root": self.root_info()});
            return Problem::PathRoot("invalid_root", error);
        }
        Problem::PathRoot("no_permission", json!({".tag": "no_permission"}))
    }

    fn root_info(&self) -> Value {
        let own = &self.namespace;
        json!({".tag": "user", "root_namespace_id": own, "home_namespace_id": own})
    }
}

/// `check/user`.
pub(super) fn check_user(mut fields: Fields) -> Outcome {
    let query = fields.optional_text("query")?.unwrap_or_default();
    if query.chars().count() > 500 {
        return Err(fields.bad_field("query", "must have at most 500 characters"));
    }
    fields.finish()?;
    Ok(json!({"result": query}))
}
