//! libFuzzer's entry: the target that `DACAPO_FUZZ_TARGET` names is given every input. See `run`.

#![no_main]

use std::sync::OnceLock;

use dacapo::fuzzing::{TARGETS, Target, target};
use libfuzzer_sys::fuzz_target;

static CHOSEN: OnceLock<Target> = OnceLock::new();

fuzz_target!(
    init: {
        let name = std::env::var("DACAPO_FUZZ_TARGET").unwrap_or_default();
        let Some(target) = target(&name) else {
            println!("{}", TARGETS.map(|(name, _)| name).join("\n"));
            std::process::exit(if name == "list" { 0 } else { 2 });
        };
        CHOSEN.set(target).expect("libFuzzer begins once");
    },
    |data: &[u8]| CHOSEN.get().expect("libFuzzer has begun")(data)
);
