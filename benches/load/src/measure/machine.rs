//! What this machine is, for whoever reads the figures later.

use std::fs;

use serde::Serialize;

/// A machine, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// The processor's model.
    pub cpu: String,
    /// Processors this process may run on.
    pub cores: usize,
    /// The kernel's name and release.
    pub kernel: String,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn this() -> Self {
        let cpu = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| model(&text)).unwrap_or_default();
        let kernel = nix::sys::utsname::uname().map_or_else(
            |_| String::new(),
            |name| format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy()),
        );
        Self { cpu, cores: std::thread::available_parallelism().map_or(1, usize::from), kernel }
    }
}

/// `model name : …` of `/proc/cpuinfo`; arm64 has none.
fn model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"))?;
    Some(line.trim_start_matches([' ', '\t', ':']).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_named() {
        let text = "processor\t: 0\nmodel name\t: A Fast One @ 3.0GHz\nflags\t: x\nprocessor\t: 1\n";
        assert_eq!(model(text).as_deref(), Some("A Fast One @ 3.0GHz"));
        assert_eq!(model("processor\t: 0\n"), None);
    }
}
