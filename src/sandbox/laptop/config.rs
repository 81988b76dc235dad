//! The texts of the sandbox's ssh configurations, and the quoting they need.

use std::path::Path;

use crate::error::{Error, Result};

/// Whose ssh a configuration is for.
pub enum Side<'a> {
    /// The laptop: its key, its agent, its known hosts.
    Laptop { home: &'a Path, agent: &'a Path },
    /// An instance: no key of its own, only a forwarded agent, and the known hosts of its own home.
    Instance,
}

/// Returns a configuration that goes through `gateway` and names everything the defaults would look for.
pub fn text(side: &Side<'_>, gateway: &str) -> Result<String> {
    let own = match side {
        Side::Laptop { home, agent } => format!(
            "  UserKnownHostsFile {}\n  IdentityFile {}\n  IdentitiesOnly yes\n  IdentityAgent {}\n",
            quoted(&home.join(".ssh/known_hosts"))?,
            quoted(&home.join(".ssh/id_ed25519"))?,
            quoted(agent)?
        ),
        Side::Instance => "  UserKnownHostsFile \"${HOME}/.ssh/known_hosts\"\n  \
             IdentityFile none\n  IdentityAgent SSH_AUTH_SOCK\n"
            .to_owned(),
    };
    Ok(format!("Host *\n  ProxyCommand {gateway}\n{own}{COMMON}"))
}

const COMMON: &str = "  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  UpdateHostKeys no
  CheckHostIP no
  HashKnownHosts no
  VerifyHostKeyDNS no
  PreferredAuthentications publickey
  BatchMode yes
  ForwardAgent no
  ForwardX11 no
  AddKeysToAgent no
  PermitLocalCommand no
  CanonicalizeHostname no
  ControlMaster no
  ControlPath none
";

/// Returns the command that carries every connection, as `ProxyCommand` wants it: a line for the shell,
/// in which `%h` and `%p` are filled in and a per cent sign is doubled.
pub fn proxy_command(executable: &Path, directory: &Path) -> Result<String> {
    let literal = |path| Ok::<_, Error>(shell_word(path)?.replace('%', "%%"));
    Ok(format!("{} sandbox gateway --dir {} '%h' '%p'", literal(executable)?, literal(directory)?))
}

/// Returns a path as one word for a POSIX shell.
pub fn shell_word(path: &Path) -> Result<String> {
    Ok(quoted_for_shell(plain(path)?))
}

/// Returns a text as one word for a POSIX shell.
pub fn quoted_for_shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Returns a path as one argument of an option that fills in per cent signs.
fn quoted(path: &Path) -> Result<String> {
    let text = plain(path)?;
    if text.contains("${") {
        // Such options replace `${NAME}`, and know no way to write the two signs themselves.
        return Err(unfit(path).why("ssh would take `${` for a variable"));
    }
    Ok(format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%")))
}

fn plain(path: &Path) -> Result<&str> {
    let text = path.to_str().ok_or_else(|| unfit(path).why("it is not UTF-8"))?;
    if text.chars().any(char::is_control) {
        return Err(unfit(path).why("a line of an ssh configuration can't hold its control characters"));
    }
    Ok(text)
}

fn unfit(path: &Path) -> Error {
    Error::new(format!("cannot keep a sandbox at `{}`", path.display().to_string().escape_debug()))
        .hint("choose another directory with `--sandbox=DIR`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_quotes_and_per_cent_signs_survive_both_quotings() {
        let path = Path::new(r#"/a b/it's 5% "x""#);
        assert_eq!(quoted(path).unwrap(), r#""/a b/it's 5%% \"x\"""#);
        let command = proxy_command(Path::new("/bin/dacapo"), path).unwrap();
        assert_eq!(command, r#"'/bin/dacapo' sandbox gateway --dir '/a b/it'\''s 5%% "x"' '%h' '%p'"#);
    }

    #[test]
    fn paths_that_no_configuration_can_hold_are_refused() {
        assert!(quoted(Path::new("/a\nProxyCommand none")).is_err());
        assert!(quoted(Path::new("/a/${HOME}")).is_err());
        assert!(proxy_command(Path::new("/bin/dacapo"), Path::new("/a\nb")).is_err());
    }
}
