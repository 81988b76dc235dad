//! ssh's words and files, whatever they are.

use super::*;

/// Every error that these words of ssh could become; a key found in them as in a known_hosts file is one.
pub(crate) fn refusals(text: &str) -> Vec<SshError> {
    if let Some(key) = key_in(text) {
        assert!(!key.contains('\n'), "{key:?}");
        assert_eq!(PublicKey::parse(&key).map(|key| key.as_str().to_owned()), Some(key));
    }
    let login = Login {
        ip: "127.0.0.1".into(),
        port: 22,
        user: "root".into(),
        instance: "11111111-2222-3333-4444-555555555555".into(),
        host_key: None,
        identity: None,
        agent: None,
        proxy: None,
        limits: Limits::real(),
        directory: PathBuf::from("/tmp/dacapo"),
    };
    let shown = match classify(text) {
        Trouble::HostKey => login.other_host_key(text),
        Trouble::Local => SshError::local(Error::new(login.what()).why(one_line(text))),
        _ => login.unreachable(one_line(text)),
    };
    assert!(shown.error.why.iter().all(|why| why.len() < 4_000), "{} bytes", shown.error.to_string().len());
    vec![shown]
}
